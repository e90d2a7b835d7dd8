import numpy as np
import pytest

from difftune.histfactory import Model
from difftune.inference import grouped_impacts, impacts
from difftune.report import Label, grouped_ranking, ranking
from tests.histfactory import samples
from tests.report.readable import assert_readable, texts

BOUNDS = {"mu": (-10.0, 10.0)}


@pytest.fixture(scope="module")
def model():
    return Model.from_spec(samples.large_workspace(bins=3, processes=3, systematics=5, scale=1e-3))


def test_bars_are_impacts_and_points_pulls(model):
    found = impacts(model, bounds=BOUNDS)
    figure = ranking(found, most=6, label=Label(status="Test", detail="139 fb$^{-1}$"))
    assert_readable(figure)
    below, above = figure.axes[1:]
    assert [tick.get_text() for tick in below.get_yticklabels()] == list(found.names[:6])
    assert "$\\Delta$ mu" in texts(figure)
    filled = [bar.get_width() for bar in above.containers[0]]
    np.testing.assert_allclose(filled, found.up[:6])
    constrained = np.isfinite(found.prefit_down[:6])
    boxes = [bar.get_width() for bar in above.containers[3]]
    np.testing.assert_allclose(boxes, found.prefit_down[:6][constrained])
    # The largest is on top.
    heights = [bar.get_y() for bar in above.containers[0]]
    assert heights == sorted(heights, reverse=True)
    points = below.containers[0].lines[0].get_xdata()
    np.testing.assert_allclose(points, found.pulls[:6], atol=1e-12)
    np.testing.assert_allclose(figure.numbers["up"], found.up[:6])


def test_one_parameter_and_a_long_name(model):
    found = impacts(model, bounds=BOUNDS)
    long = found._replace(names=("a_nuisance_parameter_with_a_rather_long_name_" * 3,))
    assert_readable(ranking(long))


def test_groups_and_their_total(model):
    found = grouped_impacts(model, bounds=BOUNDS, groups={"modelling": "xs_*"})
    figure = grouped_ranking(found)
    assert_readable(figure)
    (axes,) = figure.axes
    widths = [bar.get_width() for bar in axes.containers[0]]
    np.testing.assert_allclose(widths, [*(g.shifted for g in found.groups), found.total])
    assert [t.get_text() for t in axes.get_yticklabels()][-1] == "total"
    assert {"modelling", "statistics"} < {t.get_text() for t in axes.get_yticklabels()}
