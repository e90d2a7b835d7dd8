"""Networks trained anew on the events that validated them, too."""

import jax
import numpy as np
import pytest

import difftune as dt
from difftune.training import ScoreGap
from tests.training import toy
from tests.training.test_held_out import FOLDS, population, rates, without

FREE = {"overtraining": ScoreGap(limit=float("inf"))}
GIVEN = {"learning_rate": np.array([1e-2, 3e-2]), "schedule": np.array([0.0, 1.0])}


@pytest.mark.slow
def test_of_the_same_events_it_is_the_training_up_to_the_best_epoch():
    trained = toy.population(members=2, batch_size=100, **FREE)
    best = jax.device_get(trained.run(GIVEN, epochs=4)[0].best)._replace(
        epoch=np.array([2, 0], np.int32)
    )
    again = trained.refitted(best, trained.train)
    for slot, epochs in enumerate((3, 1)):
        # A schedule ends with the passes that are made.
        alone = jax.device_get(trained.run(GIVEN, epochs=epochs)[0])
        found, wanted = (toy.member(each.weights.parameters, slot) for each in (again, alone))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_values_of_a_schedule_are_those_of_the_epoch():
    """Twice as many epochs, each value as often as it had been."""
    trained = toy.population(members=1, batch_size=100, **FREE)
    rates = np.array([3e-2, 1e-3])
    best = jax.device_get(trained.run({"learning_rate": rates[:1]}, epochs=2)[0].best)._replace(
        epoch=np.array([1], np.int32)
    )
    asked = []

    def values(epoch):
        asked.append(epoch)
        return {"learning_rate": rates[epoch : epoch + 1]}

    again = trained.refitted(best, trained.train, values=values)
    state = trained.init(values(0))
    for epoch in range(2):
        ((state, _),) = trained.train_epochs(
            state, values(epoch), range(epoch, epoch + 1), length=2
        )
    wanted = jax.device_get(state).weights.parameters
    for a, b in zip(
        *(toy.member(each, 0) for each in (again.weights.parameters, wanted)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    asked.clear()
    trained.refitted(best, toy.columns(2048), values=values)
    assert asked == [0, 0, 0, 1, 1]


def test_passes_count_where_there_are_more_events():
    """Without momentum, dropout and curvature the way is as long as there are steps."""
    trained = toy.population(members=2, batch_size=100, optimizer="sgd", **FREE)
    small = {"learning_rate": np.full(2, 1e-6), "momentum": np.zeros(2)}
    start = jax.device_get(trained.init(small)).weights.parameters
    best = jax.device_get(trained.run(small, epochs=3)[0].best)._replace(
        epoch=np.array([2, -1], np.int32)
    )
    more = toy.columns(2048)
    again = trained.refitted(best, more)
    # Ten steps for 1024 events, in six epochs for three passes.
    way = alone = 0.0
    for a, b, c in zip(
        *(toy.member(each, 0) for each in (again.weights.parameters, start)),
        toy.member(trained.run(small, epochs=6)[0].weights.parameters, 0),
        strict=True,
    ):
        way, alone = way + np.sum((a - b) ** 2), alone + np.sum((c - b) ** 2)
    np.testing.assert_allclose(np.sqrt(way), np.sqrt(alone), rtol=0.2)
    # Without a best epoch there is nothing to go by.
    for a, b in zip(toy.member(again, 1), toy.member(best, 1), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_it_learns_from_the_fold_that_validated_and_never_from_the_one_held_out():
    trained = population(**FREE)
    best = jax.device_get(trained.run(rates(), epochs=1)[0].best)
    # Long enough for each fold to be seen.
    best = best._replace(epoch=np.full(FOLDS, 3, np.int32))
    again = trained.refitted(best)
    for fold in range(2):
        other = population(train=without(fold), **FREE).refitted(best)
        for member in range(FOLDS):
            own, changed = (toy.member(each.weights, member) for each in (again, other))
            same = all(np.array_equal(a, b) for a, b in zip(own, changed, strict=True))
            # The first fold is held out by the first member, and validates the last one.
            assert same == (fold == member)


@pytest.mark.slow
@pytest.mark.parametrize("crossed", [True, False])
def test_train_learns_from_the_validation_events_where_nothing_is_said_and_of_each_fold(crossed):
    rng = np.random.default_rng(8)
    label = np.arange(240) % 2
    events = dt.Events.from_arrays(
        rng.normal(size=(240, 2)) + label[:, None],
        label,
        np.ones(240),
        feature_names=["a", "b"],
        processes=[dt.Process(name="b"), dt.Process(name="s", role="signal")],
        folds=3,
    )
    parts = {"model": dt.models.MLP(hidden=(4,)), "batch_size": 20, **FREE}
    sample = dt.analysis.Split(events=events, validation_folds=(1,), test_folds=(2,))
    if crossed:
        sample = dt.CrossFit(events=events)
    stopped = dt.train(sample, dt.Recipe(**parts), epochs=1).score(events)
    every = dt.train(sample, epochs=1, **parts).score(events)
    assert np.abs(every - stopped).max() > 1e-3
    # It is what `refit` says, and the same each time.
    again = dt.train(sample, epochs=1, refit=True, **parts).score(events)
    np.testing.assert_array_equal(every, again)
    kept = dt.train(sample, epochs=1, refit=False, **parts).score(events)
    assert np.abs(every - kept).max() > 1e-3
