"""Weighted samples side by side: Kolmogorov-Smirnov, chi-square, separation, correlation, ROC.

What a training computes on a device stands beside what is computed on the host.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Num

from difftune.errors import InputError
from difftune.histograms.fill import Histogram
from difftune.later import Array, jax, jnp


class KolmogorovSmirnov(NamedTuple):
    """Result of a two-sample Kolmogorov-Smirnov test.

    Attributes:
        statistic: Largest distance of the two cumulative distributions.
        pvalue: Probability of a larger distance if both samples have one distribution.
        effective: Effective number of events that the p-value is for.
    """

    statistic: float
    pvalue: float
    effective: float


class Chi2(NamedTuple):
    """Result of a chi-square comparison.

    Attributes:
        statistic: The chi-square.
        ndof: Its degrees of freedom.
        pvalue: Probability of a larger chi-square if the histograms agree; 1 without any degree
            of freedom.
    """

    statistic: float
    ndof: int
    pvalue: float


def effective_count(weight: Num[np.ndarray | Array, " events"]) -> float:
    """Number of unweighted events of the same relative precision, `(sum w)**2 / sum w**2`."""
    weight = np.asarray(weight, np.float64)
    squares = float(np.sum(weight**2))
    return float(np.sum(weight)) ** 2 / squares if squares > 0 else 0.0


def weighted_ks(
    x1: Num[np.ndarray | Array, " events1"],
    w1: Num[np.ndarray | Array, " events1"],
    x2: Num[np.ndarray | Array, " events2"],
    w2: Num[np.ndarray | Array, " events2"],
) -> KolmogorovSmirnov:
    """Two-sample Kolmogorov-Smirnov test of weighted events.

    The distributions are normalised, so only shapes are compared. The p-value is that of scipy's
    `ks_2samp(method="asymp")` with the effective numbers of events `(sum w)**2 / sum w**2` for the
    numbers of events; for unweighted events it is exactly scipy's.

    Args:
        x1: Values of the first sample.
        w1: Its weights; may be negative as long as their sum is not zero.
        x2: Values of the second sample.
        w2: Its weights.

    Raises:
        InputError: A sample is empty or its weights add up to zero.
    """
    first, second = _Sample("1", x1, w1), _Sample("2", x2, w2)
    grid = np.concatenate([first.x, second.x])
    distance = float(np.max(np.abs(first.cdf(grid) - second.cdf(grid))))
    n1, n2 = first.effective, second.effective
    effective = n1 * n2 / (n1 + n2)
    # kstwo has no sense below one event; a distance above 1 (negative weights) has p-value 0.
    from scipy.stats import kstwo  # takes a while to import

    pvalue = float(kstwo.sf(min(distance, 1.0), max(round(effective), 1)))
    return KolmogorovSmirnov(distance, min(max(pvalue, 0.0), 1.0), effective)


class _Sample:
    """A sample sorted by value, with its normalised cumulative distribution."""

    def __init__(
        self,
        name: str,
        x: Num[np.ndarray | Array, " events"],
        w: Num[np.ndarray | Array, " events"],
    ):
        values, weight = np.asarray(x, np.float64), np.asarray(w, np.float64)
        total = float(np.sum(weight))
        if len(values) == 0 or total == 0:
            raise InputError(
                f"weighted_ks(x{name}, w{name}): {len(values)} events with a sum of weights of "
                f"{total:g}; a distribution needs events whose weights do not cancel."
            )
        order = np.argsort(values, kind="stable")
        self.x = values[order]
        self.sums = np.concatenate([[0.0], np.cumsum(weight[order])]) / total
        self.effective = effective_count(weight)

    def cdf(self, at: Num[np.ndarray, " points"]) -> Num[np.ndarray, " points"]:
        return self.sums[np.searchsorted(self.x, at, side="right")]


def ks_p_value(
    x1: Float[Array, " events1"],
    w1: Float[Array, " events1"],
    x2: Float[Array, " events2"],
    w2: Float[Array, " events2"],
) -> Float[Array, ""]:
    """The p-value of `weighted_ks` on a device, by the series of the limit of many events.

    Asymptotic, with the effective numbers of events `(sum w)² / sum w²` and Stephens' correction
    for small ones (J. R. Stat. Soc. B 32 (1970) 115).

    Args:
        x1: Values of the first sample.
        w1: Its weights.
        x2: Values of the second sample.
        w2: Its weights.
    """
    x = jnp.concatenate([x1, x2])
    order = jnp.argsort(x)
    difference = jnp.cumsum(jnp.concatenate([_shares(w1), -_shares(w2)])[order])
    last = jnp.concatenate([jnp.diff(x[order]) != 0, jnp.ones(1, bool)])
    distance = jnp.max(jnp.where(last, jnp.abs(difference), 0.0))
    first, second = _effective(w1), _effective(w2)
    root = jnp.sqrt(first * second / jnp.maximum(first + second, 1e-30))
    scaled = (root + 0.12 + 0.11 / jnp.maximum(root, 1e-6)) * distance
    k = jnp.arange(1, 101, dtype=x.dtype)
    terms = (-1.0) ** (k - 1) * jnp.exp(-2.0 * (k * scaled) ** 2)
    # The series does not converge where the p-value is 1 anyway.
    return jnp.where(scaled < 0.3, 1.0, jnp.clip(2.0 * jnp.sum(terms), 0.0, 1.0))


def chi2(first: Histogram, second: Histogram, *, shape: bool = False) -> Chi2:
    """Chi-square of two weighted histograms, with the statistical uncertainties of both.

    Bins in which both variances are zero say nothing and are left out.

    Args:
        first: One histogram.
        second: The other, with the same edges.
        shape: Compare the normalised histograms (arXiv physics/0605123, weighted against
            weighted); otherwise the yields count too.

    Raises:
        InputError: The edges differ.
    """
    if not np.array_equal(first.edges, second.edges):
        raise InputError("chi2() of histograms with different edges: fill both with the same ones.")
    scale1, scale2 = 1.0, 1.0
    if shape:
        scale1, scale2 = float(np.sum(second.sumw)), float(np.sum(first.sumw))
        if scale1 == 0 or scale2 == 0:
            raise InputError("chi2(shape=True) of a histogram whose sum of weights is zero.")
    variance = scale1**2 * first.sumw2 + scale2**2 * second.sumw2
    used = variance > 0
    difference = (scale1 * first.sumw - scale2 * second.sumw)[used]
    statistic = float(np.sum(difference**2 / variance[used]))
    ndof = max(int(np.sum(used)) - int(shape), 0)
    pvalue = float(scipy.special.chdtrc(ndof, statistic)) if ndof else 1.0
    return Chi2(statistic, ndof, pvalue)


def chi2_p_value(
    first: tuple[Float[Array, " events1"], Float[Array, " events1"]],
    second: tuple[Float[Array, " events2"], Float[Array, " events2"]],
    *,
    bins: int,
) -> Float[Array, ""]:
    """The p-value of `chi2(shape=True)` on a device, in equidistant bins on [0, 1].

    Args:
        first: Values and weights of one sample.
        second: The same of the other.
        bins: Number of bins.
    """

    def filled(x: Array, weight: Array) -> tuple[Array, Array]:
        """Shares and their variances."""
        share = _shares(weight)
        index = jnp.clip((x * bins).astype(int), 0, bins - 1)
        empty = jnp.zeros(bins, x.dtype)
        return empty.at[index].add(share), empty.at[index].add(share**2)

    one, other = filled(*first), filled(*second)
    variance = one[1] + other[1]
    used = variance > 0
    difference = jnp.where(used, one[0] - other[0], 0.0)
    statistic = jnp.sum(difference**2 / jnp.where(used, variance, 1.0))
    degrees = jnp.sum(used) - 1
    p = jax.scipy.special.gammaincc(jnp.maximum(degrees, 1) / 2.0, statistic / 2.0)
    return jnp.where(degrees > 0, p, 1.0)


def _shares(weight: Float[Array, " events"]) -> Float[Array, " events"]:
    total = jnp.sum(weight)
    return weight / jnp.where(total == 0.0, 1.0, total)


def _effective(weight: Float[Array, " events"]) -> Float[Array, ""]:
    squares = jnp.sum(weight**2)
    return jnp.sum(weight) ** 2 / jnp.where(squares == 0.0, 1.0, squares)


def separation(signal: Float[np.ndarray, " bins"], background: Float[np.ndarray, " bins"]) -> float:
    """TMVA's separation of two normalised shapes, `sum((s - b)**2 / (s + b)) / 2`: 0 to 1."""
    both = signal + background
    difference = (signal - background) ** 2
    return 0.5 * float(np.sum(np.divide(difference, both, out=np.zeros_like(both), where=both > 0)))


