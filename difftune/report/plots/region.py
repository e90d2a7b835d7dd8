"""A region: the processes stacked, data or Asimov data over it, their ratio."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from difftune.histograms import Histogram, Template, Templates
from difftune.inference import Prediction
from difftune.report.given import checked
from difftune.report.panels import (
    band,
    dashed,
    divided,
    legend_with_room,
    points,
    poisson_errors,
    ratio_range,
    stacked_panels,
    steps,
)
from difftune.report.style import (
    DEFAULT_LABEL,
    INK,
    SIGNAL,
    SIGNALS,
    STACK,
    Label,
    PlotFigure,
    counting_scale,
    draw_label,
    log_scale,
    styled,
)
from difftune.report.uncertainty import Normalisation, Uncertainty, uncertainty

# Hatches in near black hide the colours below them.
DARK = "#4d4d4d"
Bins = Float[np.ndarray, " bins"]


@checked
@styled
def region(
    templates: Templates,
    *,
    normalisation: Sequence[Normalisation] = (),
    prediction: Prediction | None = None,
    asimov: Bins | None = None,
    log: bool | None = None,
    equal_widths: bool | None = None,
    signal_scale: float | None = None,
    axis: str = "Network score",
    note: str | None = None,
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Stack of the processes with their uncertainty, and data or Asimov data with Poisson errors.

    The backgrounds are stacked from the smallest to the largest with the signal on top, which is
    drawn once more as a line, scaled. The band is the uncertainty before the fit: simulation
    statistics and systematics in quadrature. Asimov data are the nominal sum of signal and
    background. Below, data are divided by the expected sum; and where there are signal and
    background, a third panel has S / √B of each bin.

    Args:
        templates: Templates of the channel.
        normalisation: Uncertainties of yields that no template holds.
        prediction: Yields and their uncertainty after a fit, in the place of those before it.
        asimov: Asimov data, where they are not the nominal sum.
        log: Logarithmic vertical axis; by default where the bins' yields span much.
        equal_widths: Draw all bins equally wide, named by their edges; by default where bins are
            too narrow to be seen.
        signal_scale: Factor of the signal's line; by default a power of ten that makes it visible.
        axis: Title of the horizontal axis.
        note: Text in the upper left corner; by default the channel's name and "Pre-fit", or
            "Post-fit".
        label: What stands above the figure.
    """
    nominal = templates.total().sumw if asimov is None else asimov
    if prediction is not None:
        templates = _after_fit(templates, prediction)
    signals, backgrounds = templates.names("signal"), templates.names("background")
    everything = backgrounds + signals
    true_edges = np.asarray(templates.edges, float)
    if equal_widths is None:
        equal_widths = bool(np.diff(true_edges).min() < 0.02 * np.ptp(true_edges))
    edges = np.arange(float(len(true_edges))) if equal_widths else true_edges
    centers = (edges[:-1] + edges[1:]) / 2

    signal, background = templates.total("signal").sumw, templates.total("background").sumw
    total = signal + background
    if prediction is None:
        error = uncertainty(templates, everything, normalisation=normalisation)
    else:
        # A fit that does not determine all parameters has no uncertainties.
        known = np.nan_to_num(prediction.of(*everything).uncertainties)
        error = Uncertainty(np.zeros_like(total), known, known)
    data = nominal if templates.data is None else templates.data.sumw
    data_errors = poisson_errors(data)
    top = float(np.max([*(total + error.total_up), *(data + data_errors[1]), 1e-3]))
    low = float(np.min(total[total > 0], initial=top))
    log = top > 50 * low if log is None else log

    both = bool(signals and backgrounds)
    figure, (main, below, *third) = stacked_panels(
        1.0, 0.3, *([0.22] if both else []), width=6.8, height=7.0 if both else 6.4
    )
    dashed(below, 1.0)
    floor = max(min(low / 20, 0.5), top * 1e-7) if log else 0.0
    if log:
        log_scale(main, floor, top)
        main.set_ylabel("Events / bin")
    else:
        main.set_ylim(min(0.0, float(total.min()) * 1.1), top)
        counting_scale(main.yaxis, "Events / bin", top)
    stack = _draw_stack(main, edges, templates, backgrounds, signals, floor, label)
    steps(main, edges, np.maximum(total, floor) if log else total, color=INK, linewidth=0.9)
    hatched = band(
        main, edges, np.maximum(total - error.total_down, floor), total + error.total_up, color=DARK
    )
    shown = np.where((data > 0) | (not log), data, np.nan)  # no zeros on a log axis
    dots = points(main, centers, shown, data_errors)
    entries = [
        (dots, "Asimov data" if templates.data is None else "Data"),
        *reversed(stack),
        (hatched, "Uncertainty"),
    ]
    if both and signal.max() > 0:
        scale = signal_scale or _visible_scale(float(signal.max()), top, log=log)
        line = steps(
            main,
            edges,
            np.maximum(signal * scale, floor),
            color=SIGNAL,
            linewidth=1.8,
            linestyle=(0, (5.0, 1.5)),
        )
        name = label.titled(signals[0], 18) if len(signals) == 1 else "Signal"
        entries.append((line, f"{name} only" if scale == 1 else f"{name} × {scale:g}"))

    main.set_xlim(edges[0], edges[-1])
    _draw_ratio(below, edges, total, data, data_errors, error)
    below.set_ylabel("Data / sum" if templates.data is not None else "Asimov / sum", loc="center")
    for axes in third:
        significance = divided(signal, np.sqrt(np.maximum(background, 0.0)))
        _draw_significance(axes, edges, significance)
        figure.align_ylabels([main, below, axes])
    lowest = third[0] if third else below
    lowest.set_xlabel(axis)
    if equal_widths:
        _name_edges([main, below, *third], true_edges)
    draw_label(main, label)
    fitted = "Pre-fit" if prediction is None else "Post-fit"
    note = f"{label.titled(templates.channel, 26)}\n{fitted}" if note is None else note
    handles, labels = zip(*entries, strict=True)
    legend_with_room(main, handles, labels, note=note, top=top * (1.6 if log else 1.08), size=10.5)
    figure.numbers = {
        "channel": templates.channel,
        "edges": true_edges,
        "processes": {p: templates.processes[p].nominal.to_dict() for p in everything},
        "total": total,
        "background": background,
        "signal": signal,
        "data": data,
        "data_is_asimov": templates.data is None,
        "statistical": error.statistical,
        "systematic_up": error.up,
        "systematic_down": error.down,
    }
    return figure


