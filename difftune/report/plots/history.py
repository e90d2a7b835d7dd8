"""A population over the epochs: loss, score and hyperparameters, with lineage."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from difftune.report.given import checked
from difftune.report.lineage import along, best_network, exploits, line_of_descent, round_scores
from difftune.report.panels import color_bar, legend_with_room, panel_grid, ratio_figure
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    GREY,
    INK,
    ORANGE,
    RED,
    SLATE,
    Label,
    PlotFigure,
    draw_label,
    free_top,
    log_scale,
    name_axis,
    plain,
    spans_decades,
    styled,
    value_scale,
)
from difftune.training import History


@checked
@styled
def loss_history(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    score_name: str = "Validation score",
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Training and validation loss above, validation score below, of every member.

    Beside the score of the chosen network stands its selection score, which epochs and members are
    compared by: the score less what may be luck.

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
        "selection_score": along(history.selection_score, history, line),
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
    compared = below.plot(
        epoch, curves["selection_score"], "--", color=RED, linewidth=1.1, marker=marker, zorder=3
    )
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
    own = np.where(np.isfinite(curves["selection_score"]), curves["selection_score"], np.nan)
    seen = [curves["train_score"], own, curves["score"], chosen]
    low, high = _span(history.score, np.concatenate(seen))
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
    handles, labels = [*handles, *star], [*labels, "Chosen epoch"]
    if np.isfinite(own).any():
        handles, labels = [*handles, *compared], [*labels, "Selection score (below)"]
    legend_with_room(main, handles, labels, columns=2, top=top)
    figure.numbers = {
        "epoch": epoch,
        "round": history.round,
        "loss": history.loss,
        "validation_loss": history.validation_loss,
        "hard_loss": history.hard_loss,
        "score": history.score,
        "selection_score": history.selection_score,
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


@checked
@styled
def hyperparameter_history(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    score_name: str = "Validation score",
    per_page: int = 8,
    log: Collection[str] = (),
    label: Label = DEFAULT_LABEL,
) -> list[PlotFigure]:
    """Values of every hyperparameter in every round, a panel each, joined by descent.

    A line joins a member to the one whose weights it went on from; lines of exploit steps (from
    another member) are orange, the line of descent of the chosen network is red. A ring marks a
    restart. Points have the colour of their best validation score in the round, crosses have none.

    Args:
        history: The record of the search.
        best: Epoch and member of the chosen network; by default that of the largest selection
            score.
        score_name: Title of the colour bar.
        per_page: Panels per figure.
        log: Names of hyperparameters that are drawn logarithmically, as they were searched.
        label: What stands above each figure.

    Returns:
        As many figures as needed; none without hyperparameters.
    """
    best = best_network(history) if best is None else best
    line = line_of_descent(history, epoch=best[0], member=best[1])
    scores = round_scores(history)
    norm = _norm(scores)
    names = list(history.hyperparameters)
    pages = []
    for start in range(0, len(names), per_page):
        chosen = names[start : start + per_page]
        figure, panels = panel_grid(
            len(chosen), columns=2, width=4.4, height=2.3, margins=(1.2, 1.0), size=10.0
        )
        for axes, name in zip(panels.flat, chosen, strict=False):
            values = np.asarray(history.hyperparameters[name], float)
            _draw_rounds(axes, history, values, scores, norm, line, log=name in log)
            name_axis(axes.yaxis, plain(name, 26), values)
            axes.yaxis.label.set_size(11)
            axes.set_xlabel("Round", fontsize=11)
            figure.numbers[name] = values
        figure.numbers |= {
            "score": scores,
            "parents": history.parents,
            "restart": history.restart,
            "line_of_descent": {str(k): v for k, v in line.items()},
        }
        draw_label(panels[0, 0], label, right=panels[0, -1], size=12.0)
        color_bar(figure, ScalarMappable(norm, "viridis"), panels, score_name)
        entries = [
            Line2D([], [], color=RED, marker="o", markersize=4, label="Chosen network"),
            Line2D([], [], color=ORANGE, label="Copied from another member"),
            Line2D([], [], color=GREY, label="Same member"),
            Line2D(
                [],
                [],
                color=INK,
                marker="o",
                markerfacecolor="none",
                linestyle="none",
                markersize=7,
                label="New start",
            ),
        ]
        figure.legend(
            handles=entries,
            loc="outside lower center",
            ncols=4 if len(chosen) > 1 else 2,
            fontsize=10,
        )
        pages.append(figure)
    return pages


def _norm(scores: Float[np.ndarray, "rounds members"]) -> Normalize:
    """Colour range of the scores; the lowest tenth does not stretch it."""
    finite = scores[np.isfinite(scores)]
    if not finite.size:
        return Normalize(0, 1)
    low, high = float(np.quantile(finite, 0.1)), float(finite.max())
    return Normalize(low if low < high else high - 0.5, high if low < high else high + 0.5)


def _draw_rounds(
    axes: Axes,
    history: History,
    values: Float[np.ndarray, "rounds members"],
    scores: Float[np.ndarray, "rounds members"],
    norm: Normalize,
    line: dict[int, int],
    *,
    log: bool,
) -> None:
    """Points and the lines that join them."""
    rounds, members = values.shape
    value_scale(axes.yaxis, values, log=log)
    copies = set(zip(*(a.tolist() for a in exploits(history)), strict=True))
    same: list[list[tuple[float, float]]] = []
    copied: list[list[tuple[float, float]]] = []
    for r in range(1, rounds):
        for i in np.flatnonzero(~history.restart[r]):
            start, end = float(values[r - 1, history.parents[r, i]]), float(values[r, i])
            (copied if (r, int(i)) in copies else same).append([(r - 1, start), (r, end)])
    faint = float(np.clip(12 / max(members, 1), 0.25, 0.8))
    for segments, color, alpha in ((same, GREY, faint), (copied, ORANGE, 0.8)):
        axes.add_collection(
            LineCollection(segments, colors=color, linewidths=0.8, alpha=alpha, zorder=1)
        )
    at = np.broadcast_to(np.arange(rounds)[:, None], values.shape)
    known = np.isfinite(scores)
    axes.plot(at[~known], values[~known], "x", color=SLATE, markersize=4, zorder=3)
    axes.scatter(
        at[known],
        values[known],
        c=scores[known],
        cmap="viridis",
        norm=norm,
        s=14,
        zorder=3,
        linewidths=0,
    )
    again = history.restart.copy()
    again[0] = False  # in the first round all start afresh
    axes.plot(
        at[again],
        values[again],
        "o",
        color=INK,
        markerfacecolor="none",
        markersize=7,
        markeredgewidth=0.8,
        zorder=4,
    )
    number, slot = np.array(list(line.items()), int).reshape(-1, 2).T
    axes.plot(
        number,
        values[number, slot],
        "-o",
        color=RED,
        linewidth=1.8,
        markersize=4,
        zorder=5,
        gid="chosen",
    )
    axes.set_xlim(-0.5, rounds - 0.5)
    axes.xaxis.set_major_locator(FixedLocator(range(0, rounds, -(-rounds // 10))))
    axes.xaxis.set_minor_locator(NullLocator())
