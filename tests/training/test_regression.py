"""Networks that learn targets, against fits of others and laws that are known."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import scipy.special
from sklearn.linear_model import LinearRegression, QuantileRegressor

import difftune as dt
from difftune.analysis import CrossFit, Split
from difftune.errors import InputError
from difftune.models import MLP
from difftune.objectives import GaussianNLL, Huber, Quantile
from difftune.training import AS_SCORED, SCHEDULES, ShapeKS, TrainedNetwork, store, stored

LINEAR = {
    "model": MLP(hidden=()),
    "batch_size": 256,
    "overtraining": float("inf"),
    "patience": 100,
    "selection_rule": AS_SCORED,
}
QUICK = {"learning_rate": 0.01, "schedule": float(SCHEDULES.index("cosine"))}


def events(n=6000, *, target=None, seed=1, weight=None, log=False, noise=1.0):
    """One process with three features; the target is normal around a function of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    sigma = 4.0 * noise * np.exp(0.4 * x[:, 2])
    y = 50 + 8 * x[:, 0] - 3 * x[:, 1] + sigma * rng.normal(size=n)
    y = np.exp(y / 20) if log else y
    return dt.Events.from_arrays(
        x,
        np.zeros(n, int),
        np.ones(n) if weight is None else weight(rng, n),
        feature_names=["a", "b", "c"],
        processes=[dt.Process(name="muons", role="signal")],
        target=y if target is None else target(y, x),
        target_names="energy",
    )


def of_training(split):
    train = split.train
    return np.asarray(train.features, float), np.asarray(train.target)[:, 0], train.weight


def trained(split, objective, **options):
    parts = LINEAR | {"hyperparameters": QUICK} | options
    return dt.train(split, objective=objective, epochs=60, **parts)


def test_a_linear_network_is_the_least_squares_fit_with_weights():
    split = Split(events=events(noise=0.02, weight=lambda rng, n: rng.uniform(0.2, 3.0, n)))
    x, y, weight = of_training(split)
    fit = LinearRegression().fit(x, y, weight)
    network = trained(split, Huber(delta=1e3), refit=False)
    np.testing.assert_allclose(
        network.score(split.test), fit.predict(split.test.features), atol=0.1
    )


def test_a_linear_network_is_the_huber_fit():
    split = Split(events=events(noise=0.1))
    x, y, _ = of_training(split)
    scale = np.std(y)

    def loss(p):
        return np.mean(scipy.special.huber(0.03, (y - x @ p[:3] - p[3]) / scale))

    best = scipy.optimize.minimize(loss, [0, 0, 0, 50.0], tol=1e-10).x
    network = trained(split, Huber(delta=0.03), refit=False)
    test = np.asarray(split.test.features, float)
    np.testing.assert_allclose(network.score(split.test), test @ best[:3] + best[3], atol=0.1)


def test_a_linear_network_is_the_quantile_fit_of_scikit_learn():
    split = Split(events=events(3000, noise=0.1))
    x, y, _ = of_training(split)
    network = trained(split, Quantile(quantiles=[0.3]), refit=False)
    said = network.score(split.test)
    assert network.predictions == ("energy_q30",)
    fit = QuantileRegressor(quantile=0.3, alpha=0.0).fit(x, y)
    np.testing.assert_allclose(said, fit.predict(split.test.features), atol=0.1)


@pytest.mark.slow
def test_quantiles_cover_independent_events_and_widths_are_those_of_the_law():
    split = Split(events=events(20000))
    network = dt.train(
        split,
        objective="quantile",
        model=MLP(hidden=(32,)),
        epochs=25,
        batch_size=256,
        hyperparameters=QUICK,
    )
    fresh = events(20000, seed=9)
    low, _, high = network.score(fresh).T
    truth = np.asarray(fresh.target)[:, 0]
    assert np.mean((low < truth) & (truth < high)) == pytest.approx(0.68, abs=0.02)
    sigma = 4.0 * np.exp(0.4 * np.asarray(fresh.features)[:, 2])
    assert np.median(0.5 * (high - low) / sigma) == pytest.approx(0.9945, rel=0.05)


@pytest.mark.slow
def test_normal_laws_have_pulls_of_width_one():
    network = dt.train(
        Split(events=events(12000)), objective=GaussianNLL(), model=MLP(hidden=(32,)), epochs=15
    )
    fresh = events(8000, seed=9)
    mean, sigma = network.score(fresh).T
    assert network.predictions == ("energy", "energy_sigma")
    pull = (np.asarray(fresh.target)[:, 0] - mean) / sigma
    assert np.std(pull) == pytest.approx(1.0, abs=0.05)
    assert abs(np.mean(pull)) < 0.06


