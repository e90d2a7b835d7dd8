"""Several fits in one picture, what channels are made of, and how templates are interpolated."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
from matplotlib.patches import Patch

from difftune.errors import InputError, nearest
from difftune.histfactory import Model
from difftune.inference import FitResult, MinosErrors, Prediction
from difftune.report.given import checked
from difftune.report.panels import steps
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    GREY,
    INK,
    RED,
    SIGNALS,
    STACK,
    Label,
    PlotFigure,
    counting_scale,
    draw_label,
    new_figure,
    plain,
    set_ticks,
    signed,
    styled,
)


@checked
@styled
def fit_summary(
    fits: Mapping[str, FitResult | MinosErrors],
    parameter: str | None = None,
    *,
    statistics: Mapping[str, float] | None = None,
    nominal: float | None = 1.0,
    title: str = "",
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """One parameter in several fits, as of channels and of their combination.

    Args:
        fits: By name, from above to below: from `inference.fit`, or with asymmetric errors from
            `inference.minos`.
        parameter: Its name; by default the first fit's parameter of interest.
        statistics: Statistical uncertainty by name of the fit, drawn as the inner bar.
        nominal: Where a line is drawn; None for none.
        title: Of the parameter; by default its name.
        label: What stands above the axes.

    Raises:
        InputError: There is no fit, or one lacks the parameter.
    """
    if not fits:
        raise InputError("fit_summary needs at least one fit.")
    one = next(iter(fits.values()))
    first = one.fit if isinstance(one, MinosErrors) else one
    name = parameter or first.poi
    if name is None:
        raise InputError("The fits have no parameter of interest: name a parameter.")
    rows = []
    for fit in fits.values():
        best = fit.fit if isinstance(fit, MinosErrors) else fit
        value, sigma = best.parameter(name)
        up = down = sigma
        if isinstance(fit, MinosErrors) and name in fit.names:
            place = fit.names.index(name)
            value, up, down = fit.values[place], fit.up[place], -fit.down[place]
        rows.append((float(value), float(up), float(down)))
    numbers = np.array(rows)
    value, up, down = numbers.T
    figure = new_figure(7.0, 1.7 + 0.55 * len(rows))
    axes = set_ticks(figure.subplots())
    y = np.arange(len(rows))[::-1]
    low, high = float((value - down).min()), float((value + up).max())
    if nominal is not None:
        low, high = min(low, nominal), max(high, nominal)
        axes.axvline(nominal, color=GREY, linestyle="--", linewidth=1.1)
    span = high - low
    axes.errorbar(value, y, xerr=[down, up], color=INK, fmt="o", markersize=5, capsize=3, zorder=3)
    inner = np.array([(statistics or {}).get(key, np.nan) for key in fits])
    if np.isfinite(inner).any():
        axes.errorbar(
            value, y, xerr=np.nan_to_num(inner), color=RED, fmt="none", elinewidth=3.5, zorder=2
        )
    axes.set_xlim(low - 0.08 * span, high + 0.75 * span)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_yticks(y, [plain(key, 26) for key in fits])
    axes.tick_params(axis="y", which="both", left=False, right=False)
    axes.minorticks_off()
    for place, (center, plus, minus) in zip(y, rows, strict=True):
        digits = max(0, 1 - int(np.floor(np.log10(max(min(plus, minus), 1e-6)))))
        said = f"{center:.{digits}f}".replace("-", "−")
        said += f"  {signed(plus, digits)}  {signed(-minus, digits)}"
        axes.text(high + 0.12 * span, place, said, va="center", fontsize=11)
    axes.set_xlabel(plain(title or name, 40))
    draw_label(axes, label)
    figure.numbers = {
        "parameter": name,
        "names": list(fits),
        "values": value,
        "up": up,
        "down": down,
        "statistics": inner,
    }
    return figure


# Slices that are smaller are one.
_SMALL = 0.015


@checked
@styled
def composition(
    predictions: Mapping[str, Prediction],
    *,
    signal: tuple[str, ...] = (),
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Which samples each channel is made of, as pies.

    Args:
        predictions: From `inference.predictions`, before or after a fit.
        signal: Samples that are signal.
        label: What stands above the first pie, and titles and colours of the samples.

    Raises:
        InputError: There is no channel.
    """
    if not predictions:
        raise InputError("composition needs at least one channel.")
    names = list(dict.fromkeys(name for one in predictions.values() for name in one.names))
    total = {n: sum(max(p.of(n).total, 0.0) for p in predictions.values()) for n in names}
    names.sort(key=lambda n: -total[n])
    stack, reds = cycle(STACK), cycle(SIGNALS)
    colors = {n: label.colors.get(n) or next(reds if n in signal else stack) for n in names}
    columns = min(4, len(predictions))
    rows = -(-len(predictions) // columns)
    height = 3.2 * rows + 0.5 + 0.22 * -(-len(names) // 3)
    figure = new_figure(max(2.9 * columns, 4.6), height)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    used: list[str] = []
    for axes, (channel, prediction) in zip(grid.ravel(), predictions.items(), strict=False):
        shares = {n: max(prediction.of(n).total, 0.0) for n in names if n in prediction.names}
        whole = sum(shares.values())
        figure.numbers[channel] = {n: prediction.of(n).total for n in prediction.names}
        if not whole:
            continue
        large = {n: x for n, x in shares.items() if x >= _SMALL * whole}
        rest = whole - sum(large.values())
        used += [n for n in large if n not in used]
        values = [*large.values(), *([rest] if rest > 0 else [])]
        axes.pie(
            values,
            colors=[*(colors[n] for n in large), *([GREY] if rest > 0 else [])],
            startangle=90,
            counterclock=False,
            wedgeprops={"edgecolor": "white", "linewidth": 0.8},
            autopct=lambda part: f"{part:.0f} %" if part >= 8 else "",
            pctdistance=0.72,
            textprops={"fontsize": 9.5},
        )
        axes.set_title(label.titled(channel, 28), fontsize=11, y=-0.02, va="top")
    handles = [Patch(facecolor=colors[n], label=label.titled(n, 24)) for n in names if n in used]
    handles.append(Patch(facecolor=GREY, label=f"Smaller than {100 * _SMALL:g} %"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    draw_label(grid[0, 0], label, size=12.0)
    return figure


@checked
@styled
def morphing(
    model: Model,
    systematic: str,
    channel: str,
    *,
    sample: str | None = None,
    axis: str = "Bin",
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """How the templates of a systematic are interpolated: by bin, and their sum as it moves.

    Above are the yields of the bins with the systematic at -1, -½, 0, ½ and 1; below is the change
    of the sum of all bins between -2 and 2, with the templates as points.

    Args:
        model: The likelihood.
        systematic: Name of the nuisance parameter; all others are where they start.
        channel: Name of the channel.
        sample: Its name; by default all samples together.
        axis: Title of the upper horizontal axis.
        label: What stands above the axes, and titles.

    Raises:
        InputError: There is no parameter, channel or sample of that name.
    """
    structure = model.structure
    structure.index(systematic)
    for name, known in ((channel, structure.channels), (sample, structure.samples)):
        if name is not None and name not in known:
            raise InputError(f"The model has no {name!r}.{nearest(name, known)}")
    begin = int(sum(structure.bins[: structure.channels.index(channel)]))
    place = slice(begin, begin + structure.bins[structure.channels.index(channel)])
    chosen = slice(None) if sample is None else [structure.samples.index(sample)]

    def yields(value: float) -> np.ndarray:
        return np.asarray(model.expected_by_sample({systematic: value}))[chosen, place].sum(axis=0)

    values = np.linspace(-2.0, 2.0, 81)
    fine = np.stack([yields(value) for value in values])
    nominal = yields(0.0)
    edges = np.arange(len(nominal) + 1) + 0.5
    figure = new_figure(6.4, 6.2)
    above, below = figure.subplots(2, 1, height_ratios=[1.6, 1.0])
    for axes in (above, below):
        set_ticks(axes)
    shown = {
        -1.0: (BLUE, "-"),
        -0.5: (BLUE, ":"),
        0.0: (INK, "-"),
        0.5: (RED, ":"),
        1.0: (RED, "-"),
    }
    drawn = {value: yields(value) for value in shown}
    for value, (color, style) in shown.items():
        said = "Nominal" if value == 0 else f"{signed(value, 1)} " + r"$\sigma$"
        steps(above, edges, drawn[value], color=color, linestyle=style, linewidth=1.3, label=said)
    every = np.stack(list(drawn.values()))
    top = float(every.max())
    above.set_ylim(min(0.0, float(every.min())), 1.55 * top if top > 0 else 1.0)
    above.set_xlim(edges[0], edges[-1])
    above.set_xlabel(axis)
    counting_scale(above.yaxis, "Events", top)
    above.legend(loc="upper right", ncols=5, bbox_to_anchor=(1.0, 0.9), fontsize=9.5)
    what = "all samples" if sample is None else label.titled(sample, 20)
    said = f"{label.titled(systematic, 32)}: {label.titled(channel, 20)}, {what}"
    above.text(0.03, 0.96, said, transform=above.transAxes, va="top", fontsize=10)
    whole = float(nominal.sum())
    change = 100 * (fine.sum(axis=1) / whole - 1) if whole else np.zeros(len(values))
    below.plot(values, change, color=INK, label="Interpolated")
    ends = [100 * (float(drawn[v].sum()) / whole - 1) if whole else 0.0 for v in (-1.0, 1.0)]
    below.plot([-1.0, 1.0], ends, "o", color=RED, markersize=5, label="Templates")
    below.axhline(0, color=GREY, linewidth=0.9)
    below.set_xlim(-2, 2)
    spread = max(float(np.ptp(change)), 1e-6)
    below.set_ylim(change.min() - 0.1 * spread, change.max() + 0.4 * spread)
    below.set_xlabel(r"Nuisance parameter [$\sigma$]")
    below.set_ylabel("Change [%]")
    below.legend(loc="upper left", ncols=2)
    draw_label(above, label)
    figure.align_ylabels([above, below])
    figure.numbers = {
        "systematic": systematic,
        "channel": channel,
        "sample": sample,
        "values": values,
        "yields": fine,
    }
    return figure
