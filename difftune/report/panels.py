"""Parts of figures: ratio and grids of panels, legends; histograms as lines, bands and points."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Num
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.container import ErrorbarContainer
from matplotlib.legend import Legend
from matplotlib.ticker import MaxNLocator
from scipy.special import gammaincinv

from difftune.report.style import INK, PlotFigure, log_limits, new_figure, set_ticks


def steps(
    axes: Axes,
    edges: Float[np.ndarray, " edges"],
    values: Float[np.ndarray, " bins"],
    *,
    color: str,
    label: str | None = None,
    linestyle: str | tuple[int, tuple[float, ...]] = "-",
    linewidth: float = 1.5,
    zorder: float = 3.0,
) -> Artist:
    """A histogram as a line."""
    return axes.stairs(
        values,
        edges,
        baseline=None,
        color=color,
        label=label,
        linestyle=linestyle,
        linewidth=linewidth,
        zorder=zorder,
    )


def band(
    axes: Axes,
    edges: Float[np.ndarray, " edges"],
    low: Float[np.ndarray, " bins"],
    high: Float[np.ndarray, " bins"],
    *,
    color: str = INK,
    label: str | None = None,
    hatch: str | None = "//////",
    alpha: float = 0.25,
    zorder: float = 2.5,
) -> Artist:
    """An uncertainty band around a histogram: hatched, or a flat colour without `hatch`."""
    look: dict[str, Any] = (
        {"facecolor": "none", "edgecolor": color, "hatch": hatch, "linewidth": 0}
        if hatch
        else {"facecolor": color, "alpha": alpha, "linewidth": 0}
    )
    return axes.stairs(
        np.nan_to_num(high),
        edges,
        baseline=np.nan_to_num(low),
        fill=True,
        label=label,
        zorder=zorder,
        **look,
    )


def points(
    axes: Axes,
    x: Float[np.ndarray, " bins"],
    y: Float[np.ndarray, " bins"],
    errors: Float[np.ndarray, " bins"] | Float[np.ndarray, " 2 bins"],
    *,
    color: str = INK,
    label: str | None = None,
    marker: str = "o",
    size: float = 4.5,
) -> ErrorbarContainer:
    """Points with error bars without caps; bins that are not finite are left out."""
    good = np.isfinite(y)
    shown = np.nan_to_num(np.atleast_2d(errors)[:, good])
    return axes.errorbar(
        x[good],
        y[good],
        yerr=np.broadcast_to(shown, (2, int(good.sum()))),
        fmt=marker,
        color=color,
        label=label,
        markersize=size,
        elinewidth=1.2,
        capsize=0,
        zorder=4,
    )


def divided(
    numerator: Num[np.ndarray, "*shape"], denominator: Num[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """A ratio, NaN where the denominator is not positive."""
    result = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=result, where=np.asarray(denominator) > 0)


def poisson_errors(counts: Float[np.ndarray, " bins"]) -> Float[np.ndarray, " 2 bins"]:
    """Distances to the ends of the central 68.27 % Poisson interval (Garwood), below and above.

    Args:
        counts: Observed or Asimov counts; negative ones are taken as 0.
    """
    n, tail = np.maximum(counts, 0.0), 0.158655253931457
    low = np.where(n > 0, gammaincinv(np.where(n > 0, n, 1.0), tail), 0.0)
    return np.stack([n - low, gammaincinv(n + 1, 1 - tail) - n])


def ratio_figure(
    *, width: float = 6.4, height: float = 6.0, ratio: float = 0.36, line: float | None = 1.0
) -> tuple[PlotFigure, Axes, Axes]:
    """A figure with a main panel and a ratio panel below it on the same horizontal axis.

    Args:
        width: In inches.
        height: In inches.
        ratio: Height of the lower panel over that of the upper one.
        line: Where the lower panel has a dashed line.
    """
    figure, (main, below) = stacked_panels(1.0, ratio, width=width, height=height)
    if line is not None:
        dashed(below, line)
    return figure, main, below


def stacked_panels(
    *heights: float, width: float = 6.4, height: float = 6.0
) -> tuple[PlotFigure, list[Axes]]:
    """A figure of panels below each other on the same horizontal axis.

    Args:
        heights: Of the panels, relative to each other, from the top.
        width: In inches.
        height: In inches.
    """
    figure = new_figure(width, height, h_pad=0.03)
    panels = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))
    for axes in panels:
        set_ticks(axes)
        axes.tick_params(labelbottom=axes is panels[-1])
    figure.align_ylabels(panels)
    return figure, panels


def dashed(axes: Axes, height: float) -> None:
    """A dashed horizontal line, which a panel's values are compared with."""
    axes.axhline(height, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)


