"""Systematic uncertainties: variations of the templates, and pulls and constraints after a fit."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator, NullLocator

from difftune.histograms import Templates
from difftune.report.given import checked
from difftune.report.panels import band, divided, small_ticks, steps
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    INK,
    RED,
    Label,
    PlotFigure,
    counting_scale,
    draw_label,
    log_scale,
    new_figure,
    set_ticks,
    signed,
    styled,
)
from difftune.report.tables import Measured, written

COLUMNS = 3


@checked
@styled
def systematic_variations(
    templates: Templates,
    *,
    minimum: float = 0.002,
    per_page: int = 9,
    most: int = 36,
    axis: str = "Network score",
    label: Label = DEFAULT_LABEL,
) -> list[PlotFigure]:
    """Nominal, up and down of each systematic and process, with their relative difference below.

    A variation is negligible, and left out, if it moves less than `minimum` of the process' events
    between or in and out of bins. The others come in the order of what they do to the expected
    events of the channel, the largest first.

    Args:
        templates: Templates of a channel.
        minimum: Smallest relative shift, summed over the bins, that is shown.
        per_page: Panels per figure, in rows of three.
        most: Largest number of panels at all.
        axis: Title of the horizontal axes.
        label: What stands above each figure.

    Returns:
        As many figures as needed; none if nothing is left.
    """
    found = []
    for process, template in templates.processes.items():
        nominal = template.nominal.sumw
        for name, (up, down) in template.variations.items():
            moved = max(float(np.abs(h.sumw - nominal).sum()) for h in (up, down))
            if moved > minimum * abs(float(nominal.sum())):
                found.append((moved, name, process))
    found.sort(reverse=True)
    edges = np.asarray(templates.edges, float)
    equal = bool(np.diff(edges).min() < 0.02 * np.ptp(edges))
    drawn = np.arange(float(len(edges))) if equal else edges
    axis = f"{axis} bin" if equal else axis
    pages = []
    shown = [(name, process) for _, name, process in found[:most]]
    for start in range(0, len(shown), per_page):
        chosen = shown[start : start + per_page]
        columns = min(COLUMNS, len(chosen))
        rows = -(-len(chosen) // columns)
        figure = new_figure(max(3.5 * columns, 4.6), 3.3 * rows + 0.5, h_pad=0.02)
        grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1, 0.6] * rows)
        for i, (name, process) in enumerate(chosen):
            row, column = 2 * (i // columns), i % columns
            main, below = grid[row, column], grid[row + 1, column]
            figure.numbers[f"{name}, {process}"] = _panel(
                main, below, templates, name, process, drawn, axis, label
            )
            figure.align_ylabels([main, below])
        for i in range(len(chosen), rows * columns):
            for axes in grid[2 * (i // columns) : 2 * (i // columns) + 2, i % columns]:
                axes.set_axis_off()
        draw_label(grid[0, 0], label, right=grid[0, -1], size=12.0)
        entries = [
            Line2D([], [], color=INK, label="Nominal"),
            Line2D([], [], color=RED, label="Up"),
            Line2D([], [], color=BLUE, linestyle="--", label="Down"),
            Patch(facecolor=INK, alpha=0.2, label="Simulation statistics"),
        ]
        figure.legend(handles=entries, loc="outside lower center", ncols=2 * min(columns, 2))
        pages.append(figure)
    return pages


def _panel(
    main: Axes,
    below: Axes,
    templates: Templates,
    name: str,
    process: str,
    edges: Float[np.ndarray, " edges"],
    axis: str,
    label: Label,
) -> dict[str, object]:
    """Draws one systematic of one process and gives the numbers."""
    template = templates.processes[process]
    up, down = template.variations[name]
    nominal = template.nominal
    for axes in (main, below):
        small_ticks(axes)
        axes.set_xlim(edges[0], edges[-1])
    main.tick_params(labelbottom=False)
    error = np.sqrt(nominal.sumw2)
    relative = divided(error, nominal.sumw)
    band(main, edges, nominal.sumw - error, nominal.sumw + error, hatch=None, alpha=0.2)
    band(below, edges, -100 * relative, 100 * relative, hatch=None, alpha=0.2)
    below.axhline(0, color=INK, linewidth=0.9)
    steps(main, edges, nominal.sumw, color=INK, linewidth=1.1)
    changes = []
    for shifted, color, style in ((up, RED, "-"), (down, BLUE, "--")):
        change = 100 * divided(shifted.sumw - nominal.sumw, nominal.sumw)
        steps(main, edges, shifted.sumw, color=color, linestyle=style, linewidth=1.2)
        steps(below, edges, change, color=color, linestyle=style, linewidth=1.2)
        changes.append(np.abs(change[np.isfinite(change)]))
    values = np.concatenate([nominal.sumw + error, up.sumw, down.sumw])
    top, low = float(max(values.max(), 1e-9)), float(values.min())
    if low > 0 and top > 50 * low:
        log_scale(main, low / 2, top * (top / low) ** 0.55)
        main.set_ylabel("Events", fontsize=10)
    else:
        main.set_ylim(min(0.0, low * 1.1), top * 1.55)
        main.yaxis.set_major_locator(MaxNLocator(4, prune="lower"))
        counting_scale(main.yaxis, "Events", top)
        main.yaxis.label.set_fontsize(10)
    largest = float(np.max(np.concatenate([*changes, np.full(1, 0.1)])))
    half = min(1.3 * largest, 100.0)
    below.set_ylim(-half, half)
    below.yaxis.set_major_locator(MaxNLocator(4, symmetric=True))
    below.set_ylabel("Change [%]", fontsize=10, loc="center")
    below.set_xlabel(axis, fontsize=10)
    total = float(nominal.sumw.sum())
    sums = [100 * (float(h.sumw.sum()) / total - 1) if total else np.nan for h in (up, down)]
    main.text(
        0.04,
        0.95,
        f"{label.titled(name, 30)}\n{label.titled(process, 30)}: "
        f"{signed(sums[0], 1)} %, {signed(sums[1], 1)} %",
        transform=main.transAxes,
        ha="left",
        va="top",
        fontsize=9,
        linespacing=1.3,
    )
    return {
        "edges": np.asarray(templates.edges, float),
        "nominal": nominal.to_dict(),
        "up": up.to_dict(),
        "down": down.to_dict(),
    }


@checked
def negligible(templates: Templates, shown: Sequence[PlotFigure]) -> list[str]:
    """Names ("systematic, process") of the variations that no figure shows."""
    drawn = {name for figure in shown for name in figure.numbers}
    names = [f"{s}, {p}" for p, t in templates.processes.items() for s in t.variations]
    return [name for name in names if name not in drawn]


# ATLAS' colours of the one and two sigma bands, paler.
ONE_SIGMA, TWO_SIGMA = "#a8dba8", "#fff3b0"


@checked
@styled
def pulls(
    names: Sequence[str],
    values: Float[np.ndarray, " parameters"],
    uncertainties: Float[np.ndarray, " parameters"],
    *,
    centers: Float[np.ndarray, " parameters"] | None = None,
    widths: Float[np.ndarray, " parameters"] | None = None,
    per_page: int = 40,
    note: str = "",
    label: Label = DEFAULT_LABEL,
) -> list[PlotFigure]:
    """Distance of each fitted parameter from its auxiliary measurement, in units of its width.

    A constrained parameter has an error bar shorter than the inner band. Parameters without a
    constraint (width NaN or 0) are written as numbers in a line of their own, above the others.

    Args:
        names: Names of the parameters, e.g. `FitResult.names`.
        values: Fitted values.
        uncertainties: Fitted uncertainties.
        centers: Values before the fit; by default 0, those of `normsys` and `histosys`.
        widths: Uncertainties before the fit; by default 1; NaN or 0 for a free parameter.
        per_page: Parameters per figure.
        note: Text above the figure's right end, in place of the label's detail.
        label: What stands above each figure.

    Returns:
        As many figures as needed; none without parameters.
    """
    count = len(names)
    centers = np.zeros(count) if centers is None else np.asarray(centers, float)
    widths = np.ones(count) if widths is None else np.asarray(widths, float)
    label = replace(label, detail=note or label.detail)
    free = ~(widths > 0)
    safe = np.where(free, 1.0, widths)
    pull, error = (values - centers) / safe, uncertainties / safe
    order = np.argsort(~free, kind="stable")
    pages = []
    for start in range(0, count, per_page):
        rows = order[start : start + per_page]
        figure = new_figure(6.6, 0.24 * len(rows) + 1.3)
        axes = set_ticks(figure.subplots())
        y = np.arange(len(rows))[::-1].astype(float)
        reach = np.nan_to_num(np.abs(pull) + error)[rows][~free[rows]]
        half = float(np.clip(np.max(reach, initial=0.0) * 1.1, 2.4, 5.0))
        axes.axvspan(-2, 2, color=TWO_SIGMA, linewidth=0, zorder=0)
        axes.axvspan(-1, 1, color=ONE_SIGMA, linewidth=0, zorder=0.1)
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.2)
        shown = ~free[rows] & np.isfinite(pull[rows])
        axes.errorbar(
            np.clip(pull[rows][shown], -half, half),
            y[shown],
            xerr=np.nan_to_num(error[rows][shown]),
            fmt="o",
            color=INK,
            markersize=4.5,
            elinewidth=1.3,
            zorder=3,
        )
        for i, height in zip(rows[free[rows]], y[free[rows]], strict=True):
            text = f"{written(Measured(float(values[i]), float(uncertainties[i])))} (free)"
            axes.text(0.97 * half, height, text, ha="right", va="center", fontsize=9.5)
        axes.set_xlim(-half, half)
        axes.set_ylim(-0.8, len(rows) - 0.2)
        axes.set_yticks(y, [label.titled(names[int(i)], 38) for i in rows], fontsize=9.5)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MultipleLocator(1))
        axes.set_xlabel(r"$(\hat{\theta} - \theta_0)\ /\ \Delta\theta$")
        draw_label(axes, label)
        figure.numbers = {
            "names": [names[int(i)] for i in rows],
            "values": values[rows],
            "uncertainties": uncertainties[rows],
            "centers": centers[rows],
            "widths": widths[rows],
        }
        pages.append(figure)
    return pages
