import numpy as np
import pytest

from difftune.report.panels import (
    legend_with_room,
    panel_grid,
    points,
    ratio_figure,
    ratio_range,
    steps,
)
from difftune.report.style import (
    counting_scale,
    log_scale,
    new_figure,
    set_ticks,
    spans_decades,
    styled,
    value_scale,
)
from tests.report.readable import assert_readable, texts

EDGES = np.linspace(0, 1, 11)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("entries", [1, 8])
def test_legend_hides_nothing(log, entries):
    values = np.linspace(1e5, 9e5, 10)

    @styled
    def plot():
        figure = new_figure()
        axes = set_ticks(figure.subplots())
        axes.set_xlim(0, 1)
        for i in range(entries):
            steps(axes, EDGES, values, color="k", label=f"entry {i}")
        log_scale(axes, 1.0, 9e5) if log else axes.set_ylim(0, 9e5)
        return figure, axes, legend_with_room(axes, note="Signal region\nPre-fit")

    figure, axes, legend = plot()
    assert_readable(figure)
    top = axes.transData.transform((0.5, values.max()))[1]
    note = axes.texts[0].get_window_extent()
    assert min(legend.get_window_extent().y0, note.y0) >= top
    assert len(legend.get_texts()) == entries


def test_ratio_range_marks_what_lies_outside():
    figure, _, below = ratio_figure()
    centers = (EDGES[:-1] + EDGES[1:]) / 2
    ratio = np.full(10, 1.02)
    ratio[[2, 7]] = 40.0, np.nan
    points(below, centers, ratio, np.full(10, 0.01))
    ratio_range(below, centers, [ratio], colors=["k"])
    low, high = below.get_ylim()
    assert (low + high) / 2 == pytest.approx(1)
    assert high < 1.5
    arrows = [line for line in below.lines if line.get_marker() == "^"]
    np.testing.assert_allclose(np.concatenate([a.get_xdata() for a in arrows]), centers[[2]])
    assert_readable(figure)


def test_ratio_range_without_any_ratio():
    figure, _, below = ratio_figure()
    ratio_range(below, np.zeros(2), [np.full(2, np.nan)], colors=["k"])
    assert_readable(figure)


def test_grid_switches_off_what_it_does_not_need():
    figure, panels = panel_grid(5, columns=3, width=2.5, height=2.0)
    assert panels.shape == (2, 3)
    assert [axes.axison for axes in panels.flat] == [True] * 5 + [False]
    assert_readable(figure)


def test_large_counts_get_a_power_of_ten_in_the_title():
    figure = new_figure()
    axes = set_ticks(figure.subplots())
    axes.set_ylim(0, 3.2e6)
    counting_scale(axes.yaxis, "Events", 3.2e6)
    assert_readable(figure)
    assert axes.get_ylabel() == r"Events ($\times 10^{6}$)"
    assert {"1", "2", "3"} <= set(texts(figure))


def test_small_counts_are_written_as_they_are():
    axes = set_ticks(new_figure().subplots())
    counting_scale(axes.yaxis, "Events", 320.0)
    assert axes.get_ylabel() == "Events"


def test_value_scale_is_logarithmic_over_decades():
    axes = set_ticks(new_figure().subplots())
    value_scale(axes.xaxis, np.array([[1e-5, 1e-2], [np.nan, 1e-3]]))
    value_scale(axes.yaxis, np.array([0.1, 0.5]))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert axes.get_xlim()[0] < 1e-5 < 1e-2 < axes.get_xlim()[1]
    value_scale(axes.yaxis, np.array([2.0, 2.0]))
    assert axes.get_ylim()[0] < 2 < axes.get_ylim()[1]
    assert not spans_decades(np.array([0.0, 1e5]))
