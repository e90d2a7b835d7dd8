"""Input features: their distributions in signal and background; correlations, also of fits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from difftune.histograms import Histogram, histogram, separation, weighted_correlation
from difftune.report.given import checked
from difftune.report.panels import band, color_bar, panel_grid, steps
from difftune.report.style import (
    BACKGROUND,
    DEFAULT_LABEL,
    INK,
    SIGNAL,
    Label,
    PlotFigure,
    draw_label,
    new_figure,
    styled,
)


@checked
@styled
def feature_distributions(
    features: Float[np.ndarray, "events variables"],
    weight: Float[np.ndarray, " events"],
    signal: Bool[np.ndarray, " events"],
    feature_names: Sequence[str],
    *,
    bins: int = 30,
    per_page: int = 20,
    label: Label = DEFAULT_LABEL,
) -> list[PlotFigure]:
    """Normalised distributions of signal and background, a small panel per feature.

    The range holds the central 99 % of the events (without weights); what lies outside is counted
    in the outer bins. Events without a value are left out, and their fraction is written. A feature
    with few different whole values gets a bin for each. What separates most comes first.

    Args:
        features: Features; NaN is missing.
        weight: Physics weights; may be negative.
        signal: True for signal.
        feature_names: Name of each variable.
        bins: Number of bins.
        per_page: Panels per figure, in rows of four.
        label: What stands above each figure.

    Returns:
        As many figures as needed.
    """
    pages = []
    filled = [_filled(features[:, i], weight, signal, bins) for i in range(len(feature_names))]
    order = np.argsort([-one["separation"] for one in filled], kind="stable").tolist()
    for start in range(0, len(order), per_page):
        chosen = order[start : start + per_page]
        figure, panels = panel_grid(
            len(chosen),
            columns=4,
            width=2.6,
            height=2.25,
            margins=(1.0 / len(chosen), 0.5),
            size=8.5,
        )
        for axes, i in zip(panels.flat, chosen, strict=False):
            _panel(axes, filled[i], label.titled(feature_names[i], 34))
            figure.numbers[feature_names[i]] = filled[i] | {
                kind: filled[i][kind].to_dict() for kind in ("background", "signal")
            }
        draw_label(panels[0, 0], label, right=panels[0, -1], size=12.0)
        entries = [
            Line2D([], [], color=SIGNAL, label="Signal"),
            Patch(facecolor=BACKGROUND, alpha=0.45, label="Background"),
        ]
        figure.supylabel("Fraction of events / bin", fontsize=11)
        figure.legend(handles=entries, loc="outside lower center", ncols=2, fontsize=11)
        pages.append(figure)
    return pages


def feature_edges(
    values: Float[np.ndarray, " events"], *, bins: int = 30
) -> Float[np.ndarray, " edges"]:
    """Bin edges for a feature: one bin a value for few whole ones, else the central 99 %."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not values.size:
        return np.linspace(0.0, 1.0, bins + 1)
    different = np.unique(values)
    if len(different) <= 15 and np.all(different == np.round(different)):
        return (
            np.arange(different[0] - 0.5, different[-1] + 1)
            if np.ptp(different) <= 30
            else (np.linspace(different[0] - 0.5, different[-1] + 0.5, bins + 1))
        )
    low, high = np.quantile(values, [0.005, 0.995])
    if not high > low:
        low, high = different[0], different[-1]
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _filled(
    values: Float[np.ndarray, " events"],
    weight: Float[np.ndarray, " events"],
    signal: Bool[np.ndarray, " events"],
    bins: int,
) -> dict[str, Any]:
    """Histograms of one feature, its separation and the share of events without a value."""
    present = np.isfinite(values)
    edges = feature_edges(values, bins=bins)
    found: dict[str, Any] = {"edges": edges}
    for kind, mask in (("background", ~signal), ("signal", signal)):
        found[kind] = histogram(values[mask & present], weight[mask & present], edges)
    found["separation"] = separation(_shape(found["signal"]), _shape(found["background"]))
    found["missing"] = float(np.mean(~present)) if len(values) else 0.0
    return found


def _shape(filled: Histogram) -> Float[np.ndarray, " bins"]:
    """Fractions of the events."""
    total = float(filled.sumw.sum())
    return filled.sumw / total if total > 0 else np.zeros(len(filled.sumw))


def _panel(axes: Axes, filled: dict[str, Any], title: str) -> None:
    """Draws one feature."""
    edges, missing = filled["edges"], filled["missing"]
    shapes = {kind: _shape(filled[kind]) for kind in ("background", "signal")}
    below, above = shapes["background"], shapes["signal"]
    band(axes, edges, np.zeros_like(below), below, color=BACKGROUND, hatch=None, alpha=0.45)
    steps(axes, edges, below, color=BACKGROUND, linewidth=0.9)
    total = float(filled["signal"].sumw.sum())
    error = np.sqrt(filled["signal"].sumw2) / total if total > 0 else np.zeros_like(above)
    steps(axes, edges, above, color=SIGNAL, linewidth=1.2)
    band(axes, edges, above - error, above + error, color=SIGNAL, hatch=None, alpha=0.2)
    top = float(max(below.max(), above.max())) or 1.0
    axes.set_ylim(0, top * (1.45 if missing else 1.32))
    axes.set_xlim(edges[0], edges[-1])
    # One bin for each whole number: ticks at numbers, not at bin edges.
    whole = bool(np.all(np.diff(edges) == 1) and edges[0] % 1 == 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=whole))
    if whole:
        axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set_xlabel(title, fontsize=min(10, 240 / max(len(title), 1)))
    text = f"Separation {100 * filled['separation']:.1f} %"
    if missing:
        text += f"\n{100 * missing:.0f} % missing"
    axes.text(0.96, 0.94, text, transform=axes.transAxes, ha="right", va="top", fontsize=8)


