"""Loss and validation score of a population over the epochs."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from difftune.report.lineage import along, best_network, line_of_descent
from difftune.report.panels import legend_with_room, ratio_figure
from difftune.report.scales import free_top, log_scale, spans_decades
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    GREY,
    INK,
    ORANGE,
    RED,
    Label,
    PlotFigure,
    draw_label,
    styled,
)
from difftune.training.state import History


@styled
def loss_history(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    score_name: str = "Validation score",
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Training and validation loss above, validation score below, of every member.

    Where the objective smears events over bins, the validation loss of hard bins is drawn, too:
    what lies between the two is no gain that the measurement would see.

    The chosen network is drawn along its line of descent: where it was copied, the line follows
    the weights and not the slot. Vertical lines part the rounds; crosses mark where a member
    diverged.

    Args:
        history: The record of the training.
        best: Epoch and member of the chosen network; by default that of the largest selection
            score.
        score_name: Title of the score's axis.
        label: What stands above the figure.
    """
    best = best_network(history) if best is None else best
    line = line_of_descent(history, epoch=best[0], member=best[1])
    figure, main, below = ratio_figure(height=6.6, ratio=0.8, line=None)
    epoch = history.epoch
    members = history.loss.shape[1]
    faint = float(np.clip(8 / max(members, 1), 0.12, 0.5))
    for axes, values in ((main, history.validation_loss), (below, history.score)):
        for i in range(members):
            axes.plot(
                epoch,
                values[:, i],
                color=GREY,
                linewidth=0.8,
                alpha=faint if members > 1 else 0,
                marker="." if len(epoch) == 1 else None,
                zorder=1,
                gid=f"member {i}",
            )
        for start in epoch[1:][np.diff(history.round) != 0]:
            axes.axvline(start - 0.5, color=INK, linewidth=0.5, linestyle=":", zorder=0.5)
        _mark_diverged(axes, history, values)
    curves = {
        "loss": along(history.loss, history, line),
        "validation_loss": along(history.validation_loss, history, line),
        "hard_loss": along(history.hard_loss, history, line),
        "score": along(history.score, history, line),
        "train_score": along(history.train_score, history, line),
    }
    marker = "o" if len(epoch) == 1 else None
    drawn = [
        ("loss", BLUE, "-", "Chosen network, training"),
        ("validation_loss", RED, "-", "Chosen network, validation"),
    ]
    smeared = not np.array_equal(curves["hard_loss"], curves["validation_loss"], equal_nan=True)
    if smeared:
        drawn.append(("hard_loss", RED, "--", "The same in hard bins"))
    for name, color, style, text in drawn:
        values = curves[name]
        main.plot(epoch, values, style, color=color, label=text, marker=marker, zorder=3)
    if np.isfinite(curves["train_score"]).any():
        below.plot(epoch, curves["train_score"], color=BLUE, marker=marker, zorder=3)
    below.plot(epoch, curves["score"], color=RED, marker=marker, zorder=3)
    chosen = history.score[epoch == best[0], best[1]]
    star = below.plot(
        np.full(len(chosen), best[0]),
        chosen,
        "*",
        color=ORANGE,
        markeredgecolor=INK,
        markeredgewidth=0.6,
        markersize=12,
        zorder=5,
        label="Chosen epoch",
        linestyle="none",
    )
    top = _loss_range(main, history, curves)
    low, high = _span(history.score, curves["train_score"])
    below.set_ylim(low, high)
    free_top(below, 0.05)
    first, last = (float(epoch[0]), float(epoch[-1])) if len(epoch) else (0.0, 1.0)
    below.set_xlim(first - 0.5, last + 0.5)
    below.xaxis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
    main.set_ylabel("Loss")
    below.set_ylabel(score_name, loc="center")
    below.set_xlabel("Epoch")
    draw_label(main, label)
    handles, labels = main.get_legend_handles_labels()
    if members > 1:
        handles.append(main.plot([], [], color=GREY, linewidth=1)[0])
        labels.append(f"All {members} members, validation")
    legend_with_room(main, [*handles, *star], [*labels, "Chosen epoch"], columns=2, top=top)
    figure.numbers = {
        "epoch": epoch,
        "round": history.round,
        "loss": history.loss,
        "validation_loss": history.validation_loss,
        "hard_loss": history.hard_loss,
        "score": history.score,
        "train_score": history.train_score,
        "best_epoch": best[0],
        "best_member": best[1],
        "line_of_descent": {str(k): v for k, v in line.items()},
        "status": list(history.status),
    }
    return figure


def _mark_diverged(
    axes: Axes, history: History, values: Float[np.ndarray, "epochs members"]
) -> None:
    """A cross at the last finite value of each member that diverged."""
    for i, status in enumerate(history.status):
        finite = np.flatnonzero(np.isfinite(values[:, i]))
        if status.startswith("diverged") and finite.size:
            at = finite[-1]
            axes.plot(history.epoch[at], values[at, i], "x", color=INK, markersize=5, zorder=4)


def _loss_range(
    axes: Axes, history: History, curves: dict[str, Float[np.ndarray, " epochs"]]
) -> float:
    """Sets the range of the losses such that a diverging member does not squeeze the others."""
    low, high = _span(
        history.validation_loss,
        np.concatenate([curves[name] for name in ("loss", "validation_loss", "hard_loss")]),
    )
    if spans_decades(np.array([max(low, 1e-300), high])) and low > 0:
        log_scale(axes, low, high)
    else:
        axes.set_ylim(low, high)
    return high


def _span(
    values: Float[np.ndarray, "epochs members"], covered: Float[np.ndarray, " _"]
) -> tuple[float, float]:
    """A range that holds all of `covered` and the bulk of `values`, with some air."""
    bulk = values[np.isfinite(values)]
    inside = covered[np.isfinite(covered)]
    if bulk.size:
        inside = np.append(inside, np.quantile(bulk, [0.02, 0.95]))
    if not inside.size:
        return 0.0, 1.0
    low, high = float(inside.min()), float(inside.max())
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return low - air if low <= 0 or low - air > 0 else low * 0.9, high + air
