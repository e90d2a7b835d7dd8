"""Distributions of the input features, signal against background."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from difftune.histograms import histogram, separation
from difftune.report.panels import band, panel_grid, steps
from difftune.report.style import (
    BACKGROUND,
    DEFAULT_LABEL,
    SIGNAL,
    Label,
    PlotFigure,
    draw_label,
    plain,
    styled,
)


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
    with few different whole values gets a bin for each.

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
    for start in range(0, len(feature_names), per_page):
        chosen = range(start, min(start + per_page, len(feature_names)))
        figure, panels = panel_grid(
            len(chosen),
            columns=4,
            width=2.6,
            height=2.25,
            margins=(1.0 / len(chosen), 0.5),
            size=8.5,
        )
        for axes, i in zip(panels.flat, chosen, strict=False):
            figure.numbers[feature_names[i]] = _panel(
                axes, features[:, i], weight, signal, feature_names[i], bins
            )
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


def _panel(
    axes: Axes,
    values: Float[np.ndarray, " events"],
    weight: Float[np.ndarray, " events"],
    signal: Bool[np.ndarray, " events"],
    name: str,
    bins: int,
) -> dict[str, object]:
    """Draws one feature and gives the numbers."""
    present = np.isfinite(values)
    edges = feature_edges(values, bins=bins)
    numbers: dict[str, object] = {"edges": edges}
    shapes = []
    for key, mask in (("background", ~signal), ("signal", signal)):
        filled = histogram(values[mask & present], weight[mask & present], edges)
        total = float(filled.sumw.sum())
        shape = filled.sumw / total if total > 0 else np.zeros(len(edges) - 1)
        error = np.sqrt(filled.sumw2) / total if total > 0 else shape
        shapes.append(shape)
        numbers[key] = filled.to_dict()
        if key == "background":
            band(axes, edges, np.zeros_like(shape), shape, color=BACKGROUND, hatch=None, alpha=0.45)
            steps(axes, edges, shape, color=BACKGROUND, linewidth=0.9)
        else:
            steps(axes, edges, shape, color=SIGNAL, linewidth=1.2)
            band(axes, edges, shape - error, shape + error, color=SIGNAL, hatch=None, alpha=0.2)
    numbers["separation"] = separation(shapes[1], shapes[0])
    numbers["missing"] = missing = float(np.mean(~present)) if len(values) else 0.0
    axes.set_ylim(0, (float(np.max(shapes)) or 1.0) * (1.45 if missing else 1.32))
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    shown = plain(name, 34)
    axes.set_xlabel(shown, fontsize=min(10, 240 / max(len(shown), 1)))
    text = f"Separation {100 * numbers['separation']:.1f} %"  # type: ignore[operator]
    if missing:
        text += f"\n{100 * missing:.0f} % missing"
    axes.text(0.96, 0.94, text, transform=axes.transAxes, ha="right", va="top", fontsize=8)
    return numbers
