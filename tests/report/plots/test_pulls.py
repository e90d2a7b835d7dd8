import numpy as np
import pytest

from difftune.report import pulls
from tests.report.readable import assert_readable, texts


def test_pulls_are_in_units_of_the_constraint():
    names = ["alpha", "lumi", "mu"]
    values, errors = np.array([0.5, 1.01, 1.2]), np.array([0.8, 0.018, 0.4])
    (figure,) = pulls(
        names,
        values,
        errors,
        centers=np.array([0.0, 1.0, 1.0]),
        widths=np.array([1.0, 0.02, np.nan]),
        note="Asimov data",
    )
    assert_readable(figure)
    axes = figure.axes[0]
    container = axes.containers[0]
    np.testing.assert_allclose(container.lines[0].get_xdata(), [0.5, 0.5])
    bars = np.array([s[:, 0] for s in container.lines[2][0].get_segments()])
    np.testing.assert_allclose(bars, [[-0.3, 1.3], [-0.4, 1.4]])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["mu", "alpha", "lumi"]
    assert "1.20 ± 0.40 (free)" in texts(figure)
    assert "Asimov data" in texts(figure)


def test_many_parameters_take_pages_and_far_pulls_stay_inside():
    rng = np.random.default_rng(1)
    names = [f"a_nuisance_parameter_with_a_rather_long_name_{i}" for i in range(95)]
    values = rng.normal(size=95)
    values[3] = 80.0
    values[4] = np.nan
    pages = pulls(names, values, rng.uniform(0.1, 1, 95))
    assert [len(page.numbers["names"]) for page in pages] == [40, 40, 15]
    for page in pages:
        assert_readable(page)
        assert page.axes[0].get_xlim()[1] <= 5
    assert pulls([], np.zeros(0), np.zeros(0)) == []


@pytest.mark.parametrize("free", [True, False])
def test_one_parameter(free):
    (figure,) = pulls(["mu"], np.ones(1), np.ones(1), widths=np.array([np.nan if free else 1.0]))
    assert_readable(figure)
