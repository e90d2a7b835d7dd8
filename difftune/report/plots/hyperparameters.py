"""Hyperparameters of a population over the rounds, with lineage."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from difftune.report.lineage import best_network, exploits, line_of_descent, round_scores
from difftune.report.panels import color_bar, panel_grid
from difftune.report.scales import name_axis, value_scale
from difftune.report.style import (
    DEFAULT_LABEL,
    GREY,
    INK,
    ORANGE,
    RED,
    SLATE,
    Label,
    PlotFigure,
    draw_label,
    plain,
    styled,
)
from difftune.training.state import History


@styled
def hyperparameter_history(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    score_name: str = "Validation score",
    per_page: int = 8,
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
            _draw_rounds(axes, history, values, scores, norm, line)
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
) -> None:
    """Points and the lines that join them."""
    rounds, members = values.shape
    value_scale(axes.yaxis, values)
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
