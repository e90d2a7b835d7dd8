"""Systematic variations reach the objectives that want them, and cost the others nothing."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.data import Events, FeatureTransform, Process
from difftune.errors import InputError
from difftune.histfactory import NormalisationUncertainty
from difftune.objectives import FitModel, Metric, Objective, PoiUncertainty, Variation, Varied
from difftune.training import Replicas, columns
from difftune.training.batches import as_batch, stratified_order
from difftune.training.replicas import bootstrap_count
from tests.training import toy


def varied(data, seed: int):
    """A generator that reweights, and a one-sided scale that moves the first two variables."""
    rng = np.random.default_rng(seed)
    factor = rng.uniform(0.8, 1.3, len(data.weight)).astype(np.float32)
    shifted = data.features * np.array([1.1, 1.1, 1.0, 1.0], np.float32)
    generator = Variation(
        up=Varied(weight=data.weight * factor), down=Varied(weight=data.weight / factor)
    )
    return data._replace(
        variations={"generator": generator, "scale": Variation(up=Varied(features=shifted))}
    )


TRAIN, VALIDATION = varied(toy.columns(1024), 1), varied(toy.columns(512), 2)


class Seen(Objective):
    """Tells what it sees: sums of weights times probabilities, nominal and varied."""

    varied: ClassVar[bool] = True

    def __call__(self, scores, batch, hyperparameters, parameters):
        generator, scale = batch.variations["generator"], batch.variations["scale"]
        nominal = jax.nn.sigmoid(scores)
        return 1e-3 * (
            jnp.sum(batch.weight * nominal)
            + 2 * jnp.sum(generator.up.weight * nominal)
            + 4 * jnp.sum(generator.down.weight * nominal)
            + 8 * jnp.sum(batch.weight * jax.nn.sigmoid(scale.up.scores))
        )


class Judge(Metric):
    """The same as a metric."""

    varied: ClassVar[bool] = True

    def __call__(self, scores, batch, hyperparameters, parameters):
        return Seen()(scores, batch, hyperparameters, parameters)


def by_hand(scores, shifted, data, rows=slice(None), factor=1.0):
    nominal, moved = (1 / (1 + np.exp(-each.astype(float))) for each in (scores, shifted))
    generator = data.variations["generator"]
    own = [data.weight, generator.up.weight, generator.down.weight]
    weights = [np.asarray(each, float)[rows] * factor for each in own]
    sums = [np.sum(each * nominal) for each in weights]
    return 1e-3 * (sums[0] + 2 * sums[1] + 4 * sums[2] + 8 * np.sum(weights[0] * moved))


def logits(population, weights, features) -> np.ndarray:
    return np.asarray(population.module_def.evaluate_jit(weights, {}, jnp.asarray(features)))


def given(members: int) -> dict:
    return {"learning_rate": np.full(members, 1e-3)}


def test_validation_sees_all_variations():
    population = toy.population(objective=Seen(), train=TRAIN, validation=VALIDATION)
    state, records = population.run(given(4), epochs=1)
    for slot in range(4):
        weights = jax.tree.map(lambda leaf, slot=slot: leaf[slot], state.weights)
        scores, moved = (
            logits(population, weights, features)
            for features in (VALIDATION.features, VALIDATION.variations["scale"].up.features)
        )
        expected = by_hand(scores, moved, VALIDATION)
        assert records.validation_loss[0, slot] == pytest.approx(expected, rel=1e-4)


def test_training_sees_all_variations_and_replicas_too():
    # One batch that is all events, and no step of the weights: the loss is that of the start.
    mask = np.array([[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]], bool)
    boot = np.array([0, 0, 3])
    population = toy.population(
        objective=Seen(),
        train=TRAIN,
        validation=VALIDATION,
        members=3,
        batch_size=1024,
        replicas=Replicas(inputs=mask, bootstrap=boot),
    )
    start = population.init(given(3))
    _, records = population.run(given(3), epochs=1)
    for slot in range(3):
        weights = jax.tree.map(lambda leaf, slot=slot: jnp.asarray(leaf)[slot], start.weights)
        scores, moved = (
            logits(population, weights, features * mask[slot])
            for features in (TRAIN.features, TRAIN.variations["scale"].up.features)
        )
        count = np.asarray(bootstrap_count(jnp.int32(boot[slot]), jnp.arange(1024)))
        expected = by_hand(scores, moved, TRAIN, factor=count)
        assert records.loss[0, slot] == pytest.approx(expected, rel=1e-4)


def test_folds_have_the_full_yields_of_variations():
    fold = np.arange(1024, dtype=np.int32) % 3
    population = toy.population(
        objective=Seen(),
        train=TRAIN._replace(fold=fold),
        validation=None,
        members=3,
        replicas=Replicas.crossed(folds=3),
    )
    state, records = population.run(given(3), epochs=1)
    for slot in range(3):
        rows = np.flatnonzero(fold == slot)
        weights = jax.tree.map(lambda leaf, slot=slot: leaf[slot], state.weights)
        scores, moved = (
            logits(population, weights, features[rows])
            for features in (TRAIN.features, TRAIN.variations["scale"].up.features)
        )
        full = np.bincount(TRAIN.process, TRAIN.weight.astype(float), 3)
        have = np.bincount(TRAIN.process[rows], TRAIN.weight[rows].astype(float), 3)
        expected = by_hand(scores, moved, TRAIN, rows, (full / have)[TRAIN.process[rows]])
        assert records.validation_loss[0, slot] == pytest.approx(expected, rel=1e-4)


def test_who_wants_none_trains_as_if_there_were_none():
    with_them = toy.population(train=TRAIN, validation=VALIDATION)
    _, found = with_them.run(given(4), epochs=1)
    _, expected = toy.shared().run(given(4), epochs=1)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_metric_may_want_variations_that_the_loss_does_not():
    """Steps are as without variations; both scores are those of a count by hand."""
    judged = toy.population(metric=Judge(), train=TRAIN, validation=VALIDATION)
    state, found = judged.run(given(4), epochs=1)
    plain, expected = toy.shared().run(given(4), epochs=1)
    np.testing.assert_array_equal(found.loss, expected.loss)
    for one, other in zip(*map(jax.tree.leaves, (state.weights, plain.weights)), strict=True):
        np.testing.assert_array_equal(one, other)
    # All training events have the score of their sum; those of its size are a draw of them.
    rows = stratified_order(TRAIN.process, np.random.default_rng([judged.seed, 2]))[:512]
    for slot in range(4):
        weights = jax.tree.map(lambda leaf, slot=slot: leaf[slot], state.weights)
        for data, chosen, score in (
            (VALIDATION, np.arange(512), found.score),
            (TRAIN, rows, found.train_score),
        ):
            scores, moved = (
                logits(judged, weights, features[chosen])
                for features in (data.features, data.variations["scale"].up.features)
            )
            value = by_hand(scores, moved, data, chosen, len(data.weight) / 512)
            assert score[0, slot] == pytest.approx(value, rel=1e-4)


def test_a_loss_may_want_variations_that_the_metric_does_not():
    population = toy.population(objective=Seen(), train=TRAIN, validation=VALIDATION)
    state, found = population.run(given(4), epochs=2)
    rows = np.arange(512)
    batch = jax.tree.map(jnp.asarray, as_batch(VALIDATION._replace(variations={}), rows, 1.0))
    for slot in range(4):
        weights = jax.tree.map(lambda leaf, slot=slot: leaf[slot], state.weights)
        scores = jnp.asarray(logits(population, weights, VALIDATION.features))
        expected = population.recipe.metric(scores, batch, {}, {})
        assert found.score[1, slot] == pytest.approx(float(expected), rel=1e-4)


def test_folds_serve_a_metric_that_alone_wants_variations():
    population = toy.population(
        metric=Judge(),
        train=TRAIN._replace(fold=np.arange(1024, dtype=np.int32) % 3),
        validation=None,
        members=3,
        replicas=Replicas.crossed(folds=3),
    )
    _, found = population.run(given(3), epochs=1)
    assert np.all(found.score > 0)
    assert np.all(found.train_score > 0)


def another_form(data):
    """The same names; the scale is one of weights."""
    scale = Variation(up=Varied(weight=data.weight))
    return data._replace(variations={**data.variations, "scale": scale})


@pytest.mark.parametrize("wanted", ["objective", "metric"])
@pytest.mark.parametrize(
    ("train", "validation", "words"),
    [
        (toy.columns(1024), VALIDATION, "training events have none; .*have generator, scale"),
        (TRAIN, toy.columns(512), "training events have generator, scale; .* have none"),
        (TRAIN, another_form(VALIDATION), r"\(scale: one has a direction"),
    ],
)
def test_both_samples_have_the_same_variations(wanted, train, validation, words):
    seen = {"objective": Seen, "metric": Judge}[wanted]
    options = {wanted: seen(), "train": train, "validation": validation}
    with pytest.raises(InputError, match=words):
        toy.population(**options)
    # Who counts none does not mind.
    assert toy.population(train=train, validation=validation).members == 4


def test_columns_take_varied_weights_at_full_yields():
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 1.5, 60)
    events = Events.from_arrays(
        features=rng.normal(size=(60, 2)),
        feature_names=("a", "b"),
        process=np.arange(60) % 2,
        processes=(Process(name="s", role="signal"), Process(name="b")),
        weight=weight,
        variations={"isr": (1.1 * weight, 0.9 * weight), "fsr": (1.2 * weight, None)},
    )
    full = np.array([100.0, 3000.0])
    made = columns(events, full, FeatureTransform.fit(events.features))
    assert set(made.variations) == {"isr", "fsr"}
    for name, factor in (("isr", 1.1), ("fsr", 1.2)):
        totals = np.bincount(made.process, made.variations[name].up.weight)
        np.testing.assert_allclose(totals, factor * full, rtol=1e-5)
    assert made.variations["fsr"].down is None


@pytest.mark.slow
def test_a_population_trains_through_the_fit():
    objective = PoiUncertainty(
        model=FitModel(
            bins=4,
            bandwidth=(0.1, 0.1),
            normalisation=[NormalisationUncertainty("norm", 0.1, None, ("background",))],
        )
    )
    population = toy.population(
        objective=objective, train=TRAIN, validation=VALIDATION, members=2, batch_size=512
    )
    rates = {"learning_rate": np.full(2, 1e-2)}
    _, records = population.run(rates, epochs=8)
    assert np.isfinite(records.loss).all()
    # In units of ln sigma: a tenth is ten per cent of the uncertainty.
    assert np.all(records.validation_loss[-1] < records.validation_loss[0] - 0.1)
