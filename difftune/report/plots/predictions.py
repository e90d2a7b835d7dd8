"""Predictions of targets against the truth: planes, residuals, bias, resolution, calibration."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axis import Axis, XAxis
from matplotlib.colors import LogNorm

from difftune.histograms import histogram
from difftune.report.given import checked
from difftune.report.panels import (
    band,
    color_bar,
    dashed,
    divided,
    legend_with_room,
    points,
    stacked_panels,
    steps,
)
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    INK,
    Label,
    PlotFigure,
    colour_map,
    draw_label,
    name_axis,
    new_figure,
    plain,
    set_ticks,
    spans_decades,
    styled,
    value_scale,
)
from difftune.report.tables import Measured


@runtime_checkable
class InBin(Protocol):
    """Bias and resolution of the events in a bin of the truth."""

    @property
    def low(self) -> float:
        """Least truth."""

    @property
    def high(self) -> float:
        """Largest truth."""

    @property
    def bias(self) -> Measured:
        """Median of the residuals."""

    @property
    def resolution(self) -> Measured:
        """Half of their central interval."""


class ResidualsOf(NamedTuple):
    """Residuals of some events.

    Attributes:
        residual: Predicted less true, or that over the truth.
        weight: Physics weights; may be negative.
    """

    residual: Float[np.ndarray, " events"]
    weight: Float[np.ndarray, " events"]


def _range(
    values: Float[np.ndarray, " events"], share: float = 0.99, *, log: bool = False, bins: int = 50
) -> Float[np.ndarray, " edges"]:
    """Edges of bins that hold the central share of the values."""
    low, high = np.quantile(values, [0.5 * (1 - share), 0.5 * (1 + share)])
    if not low < high:
        low, high = low - 0.5, high + 0.5
    return (np.geomspace if log else np.linspace)(low, high, bins + 1)


def _scaled(axis: Axis, title: str, edges: Float[np.ndarray, " edges"], *, log: bool) -> None:
    """Scale, limits and title of an axis of the target."""
    value_scale(axis, edges, log=log)
    (axis.axes.set_xlim if isinstance(axis, XAxis) else axis.axes.set_ylim)(edges[0], edges[-1])
    name_axis(axis, title, edges)


@checked
@styled
def predicted_against_true(
    truth: Float[np.ndarray, " events"],
    predicted: Float[np.ndarray, " events"],
    weight: Float[np.ndarray, " events"],
    name: str,
    *,
    bins: int = 50,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """How predictions of the same truth are spread: each column of the plane adds up to one.

    The axes hold the central 99 % of the truth, on logarithmic scales where it spans decades.

    Args:
        truth: Of each event, in the unit of the data.
        predicted: Central value that is predicted.
        weight: Physics weights; may be negative.
        name: Of the target.
        bins: Bins of each axis.
        label: What stands above the figure.
    """
    low, high = np.quantile(truth, [0.005, 0.995])
    log = spans_decades(np.array([low, high]))
    edges = _range(truth, log=log, bins=bins)
    filled, _, _ = np.histogram2d(truth, predicted, bins=[edges, edges], weights=weight)
    whole, _ = np.histogram(truth, edges, weights=weight)
    share = divided(filled, np.broadcast_to(whole[:, None], filled.shape))
    shown = np.where(share > 0, share, np.nan)
    figure = new_figure(6.4, 5.4)
    axes = figure.subplots()
    set_ticks(axes)
    title = label.titled(name)
    _scaled(axes.xaxis, f"{title}, true", edges, log=log)
    _scaled(axes.yaxis, f"{title}, predicted", edges, log=log)
    top = float(np.nanmax(shown, initial=1e-6))
    norm = LogNorm(max(top * 1e-3, float(np.nanmin(shown, initial=top))), top * 1.001)
    mesh = axes.pcolormesh(
        edges, edges, shown.T, cmap=matplotlib.colormaps["Blues"], norm=norm, rasterized=True
    )
    axes.plot(edges, edges, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    color_bar(figure, mesh, axes, "Share of the events of this truth")
    draw_label(axes, label)
    figure.numbers = {"edges": edges, "share": share}
    return figure


@checked
@styled
def residual_distribution(
    training: ResidualsOf,
    test: ResidualsOf,
    others: Mapping[str, ResidualsOf] | None = None,
    *,
    name: str = "",
    relative: bool = False,
    bins: int = 50,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Residuals of training events as an area, of test events as points; normalised.

    The axis holds the central 99 % of those of the test events. A difference between the two would
    be overtraining.

    Args:
        training: Of the events that the network has learned from.
        test: Of others.
        others: Of further networks on the test events, by their names; drawn as lines.
        name: Of the target.
        relative: Whether residuals are divided by the truth.
        bins: Number of bins.
        label: What stands above the figure.
    """
    edges = _range(test.residual, bins=bins)
    centers, widths = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    figure = new_figure(6.4, 4.8)
    axes = figure.subplots()
    set_ticks(axes)

    def density(
        own: ResidualsOf,
    ) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
        inside = (own.residual >= edges[0]) & (own.residual <= edges[-1])
        filled = histogram(own.residual[inside], own.weight[inside], edges)
        scale = 1.0 / (np.sum(own.weight, dtype=np.float64) * widths)
        return filled.sumw * scale, np.sqrt(filled.sumw2) * scale

    area, _ = density(training)
    height, error = density(test)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0.0, 1.05 * max(float(np.max(height + error)), float(np.max(area)), 1e-12))
    band(axes, edges, np.zeros(bins), area, color=BLUE, hatch=None, label="Training events")
    points(axes, centers, height, error, color=INK, label="Test events", size=3.5)
    figure.numbers = {"edges": edges, "training": area, "test": height, "test_error": error}
    for (called, own), color in zip(
        (others or {}).items(), colour_map([*(others or {})]).values(), strict=True
    ):
        line, _ = density(own)
        steps(axes, edges, line, color=color, label=f"{plain(called)}, test events")
        figure.numbers[called] = line
    axes.set_ylabel("Share of events / width")
    name_axis(axes.xaxis, _residual_title(name, relative, label), edges)
    draw_label(axes, label)
    legend_with_room(axes, columns=1, size=10.5)
    return figure