def separation_power(
    signal: Float[Array, " bins"], background: Float[Array, " bins"]
) -> Float[Array, ""]:
    """Half of the triangular discrimination, `1/2 sum_i (s_i - b_i)^2 / (s_i + b_i)`.

    Both are normalised first. It is 0 where the two have the same shape and 1 where they do not
    overlap. A bin whose sum of weights is negative counts as empty, so that the result stays in
    [0, 1]; if all bins of a class are empty it is 0, in value and gradient.

    Args:
        signal: Sums of weights in each bin.
        background: The same of the background.
    """
    least = float(jnp.finfo(signal.dtype).tiny) ** 0.4
    s, b = (_normalised(x, least) for x in (signal, background))
    filled = ~(s + b <= least)
    difference = jnp.where(filled, s - b, 0.0)
    separation = 0.5 * jnp.sum(difference**2 / jnp.where(filled, s + b, 1.0))
    # Without one of the classes there is nothing to separate.
    return jnp.where((jnp.sum(s) == 0.0) | (jnp.sum(b) == 0.0), 0.0, separation)


def _normalised(x: Float[Array, " bins"], least: float) -> Float[Array, " bins"]:
    """Positive parts as shares of their sum; zeros where that is not above `least`."""
    positive = jnp.where(x <= 0.0, 0.0, x)
    total = jnp.sum(positive)
    empty = total <= least
    return jnp.where(empty, 0.0, positive) / jnp.where(empty, 1.0, total)


