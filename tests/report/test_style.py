import matplotlib
import pytest

from difftune.report.style import Label, draw_label, new_figure, plain, set_ticks, styled
from tests.report.readable import assert_readable, texts


def test_figures_leave_no_trace_in_matplotlib():
    before = dict(matplotlib.rcParams)

    @styled
    def plot():
        assert matplotlib.rcParams["legend.frameon"] is False
        set_ticks(new_figure().subplots())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        plot()
    assert dict(matplotlib.rcParams) == before


def test_pyplot_does_not_know_our_figures():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    figure = new_figure()
    assert pyplot.get_fignums() == before
    assert figure.numbers == {}


def test_ticks_point_inwards_on_all_sides():
    figure = new_figure()
    axes = set_ticks(figure.subplots())
    assert_readable(figure)
    tick = axes.xaxis.get_major_ticks()[0]
    assert tick.tick2line.get_visible()
    assert axes.xaxis.get_tick_params(which="minor")["direction"] == "in"


def test_label_stands_above_the_axes():
    @styled
    def plot():
        figure = new_figure()
        axes = set_ticks(figure.subplots())
        label = Label(name="ATLAS", status="Work in progress", detail=r"140 fb$^{-1}$ (13 TeV)")
        draw_label(axes, label)
        return figure, axes

    figure, axes = plot()
    assert_readable(figure)
    written = axes.texts
    assert [t.get_text() for t in written][:2] == ["ATLAS", "Work in progress"]
    assert all(t.get_window_extent().y0 >= axes.bbox.y1 for t in written)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("jet_pt", "jet_pt"),
        (r"t$\bar{t}$", r"t$\bar{t}$"),
        (r"$\nonsense$", r"\$\nonsense\$"),
        ("5 $ each", r"5 \$ each"),
        ("two\nlines", "two lines"),
        ("_hidden $", r"$\_$hidden \$"),
    ],
)
def test_any_name_can_be_drawn(name, shown):
    assert plain(name) == shown
    figure = new_figure(4.0, 1.0)
    figure.text(0.1, 0.5, plain(name))
    assert_readable(figure)
    assert plain(name) in texts(figure)


def test_a_legend_has_names_with_an_underscore_in_front():
    axes = new_figure(4.0, 2.0).subplots()
    axes.plot([0, 1], label=plain("_ttbar"))
    assert axes.get_legend_handles_labels()[1] == [r"$\_$ttbar"]


def test_long_names_lose_their_middle():
    short = plain("a_name_that_is_much_too_long_for_a_legend_by_far", 20)
    assert len(short) == 20
    assert short.startswith("a_name")
    assert short.endswith("by_far")
