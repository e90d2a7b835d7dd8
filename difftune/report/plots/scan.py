"""Validation score against each hyperparameter."""

import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr

from difftune.report.lineage import best_network, round_scores
from difftune.report.panels import color_bar, panel_grid
from difftune.report.scales import name_axis, value_scale
from difftune.report.style import (
    AQUA,
    BLUE,
    DEFAULT_LABEL,
    INK,
    ORANGE,
    Label,
    PlotFigure,
    draw_label,
    plain,
    signed,
    styled,
)
from difftune.training.state import History

ROUNDS = LinearSegmentedColormap.from_list("rounds", ["#dcebf7", AQUA, BLUE, "#143d66"])


@styled
def score_against_hyperparameters(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    score_name: str = "Validation score",
    per_page: int = 9,
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
        label: What stands above each figure.

    Returns:
        As many figures as needed; none without hyperparameters.
    """
    epoch, member = best_network(history) if best is None else best
    row = int(np.max(history.round[history.epoch == epoch], initial=0))
    scores = round_scores(history)
    rounds = np.broadcast_to(np.arange(len(scores))[:, None], scores.shape)
    low, high = _score_range(scores)
    norm = Normalize(0, len(scores) - 1) if len(scores) > 1 else Normalize(-2, 1)
    names = list(history.hyperparameters)
    pages = []
    for start in range(0, len(names), per_page):
        chosen = names[start : start + per_page]
        figure, panels = panel_grid(
            len(chosen), columns=3, width=3.1, height=2.6, margins=(1.2, 0.5), size=10.0
        )
        for number, (axes, name) in enumerate(zip(panels.flat, chosen, strict=False)):
            values = np.asarray(history.hyperparameters[name], float)
            good = np.isfinite(values) & np.isfinite(scores)
            inside = good & (scores >= low)
            value_scale(axes.xaxis, values)
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
            axes.plot(
                values[row, member],
                scores[row, member],
                "*",
                color=ORANGE,
                markersize=13,
                markeredgecolor=INK,
                markeredgewidth=0.7,
                zorder=5,
                gid="chosen",
            )
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
