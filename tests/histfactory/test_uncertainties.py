import pytest

from difftune.errors import InputError
from difftune.histfactory import FreeNormalisation, Luminosity, NormalisationUncertainty


def test_changes_are_relative():
    assert NormalisationUncertainty("x", 0.25).factors == (1.25, 0.75)
    assert NormalisationUncertainty("x", 0.25, -0.125).factors == (1.25, 0.875)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NormalisationUncertainty("xs", 1.05), "relative: 0.06 is 6 %"),
        (lambda: NormalisationUncertainty("xs", 0.5, -1.0), "must be positive"),
        (lambda: Luminosity(1.7), "between 0 and 1"),
        (lambda: Luminosity(0.0), "leave the luminosity out"),
        (lambda: FreeNormalisation("norm", ("tt",), (2.0, 5.0)), "must contain 1"),
    ],
)
def test_values_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
