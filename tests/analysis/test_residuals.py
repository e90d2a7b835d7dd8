"""Bias, resolution and coverage of predictions whose residuals are known."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

import difftune as dt
from difftune.analysis import CrossFit, Split, residuals
from difftune.errors import InputError
from difftune.models import MLP
from difftune.objectives import GaussianNLL


@pytest.fixture(scope="module")
def network_and_events():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9000, 2))
    y = 30 + 6 * x[:, 0] + 2 * rng.normal(size=9000)
    events = dt.Events.from_arrays(
        x,
        np.zeros(9000, int),
        rng.uniform(0.5, 1.5, 9000),
        feature_names=["a", "b"],
        processes=[dt.Process(name="muons", role="signal")],
        target=y,
        target_names="energy",
    )
    rate = {"learning_rate": 0.01}
    network = dt.train(
        events, objective=GaussianNLL(), model=MLP(hidden=(16,)), epochs=12, hyperparameters=rate
    )
    return network, events


@pytest.mark.parametrize("relative", [False, True])
def test_figures_are_those_of_numpy(network_and_events, relative):
    network, events = network_and_events
    test = Split(events=events).test
    found = residuals(network, Split(events=events), bins=5, relative=relative)
    mean, sigma = network.score(test).astype(float).T
    truth = np.asarray(test.target)[:, 0]
    residual = (mean - truth) / (truth if relative else 1)
    weight = np.asarray(test.weight, float)
    # Each event as often as its weight, in steps of a hundredth.
    copies = np.repeat(residual, np.round(100 * weight / weight.mean()).astype(int))
    low, middle, high = np.quantile(copies, scipy.stats.norm.cdf([-1, 0, 1]))
    assert found.whole.bias.value == pytest.approx(middle, abs=0.01 * (high - low))
    assert found.whole.resolution.value == pytest.approx((high - low) / 2, rel=0.01)
    inside = np.average(abs(truth - mean) < sigma, weights=weight)
    assert found.whole.coverage.value == pytest.approx(inside, abs=1e-6)
    assert sum(each.events for each in found.bins) == pytest.approx(found.whole.events, rel=0.01)
    highs, lows = [each.high for each in found.bins[:-1]], [each.low for each in found.bins[1:]]
    assert len(found.bins) == 5
    assert (np.array(highs) < lows).all()


def test_errors_and_figures_are_those_of_the_law(network_and_events):
    network, events = network_and_events
    found = residuals(network, events, bins=4).whole
    assert abs(found.bias.value) < 4 * found.bias.uncertainty
    assert found.resolution.value == pytest.approx(2.0, abs=0.08)
    assert found.coverage.value == pytest.approx(0.683, abs=0.02)
    # The spread of both figures over samples of normal residuals.
    rng = np.random.default_rng(2)
    drawn = rng.normal(size=(400, 1000))
    low, middle, high = np.quantile(drawn, scipy.stats.norm.cdf([-1, 0, 1]), axis=1)
    scale = np.sqrt(1000 / found.events) * found.resolution.value
    assert found.bias.uncertainty == pytest.approx(middle.std() * scale, rel=0.1)
    assert found.resolution.uncertainty == pytest.approx((high - low).std() / 2 * scale, rel=0.1)


def test_the_table_and_what_is_refused(network_and_events):
    network, events = network_and_events
    table = str(residuals(network, events, bins=3).table)
    assert "True energy" in table
    assert "Coverage of 68.3%" in table
    with pytest.raises(InputError, match=r"target='energ'\): the network predicts energy"):
        residuals(network, events, target="energ")
    with pytest.raises(InputError, match="the events have no targets"):
        residuals(network, replace(events, target=None, target_names=()))
    with pytest.raises(InputError, match="too few for 8000 bins"):
        residuals(network, events, bins=8000)


def test_bias_in_bins_and_replicas_of_the_resolution(network_and_events):
    network, events = network_and_events
    found = residuals(network, Split(events=events), bins=4)
    biases = [each.bias.value for each in found.bins]
    assert found.bias.value == pytest.approx(np.sqrt(np.mean(np.square(biases))))
    drawn = found.resolutions(80)
    assert drawn.std() == pytest.approx(found.whole.resolution.uncertainty, rel=0.35)
    assert drawn.mean() == pytest.approx(found.whole.resolution.value, rel=0.03)
    # Another network is compared on the same replicas.
    again = replace(found, residual=1.1 * found.residual).resolutions(80)
    np.testing.assert_allclose(again / drawn, 1.1)


def test_quantiles_of_a_normal_law_are_those_of_scipy(network_and_events):
    network, events = network_and_events
    found = residuals(network, Split(events=events))
    mean, sigma = network.score(found.events).astype(float).T
    expected = scipy.stats.norm.ppf(np.array(found.levels)[:, None], mean, sigma).T
    np.testing.assert_allclose(found.quantiles, expected, rtol=1e-5)


def test_of_cross_fitted_events_each_is_predicted_by_who_has_not_seen_it(network_and_events):
    _, events = network_and_events
    events = replace(
        events.select(np.arange(9000) < 1500), folds=3, fold=(np.arange(1500) % 3).astype(np.int32)
    )
    crossed = CrossFit(events=events)
    network = dt.train(crossed, objective="huber", model=MLP(hidden=(4,)), epochs=1)
    found = residuals(network, crossed, bins=2)
    assert len(found.truth) == 1500
    own = network.networks[2].score(events.select(np.asarray(events.fold) == 2))
    np.testing.assert_allclose(found.predicted[2::3], own, rtol=1e-5)
