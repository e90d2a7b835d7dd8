"""Validation score against pairs of hyperparameters."""

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from scipy.stats import rankdata

from difftune.report.lineage import best_network, round_scores
from difftune.report.panels import color_bar, panel_grid
from difftune.report.scales import name_axis, value_scale
from difftune.report.style import (
    DEFAULT_LABEL,
    INK,
    ORANGE,
    Label,
    PlotFigure,
    draw_label,
    plain,
    styled,
)
from difftune.training.state import History


@styled
def score_against_pairs(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    score_name: str = "Validation score",
    most: int = 4,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure | None:
    """The best validation score of a round in the plane of each two hyperparameters.

    Shown are the hyperparameters that the score depends on most, by how much of the variance of
    its ranks lies between the quintiles of the hyperparameter.

    Args:
        history: The record of the search.
        best: Epoch and member of the chosen network, the star; by default that of the largest
            score.
        score_name: Title of the colour bar.
        most: Number of hyperparameters that are paired.
        label: What stands above the figure.

    Returns:
        The figure; None for fewer than two hyperparameters.
    """
    names = important(history)[:most]
    if len(names) < 2:
        return None
    epoch, member = best_network(history) if best is None else best
    row = int(np.max(history.round[history.epoch == epoch], initial=0))
    scores = round_scores(history)
    known = np.isfinite(scores)
    pairs = list(combinations(names, 2))
    figure, panels = panel_grid(
        len(pairs), columns=3, width=3.1, height=2.6, margins=(1.2, 0.5), size=10.0
    )
    finite = scores[known] if known.any() else np.array([0.0, 1.0])
    norm = Normalize(float(np.quantile(finite, 0.1)), float(finite.max()))
    order = np.argsort(scores[known])
    for axes, (first, second) in zip(panels.flat, pairs, strict=False):
        x, y = (np.asarray(history.hyperparameters[name], float) for name in (first, second))
        value_scale(axes.xaxis, x)
        value_scale(axes.yaxis, y)
        _lift(axes)
        axes.scatter(
            x[known][order],
            y[known][order],
            c=scores[known][order],
            cmap="viridis",
            norm=norm,
            s=16,
            linewidths=0,
            zorder=3,
        )
        axes.plot(
            x[row, member],
            y[row, member],
            "*",
            color=ORANGE,
            markersize=13,
            markeredgecolor=INK,
            markeredgewidth=0.7,
            zorder=5,
            gid="chosen",
        )
        for axis, name, values in ((axes.xaxis, first, x), (axes.yaxis, second, y)):
            name_axis(axis, plain(name, 26), values)
            axis.label.set_size(11)
        figure.numbers[f"{first}, {second}"] = {"x": x, "y": y, "score": scores}
    draw_label(panels[0, 0], label, right=panels[0, -1], size=12.0)
    color_bar(figure, ScalarMappable(norm, "viridis"), panels, score_name)
    return figure


def _lift(axes: Axes) -> None:
    """Room below the lowest label, so that it does not meet those of the horizontal axis."""
    for _ in range(6):  # a new limit may bring new ticks
        ends = axes.get_ylim()
        scale = np.log10 if axes.get_yscale() == "log" else np.asarray
        low, high = scale(ends)
        places = (scale(axes.yaxis.get_majorticklocs()) - low) / (high - low)
        if not np.any((places > -0.02) & (places < 0.08)):
            return
        lower = low - 0.07 * (high - low)
        axes.set_ylim(10**lower if axes.get_yscale() == "log" else lower, ends[1])


def important(history: History) -> list[str]:
    """Hyperparameters that vary, by how much of the variance of the score's ranks they explain."""
    scores = round_scores(history).ravel()
    known = np.isfinite(scores)
    rank = rankdata(scores[known])
    shares = {}
    for name, values in history.hyperparameters.items():
        mine = np.asarray(values, float).ravel()[known]
        if not len(mine) or np.ptp(mine) == 0:
            continue
        group = np.searchsorted(np.quantile(mine, [0.2, 0.4, 0.6, 0.8]), mine)
        means = np.array([rank[group == g].mean() for g in group])
        shares[name] = float(np.var(means) / (np.var(rank) or 1.0))
    return sorted(shares, key=lambda name: -shares[name])
