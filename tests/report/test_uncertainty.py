import numpy as np
import pyhf
import pytest

from difftune.histfactory import Luminosity, NormalisationUncertainty, build_workspace
from difftune.histograms import Histogram, Template, Templates
from difftune.report.uncertainty import shifts, uncertainty

EDGES = np.array([0.0, 0.5, 1.0])


def histogram(*values):
    return Histogram(EDGES, np.array(values, float), np.array(values, float) / 10)


@pytest.fixture
def templates():
    return Templates(
        channel="SR",
        edges=EDGES,
        processes={
            "a": Template(histogram(100, 50), {"jes": (histogram(110, 52), histogram(92, 49))}),
            "b": Template(
                histogram(40, 20),
                {
                    "jes": (histogram(41, 18), histogram(39, 22)),
                    "btag": (histogram(44, 23), histogram(42, 21)),
                },
            ),
            "s": Template(histogram(5, 10), {}),
        },
        signal=("s",),
    )


SOURCES = (
    NormalisationUncertainty("a_xsec", 0.1, processes=("a",)),
    NormalisationUncertainty("btag", 0.05, -0.04, processes=("s",)),
    Luminosity(0.02),
)


@pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")  # in pyhf
def test_shifts_are_those_of_pyhfs_expected_data(templates):
    workspace = build_workspace(
        [templates], normalisation=SOURCES[:2], luminosity=SOURCES[2], mc_statistics=False
    )
    model = pyhf.Workspace(workspace).model()
    start = np.array(model.config.suggested_init())
    nominal = np.array(model.expected_actualdata(start))
    moved = shifts(templates, templates.names(), normalisation=SOURCES)
    assert set(moved) == {"jes", "btag", "a_xsec", "lumi"}
    for name, pair in moved.items():
        at = model.config.par_slice(name)
        width = 0.02 if name == "lumi" else 1.0
        for direction, ours in zip((1, -1), pair, strict=True):
            parameters = start.copy()
            parameters[at] += direction * width
            theirs = np.array(model.expected_actualdata(parameters)) - nominal
            np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_uncertainties_add_in_quadrature(templates):
    ours = uncertainty(templates, ["a", "b"])
    # jes of both processes linearly (bin 2: 2 - 2 up, -1 + 2 down); btag apart, always up
    np.testing.assert_allclose(ours.up, np.hypot([11, 1], [4, 3]))
    np.testing.assert_allclose(ours.down, [9, 0])
    np.testing.assert_allclose(ours.statistical, np.sqrt([14, 7]))
    np.testing.assert_allclose(ours.total_up, np.sqrt([14 + 137, 7 + 10]))


def test_uncertainty_of_the_total_adds_the_bins_first(templates):
    ours = uncertainty(templates, ["b"], total=True)
    # jes moves 60 to 59 and 61: bins against each other
    np.testing.assert_allclose(ours.up, np.hypot(1, 7))
    np.testing.assert_allclose(ours.down, [1])
    np.testing.assert_allclose(ours.statistical, [np.sqrt(6)])


def test_without_systematics_there_are_none(templates):
    ours = uncertainty(templates, ["s"])
    np.testing.assert_array_equal([ours.up, ours.down], np.zeros((2, 2)))
    np.testing.assert_allclose(ours.total_down, np.sqrt([0.5, 1.0]))
    np.testing.assert_array_equal(uncertainty(templates, []).total_up, [0, 0])