def panel_grid(
    number: int,
    *,
    columns: int,
    width: float,
    height: float,
    margins: tuple[float, float] = (0.6, 0.9),
    size: float = 9.0,
) -> tuple[PlotFigure, Any]:
    """A figure with a grid of small panels.

    Args:
        number: How many panels; what is left of the last row stays empty.
        columns: Most panels in a row.
        width: Of a panel, in inches.
        height: Of a panel, in inches.
        margins: Width and height of the figure beyond the panels, in inches.
        size: Font size of the tick labels.

    Returns:
        The figure and the array `[rows, columns]` of axes; those without a panel are switched off.
    """
    columns = min(columns, number)
    rows = -(-number // columns)
    figure = new_figure(width * columns + margins[0], height * rows + margins[1], h_pad=0.06)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[:number]:
        small_ticks(axes, size=size)
    for axes in panels.flat[number:]:
        axes.set_axis_off()
    return figure, panels


def color_bar(figure: PlotFigure, colors: ScalarMappable, panels: Any, title: str) -> Colorbar:
    """A thin colour bar on the right of all panels."""
    bar = figure.colorbar(colors, ax=panels, pad=0.015, aspect=35)
    bar.ax.tick_params(labelsize=10)
    bar.set_label(title, labelpad=8)
    return bar


def small_ticks(axes: Axes, *, size: float = 9.0) -> None:
    """Ticks for a small panel."""
    set_ticks(axes, size=size)
    axes.tick_params(which="major", length=4, pad=3)
    axes.tick_params(which="minor", length=2)


def ratio_range(
    axes: Axes,
    centers: Float[np.ndarray, " bins"],
    ratios: Sequence[Float[np.ndarray, " bins"]],
    *,
    colors: Sequence[str],
    covered: Sequence[Float[np.ndarray, " bins"]] = (),
    widest: float = 1.0,
) -> None:
    """A symmetric range around 1 for a ratio panel, with arrows where a point lies outside.

    Args:
        axes: The ratio panel.
        centers: Where the points are.
        ratios: Ratios drawn as points; not finite where there is none.
        colors: Colour of each.
        covered: Further values (of bands) that should lie inside.
        widest: Largest distance of the range from 1.
    """
    distances = np.abs(np.concatenate([np.ravel(r) for r in (*ratios, *covered)]) - 1)
    distances = distances[np.isfinite(distances)]
    needed = 0.0
    if distances.size:  # a single outlier gets an arrow
        needed = 1.2 * float(np.quantile(distances, 0.92, method="lower"))
    half = next((h for h in (0.05, 0.1, 0.2, 0.4, 0.6) if needed <= h), widest)
    half = min(half, widest)
    axes.set_ylim(1 - half * 1.2, 1 + half * 1.2)
    axes.yaxis.set_major_locator(MaxNLocator(4, prune=None, steps=[1, 2, 2.5, 5, 10]))
    for ratio, color in zip(ratios, colors, strict=True):
        for outside, at, marker in (
            (ratio > 1 + half * 1.2, 0.93, "^"),
            (ratio < 1 - half * 1.2, 0.07, "v"),
        ):
            axes.plot(
                centers[outside],
                np.full(int(outside.sum()), at),
                marker,
                color=color,
                transform=axes.get_xaxis_transform(),
                markersize=4,
                zorder=5,
                linestyle="none",
            )


def legend_with_room(
    axes: Axes,
    handles: Sequence[Any] | None = None,
    labels: Sequence[str] | None = None,
    *,
    note: str = "",
    columns: int | None = None,
    top: float | None = None,
    size: float = 11.0,
) -> Legend | None:
    """Draws the legend and raises the vertical range until nothing lies behind it.

    Args:
        axes: The axes; the scale (linear or log) and the lower limit are final.
        handles: Legend handles; by default those of the labelled artists.
        labels: Their labels.
        note: Text in the upper left corner, may have several lines.
        columns: Columns of the legend; by default two for more than five entries.
        top: Largest value drawn; by default the present upper limit.
        size: Font size.
    """
    if handles is None or labels is None:
        handles, labels = axes.get_legend_handles_labels()
    reach: list[Artist] = []
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    if note:
        text = axes.annotate(
            note,
            (0, 1),
            (9, -9),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="left",
            va="top",
            fontsize=size,
            linespacing=1.35,
        )
        reach.append(text)
    legend = None
    if handles:
        columns = columns or (2 if len(handles) > 5 else 1)
        small = size if len(handles) < 13 else 9
        legend = axes.legend(handles, labels, loc="upper right", ncols=columns, fontsize=small)
        reach.append(legend)
    if reach:
        figure = cast(PlotFigure, axes.figure)
        figure.draw_without_rendering()
        if legend is not None and note and _meet(text, legend):
            below = axes.transAxes.inverted().transform(text.get_window_extent())[0, 1]
            legend.set_bbox_to_anchor((0, 0, 1, below), transform=axes.transAxes)
            figure.draw_without_rendering()
        bottom = min(
            axes.transAxes.inverted().transform(artist.get_window_extent())[0, 1]
            for artist in reach
        )
        _raise(axes, high if top is None else top, min(max(bottom - 0.03, 0.3), 0.95))
    return legend


def _meet(note: Artist, legend: Artist) -> bool:
    """Whether a note in the left corner reaches the legend in the right one."""
    return bool(note.get_window_extent().x1 + 4 > legend.get_window_extent().x0)


def _raise(axes: Axes, top: float, fraction: float) -> None:
    """Sets the upper limit such that `top` lies at a fraction of the axes' height."""
    low, _ = axes.get_ylim()
    if axes.get_yscale() == "log":
        decades = np.log10(max(top / low, 1.001))
        log_limits(axes, low, low * 10.0 ** (decades / fraction))
    else:
        axes.set_ylim(low, low + (top - low) / fraction)
