"""Validation scores against what competes with them: the overtraining condition, other scores."""

import numpy as np
from jaxtyping import Float

from difftune.report.given import checked
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
    plain,
    set_ticks,
    styled,
)
from difftune.training import History

_WIDEST = 5.0


@checked
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
    # Scores that are the same but for rounding are one line, not a range of 1e-7.
    spread = high - low if high - low > 1e-5 * abs(high) else abs(high) or 1.0
    axes.set_ylim(low - 0.08 * spread, high + 0.3 * spread)
    axes.set_xlabel("Overtraining, in units of what is allowed")
    axes.set_ylabel(score_name)
    axes.legend(loc="upper right", ncols=3, fontsize=9, handletextpad=0.3, columnspacing=1.0)
    draw_label(axes, label)
    figure.numbers |= {"overtraining": measure, "score": history.score}
    return figure


@checked
@styled
def pareto_front(
    history: History,
    front: Float[np.ndarray, "networks scores"],
    *,
    chosen: Float[np.ndarray, " scores"],
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """The first score against each other one: every member and epoch, and the Pareto front.

    Args:
        history: The record of the search, with several scores.
        front: Scores of the networks that no other one beats in all of them.
        chosen: Scores of the chosen network.
        label: What stands above the figure.
    """
    assert history.scores is not None, "of one score there is no front"
    names = [plain(name.replace("_", " ")) for name in history.score_names]
    scores = history.scores
    known = np.isfinite(scores).all(axis=-1)
    out = known & (history.overtraining > 1.0) if history.overtraining is not None else ~known
    figure = new_figure(5.6 * (len(names) - 1), 4.8)
    panels = np.atleast_1d(figure.subplots(1, len(names) - 1, sharey=True))
    for other, axes in enumerate(panels, 1):
        set_ticks(axes)
        for inside, color, name in ((known & ~out, BLUE, "Eligible"), (out, ORANGE, "Excluded")):
            if inside.any():
                place = scores[inside][:, other], scores[inside][:, 0]
                axes.plot(*place, "o", color=color, markersize=3, alpha=0.35, label=name)
        order = np.argsort(front[:, other], kind="stable")
        place = front[order][:, other], front[order][:, 0]
        # Of two scores the front is a staircase; the shadow of more is none. What a step reaches is
        # the worse of two neighbours in either score.
        line = "-" if len(names) == 2 else "none"
        axes.plot(
            *place,
            marker="o",
            linestyle=line,
            drawstyle="steps-pre",
            color=INK,
            markersize=5,
            label="Pareto front",
            gid="front",
        )
        star = chosen[other], chosen[0]
        axes.plot(*star, "*", color=RED, markersize=14, label="Chosen network", gid="chosen")
        for axis, column in ((axes.set_xlim, other), (axes.set_ylim, 0)):
            axis(*_span(scores[known][:, column], front[:, column]))
        axes.set_xlabel(f"Validation {names[other]}")
    panels[0].set_ylabel(f"Validation {names[0]}")
    panels[0].legend(loc="lower left", fontsize=9, handletextpad=0.3)
    draw_label(panels[0], label, right=panels[-1])
    figure.numbers |= {"scores": scores, "front": front, "chosen": chosen}
    return figure


def _span(values: np.ndarray, front: np.ndarray) -> tuple[float, float]:
    """From the lowest twentieth, for what has only begun to learn is not worth the room."""
    low = min(float(np.quantile(values, 0.05)), float(front.min()))
    high = max(float(values.max()), float(front.max()))
    margin = 0.08 * ((high - low) or 1.0)
    return low - margin, high + margin
