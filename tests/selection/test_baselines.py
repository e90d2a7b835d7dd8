import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from difftune.selection import (
    correlation,
    information_about,
    mutual_information,
    separation,
)

RNG = np.random.default_rng(2)
LABEL = (np.arange(4000) % 2).astype(int)
SHIFTED = RNG.normal(size=4000) + LABEL
ONES = np.ones(4000)


def in_bins(values, bins):
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


@pytest.mark.parametrize("bins", [5, 20])
def test_mutual_information_is_sklearns(bins):
    ours = mutual_information(SHIFTED, ONES, LABEL, bins=bins)
    assert ours == pytest.approx(mutual_info_score(LABEL, in_bins(SHIFTED, bins)), rel=1e-9)


def test_weights_count_events():
    count = RNG.integers(1, 4, 4000)
    weight = count.astype(float)
    # Both classes equally likely, as after the balancing of training weights.
    many = [np.repeat(a, count) for a in (SHIFTED, LABEL)]
    place = in_bins(SHIFTED, 10)
    joint = np.stack([np.bincount(place[c == LABEL], count[c == LABEL], 10) for c in (0, 1)])
    # sklearn wants whole numbers.
    joint = np.round(1e6 * joint / joint.sum(axis=1, keepdims=True)).astype(int)
    expected = mutual_info_score(None, None, contingency=joint)
    assert mutual_information(SHIFTED, weight, LABEL, bins=10) == pytest.approx(expected, rel=1e-4)
    found = correlation(np.stack([SHIFTED, LABEL], axis=1), weight)
    np.testing.assert_allclose(found, np.corrcoef(*many), atol=1e-9)


def test_information_about_a_target_is_sklearns_in_bins_and_that_of_a_normal_law():
    target = 0.8 * SHIFTED + 0.6 * RNG.normal(size=4000)
    expected = mutual_info_score(in_bins(target, 10), in_bins(SHIFTED, 10))
    assert information_about(SHIFTED, ONES, target) == pytest.approx(expected, rel=1e-9)
    weight = RNG.integers(1, 4, 4000)
    joint = np.zeros((10, 10), int)
    np.add.at(joint, (in_bins(SHIFTED, 10), in_bins(target, 10)), weight)
    expected = mutual_info_score(None, None, contingency=joint)
    found = information_about(SHIFTED, weight.astype(float), target)
    assert found == pytest.approx(expected, rel=1e-9)
    # Of a normal law it is -ln(1 - r²) / 2, and bins lose little of it.
    x = RNG.normal(size=200_000)
    y = 0.8 * x + 0.6 * RNG.normal(size=200_000)
    found = information_about(x, np.ones(200_000), y, bins=40)
    assert found == pytest.approx(-0.5 * np.log(1 - 0.8**2), rel=0.04)
    nothing = information_about(SHIFTED, ONES, RNG.normal(size=4000))
    assert nothing == pytest.approx(81 / 8000, rel=0.6)
    assert information_about(np.ones(4000), ONES, target) == 0.0
    # A target that does not rise or fall with the variable, but depends on it.
    assert information_about(SHIFTED, ONES, np.abs(SHIFTED - 0.5)) > 1.0


def test_limits():
    assert mutual_information(LABEL.astype(float), ONES, LABEL) == pytest.approx(np.log(2))
    assert separation(LABEL.astype(float), ONES, LABEL) == pytest.approx(1.0)
    assert separation(np.ones(4000), ONES, LABEL) == 0.0
    assert separation(SHIFTED, ONES, LABEL) > 5 * separation(RNG.normal(size=4000), ONES, LABEL)
    constant = correlation(np.stack([SHIFTED, np.full(4000, 7.0)], axis=1), ONES)
    np.testing.assert_array_equal(constant, np.eye(2))


def test_separation_of_two_normal_distributions():
    """Against the integral of the densities, 1/2 ∫ (s - b)² / (s + b)."""
    rng = np.random.default_rng(5)
    label = (np.arange(200_000) % 2).astype(int)
    x = np.linspace(-8, 9, 20001)
    s, b = (np.exp(-((x - m) ** 2) / 2) / np.sqrt(2 * np.pi) for m in (1, 0))
    exact = 0.5 * np.trapezoid((s - b) ** 2 / (s + b), x)
    found = separation(rng.normal(size=200_000) + label, np.ones(200_000), label, bins=60)
    assert found == pytest.approx(exact, rel=0.01)