LARGEST_WRITTEN = 16


@checked
@styled
def feature_correlations(
    features: Float[np.ndarray, "events variables"],
    weight: Float[np.ndarray, " events"],
    signal: Bool[np.ndarray, " events"],
    feature_names: Sequence[str],
    *,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Weighted linear correlations of the features, signal and background next to each other.

    Args:
        features: Features; NaN is missing.
        weight: Physics weights; may be negative.
        signal: True for signal.
        feature_names: Name of each variable.
        label: What stands above the figure.
    """
    matrices = {
        "Signal": weighted_correlation(features[signal], weight[signal]),
        "Background": weighted_correlation(features[~signal], weight[~signal]),
    }
    figure = _matrices(matrices, feature_names, label)
    figure.numbers = {
        "names": list(feature_names),
        "signal": matrices["Signal"],
        "background": matrices["Background"],
    }
    return figure


@checked
@styled
def parameter_correlations(
    correlation: Float[np.ndarray, "parameters parameters"],
    names: Sequence[str],
    *,
    minimum: float = 0.2,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Correlations of fitted parameters, those that correlate with any other by `minimum`.

    Args:
        correlation: Correlation matrix of the fit.
        names: Name of each parameter.
        minimum: Smallest correlation that makes a parameter worth showing.
        label: What stands above the figure.
    """
    size = np.nan_to_num(np.abs(correlation - np.eye(len(names))))
    kept = np.flatnonzero(size.max(axis=1, initial=0.0) >= minimum)
    kept = kept if len(kept) else np.arange(min(len(names), LARGEST_WRITTEN))
    chosen = [names[int(i)] for i in kept]
    figure = _matrices({"": correlation[np.ix_(kept, kept)]}, chosen, label)
    figure.numbers = {"names": chosen, "correlation": correlation[np.ix_(kept, kept)]}
    return figure


@checked
@styled
def clustered_correlations(
    correlation: Float[np.ndarray, "variables variables"],
    names: Sequence[str],
    *,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Correlations with the variables in such an order that those alike are neighbours.

    The order is that of the leaves of a tree (average linkage) in which the distance of two
    variables is one minus the size of their correlation.

    Args:
        correlation: Correlation matrix; NaN counts as none.
        names: Name of each variable.
        label: What stands above the figure.
    """
    order = cluster_order(correlation)
    matrix = np.asarray(correlation)[np.ix_(order, order)]
    chosen = [names[i] for i in order]
    figure = _matrices({"": matrix}, chosen, label)
    figure.numbers = {"names": chosen, "correlation": matrix}
    return figure


def cluster_order(correlation: Float[np.ndarray, "variables variables"]) -> list[int]:
    """Numbers of the variables, those that are alike beside each other."""
    size = np.abs(np.nan_to_num(np.asarray(correlation, float)))
    distance = np.clip(1 - (size + size.T) / 2, 0.0, 1.0)
    if len(distance) < 3:
        return list(range(len(distance)))
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree).tolist()


def _matrices(
    matrices: dict[str, Float[np.ndarray, "variables variables"]],
    names: Sequence[str],
    label: Label,
) -> PlotFigure:
    """Square pictures side by side, with one colour bar."""
    variables = len(names)
    side = float(np.clip(0.3 * variables, 2.6, 7.5))
    font = float(np.clip(60 * side / max(variables, 1), 5.0, 10.0))
    shown = [label.titled(name, 26) for name in names]
    names_room = max((len(name) for name in shown), default=0) * font * 0.009 + 0.2
    figure = new_figure(
        side * len(matrices) + names_room + 1.6, side + names_room + 0.9, w_pad=0.08
    )
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    image = None
    for number, (axes, (title, matrix)) in enumerate(zip(panels, matrices.items(), strict=True)):
        axes.set_facecolor("#d9d9d9")
        # With equal aspect the layout engine leaves too little room for the names.
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axes.set_xticks(range(variables), shown, rotation=90, fontsize=font)
        axes.set_yticks(range(variables), shown if number == 0 else [""] * variables)
        axes.tick_params(axis="y", labelsize=font)
        axes.tick_params(which="both", length=0)
        axes.set_xlabel(title, loc="center")
        if variables <= LARGEST_WRITTEN:
            _write(axes, matrix, font)
    draw_label(panels[0], label, right=panels[-1])
    if image is not None:
        color_bar(figure, image, panels, "Linear correlation")
    return figure


def _write(axes: Axes, matrix: Float[np.ndarray, "variables variables"], font: float) -> None:
    """Writes the correlations in percent into the cells."""
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            axes.text(
                column,
                row,
                f"{round(100 * value)}",
                ha="center",
                va="center",
                fontsize=font - 1.5,
                color="white" if abs(value) > 0.6 else INK,
            )
