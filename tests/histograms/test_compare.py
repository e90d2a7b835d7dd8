"""Comparisons of weighted samples against scipy."""

import numpy as np
import pytest
from scipy import stats

from difftune.errors import InputError
from difftune.histograms.compare import chi2, effective_count, weighted_ks
from difftune.histograms.fill import Histogram, histogram


def test_ks_of_unweighted_events_is_scipys():
    rng = np.random.default_rng(1)
    for shift, digits in ((0.0, 6), (0.2, 6), (1.0, 6), (0.1, 1)):  # one digit: many ties
        x1 = np.round(rng.normal(size=400), digits)
        x2 = np.round(rng.normal(shift, size=150), digits)
        ours = weighted_ks(x1, np.ones(400), x2, np.full(150, 2.5))
        theirs = stats.ks_2samp(x1, x2, method="asymp")
        assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-12)
        assert ours.pvalue == pytest.approx(theirs.pvalue, rel=1e-9)
        assert ours.effective == pytest.approx(400 * 150 / 550)


def test_ks_counts_an_event_of_weight_two_as_two_events():
    rng = np.random.default_rng(2)
    x1, x2, count = rng.normal(size=200), rng.normal(size=300), rng.integers(1, 4, 200)
    ours = weighted_ks(x1, count, x2, np.ones(300)).statistic
    assert ours == pytest.approx(stats.ks_2samp(np.repeat(x1, count), x2).statistic)


def test_ks_of_a_negative_weight_cancels_the_event():
    rng = np.random.default_rng(3)
    x1, x2 = rng.normal(size=100), rng.normal(size=120)
    extra = np.append(x1, [0.3, 0.3])
    ours = weighted_ks(extra, np.append(np.ones(100), [1.0, -1.0]), x2, np.ones(120))
    assert ours.statistic == pytest.approx(stats.ks_2samp(x1, x2).statistic)


def test_ks_pvalues_of_weighted_samples_are_uniform():
    rng = np.random.default_rng(4)
    pvalues = []
    for _ in range(400):
        x1, x2 = rng.normal(size=600), rng.normal(size=400)
        pvalues.append(weighted_ks(x1, rng.uniform(0.2, 3, 600), x2, np.ones(400)).pvalue)
    assert stats.kstest(pvalues, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("x", "w"), [([], []), ([1.0, 2.0], [1.0, -1.0])])
def test_ks_refuses_a_sample_without_distribution(x, w):
    with pytest.raises(InputError, match="x2, w2"):
        weighted_ks(np.ones(3), np.ones(3), np.asarray(x), np.asarray(w))


def test_effective_count_is_that_of_the_relative_uncertainty():
    weight = np.array([1.0, 2.0, -0.5])
    assert effective_count(weight) == pytest.approx((2.5 / np.sqrt(5.25)) ** 2)
    assert effective_count(np.zeros(0)) == 0.0


def test_chi2_of_equal_totals_is_the_contingency_tables():
    first, second = np.array([10.0, 20.0, 30.0, 40.0]), np.array([15.0, 25.0, 20.0, 40.0])
    edges = np.linspace(0, 1, 5)
    theirs = stats.chi2_contingency([first, second])
    ours = chi2(Histogram(edges, first, first), Histogram(edges, second, second), shape=True)
    assert (ours.statistic, ours.pvalue) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert ours.ndof == theirs.dof


@pytest.mark.parametrize("shape", [False, True])
def test_chi2_of_weighted_toys_follows_its_distribution(shape):
    rng = np.random.default_rng(5)
    edges, pvalues = np.linspace(-2, 2, 9), []
    for _ in range(300):
        n1, n2 = (rng.poisson(2000), rng.poisson(2000)) if not shape else (3000, 1000)
        a = histogram(rng.normal(size=n1), rng.uniform(0.5, 1.5, n1), edges)
        b = histogram(rng.normal(size=n2), rng.uniform(0.5, 1.5, n2), edges)
        pvalues.append(chi2(a, b, shape=shape).pvalue)
    assert stats.kstest(pvalues, "uniform").pvalue > 1e-3


def test_chi2_leaves_empty_bins_out():
    edges = np.linspace(0, 1, 4)
    a = Histogram(edges, np.array([4.0, 0.0, 9.0]), np.array([4.0, 0.0, 9.0]))
    b = Histogram(edges, np.array([4.0, 0.0, 16.0]), np.array([4.0, 0.0, 16.0]))
    assert chi2(a, b)[:2] == (pytest.approx(49 / 25), 2)
    empty = Histogram.empty(edges)
    assert chi2(empty, empty) == (0.0, 0, 1.0)
    with pytest.raises(InputError, match="zero"):
        chi2(a, empty, shape=True)
    with pytest.raises(InputError, match="edges"):
        chi2(a, Histogram.empty(np.linspace(0, 2, 4)))
