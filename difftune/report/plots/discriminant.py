"""What a score parts: its distributions in training and test events, and ROC curves."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Num
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from difftune.histograms import Histogram, auc, histogram, roc_curve, weighted_ks
from difftune.report.given import checked
from difftune.report.panels import (
    band,
    divided,
    legend_with_room,
    points,
    ratio_figure,
    ratio_range,
    steps,
)
from difftune.report.style import (
    BACKGROUND,
    DEFAULT_LABEL,
    INK,
    SIGNAL,
    Label,
    PlotFigure,
    colour_map,
    draw_label,
    free_top,
    log_scale,
    new_figure,
    plain,
    set_ticks,
    styled,
)


@checked
@styled
def score_distributions(
    train_score: Float[np.ndarray, " train"],
    train_weight: Float[np.ndarray, " train"],
    train_signal: Bool[np.ndarray, " train"],
    test_score: Float[np.ndarray, " test"],
    test_weight: Float[np.ndarray, " test"],
    test_signal: Bool[np.ndarray, " test"],
    *,
    edges: Float[np.ndarray, " edges"] | None = None,
    log: bool = False,
    names: tuple[str, str] = ("Signal", "Background"),
    samples: tuple[str, str] = ("training", "test"),
    axis: str = "Network score",
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Normalised score distributions: training as areas, test as points, their ratio below.

    The legend gives the weighted Kolmogorov-Smirnov p-value of each class, with effective numbers
    of events (`difftune.histograms.compare.weighted_ks`). Uncertainties are statistical.

    Args:
        train_score: Scores of the training events.
        train_weight: Their physics weights; may be negative.
        train_signal: True for signal.
        test_score: Scores of the test events.
        test_weight: Their physics weights.
        test_signal: True for signal.
        edges: Bin edges; by default 30 equal bins over the scores.
        log: Logarithmic vertical axis.
        names: What the two classes are called.
        samples: What the two samples are called.
        axis: Title of the horizontal axis.
        label: What stands above the figure.
    """
    edges = score_edges(train_score, test_score) if edges is None else np.asarray(edges, float)
    widths, centers = np.diff(edges), (edges[:-1] + edges[1:]) / 2
    figure, main, below = ratio_figure()
    figure.numbers = {"edges": edges}
    ratios, bands, tops, positive = [], [], [], []
    for name, color, hatch, is_signal in (
        (names[0], SIGNAL, "//////", True),
        (names[1], BACKGROUND, None, False),
    ):
        in_train, in_test = train_signal == is_signal, test_signal == is_signal
        train = histogram(train_score[in_train], train_weight[in_train], edges)
        test = histogram(test_score[in_test], test_weight[in_test], edges)
        train_y, train_error = _density(train, widths)
        test_y, test_error = _density(test, widths)
        ks = _pvalue(
            train_score[in_train], train_weight[in_train], test_score[in_test], test_weight[in_test]
        )
        band(
            main,
            edges,
            np.zeros_like(train_y),
            train_y,
            color=color,
            hatch=hatch,
            zorder=1.5,
            label=f"{name}, {samples[0]}",
        )
        steps(main, edges, train_y, color=color, linewidth=1.3)
        points(
            main,
            centers,
            test_y,
            test_error,
            color=color,
            label=f"{name}, {samples[1]} ({_ks_text(ks)})",
        )
        ratio, error = divided(test_y, train_y), divided(test_error, train_y)
        relative = np.nan_to_num(divided(train_error, train_y))
        band(below, edges, 1 - relative, 1 + relative, color=color, hatch=None, alpha=0.2)
        points(below, centers, ratio, error, color=color)
        ratios.append(ratio)
        bands += [1 + np.nan_to_num(error) * 0.7]
        tops += [np.max(train_y, initial=0.0), np.max(test_y + test_error, initial=0.0)]
        positive.append(np.concatenate([train_y[train_y > 0], test_y[test_y > 0]]))
        key = "signal" if is_signal else "background"
        figure.numbers[key] = {"train": train.to_dict(), "test": test.to_dict(), "ks_pvalue": ks}
    top = max([*tops, 1e-12])
    low = min((float(p.min()) for p in positive if p.size), default=top / 10)
    if log:
        log_scale(main, max(low / 2, top * 1e-6), top)
    else:
        main.set_ylim(0, top)
    main.set_xlim(edges[0], edges[-1])
    main.set_ylabel("Events / bin width, normalised")
    below.set_ylabel(f"{samples[1]} / {samples[0]}".capitalize(), loc="center")
    below.set_xlabel(axis)
    ratio_range(below, centers, ratios, colors=[SIGNAL, BACKGROUND], covered=bands)
    draw_label(main, label)
    legend_with_room(main, columns=1, top=top * (1.5 if log else 1.04), size=10.5)
    return figure


def score_edges(*scores: Num[np.ndarray, " _"], bins: int = 30) -> Float[np.ndarray, " edges"]:
    """Equal bins from 0 to 1 if all scores lie there, otherwise over the range of the scores."""
    values = np.concatenate([np.asarray(s, np.float64) for s in scores])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    elif low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _density(
    h: Histogram, widths: Float[np.ndarray, " bins"]
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Histogram and uncertainty, normalised to unit area; zeros if it cannot be."""
    total = float(h.sumw.sum())
    scale = 1 / (total * widths) if total > 0 else np.zeros_like(widths)
    return h.sumw * scale, np.sqrt(h.sumw2) * scale


def _pvalue(
    x1: Float[np.ndarray, " events1"],
    w1: Float[np.ndarray, " events1"],
    x2: Float[np.ndarray, " events2"],
    w2: Float[np.ndarray, " events2"],
) -> float | None:
    """The p-value of the comparison, None where a sample has no distribution."""
    if not len(x1) or not len(x2) or not np.sum(w1) > 0 or not np.sum(w2) > 0:
        return None
    return weighted_ks(x1, w1, x2, w2).pvalue


def _ks_text(pvalue: float | None) -> str:
    if pvalue is None:
        return "no KS"
    if pvalue >= 0.005:
        return f"KS $p$ = {pvalue:.2f}"
    if pvalue < 1e-30:
        return "KS $p$ < $10^{-30}$"
    digit, power = f"{pvalue:.0e}".split("e")
    return f"KS $p$ = ${digit}\\times 10^{{{int(power)}}}$"


POINTS = 400


@checked
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
