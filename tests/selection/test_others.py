"""Learned gates, changed variables, systematics, test events."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import expit

from difftune.errors import InputError
from difftune.models import MLP, Gated, open_probability
from difftune.objectives import AUC
from difftune.selection import (
    Change,
    TemplateShift,
    decorrelated,
    importance,
    learn_gates,
    logarithm,
    on_test_events,
    score_shapes,
    try_changes,
)
from tests.selection import samples


def test_open_probability_is_that_of_drawn_gates():
    network = Gated(model=MLP(hidden=(2,)), start=0.3)(20_000, 1, rngs=nnx.Rngs(0))
    network.network = lambda x: x
    gates = np.asarray(network(jnp.ones((1, 20_000))))[0]
    expected = float(network.open_probability[0])
    error = np.sqrt(expected * (1 - expected) / gates.size)
    assert np.mean(gates > 0) == pytest.approx(expected, abs=4 * error)
    assert expected == pytest.approx(expit(0.3 - 2 / 3 * np.log(0.1 / 1.1)))
    # And full ones: P(s (1.2) - 0.1 > 1), s = sigmoid((logistic + 0.3) / (2/3)).
    full = expit(0.3 - 2 / 3 * np.log((1.1 / 1.2) / (0.1 / 1.2)))
    assert np.mean(gates == 1) == pytest.approx(full, abs=4 * np.sqrt(full * (1 - full) / 20_000))


@pytest.mark.slow
def test_the_penalty_is_in_the_gradient():
    network = Gated(model=MLP(hidden=(4,)), penalty=0.3)(3, 1, rngs=nnx.Rngs(1))
    network.start_weights(nnx.Rngs(1))
    graph, parameters, rest = nnx.split(network, nnx.Param, ...)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)

    def loss(parameters, factor):
        model = nnx.merge(graph, parameters, rest, copy=True)
        model.penalty[...] = factor
        return jnp.sum(model(x) ** 2)

    def gates_gradient(factor):
        return np.asarray(jax.grad(loss)(parameters, factor)["log_alpha"][...])

    added = gates_gradient(0.3) - gates_gradient(0.0)
    slope = jax.grad(lambda a: jnp.sum(open_probability(a)))(network.log_alpha[...])
    np.testing.assert_allclose(added, 0.3 * slope, rtol=1e-3, atol=1e-7)
    assert loss(parameters, 0.3) == loss(parameters, 0.0)


@pytest.mark.slow
def test_gates_close_on_noise():
    study = samples.study(epochs=25, patience=25)
    learned = learn_gates(study, [0.0, 0.06])
    probability = dict(zip(learned.names, learned.probability[1], strict=True))
    noise = max(probability["noise_1"], probability["noise_2"])
    assert noise < 0.5 < min(probability["xor_1"], probability["xor_2"], probability["weak"])
    assert np.all(learned.probability[0] > 0.5)
    assert set(learned.chosen(0)) == set(learned.names)
    with pytest.raises(InputError, match="none below 0"):
        learn_gates(study, [-1.0])


@pytest.mark.slow
def test_changes():
    events = samples.known()
    width = np.exp(4 * np.asarray(events.features)[:, 0] - 2)
    positive = dataclasses.replace(
        events,
        features=np.column_stack([width, np.asarray(events.features)[:, 1]]).astype(np.float32),
        feature_names=("width", "weak"),
    )
    change = logarithm(positive, "width")
    np.testing.assert_allclose(change.values, 4 * np.asarray(events.features)[:, 0] - 2, atol=1e-3)
    worse = Change(variable="weak", values=np.random.default_rng(0).normal(size=len(events)))
    found = try_changes(samples.study(positive), {"ln width": change, "random": worse})
    assert found.names == ("ln width", "random")
    # A log-normal variable with a long tail tells more as its logarithm.
    assert found.gain[0] > 2 * found.uncertainty[0]
    assert found.gain[1] < -2 * found.uncertainty[1]
    with pytest.raises(InputError, match="not positive"):
        logarithm(events, "weak")
    with pytest.raises(InputError, match="Did you mean 'weak'"):
        decorrelated(events, "weka", "shift")
    with pytest.raises(InputError, match="called like a variable"):
        try_changes(samples.study(positive), {"weak": change})


def test_decorrelated_is_a_residual():
    events = samples.known()
    left = decorrelated(events, "copy", "shift")
    assert np.nanstd(left.values) < 1e-3 * np.std(np.asarray(events.features)[:, 4])
    x, weight = np.asarray(events.features), np.abs(np.asarray(events.weight))
    mixed = dataclasses.replace(
        events, features=np.column_stack([x[:, 0], x[:, 1] + 0.5 * x[:, 0]]).astype(np.float32)
    )
    mixed = dataclasses.replace(mixed, feature_names=("shift", "mixed"))
    left = decorrelated(mixed, "mixed", "shift").values
    assert np.cov(left, x[:, 0], aweights=weight)[0, 1] == pytest.approx(0.0, abs=1e-5)


@pytest.mark.slow
def test_which_variable_brings_a_systematic_in():
    rng = np.random.default_rng(4)
    signal = np.arange(1800) % 2 == 0
    clean, dirty = rng.normal(size=(2, 1800)) + signal
    weight = np.ones(1800)
    events = samples.events({"clean": clean, "dirty": dirty}, signal, rng)
    events = dataclasses.replace(events, weight=weight.astype(np.float32))
    up = weight * (1 + 0.3 * np.tanh(dirty))
    events = type(events).from_arrays(
        np.asarray(events.features),
        np.asarray(events.process),
        weight,
        feature_names=events.feature_names,
        processes=events.processes,
        folds=4,
        variations={"scale": (up, 2 * weight - up)},
    )
    study = samples.study(events, epochs=6)
    found = importance(study, methods=("gate", "slope"), objective=TemplateShift(variation="scale"))
    for ranking in found.methods.values():
        # Without the clean one the score is the dirty one's alone, and moves more.
        assert ranking.value[1] > 3 * ranking.uncertainty[1] > 0
        assert ranking.value[0] < ranking.value[1] / 3
    with pytest.raises(InputError, match="Did you mean 'scale'"):
        importance(study, methods=("gate",), objective=TemplateShift(variation="scales"))


@pytest.mark.slow
def test_on_test_events():
    study = samples.study(epochs=6)
    kept = np.ones((2, 7), bool)
    kept[1, 2:4] = False
    # Not the significance, which jumps where a bin of these few events has no background.
    found = on_test_events(study, kept, seeds=2, metric=AUC())
    assert found.shape == (2, 2, 3)
    # Without the two that matter together.
    assert np.all(found[0] > found[1])
    with pytest.raises(InputError, match="no test events"):
        on_test_events(samples.study(test_folds=()), kept)


@pytest.mark.slow
def test_score_shapes_are_those_of_the_networks_that_test_events_judge():
    study = samples.study(epochs=6)
    kept = np.ones((2, 7), bool)
    kept[1, 2:4] = False

    def square(scores, batch, hyperparameters, parameters):
        away = jax.nn.sigmoid(scores) - batch.label
        return -jnp.sum(batch.weight * away**2) / jnp.sum(batch.weight)

    judged = on_test_events(study, kept, seeds=1, metric=square)
    for shapes, found in zip(score_shapes(study, kept), judged[:, 0, 0], strict=True):
        score, weight, signal = shapes.test_score, shapes.test_weight, shapes.test_signal
        assert -np.average((score - signal) ** 2, weights=weight) == pytest.approx(found, rel=1e-5)
        for part in ("train", "test"):
            score, signal = (getattr(shapes, f"{part}_{what}") for what in ("score", "signal"))
            assert score[signal].mean() > score[~signal].mean() + 0.1
    # Of four folds one is for the test, and one of the others for validation.
    assert len(shapes.train_score) == pytest.approx(2 * len(shapes.test_score), rel=0.1)
    with pytest.raises(InputError, match="no test events"):
        score_shapes(samples.study(test_folds=()), kept)