def weighted_correlation(
    values: Float[np.ndarray, "events variables"], weight: Float[np.ndarray, " events"]
) -> Float[np.ndarray, "variables variables"]:
    """Linear correlation of weighted columns; each pair from the events where both are finite.

    Args:
        values: Columns; NaN is missing.
        weight: Weights; may be negative.

    Returns:
        Correlations; NaN where a variance is not positive (constant column, cancelling weights).
    """
    x = np.asarray(values, np.float64)
    w = np.asarray(weight, np.float64)[:, None]
    present = np.isfinite(x).astype(np.float64)
    # Shifted columns: the differences of moments below would lose digits far from zero.
    count = np.maximum(present.sum(axis=0), 1)
    x = np.where(present > 0, x - np.nansum(np.where(present > 0, x, 0.0), axis=0) / count, 0.0)
    total = present.T @ (w * present)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (w * x).T @ present / total  # of row's variable where column's is present
        square = (w * x**2).T @ present / total - mean**2
        product = x.T @ (w * x) / total - mean * mean.T
        scale = np.sqrt(np.where(square > 1e-14, square, np.nan))
        return np.clip(product / (scale * scale.T), -1.0, 1.0)


class RocCurve(NamedTuple):
    """Efficiencies of the cuts `score >= threshold`, from the tightest to the loosest.

    Attributes:
        threshold: The cuts, falling; the first is infinite.
        signal: Efficiency of each for signal, from 0 to 1.
        background: Efficiency of each for background, from 0 to 1.
    """

    threshold: Float[np.ndarray, " cuts"]
    signal: Float[np.ndarray, " cuts"]
    background: Float[np.ndarray, " cuts"]


class Auc(NamedTuple):
    """Area under a ROC curve and its statistical uncertainty."""

    value: float
    uncertainty: float


