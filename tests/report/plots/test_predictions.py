"""Figures of predictions: what they show against numpy and scipy, and that they can be read."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from difftune.report import (
    Label,
    Measured,
    ResidualsOf,
    bias_and_resolution,
    predicted_against_true,
    quantile_calibration,
    residual_distribution,
)
from tests.report.readable import assert_readable, texts

LEVELS = (0.16, 0.5, 0.84)


@dataclasses.dataclass(frozen=True)
class Bin:
    low: float
    high: float
    bias: Measured
    resolution: Measured


@pytest.fixture(scope="module")
def sample():
    """Energies over two decades, and what is said of them: 10 % wide, quantiles that are right."""
    rng = np.random.default_rng(1)
    said = np.exp(rng.uniform(np.log(10), np.log(1000), 20000))
    truth = said * np.exp(0.1 * rng.normal(size=20000))
    quantiles = said[:, None] * np.exp(0.1 * stats.norm.ppf(LEVELS))
    return truth, said, quantiles, rng.uniform(0.5, 1.5, 20000)


def test_columns_of_the_plane_are_shares(sample):
    truth, said, _, weight = sample
    label = Label(titles={"energy": "Energy $E$ [GeV]"})
    figure = predicted_against_true(truth, said, weight, "energy", bins=20, label=label)
    assert_readable(figure)
    edges, share = figure.numbers["edges"], figure.numbers["share"]
    assert figure.axes[0].get_xscale() == "log"
    inside = (truth >= edges[7]) & (truth < edges[8])
    below = inside & (said >= edges[7]) & (said < edges[8])
    assert share[7, 7] == pytest.approx(weight[below].sum() / weight[inside].sum(), rel=1e-6)
    # In the middle nothing leaves the axes.
    np.testing.assert_allclose(share[5:15].sum(axis=1), 1.0, atol=1e-9)
    assert any("$E$" in text for text in texts(figure))


def test_residuals_are_densities_with_errors(sample):
    truth, said, _, weight = sample
    own = ResidualsOf(said / truth - 1, weight)
    half, other = ResidualsOf(own.residual[::2], weight[::2]), ResidualsOf(2 * own.residual, weight)
    figure = residual_distribution(half, own, {"default": other}, relative=True, bins=40)
    assert_readable(figure)
    numbers, edges = figure.numbers, figure.numbers["edges"]
    inside = (own.residual >= edges[0]) & (own.residual <= edges[-1])
    expected, _ = np.histogram(own.residual, edges, weights=weight)
    expected = expected / weight.sum() / np.diff(edges)
    np.testing.assert_allclose(numbers["test"], expected, rtol=1e-4)
    area = np.sum(numbers["test"] * np.diff(edges))
    assert area == pytest.approx(weight[inside].sum() / weight.sum(), rel=1e-5)
    assert inside.mean() == pytest.approx(0.99, abs=1e-3)
    pulls = (numbers["training"] - numbers["test"]) / numbers["test_error"]
    assert 0.3 < np.std(pulls) < 1.5
    assert max(numbers["default"]) < 0.7 * max(numbers["test"])


def test_bias_and_resolution_stand_at_their_bins():
    edges = np.geomspace(10, 1000, 7)
    bins = [
        Bin(low, high, Measured(0.02 - 0.01 * i, 0.004), Measured(0.1 + 0.01 * i, 0.003))
        for i, (low, high) in enumerate(pairwise(edges))
    ]
    figure = bias_and_resolution({"tuned": bins, "default": bins}, "energy", relative=True)
    assert_readable(figure)
    above, below = figure.axes
    assert below.get_xscale() == "log"
    assert below.get_ylim()[0] == 0
    np.testing.assert_allclose(figure.numbers["tuned"]["bias"], [b.bias.value for b in bins])
    shown = below.containers[0].lines[0].get_xdata()
    assert ((shown > edges[:-1]) & (shown < edges[1:])).all()
    assert above.get_ylabel() == "Relative bias"


def test_calibration_is_that_of_the_claimed_quantiles(sample):
    truth, _, quantiles, weight = sample
    figure = quantile_calibration(truth, quantiles, LEVELS, weight, "energy", bins=6)
    assert_readable(figure)
    below = figure.numbers["below"]
    for number, level in enumerate(LEVELS):
        error = figure.numbers[f"error_{number}"]
        assert (np.abs(below[number] - level) < 4 * error).all()
    order = np.argsort(quantiles[:, 1])[: len(truth) // 6]
    share = np.average(truth[order] <= quantiles[order, 0], weights=weight[order])
    assert below[0, 0] == pytest.approx(share, abs=1e-3)
    # Too narrow by half: the outer quantiles claim too little.
    narrow = quantiles[:, 1:2] * (quantiles / quantiles[:, 1:2]) ** 0.5
    wrong = quantile_calibration(truth, narrow, LEVELS, weight, "energy", bins=6)
    expected = stats.norm.cdf(stats.norm.ppf(LEVELS) * 0.5)
    np.testing.assert_allclose(wrong.numbers["below"].mean(axis=1), expected, atol=0.02)
