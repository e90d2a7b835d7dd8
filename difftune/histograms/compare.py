"""Do two weighted samples, or two histograms, follow the same distribution?"""

from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Num
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import kstwo

from difftune.errors import InputError
from difftune.histograms.hard import Histogram


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


def effective_count(weight: Num[np.ndarray | Array, "events"]) -> float:
    """Number of unweighted events of the same relative precision, `(sum w)**2 / sum w**2`."""
    weight = np.asarray(weight, np.float64)
    squares = float(np.sum(weight**2))
    return float(np.sum(weight)) ** 2 / squares if squares > 0 else 0.0


def weighted_ks(
    x1: Num[np.ndarray | Array, "events1"],
    w1: Num[np.ndarray | Array, "events1"],
    x2: Num[np.ndarray | Array, "events2"],
    w2: Num[np.ndarray | Array, "events2"],
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
    pvalue = float(kstwo.sf(min(distance, 1.0), max(round(effective), 1)))
    return KolmogorovSmirnov(distance, min(max(pvalue, 0.0), 1.0), effective)


class _Sample:
    """A sample sorted by value, with its normalised cumulative distribution."""

    def __init__(
        self,
        name: str,
        x: Num[np.ndarray | Array, "events"],
        w: Num[np.ndarray | Array, "events"],
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

    def cdf(self, at: Num[np.ndarray, "points"]) -> Num[np.ndarray, "points"]:
        return self.sums[np.searchsorted(self.x, at, side="right")]


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
    pvalue = float(chi2_distribution.sf(statistic, ndof)) if ndof else 1.0
    return Chi2(statistic, ndof, pvalue)