def _residual_title(name: str, relative: bool, label: Label) -> str:
    """Of an axis with residuals."""
    if relative:
        return "Predicted / true − 1"
    return "Predicted − true" + (f", {label.titled(name)}" if name else "")


@checked
@styled
def bias_and_resolution(
    networks: Mapping[str, Sequence[InBin]],
    name: str,
    *,
    relative: bool = False,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Bias and resolution in bins of the truth, with their statistical errors.

    Args:
        networks: Bins of each network, by its name; `difftune.analysis.residuals(...).bins`.
        name: Of the target.
        relative: Whether residuals are divided by the truth.
        label: What stands above the figure.
    """
    figure, (above, below) = stacked_panels(1.0, 1.0, height=6.2)
    figure.numbers = {}
    ends = np.array([[each.low, each.high] for bins in networks.values() for each in bins])
    log = spans_decades(ends.ravel())
    # A little beside each other, so that error bars do not cover one another.
    shifts = np.linspace(-0.12, 0.12, len(networks)) if len(networks) > 1 else [0.0]
    colors = colour_map([*networks]).values()
    for (called, bins), color, shift in zip(networks.items(), colors, shifts, strict=True):
        low, high = np.array([[each.low, each.high] for each in bins]).T
        start, end = (np.log(low), np.log(high)) if log else (low, high)
        middle = 0.5 * (start + end) + shift * (end - start)
        place = np.exp(middle) if log else middle
        figure.numbers[called] = {"low": low, "high": high}
        for axes, what in ((above, "bias"), (below, "resolution")):
            measured = [getattr(each, what) for each in bins]
            value = np.array([each.value for each in measured])
            error = np.array([each.uncertainty for each in measured])
            points(axes, place, value, error, color=color, label=plain(called))
            axes.hlines(value, low, high, color=color, linewidth=1.0, alpha=0.6)
            figure.numbers[called] |= {what: value, f"{what}_error": error}
    dashed(above, 0.0)
    value_scale(below.xaxis, ends, log=log)
    below.set_ylim(0.0, 1.08 * below.get_ylim()[1])
    kind = "Relative " if relative else ""
    above.set_ylabel(f"{kind}bias".capitalize(), loc="center")
    below.set_ylabel(f"{kind}resolution".capitalize(), loc="center")
    name_axis(below.xaxis, f"{label.titled(name)}, true", ends)
    draw_label(above, label)
    if len(networks) > 1:
        legend_with_room(above, size=10.5)
    return figure


@checked
@styled
def quantile_calibration(
    truth: Float[np.ndarray, " events"],
    quantiles: Float[np.ndarray, "events levels"],
    levels: Sequence[float],
    weight: Float[np.ndarray, " events"],
    name: str,
    *,
    bins: int = 8,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """How often the truth is below each predicted quantile, in bins of the middle one.

    Bins have equal numbers of events; errors are binomial. Points on the dashed lines mean that the
    quantiles are what they claim, whatever is predicted.

    Args:
        truth: Of each event, in the unit of the data.
        quantiles: Predicted for each level.
        levels: Of the quantiles, in (0, 1).
        weight: Physics weights; may be negative.
        name: Of the target.
        bins: Number of bins.
        label: What stands above the figure.
    """
    middle = quantiles[:, int(np.argmin(np.abs(np.asarray(levels) - 0.5)))]
    parts = np.array_split(np.argsort(middle, kind="stable"), bins)
    place = np.array([float(np.median(middle[part])) for part in parts])
    total = np.array([np.sum(weight[part], dtype=np.float64) for part in parts])
    squares = np.array([np.sum(weight[part] ** 2, dtype=np.float64) for part in parts])
    figure = new_figure(6.4, 4.8)
    axes = figure.subplots()
    set_ticks(axes)
    figure.numbers = {"predicted": place, "levels": list(levels)}
    below = np.zeros((len(levels), len(parts)))
    for number, (level, color) in enumerate(
        zip(levels, colour_map([str(each) for each in levels]).values(), strict=True)
    ):
        under = truth <= quantiles[:, number]
        inside = np.array([np.sum(weight[p] * under[p], dtype=np.float64) for p in parts])
        share = divided(inside, total)
        between = np.clip(share, 0.0, 1.0)
        error = np.sqrt(between * (1.0 - between) * divided(squares, total**2))
        axes.axhline(level, color=color, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.5)
        points(axes, place, share, error, color=color, label=f"{100 * level:.3g} %")
        below[number] = share
        figure.numbers[f"error_{number}"] = error
    figure.numbers["below"] = below
    value_scale(axes.xaxis, place)
    axes.set_ylim(0.0, 1.0)
    axes.set_ylabel("Share of events with a truth below")
    name_axis(axes.xaxis, f"{label.titled(name)}, predicted", place)
    draw_label(axes, label)
    legend_with_room(axes, columns=min(len(levels), 3), top=1.0, size=10.5)
    return figure
