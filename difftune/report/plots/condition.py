"""What the overtraining condition excludes: the score against how far it is met."""

import numpy as np

from difftune.report.lineage import best_network
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    INK,
    ORANGE,
    RED,
    Label,
    PlotFigure,
    draw_label,
    new_figure,
    set_ticks,
    styled,
)
from difftune.training.state import History

_WIDEST = 5.0


@styled
def score_against_condition(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    score_name: str = "Validation score",
    label: Label = DEFAULT_LABEL,
) -> PlotFigure | None:
    """Validation score against the overtraining condition, a point per member and epoch.

    The horizontal axis is how far training and validation are apart, in units of what is allowed;
    what lies beyond 1 is excluded whatever its score. What is beyond the axis stands at its end.

    Args:
        history: The record of the search.
        best: Epoch and member of the chosen network; by default that of the largest selection
            score.
        score_name: Title of the vertical axis.
        label: What stands above the figure.

    Returns:
        The figure; None where the condition was not recorded, or nothing has a score.
    """
    if history.overtraining is None:
        return None
    measure = np.asarray(history.overtraining, float)
    known = np.isfinite(history.score) & ~np.isnan(measure)
    if not known.any():
        return None
    epoch, member = best_network(history) if best is None else best
    figure = new_figure(6.4, 4.6)
    axes = figure.subplots()
    set_ticks(axes)
    end = float(np.clip(np.max(measure[known], initial=1.2), 1.2, _WIDEST))
    shown = np.minimum(measure, end)
    for inside, color, name in (
        (known & (measure <= 1.0), BLUE, "Eligible"),
        (known & (measure > 1.0), ORANGE, "Excluded"),
    ):
        axes.plot(
            shown[inside],
            history.score[inside],
            "o",
            color=color,
            markersize=3,
            alpha=0.5,
            label=f"{name} ({int(inside.sum())})",
        )
    rows = np.flatnonzero(history.epoch == epoch)
    if len(rows) and known[rows[0], member]:
        place = (shown[rows[0], member], history.score[rows[0], member])
        axes.plot(*place, "*", color=RED, markersize=13, label="Chosen network", gid="chosen")
    axes.axvline(1.0, color=INK, linestyle=(0, (4, 3)), linewidth=1.0)
    axes.set_xlim(-0.03 * end, 1.05 * end)
    low, high = np.quantile(history.score[known], 0.02), np.max(history.score[known])
    spread = (high - low) or 1.0
    axes.set_ylim(low - 0.08 * spread, high + 0.3 * spread)
    axes.set_xlabel("Overtraining, in units of what is allowed")
    axes.set_ylabel(score_name)
    axes.legend(loc="upper right", ncols=3, fontsize=9, handletextpad=0.3, columnspacing=1.0)
    draw_label(axes, label)
    figure.numbers |= {"overtraining": measure, "score": history.score}
    return figure