def roc_curve(
    score: Num[np.ndarray | Array, " events"],
    weight: Num[np.ndarray | Array, " events"],
    signal: Bool[np.ndarray | Array, " events"],
) -> RocCurve:
    """ROC curve of weighted events.

    Negative weights are counted as they are, so that the efficiencies are unbiased estimates; a
    curve may then step back, and even leave [0, 1].

    Args:
        score: Score of each event, larger for signal.
        weight: Physics weights; may be negative.
        signal: True for signal, false for background.

    Returns:
        One point for each distinct score, and the origin.

    Raises:
        InputError: A class has no events or a sum of weights that is not positive.
    """
    s, w, is_signal = _checked(score, weight, signal)
    order = np.argsort(-s, kind="stable")
    s, w, is_signal = s[order], w[order], is_signal[order]
    last = np.append(np.flatnonzero(np.diff(s)), len(s) - 1)
    efficiency = [
        np.concatenate([[0.0], np.cumsum(np.where(mask, w, 0.0))[last]]) / np.sum(w[mask])
        for mask in (is_signal, ~is_signal)
    ]
    return RocCurve(np.concatenate([[np.inf], s[last]]), *efficiency)


def auc(
    score: Num[np.ndarray | Array, " events"],
    weight: Num[np.ndarray | Array, " events"],
    signal: Bool[np.ndarray | Array, " events"],
) -> Auc:
    """Area under the ROC curve of weighted events.

    The area is the weighted fraction of (signal, background) pairs that the score orders rightly,
    ties counted half, which is well defined with negative weights too. The uncertainty is that of
    DeLong et al. (Biometrics 44 (1988) 837), with weights.

    Args:
        score: Score of each event, larger for signal.
        weight: Physics weights; may be negative.
        signal: True for signal, false for background.

    Raises:
        InputError: A class has no events or a sum of weights that is not positive.
    """
    area, influence = auc_influence(*_checked(score, weight, signal))
    return Auc(area, float(np.sqrt(np.sum(np.square(influence)))))


def auc_influence(
    score: Float[np.ndarray, " events"],
    weight: Float[np.ndarray, " events"],
    signal: Bool[np.ndarray, " events"],
) -> tuple[float, Float[np.ndarray, " events"]]:
    """The area of `auc`, and the influence of each event on it.

    The root of the sum of squares of the influences is the uncertainty of the area; that of the
    differences of two influences is the uncertainty of the difference of two scores on the same
    events.

    Args:
        score: Score of each event, larger for signal.
        weight: Physics weights; may be negative.
        signal: True for signal, false for background.
    """
    background = ~signal
    below = _fraction_below(score[signal], score[background], weight[background])
    above = 1 - _fraction_below(score[background], score[signal], weight[signal])
    share = weight[signal] / np.sum(weight[signal])
    area = float(np.sum(share * below))
    influence = np.zeros(len(score))
    influence[signal] = share * (below - area)
    influence[background] = weight[background] / np.sum(weight[background]) * (above - area)
    return area, influence


def _fraction_below(
    at: Float[np.ndarray, " points"],
    x: Float[np.ndarray, " events"],
    w: Float[np.ndarray, " events"],
) -> Float[np.ndarray, " points"]:
    """Weighted fraction of `x` that lies below each point; equal values count half."""
    order = np.argsort(x, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(w[order])]) / np.sum(w)
    left, right = (np.searchsorted(x[order], at, side=side) for side in ("left", "right"))
    return (sums[left] + sums[right]) / 2


def _checked(
    score: Num[np.ndarray | Array, " events"],
    weight: Num[np.ndarray | Array, " events"],
    signal: Bool[np.ndarray | Array, " events"],
) -> tuple[Float[np.ndarray, " events"], Float[np.ndarray, " events"], Bool[np.ndarray, " events"]]:
    """The three columns as numpy arrays, checked."""
    s, w = np.asarray(score, np.float64), np.asarray(weight, np.float64)
    is_signal = np.asarray(signal, bool)
    if np.isnan(s).any():
        raise InputError(f"{np.isnan(s).sum()} of {len(s)} scores are NaN: they have no order.")
    for name, mask in (("signal", is_signal), ("background", ~is_signal)):
        total = float(np.sum(w[mask]))
        if not total > 0:
            raise InputError(
                f"A ROC curve needs {name} events with a positive sum of weights, got "
                f"{int(mask.sum())} events with {total:g}."
            )
    return s, w, is_signal
