"""Systematic variations of the templates, up and down over nominal."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from difftune.histograms import Templates
from difftune.report.draw import band, divided, steps
from difftune.report.panels import small_ticks
from difftune.report.scales import counting_scale, log_scale
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
    signed,
    styled,
)

COLUMNS = 3


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
                main, below, templates, name, process, drawn, axis
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
        f"{plain(name, 30)}\n{plain(process, 30)}: {signed(sums[0], 1)} %, {signed(sums[1], 1)} %",
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


def negligible(templates: Templates, shown: Sequence[PlotFigure]) -> list[str]:
    """Names ("systematic, process") of the variations that no figure shows."""
    drawn = {name for figure in shown for name in figure.numbers}
    names = [f"{s}, {p}" for p, t in templates.processes.items() for s in t.variations]
    return [name for name in names if name not in drawn]
