"""ROC curves of one or several networks."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from difftune.histograms import auc, roc_curve
from difftune.report.panels import legend_with_room, ratio_figure
from difftune.report.scales import free_top, log_scale
from difftune.report.style import (
    DEFAULT_LABEL,
    INK,
    Label,
    PlotFigure,
    colour_map,
    draw_label,
    new_figure,
    plain,
    set_ticks,
    styled,
)

POINTS = 400


@styled
def roc(
    scores: Mapping[str, Float[np.ndarray, " events"]],
    weight: Float[np.ndarray, " events"],
    signal: Bool[np.ndarray, " events"],
    *,
    reference: str | None = None,
    note: str = "",
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Background rejection over signal efficiency of several networks on the same events.

    Args:
        scores: Scores of each network, by its name.
        weight: Physics weights; negative ones count as they are.
        signal: True for signal.
        reference: Network that the ratio panel divides by; by default the last. With one network
            there is no ratio.
        note: Text in the upper left corner.
        label: What stands above the figure.
    """
    names = list(scores)
    reference = names[-1] if reference is None else reference
    if len(names) > 1:
        figure, main, below = ratio_figure(height=5.8)
    else:
        figure = new_figure()
        main = below = set_ticks(figure.subplots())
    colors = colour_map(names)
    efficiency = np.linspace(0.0, 1.0, POINTS + 1)[1:]
    rejections = {}
    figure.numbers = {"signal_efficiency": efficiency}
    for name in names:
        curve, area = roc_curve(scores[name], weight, signal), auc(scores[name], weight, signal)
        rejections[name] = _rejection(curve.signal, curve.background, efficiency)
        main.plot(
            efficiency,
            rejections[name],
            color=colors[name],
            label=f"{plain(name, 34)}: AUC = {area.value:.4f} ± {area.uncertainty:.4f}",
        )
        figure.numbers[name] = {
            "background_rejection": rejections[name],
            "auc": area.value,
            "auc_uncertainty": area.uncertainty,
        }
    main.plot(
        efficiency, 1 / efficiency, color=INK, linestyle=":", linewidth=1, label="No separation"
    )
    shown = np.concatenate([r[efficiency >= 0.03] for r in rejections.values()])
    shown = shown[np.isfinite(shown) & (shown > 0)]
    top = float(shown.max()) * 1.3 if shown.size else 10.0
    log_scale(main, 0.9, max(top, 3.0))
    main.set_xlim(0, 1)
    main.set_ylabel(r"Background rejection, 1 / $\varepsilon_{\mathrm{b}}$")
    below.set_xlabel(r"Signal efficiency, $\varepsilon_{\mathrm{s}}$")
    draw_label(main, label)
    if len(names) > 1:
        _ratios(below, efficiency, rejections, reference, colors)
        below.set_ylabel("Ratio", loc="center")
    legend_with_room(main, columns=1, note=note, top=max(top, 3.0), size=10.5)
    return figure


def _rejection(
    signal: Float[np.ndarray, " cuts"],
    background: Float[np.ndarray, " cuts"],
    efficiency: Float[np.ndarray, " points"],
) -> Float[np.ndarray, " points"]:
    """Rejection at given signal efficiencies; NaN where no background is left.

    With negative weights the signal efficiency may step back; the loosest cut of an efficiency
    counts then.
    """
    reached = np.maximum.accumulate(signal)
    left = np.interp(efficiency, reached, background)
    return np.divide(1.0, left, out=np.full_like(left, np.nan), where=left > 0)


def _ratios(
    below: Axes,
    efficiency: Float[np.ndarray, " points"],
    rejections: Mapping[str, Float[np.ndarray, " points"]],
    reference: str,
    colors: Mapping[str, str],
) -> None:
    """Draws each rejection over that of the reference."""
    shown = [np.ones(1)]
    for name, rejection in rejections.items():
        ratio = rejection / rejections[reference]
        below.plot(efficiency, ratio, color=colors[name], linewidth=1.3)
        shown.append(ratio[np.isfinite(ratio) & (efficiency > 0.1)])
    low, high = np.min(np.concatenate(shown)), np.max(np.concatenate(shown))
    air = 0.12 * max(high - low, 0.05)
    below.set_ylim(max(low - air, 0.0), min(high + air, 5.0))
    below.yaxis.set_major_locator(MaxNLocator(4))
    free_top(below)