def test_logarithms_of_targets_of_any_size():
    sample = events(log=True, noise=0.1)
    split = Split(events=sample)
    network = trained(split, Huber(delta=1e3), refit=False, target_scaling="log")
    x, y, _ = of_training(split)
    fit = LinearRegression().fit(x, np.log(y))
    wanted = np.exp(fit.predict(split.test.features))
    np.testing.assert_allclose(network.score(split.test), wanted, rtol=0.02)
    below = replace(sample, target=sample.target - np.median(sample.target))
    with pytest.raises(InputError, match=r"not positive.*target_scaling='log'"):
        trained(Split(events=below), Huber(), target_scaling="log")


@pytest.mark.slow
def test_several_targets_searches_ensembles_and_files(tmp_path):
    sample = events(1500, target=lambda y, x: np.stack([y, 100 * x[:, 1]], axis=1)[:, :1])
    second = 100 * np.asarray(sample.features)[:, 1:2]
    sample = replace(
        sample,
        target=np.concatenate([sample.target, second], axis=1),
        target_names=("energy", "drift"),
    )
    tuned = dt.tune(
        sample,
        objective=GaussianNLL(),
        model=MLP(hidden=(8,), submodels=2),
        space=dt.Space(learning_rate=dt.log_uniform(1e-3, 1e-2)),
        search=dt.search.Random(population=3, rounds=2, epochs_per_round=2),
    )
    names = ("energy", "energy_sigma", "drift", "drift_sigma")
    ensemble = tuned.ensemble("greedy")
    assert tuned.network.predictions == ensemble.predictions == names
    together = dt.Ensemble(tuned.networks).score(sample)
    each = np.stack([network.score(sample) for network in tuned.networks])
    mean = each[..., 0::2].mean(axis=0)
    # The law of total variance.
    square = (each[..., 1::2] ** 2).mean(axis=0) + each[..., 0::2].var(axis=0)
    np.testing.assert_allclose(together[:, 0::2], mean, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(together[:, 1::2], np.sqrt(square), rtol=1e-4)
    tuned.network.save(tmp_path)
    again = TrainedNetwork.load(tmp_path)
    np.testing.assert_array_equal(again.score(sample), tuned.network.score(sample))
    with pytest.raises(InputError, match=r"predicts energy, .*no signal from background"):
        dt.measure(again, Split(events=sample))


@pytest.mark.slow
def test_each_fold_is_predicted_by_what_has_not_seen_it():
    sample = events(1500)
    network = dt.train(
        CrossFit(events=sample), objective="huber", model=MLP(hidden=(8,)), epochs=3, refit=True
    )
    said = network.score(sample)
    for fold, own in enumerate(network.networks):
        mine = np.asarray(sample.fold) == fold
        np.testing.assert_array_equal(said[mine], own.score(sample.select(mine)))


def test_columns_on_disk_have_targets(tmp_path):
    split, recipe = Split(events=events(500)), dt.Recipe(objective=Huber())
    transform = recipe.transform(split.train)
    made = recipe.columns(split.train, split.full_yields, transform)
    assert made.training_weight.mean() == pytest.approx(1.0)
    kept = store(made, tmp_path)
    assert kept.link == replace(made.link, transform=kept.link.transform)
    order = np.argsort(kept.target[:, 0])
    np.testing.assert_array_equal(kept.target[order], np.sort(made.target, axis=0))
    assert stored(tmp_path).link.names == ("energy",)


def test_what_does_not_fit_is_refused(caplog):
    sample = events(500)
    bare = replace(sample, target=None, target_names=())
    with pytest.raises(InputError, match=r"Huber\(\.\.\.\) learns targets .*dt\.read"):
        dt.train(bare, objective=Huber())
    with pytest.raises(InputError, match="scores of signal and background, and Huber learns"):
        dt.Recipe(objective=Huber(), overtraining=ShapeKS())
    hole = np.array(sample.target)
    hole[7] = np.nan
    with pytest.raises(InputError, match=r"1 of \d+ simulated events have no finite value"):
        dt.train(replace(sample, target=hole), objective=Huber())
    with pytest.raises(InputError, match="'energy' is constant"):
        dt.train(replace(sample, target=0 * sample.target + 3), objective=Huber())
    with pytest.raises(InputError, match="no process has the role 'background'"):
        dt.train(sample)
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match="background"):
        dt.train(sample, objective="cross_entropy")
    assert "learns classes" in caplog.text
    with pytest.raises(InputError, match="does not fit: there are 500 events"):
        dt.Events.from_arrays(
            sample.features,
            sample.process,
            sample.weight,
            feature_names=sample.feature_names,
            processes=sample.processes,
            target=np.ones((500, 2)),
        )
