"""Variables: their importance by each method, and the path of a selection."""

from collections.abc import Sequence

import numpy as np

from difftune.report.given import checked
from difftune.report.panels import legend_with_room
from difftune.report.style import (
    BLUE,
    CURVES,
    DEFAULT_LABEL,
    INK,
    RED,
    Label,
    PlotFigure,
    draw_label,
    new_figure,
    set_ticks,
    styled,
)
from difftune.selection import Importance, Selection


@checked
@styled
def variable_importance(
    importance: Importance,
    *,
    methods: Sequence[str] | None = None,
    most: int = 40,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Bars of the importance of each variable, a panel for each method.

    Variables come in the order of the first method; each panel is scaled to its largest, and says
    which place a variable has by its method.

    Args:
        importance: From `difftune.selection.importance`.
        methods: Methods to show; all that it has if None.
        most: Largest number of variables that are shown.
        label: What stands above the figure.
    """
    chosen = list(methods or importance.methods)
    first = importance.order(chosen[0])[:most]
    rows = [importance.names.index(name) for name in first]
    height = 0.27 * len(rows) + 1.5
    longest = max(len(label.titled(name, 26)) for name in first)
    width = 0.085 * longest + 1.75 * len(chosen) + 0.4
    figure = new_figure(max(width, 5.0), height, w_pad=0.04)
    panels = figure.subplots(1, len(chosen), squeeze=False, sharey=True)[0]
    place = np.arange(len(rows))
    for number, (axes, method) in enumerate(zip(panels, chosen, strict=True)):
        ranking = importance.methods[method]
        top = np.max(np.abs(ranking.value))
        scale = top if top > 0 else 1.0
        value, error = ranking.value[rows] / scale, ranking.uncertainty[rows] / scale
        axes.barh(place, value, color=CURVES[number % len(CURVES)], height=0.7, alpha=0.85)
        axes.errorbar(value, place, xerr=error, fmt="none", color=INK, linewidth=0.9)
        low = min(0.0, float(np.min(value - error)))
        high = max(1.0, float(np.max(value + error)))
        axes.set_xlim(low * 1.05, high + 0.32 * (high - low))
        for at, row in enumerate(rows):
            axes.annotate(
                str(ranking.rank[row]),
                (1, at),
                (-3, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=8.5,
                color="#555555",
            )
        axes.set_xlabel(_in_lines(method), fontsize=10, loc="center")
        axes.set_xticks([0, 1], ["0", "1"])
        axes.tick_params(axis="x", labelsize=9)
        axes.tick_params(axis="y", length=0, labelsize=10)
        axes.axvline(0, color=INK, linewidth=0.7)
    panels[0].set_yticks(place, [label.titled(name, 26) for name in first])
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    draw_label(panels[0], label, right=panels[-1])
    figure.numbers = {
        "names": first,
        "methods": {
            method: {
                "value": importance.methods[method].value[rows],
                "uncertainty": importance.methods[method].uncertainty[rows],
            }
            for method in chosen
        },
    }
    return figure


def _in_lines(method: str) -> str:
    """A name of two words or more in two lines."""
    words = method.split()
    middle = -(-len(words) // 2)
    return "\n".join(filter(None, (" ".join(words[:middle]), " ".join(words[middle:])))) or method


@checked
@styled
def selection_path(
    selection: Selection,
    *,
    score: str = "Score",
    most_names: int = 45,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Score of each set on the path, with the chosen one; below, which unit came or went.

    Bars are the standard errors of the difference to the best set, in pairs of equal seed and fold.

    Args:
        selection: From `difftune.selection.eliminate` or `forward`.
        score: Title of the vertical axis.
        most_names: Steps up to which the names are written.
        label: What stands above the figure.
    """
    sizes = [len(units) for units in selection.sets]
    names = [_moved(selection, number, label) for number in range(len(sizes))]
    backward = selection.direction == "backward"
    written = len(sizes) <= most_names
    figure = new_figure(max(6.4, 0.3 * len(sizes) + 1.6), 6.0 if written else 4.8)
    axes = figure.subplots()
    set_ticks(axes)
    place = np.arange(len(sizes))
    axes.errorbar(
        place,
        selection.mean,
        selection.uncertainty,
        fmt="o-",
        color=BLUE,
        markersize=4.5,
        linewidth=1.2,
        elinewidth=1.0,
        label="Sets on the path",
    )
    best = int(np.nanargmax(selection.mean))
    axes.axhline(selection.mean[best], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(
        selection.chosen,
        selection.mean[selection.chosen],
        "*",
        color=RED,
        markersize=15,
        label=f"Chosen: {sizes[selection.chosen]}",
        zorder=5,
    )
    axes.minorticks_off()
    shown = [f"{n}  {size}" if written else str(size) for n, size in zip(names, sizes, strict=True)]
    axes.set_xticks(place, shown, rotation=90 if written else 0, fontsize=9.5)
    axes.set_xlim(-0.6, len(sizes) - 0.4)
    sign = "left out" if backward else "added"
    axes.set_xlabel(f"Variable or group {sign}, and how many there are")
    axes.set_ylabel(score)
    low, high = np.nanmin(selection.mean), np.nanmax(selection.mean + selection.uncertainty)
    room = (high - low) or abs(high) or 1.0
    axes.set_ylim(low - 0.08 * room, high + 0.1 * room)
    handles, labels = axes.get_legend_handles_labels()
    legend_with_room(axes, handles, labels, top=high + 0.1 * room)
    draw_label(axes, label)
    figure.numbers = {
        "size": sizes,
        "moved": names,
        "score": selection.mean,
        "uncertainty": selection.uncertainty,
        "chosen": selection.chosen,
        "variables": selection.variables,
    }
    return figure


def _moved(selection: Selection, number: int, label: Label) -> str:
    """Name of the unit by which a set differs from the one before."""
    if selection.direction == "backward":
        number -= 1
    return label.titled(selection.steps[number].taken, 22) if number >= 0 else "all"