def _after_fit(templates: Templates, prediction: Prediction) -> Templates:
    """The templates with the yields after a fit; empty bins, which the model floors, stay empty."""
    none = np.zeros(len(templates.edges) - 1)
    processes = {}
    for name, before in templates.processes.items():
        yields = np.where(before.nominal.sumw > 0, prediction.of(name).values, 0.0)
        processes[name] = Template(Histogram(templates.edges, yields, none))
    return replace(templates, processes=processes)


def _sum(templates: Templates, processes: Sequence[str]) -> Bins:
    """Sum of nominal yields."""
    bins = np.zeros(len(templates.edges) - 1)
    return sum((templates.processes[p].nominal.sumw for p in processes), bins)


def _draw_stack(
    axes: Axes,
    edges: Float[np.ndarray, " edges"],
    templates: Templates,
    backgrounds: Sequence[str],
    signals: Sequence[str],
    floor: float,
    label: Label,
) -> list[tuple[Artist, str]]:
    """Draws the filled stack; the smallest of very many backgrounds become one, "Other"."""
    ordered = sorted(backgrounds, key=lambda p: float(templates.processes[p].nominal.sumw.sum()))
    surplus = len(ordered) - len(STACK)
    groups = [(label.titled(p, 18), [p]) for p in ordered]
    if surplus > 0:
        groups = [("Other", ordered[: surplus + 1]), *groups[surplus + 1 :]]
    colors = [STACK[i % len(STACK)] for i in range(len(groups))][::-1]
    groups += [(label.titled(p, 18), [p]) for p in signals]
    colors += [SIGNALS[i % len(SIGNALS)] for i in range(len(signals))]
    own = [label.colors.get(members[0]) if len(members) == 1 else None for _, members in groups]
    colors = [chosen or color for chosen, color in zip(own, colors, strict=True)]
    base = np.zeros(len(edges) - 1)
    entries: list[tuple[Artist, str]] = []
    for (name, members), color in zip(groups, colors, strict=True):
        upper = base + _sum(templates, members)
        artist = axes.stairs(
            np.maximum(upper, floor) if floor else upper,
            edges,
            fill=True,
            color=color,
            baseline=np.maximum(base, floor) if floor else base,
            zorder=1.5,
            linewidth=0,
        )
        axes.stairs(
            np.maximum(upper, floor) if floor else upper,
            edges,
            color=INK,
            baseline=None,
            linewidth=0.5,
            zorder=1.6,
        )
        entries.append((artist, name))
        base = upper
    return entries


def _draw_ratio(
    axes: Axes,
    edges: Float[np.ndarray, " edges"],
    total: Bins,
    data: Bins,
    data_errors: Float[np.ndarray, "2 bins"],
    error: Uncertainty,
) -> None:
    """Data and the band over the expected sum."""
    centers = (edges[:-1] + edges[1:]) / 2
    data_ratio = divided(data, total)
    spread = np.stack([divided(data_errors[i], total) for i in range(2)])
    down, up = divided(error.total_down, total), divided(error.total_up, total)
    band(axes, edges, 1 - np.nan_to_num(down), 1 + np.nan_to_num(up), color=DARK)
    points(axes, centers, data_ratio, spread)
    covered = [1 + np.minimum(spread[1], 1) * 0.7, 1 + np.minimum(up, 1)]
    ratio_range(axes, centers, [data_ratio], colors=[INK], covered=covered)


def _draw_significance(axes: Axes, edges: Float[np.ndarray, " edges"], significance: Bins) -> None:
    """S / √B of each bin; none where there is no background."""
    known = np.nan_to_num(significance)
    axes.stairs(known, edges, fill=True, color=SIGNAL, alpha=0.25, linewidth=0)
    steps(axes, edges, known, color=SIGNAL, linewidth=1.2)
    low, high = min(float(known.min(initial=0.0)), 0.0), float(known.max(initial=0.0))
    axes.set_ylim(1.25 * low, 1.25 * high or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(3, prune="upper"))
    axes.set_ylabel(r"S / $\sqrt{\mathrm{B}}$", loc="center")


def _visible_scale(largest: float, top: float, *, log: bool) -> float:
    """A power of ten that lifts the signal to the height of the stack; none on a log axis."""
    if log or largest > 0.1 * top:
        return 1.0
    return float(10.0 ** np.floor(np.log10(top / largest)))


def _name_edges(panels: Sequence[Axes], edges: Float[np.ndarray, " edges"]) -> None:
    """Writes the true edges at the borders of equally wide bins, as many as there is room for."""
    every = -(-(len(edges) - 1) // 10)
    at = np.arange(0, len(edges), every)
    digits = 2
    while digits < 5 and len({f"{edges[i]:.{digits}f}" for i in at}) < len(at):
        digits += 1
    names = [f"{edges[i]:.{digits}f}" for i in at]
    panels[-1].set_xticks(at, names, fontsize=9 if digits > 2 else 10)
    for axes in panels:
        axes.xaxis.set_minor_locator(FixedLocator(range(len(edges))))
