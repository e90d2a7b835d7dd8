"""The path of a selection: the score against the number of variables."""

import numpy as np

from difftune.report.panels import legend_with_room
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    INK,
    RED,
    Label,
    PlotFigure,
    draw_label,
    new_figure,
    plain,
    set_ticks,
    styled,
)
from difftune.selection import Selection


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
    names = [_moved(selection, number) for number in range(len(sizes))]
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


def _moved(selection: Selection, number: int) -> str:
    """Name of the unit by which a set differs from the one before."""
    if selection.direction == "backward":
        number -= 1
    return plain(selection.steps[number].taken, 22) if number >= 0 else "all"
