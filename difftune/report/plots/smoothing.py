"""What smoothing did to the shapes of systematic uncertainties."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from difftune.errors import InputError
from difftune.report.given import checked
from difftune.report.panels import band, divided, small_ticks, steps
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    GREY,
    INK,
    RED,
    Label,
    PlotFigure,
    draw_label,
    new_figure,
    plain,
    styled,
)

_COLUMNS = 3


class _Shape(NamedTuple):
    """A histosys before and after, relative to the nominal template in percent."""

    title: str
    before: Float[np.ndarray, "2 bins"]
    after: Float[np.ndarray, "2 bins"]
    error: Float[np.ndarray, " bins"]


@checked
@styled
def smoothed_variations(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    per_page: int = 9,
    most: int = 36,
    label: Label = DEFAULT_LABEL,
) -> list[PlotFigure]:
    """Up and down of each smoothed systematic relative to nominal, before and after.

    Those that changed most stand first. The band is the statistical uncertainty of the nominal
    template, from its staterror.

    Args:
        before: The workspace.
        after: The same after `Workspace.smooth`, or after any other change of histosys modifiers.
        per_page: Panels per figure, in rows of three.
        most: Largest number of panels at all.
        label: What stands above each figure, and titles of samples and parameters.

    Returns:
        As many figures as needed; none if nothing changed.

    Raises:
        InputError: They are no workspaces, or of different channels, samples or bins.
    """
    shapes = sorted(_shapes(before, after, label), key=_change, reverse=True)[:most]
    pages = []
    for start in range(0, len(shapes), per_page):
        chosen = shapes[start : start + per_page]
        columns = min(_COLUMNS, len(chosen))
        rows = -(-len(chosen) // columns)
        figure = new_figure(max(3.5 * columns, 4.6), 2.7 * rows + 0.6)
        grid = figure.subplots(rows, columns, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index >= len(chosen):
                axes.set_axis_off()
                continue
            shape = chosen[index]
            edges = np.arange(len(shape.error) + 1) + 0.5
            small_ticks(axes)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.xaxis.set_minor_locator(NullLocator())
            band(axes, edges, -shape.error, shape.error, hatch=None, alpha=0.2)
            axes.axhline(0, color=INK, linewidth=0.9)
            for side, color in enumerate((RED, BLUE)):
                steps(axes, edges, shape.before[side], color=color, linestyle=":", linewidth=1.1)
                steps(axes, edges, shape.after[side], color=color, linewidth=1.5)
            everything = np.concatenate([shape.before.ravel(), shape.after.ravel(), shape.error])
            largest = max(float(np.abs(everything[np.isfinite(everything)]).max()), 1e-3)
            axes.set_ylim(-1.2 * largest, 1.5 * largest)
            axes.set_xlim(edges[0], edges[-1])
            axes.text(0.04, 0.95, shape.title, transform=axes.transAxes, va="top", fontsize=8.5)
            axes.set_ylabel("Change [%]", fontsize=10)
            axes.set_xlabel("Bin", fontsize=10)
            figure.numbers[shape.title.replace("\n", ", ")] = {
                "before": shape.before,
                "after": shape.after,
                "statistical_uncertainty": shape.error,
            }
        draw_label(grid[0, 0], label, right=grid[0, -1], size=12.0)
        entries = [
            Line2D([], [], color=RED, label="Up"),
            Line2D([], [], color=BLUE, label="Down"),
            Line2D([], [], color=GREY, linestyle=":", label="before"),
            Line2D([], [], color=GREY, label="after"),
            Patch(color=INK, alpha=0.2, linewidth=0, label="Simulation (stat.)"),
        ]
        figure.legend(handles=entries, loc="outside lower center", ncols=len(entries), fontsize=9)
        pages.append(figure)
    return pages


def _change(shape: _Shape) -> float:
    return float(np.nanmax(np.abs(shape.after - shape.before)))


def _shapes(before: Mapping[str, Any], after: Mapping[str, Any], label: Label) -> Iterator[_Shape]:
    """All histosys that are not the same in both."""
    new = dict(_all(after, "after"))
    for place, (nominal, varied, error) in _all(before, "before"):
        if place not in new:
            continue
        own = new[place][1]
        if own.shape != varied.shape:
            raise InputError(
                f"smoothed_variations: {place} has {varied.shape[1]} bins before and "
                f"{own.shape[1]} after. Give a workspace and what smooth(...) made of it."
            )
        if np.array_equal(own, varied):
            continue
        channel, sample, name = (plain(label.titles.get(each, each), 34) for each in place)
        relative = [
            100 * np.stack([divided(side - nominal, nominal) for side in each])
            for each in (varied, own)
        ]
        title = f"{name}\n{sample}, {channel}"
        yield _Shape(title, relative[0], relative[1], 100 * divided(error, nominal))


def _all(given: Mapping[str, Any], which: str) -> Iterator[tuple[tuple[str, str, str], Any]]:
    """Nominal and varied templates and statistical uncertainties of all histosys."""
    if not isinstance(given, Mapping) or "channels" not in given:
        raise InputError(f"smoothed_variations({which}={type(given).__name__}): give a workspace.")
    for channel in given["channels"]:
        for sample in channel["samples"]:
            nominal = np.asarray(sample["data"], float)
            own = [m["data"] for m in sample["modifiers"] if m["type"] == "staterror"]
            error = np.sqrt(sum((np.square(each) for each in own), np.zeros(len(nominal))))
            for modifier in sample["modifiers"]:
                if modifier["type"] == "histosys":
                    data = modifier["data"]
                    varied = np.asarray([data["hi_data"], data["lo_data"]], float)
                    place = channel["name"], sample["name"], modifier["name"]
                    yield place, (nominal, varied, error)
