"""What is done where nothing is said: the network, its batches, its length, its score."""

import logging

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

import difftune as dt
from difftune.job import build, from_dict
from difftune.training import batch_size_for, default_metric

FILE = {
    "data": {"files": "a.root", "features": ["x"]},
    "samples": [{"name": "s", "role": "signal"}, {"name": "b"}],
}


def ring(count: int) -> dt.Events:
    """Signal on a ring among background: no cut on a variable tells them apart, the radius does."""
    rng = np.random.default_rng(4)
    index = np.arange(count) % 2
    radius = np.where(index == 0, rng.normal(2.0, 0.3, count), np.abs(rng.normal(0.0, 2.0, count)))
    angle = rng.uniform(0, 2 * np.pi, count)
    return dt.Events.from_arrays(
        np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32),
        index,
        np.ones(count),
        feature_names=["x", "y"],
        processes=[dt.Process(name="s", role="signal"), dt.Process(name="b")],
    )


@pytest.mark.slow
def test_the_default_network_comes_near_the_truth():
    """The best discriminant is a function of the radius that is known."""
    events = ring(4000)
    network = dt.train(events, seed=3)
    assert network.module_def.model == dt.models.DEFAULT
    test = events.in_folds([4])
    x = np.asarray(test.features, np.float64)
    radius, signal = np.hypot(*x.T), np.asarray(test.label) == 1
    s = np.exp(-0.5 * ((radius - 2.0) / 0.3) ** 2) / 0.3
    b = 2.0 * np.exp(-0.5 * (radius / 2.0) ** 2) / 2.0
    best = roc_auc_score(signal, s / (s + b))
    assert roc_auc_score(signal, network.score(test)) > best - 0.01


@pytest.mark.parametrize(
    ("events", "size"), [(1, 128), (9000, 128), (61_000, 256), (200_000, 1024), (10**8, 1024)]
)
def test_the_batch_follows_from_the_number_of_events(events, size):
    assert batch_size_for(events) == size


def test_a_population_has_the_batch_of_the_events_that_a_member_sees():
    events = ring(4000)
    strategy = dt.search.Random(population=1, rounds=1, epochs_per_round=1)
    split = dt.analysis.Split(events=events)
    population = dt.analysis.Preparation(split=split).population(strategy, 1, dt.Space())
    assert population.sizes == (batch_size_for(2400),)


def test_a_classifier_is_scored_by_the_likelihood_and_what_counts_by_the_significance():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=100)
    split = dt.analysis.Split(events=ring(200))
    recipe = dt.Recipe()
    batch = dt.training.as_batch(
        recipe.columns(ring(100), np.full(2, 50.0), recipe.transform(split.events)), None, 1.0
    )
    found = recipe.metric(jnp.asarray(scores, jnp.float32), batch, {}, {})
    wanted = np.exp(-log_loss(np.asarray(batch.label), 1 / (1 + np.exp(-scores))))
    assert float(found) == pytest.approx(wanted, rel=1e-5)
    counting = dt.objectives.AsimovLLR(bins=5)
    for objective in (counting, dt.objectives.CrossEntropy() + 0.1 * counting):
        assert dt.Recipe(objective=objective).metric == dt.objectives.Significance()
    multiclass = dt.objectives.CategoricalCrossEntropy()
    assert default_metric(multiclass) == dt.objectives.Significance()
    assert dt.Recipe(metric=dt.objectives.AUC()).metric == dt.objectives.AUC()


@pytest.mark.slow
def test_a_training_that_is_too_short_says_so(caplog):
    recipe = dt.Recipe(
        model=dt.models.MLP(hidden=4),
        hyperparameters={"learning_rate": 1e-4},
        overtraining=float("inf"),
    )
    with caplog.at_level(logging.WARNING, "difftune"):
        # A learning rate that has come to its end leaves nothing to wait for.
        falling = {**recipe.hyperparameters, "schedule": 1.0}
        dt.train(ring(400), recipe, epochs=2, hyperparameters=falling)
        assert not any("best epoch" in message for message in caplog.messages)
        dt.train(ring(400), recipe, epochs=2)
    assert any("the best epoch is the last of 2" in message for message in caplog.messages)
    assert any("epochs=4" in message for message in caplog.messages)


def test_a_file_without_a_network_has_the_default_one():
    assert build.model(from_dict(FILE)) == dt.models.DEFAULT
    said = from_dict(FILE | {"model": {"hidden": [7]}})
    assert build.model(said) == dt.models.MLP(hidden=(7,))
    recipe = build.recipe(from_dict(FILE))
    for name in ("batch_size", "negative_weights", "patience"):
        assert getattr(recipe, name) == getattr(dt.Recipe(), name)
