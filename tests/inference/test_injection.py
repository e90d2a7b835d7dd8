"""Injected signals, against the closed form of large counts: everything is Gaussian there."""

import numpy as np
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import fit, injection
from tests.histfactory import specs

SIGNAL, BACKGROUND, SHIFT = 500.0, 10_000.0, 150.0


@pytest.fixture(scope="module")
def model():
    """One bin; the best fit is (n - b - shift × auxiliary measurement) / s."""
    background = specs.sample(
        "background",
        [BACKGROUND],
        specs.templates("shape", [BACKGROUND + SHIFT], [BACKGROUND - SHIFT]),
    )
    signal = specs.sample("signal", [SIGNAL], specs.MU)
    return Model.from_spec(specs.workspace([specs.channel("region", background, signal)]))


@pytest.mark.parametrize("nuisances", ["measured", "drawn"])
def test_strengths_are_those_of_the_closed_form(model, nuisances):
    found = injection(model, [0.0, 2.0], toys=1000, seed=3, nuisances=nuisances)
    expected = np.sqrt(BACKGROUND + SIGNAL * found.values + SHIFT**2) / SIGNAL
    # Means and spreads within five standard errors.
    assert (np.abs(found.mean - found.values) < 5 * expected / np.sqrt(1000)).all()
    np.testing.assert_allclose(found.spread, expected, rtol=5 / np.sqrt(2000))
    np.testing.assert_allclose(found.uncertainties.mean(axis=1), expected, rtol=0.01)
    np.testing.assert_allclose(found.pulls.std(axis=1), 1.0, atol=5 / np.sqrt(2000))
    for sigmas, probability in ((1.0, 0.6827), (2.0, 0.9545)):
        error = np.sqrt(probability * (1 - probability) / 1000)
        np.testing.assert_allclose(found.coverage(sigmas), probability, atol=5 * error)
    slope, offset = found.line()
    assert slope == pytest.approx(1.0, abs=0.05)
    assert offset == pytest.approx(0.0, abs=0.06)


def test_half_of_the_best_fits_without_signal_are_negative(model):
    found = injection(model, [0.0], toys=400)
    assert 0.35 < (found.strengths < 0).mean() < 0.65
    bounded = injection(model, [0.0], toys=400, bounds={"mu": (0.0, 10.0)})
    assert bounded.strengths.min() == 0.0


@pytest.mark.slow
def test_nuisance_parameters_of_a_fit_are_the_true_ones(model):
    at = fit(model, np.array([BACKGROUND]))._replace(values=np.array([2.0, 1.0]))
    assert at.names == ("shape", "mu")
    found = injection(model, [1.0], toys=400, at=at)
    # The auxiliary measurement fluctuates around 2, and the best fit takes it into account.
    assert abs(found.mean[0] - 1.0) < 5 * found.mean_error[0]
    without = injection(model, [1.0], toys=400, at=at, nuisances="drawn")
    # Here it stays 0, so what it does is taken for signal.
    assert without.mean[0] - 1.0 == pytest.approx(2 * SHIFT / SIGNAL, abs=5 * without.mean_error[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": [np.nan]}, "finite numbers in a row"),
        ({"toys": 1}, "at least 2"),
        ({"fixed": {"mu": 1.0}}, "holds 'mu'"),
    ],
)
def test_mistakes_are_named(model, options, message):
    with pytest.raises(InputError, match=message):
        injection(model, **options)
