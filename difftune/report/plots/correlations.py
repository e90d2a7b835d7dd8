"""Correlation matrices: of the features in signal and background, or of fitted parameters."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from difftune.histograms import weighted_correlation
from difftune.report.panels import color_bar
from difftune.report.style import (
    DEFAULT_LABEL,
    INK,
    Label,
    PlotFigure,
    draw_label,
    new_figure,
    plain,
    styled,
)

LARGEST_WRITTEN = 16


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
    shown = [plain(name, 26) for name in names]
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
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                fontsize=font - 1.5,
                color="white" if abs(value) > 0.6 else INK,
            )
