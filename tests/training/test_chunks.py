"""All events in a batch, in the memory that a few of them take."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.errors import InputError
from difftune.objectives import AsimovLLR, Batch
from difftune.training.chunks import Stretch, in_chunks, mean_over_tiles
from difftune.training.module_def import ModuleDef
from tests.training import toy

OBJECTIVE = AsimovLLR(bins=8, bandwidth=(0.1, 0.1), form="linear")
HIDDEN = 64


def sample(events: int, dtype=jnp.float32):
    """Weights of a network, and a batch."""
    rng = np.random.default_rng(1)
    label = np.arange(events) % 2
    features = rng.normal(size=(events, 4)) + 0.5 * label[:, None]
    b = Batch(
        features=jnp.asarray(features, dtype),
        process=jnp.asarray(label),
        label=jnp.asarray(label),
        weight=jnp.asarray(np.where(label == 1, 50.0, 1000.0) / events, dtype),
        training_weight=jnp.ones(events, dtype),
        signal_process=jnp.array([0.0, 1.0], dtype),
        progress=jnp.asarray(0.5, dtype),
    )
    shapes = ((4, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1))
    return [jnp.asarray(rng.normal(size=s) / np.sqrt(s[0]), dtype) for s in shapes], b


def loss(weights, b, chunk):
    """Of all events; what is carried along is the number of times that the network was called."""

    def network(features, calls):
        for w in weights[:-1]:
            features = jnp.tanh(features @ w)
        return (features @ weights[-1])[:, 0], calls + 1

    (scores,), calls = in_chunks(network, [b.features], jnp.int32(0), chunk)
    return OBJECTIVE(scores, b, {}, {}), calls


gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=2)


@pytest.mark.parametrize(("chunk", "calls"), [(96, 3), (128, 2), (100, 3), (256, 1)])
def test_the_gradient_is_that_of_one_batch(chunk, calls):
    with jax.enable_x64(True):
        weights, b = sample(256, jnp.float64)
        (value, _), whole = gradient(weights, b, None)
        (other, counted), parts = gradient(weights, b, chunk)
        assert int(counted) == calls
        np.testing.assert_allclose(other, value, rtol=1e-12)
        for one, many in zip(whole, parts, strict=True):
            assert np.abs(one).max() > 1e-3
            np.testing.assert_allclose(many, one, rtol=1e-9, atol=1e-12)


def test_a_direction_costs_the_events_that_it_moves():
    """One that moves every other event, one that moves none, and one that moves all."""
    with jax.enable_x64(True):
        weights, b = sample(250, jnp.float64)
        other = jnp.where(b.label[:, None] == 1, b.features * 1.1, b.features)
        every = [b.features, other, b.features, b.features - 0.1]
        along = jnp.asarray(np.random.default_rng(2).normal(size=(4, 250)))

        def plain(weights, features):
            for w in weights[:-1]:
                features = jnp.tanh(features @ w)
            return (features @ weights[-1])[:, 0]

        @jax.jit
        @jax.value_and_grad
        def whole(weights):
            return jnp.vdot(along, jnp.stack([plain(weights, each) for each in every]))

        @jax.jit
        @partial(jax.value_and_grad, has_aux=True)
        def parts(weights):
            scores, calls = in_chunks(
                lambda some, calls: (plain(weights, some), calls + 1), every, jnp.int32(0), 60
            )
            return jnp.vdot(along, jnp.stack(scores)), calls

        value, slopes = whole(weights)
        (found, calls), others = parts(weights)
        # Of 5 chunks of 50: all of the nominal events, 125 events, none, and all.
        assert int(calls) == 5 + 3 + 0 + 5
        np.testing.assert_allclose(found, value, rtol=1e-12)
        for one, many in zip(slopes, others, strict=True):
            np.testing.assert_allclose(many, one, rtol=1e-9, atol=1e-12)


def working_bytes(events: int, chunk: int | None) -> int:
    """What the compiled gradient works with, besides events and results."""
    leaves, tree = jax.tree.flatten(sample(events))

    def slopes(*leaves):
        return jax.grad(loss, has_aux=True)(*jax.tree.unflatten(tree, leaves), chunk)

    return jax.jit(slopes).lower(*leaves).compile().memory_analysis().temp_size_in_bytes


def test_an_event_more_takes_a_few_numbers_and_not_its_activations():
    fewer, more, step = 2**16, 2**17, 2**16
    needs = {(n, c): working_bytes(n, c) for n in (fewer, more) for c in (None, 2048)}
    whole, chunked = ((needs[more, c] - needs[fewer, c]) / step for c in (None, 2048))
    # Two layers of activations in float32 at least; without them scores, weights, slopes.
    assert whole > 2 * 4 * HIDDEN
    assert chunked < 4 * 16
    assert needs[more, 2048] < 0.1 * needs[more, None]


@pytest.mark.slow
def test_a_population_trains_on_all_events_in_chunks():
    options = {"objective": OBJECTIVE, "batch_size": 10**6, "members": 2}
    given = {"learning_rate": np.array([3e-3, 1e-2])}
    whole, expected = toy.train(toy.population(**options), given, 3)
    chunked = toy.population(chunk=300, **options)
    assert chunked.sizes == (1024,)
    state, records = toy.train(chunked, given, 3)
    np.testing.assert_allclose(records.loss, expected.loss, rtol=1e-5)
    for one, other in zip(*map(jax.tree.leaves, (whole.weights, state.weights)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-5)
    assert (records.loss[2] < records.loss[0]).all()
    # Both are of the validation events, one in smeared and one in hard bins.
    gap = np.abs(records.hard_loss - records.validation_loss)
    assert (gap > 1e-3).all()
    assert (gap < 0.5 * np.abs(records.validation_loss)).all()


@pytest.mark.usefixtures("nothing_shared")
def test_scores_are_those_of_some_events_at_a_time(monkeypatch):
    given = {"learning_rate": np.array([3e-3, 1e-2])}
    population = toy.population(members=2)
    best, features = population.init(given).best, population.validation.features
    expected = population.scores(best, features)
    seen = []
    evaluate = ModuleDef.evaluate

    def counted(self, weights, hyperparameters, features):
        seen.append(len(features))
        return evaluate(self, weights, hyperparameters, features)

    monkeypatch.setattr(ModuleDef, "evaluate", counted)
    monkeypatch.setattr("difftune.training.member.EVALUATED", 100)
    found = toy.population(members=2).scores(best, features)
    assert max(seen) <= 100 < len(features)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_chunk_without_events_is_refused():
    with pytest.raises(InputError, match=r"chunk=0: must be at least 1"):
        toy.population(chunk=0)


@pytest.mark.parametrize(
    ("ends", "counted"),
    # What is left of the first stretch is less than its 32: the second has it, and so on.
    [
        ((50, 75), (32, 32, 32)),
        ((0, 0), (0, 0, 96)),
        ((96, 96), (96, 0, 0)),
        ((31, 47), (0, 32, 64)),
    ],
)
def test_stretches_of_a_batch_are_looked_at_in_parts_of_their_own_size(ends, counted):
    _, b = sample(96)

    def of_stretch(number, part, start):
        value = jnp.mean(part.features, axis=0)
        own = jnp.zeros((3, 96)).at[number, start + jnp.arange(len(part.weight))].set(1.0)
        return (value, own / len(part.weight)), start + len(part.weight)

    @jax.jit
    def mean(*ends):
        parts = zip(ends, (32, 16, 8), strict=True)
        stretches = [Stretch(partial(of_stretch, i), *each) for i, each in enumerate(parts)]
        return mean_over_tiles(stretches, b, jnp.int32(0))

    (value, seen), stop = mean(*ends, 96)
    np.testing.assert_allclose(value, b.features.mean(axis=0), rtol=1e-4, atol=1e-6)
    seen = np.asarray(seen * 96)
    np.testing.assert_allclose(seen.sum(axis=0), 1.0, rtol=1e-6)
    np.testing.assert_allclose(seen.sum(axis=1), counted, rtol=1e-6)
    assert int(stop) == 96
