"""Validation score against hyperparameters, one by one and in pairs."""

from collections.abc import Collection
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.ticker import MaxNLocator
from scipy.stats import rankdata, spearmanr

from difftune.report.given import checked
from difftune.report.lineage import best_network, round_scores
from difftune.report.panels import color_bar, panel_grid
from difftune.report.style import (
    AQUA,
    BLUE,
    DEFAULT_LABEL,
    INK,
    ORANGE,
    Label,
    PlotFigure,
    draw_label,
    name_axis,
    plain,
    signed,
    styled,
    value_scale,
)
from difftune.training import History

ROUNDS = LinearSegmentedColormap.from_list("rounds", ["#dcebf7", AQUA, BLUE, "#143d66"])


GRID: dict[str, Any] = {
    "columns": 3,
    "width": 3.1,
    "height": 2.6,
    "margins": (1.2, 0.5),
    "size": 10.0,
}


@checked
@styled
def score_against_hyperparameters(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    score_name: str = "Validation score",
    per_page: int = 9,
    log: Collection[str] = (),
    label: Label = DEFAULT_LABEL,
) -> list[PlotFigure]:
    """Best validation score in a round against each hyperparameter, a point per member and round.

    Early rounds are light, late ones dark; the star is the chosen network. Spearman's rank
    correlation says whether there is a monotonic trend. Arrows at the bottom are scores below the
    range shown.

    Args:
        history: The record of the search.
        best: Epoch and member of the chosen network; by default that of the largest selection
            score.
        score_name: Title of the vertical axes.
        per_page: Panels per figure.
        log: Names of hyperparameters that are drawn logarithmically, as they were searched.
        label: What stands above each figure.

    Returns:
        As many figures as needed; none without hyperparameters.
    """
    row, member = _place(history, best)
    scores = round_scores(history)
    rounds = np.broadcast_to(np.arange(len(scores))[:, None], scores.shape)
    low, high = _score_range(scores)
    norm = Normalize(0, len(scores) - 1) if len(scores) > 1 else Normalize(-2, 1)
    names = list(history.hyperparameters)
    pages = []
    for start in range(0, len(names), per_page):
        chosen = names[start : start + per_page]
        figure, panels = panel_grid(len(chosen), **GRID)
        for number, (axes, name) in enumerate(zip(panels.flat, chosen, strict=False)):
            values = np.asarray(history.hyperparameters[name], float)
            good = np.isfinite(values) & np.isfinite(scores)
            inside = good & (scores >= low)
            value_scale(axes.xaxis, values, log=name in log)
            axes.scatter(
                values[inside],
                scores[inside],
                c=rounds[inside],
                cmap=ROUNDS,
                norm=norm,
                s=18,
                edgecolors=INK,
                linewidths=0.3,
                zorder=3,
            )
            below = good & ~inside
            axes.plot(
                values[below],
                np.full(int(below.sum()), 0.04),
                "v",
                color=INK,
                markersize=3,
                transform=axes.get_xaxis_transform(),
                zorder=3,
            )
            _draw_chosen(axes, values[row, member], scores[row, member])
            axes.set_ylim(low, high)
            axes.yaxis.set_major_locator(MaxNLocator(5))
            name_axis(axes.xaxis, plain(name, 26), values)
            axes.xaxis.label.set_size(11)
            if number % panels.shape[1] == 0:
                axes.set_ylabel(score_name, fontsize=11)
            else:
                axes.tick_params(labelleft=False)
            rank = _rank_correlation(values[good], scores[good])
            if rank is not None:
                text = f"Spearman $\\rho$ = {signed(rank, 2)}"
                axes.text(
                    0.95, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=9
                )
            figure.numbers[name] = {"value": values, "score": scores, "spearman": rank}
        draw_label(panels[0, 0], label, right=panels[0, -1], size=12.0)
        if len(scores) > 1:
            bar = color_bar(figure, ScalarMappable(norm, ROUNDS), panels, "Round")
            bar.locator = MaxNLocator(8, integer=True)
            bar.update_ticks()
        pages.append(figure)
    return pages


def _score_range(scores: Float[np.ndarray, "rounds members"]) -> tuple[float, float]:
    """A range for the scores with room for a line of text; single failures do not stretch it."""
    finite = scores[np.isfinite(scores)]
    if not finite.size:
        return 0.0, 1.0
    high, middle = float(finite.max()), float(np.median(finite))
    low = max(float(finite.min()), middle - 6 * (high - middle)) if high > middle else high
    low = min(low, float(np.quantile(finite, 0.05)))
    spread = (high - low) or abs(high) or 1.0
    return low - 0.08 * spread, high + 0.25 * spread


def _rank_correlation(
    values: Float[np.ndarray, " points"], scores: Float[np.ndarray, " points"]
) -> float | None:
    """Spearman's correlation, None for too few points or a constant."""
    if len(values) < 5 or np.ptp(values) == 0 or np.ptp(scores) == 0:
        return None
    return float(spearmanr(values, scores).statistic)


@checked
@styled
def score_against_pairs(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    score_name: str = "Validation score",
    most: int = 4,
    log: Collection[str] = (),
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
        log: Names of hyperparameters that are drawn logarithmically, as they were searched.
        label: What stands above the figure.

    Returns:
        The figure; None for fewer than two hyperparameters.
    """
    names = important(history)[:most]
    if len(names) < 2:
        return None
    row, member = _place(history, best)
    scores = round_scores(history)
    known = np.isfinite(scores)
    pairs = list(combinations(names, 2))
    figure, panels = panel_grid(len(pairs), **GRID)
    finite = scores[known] if known.any() else np.array([0.0, 1.0])
    norm = Normalize(float(np.quantile(finite, 0.1)), float(finite.max()))
    order = np.argsort(scores[known])
    for axes, (first, second) in zip(panels.flat, pairs, strict=False):
        x, y = (np.asarray(history.hyperparameters[name], float) for name in (first, second))
        value_scale(axes.xaxis, x, log=first in log)
        value_scale(axes.yaxis, y, log=second in log)
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
        _draw_chosen(axes, x[row, member], y[row, member])
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


def _place(history: History, best: tuple[int, int] | None) -> tuple[int, int]:
    """Round and member of the chosen network."""
    epoch, member = best_network(history) if best is None else best
    return int(np.max(history.round[history.epoch == epoch], initial=0)), member


def _draw_chosen(axes: Axes, x: float, y: float) -> None:
    """The star of the chosen network."""
    axes.plot(
        x,
        y,
        "*",
        color=ORANGE,
        markersize=13,
        markeredgecolor=INK,
        markeredgewidth=0.7,
        zorder=5,
        gid="chosen",
    )
