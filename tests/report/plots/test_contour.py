import numpy as np
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import contours, profile
from difftune.report import likelihood_contours, likelihood_profile
from tests.inference.test_groups import WIDE, linear
from tests.report.readable import assert_readable, texts


@pytest.fixture(scope="module")
def model():
    return Model.from_spec(linear())


def test_a_profile_beside_its_parabola(model):
    scan = profile(model, "mu", points=7, bounds=WIDE)
    figure = likelihood_profile(scan, title="Signal strength")
    assert_readable(figure)
    parabola, curve = figure.axes[0].lines[:2]
    np.testing.assert_allclose(curve.get_xydata(), np.stack([scan.values, scan.q], axis=1))
    best, sigma = scan.fit.parameter("mu")
    x, y = parabola.get_xydata().T
    np.testing.assert_allclose(y, ((x - best) / sigma) ** 2)
    assert {r"1$\sigma$", r"2$\sigma$", "Signal strength"} < set(texts(figure))


def test_contours_are_closed(model):
    found = contours(model, "mu", "k", points=12, bounds=WIDE)
    figure = likelihood_contours(found)
    assert_readable(figure)
    lines = figure.axes[0].lines
    for line, points in zip(lines[:2], found.points, strict=True):
        np.testing.assert_allclose(line.get_xydata(), [*points, points[0]])
    np.testing.assert_allclose(lines[2].get_xydata(), [found.best])
    assert {"68.3 % CL", "95 % CL", "Best fit", "mu", "k"} <= set(texts(figure))


def test_other_scans_are_drawn_over_it(model):
    scan = profile(model, "mu", points=7, bounds=WIDE)
    held = dict.fromkeys(("JES_1", "JES_2", "theory"), 0.0)
    other = profile(model, "mu", scan.values, bounds=WIDE, fixed=held)
    figure = likelihood_profile(scan, others={"Without systematics": other})
    assert_readable(figure)
    assert "Without systematics" in texts(figure)
    drawn = {line.get_label(): line for line in figure.axes[0].lines}["Without systematics"]
    x, y = drawn.get_xydata().T
    inside = (other.values >= x.min()) & (other.values <= x.max())
    assert inside.sum() >= 3
    np.testing.assert_allclose(y[np.searchsorted(x, other.values[inside])], other.q[inside])
    assert 0.95 < y.max() / (1.15 * scan.q.max()) <= 1
    with pytest.raises(InputError, match="scans 'k', and not 'mu'"):
        likelihood_profile(scan, others={"k": profile(model, "k", points=3, bounds=WIDE)})
