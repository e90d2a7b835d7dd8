"""Score distributions of training and test events, as TMVA draws them."""

import numpy as np
from jaxtyping import Bool, Float, Num

from difftune.histograms import Histogram, histogram, weighted_ks
from difftune.report.draw import band, divided, points, steps
from difftune.report.panels import legend_with_room, ratio_figure, ratio_range
from difftune.report.scales import log_scale
from difftune.report.style import (
    BACKGROUND,
    DEFAULT_LABEL,
    SIGNAL,
    Label,
    PlotFigure,
    draw_label,
    styled,
)


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
