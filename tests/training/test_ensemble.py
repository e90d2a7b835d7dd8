"""Weighted means of networks, and the greedy choice of what is in them."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.data import FeatureTransform
from difftune.errors import InputError
from difftune.models import MLP
from difftune.training import Ensemble, ModuleDef, TrainedNetwork, greedy

RNG = np.random.default_rng(5)
LABEL = RNG.random(60) < 0.4
NOISE = RNG.normal(size=(6, 60))
SCORES = (1 / (1 + np.exp(-(2.0 * LABEL - 1.0 + 1.5 * NOISE)))).astype(np.float32)


def likelihood(score) -> float:
    score = np.asarray(score, np.float64)
    return float(np.mean(np.log(np.where(LABEL, score, 1.0 - score))))


def likelihood_jax(score):
    return jnp.mean(jnp.log(jnp.where(LABEL, score, 1.0 - score)))


def step_by_step(scores, size):
    """The same choice, in numpy, with every mean made anew."""
    inside, path = [], []
    for _ in range(size):
        worth = [likelihood(np.mean(scores[[*inside, i]], axis=0)) for i in range(len(scores))]
        inside.append(int(np.argmax(worth)))
        path.append(max(worth))
    return np.bincount(inside[: int(np.argmax(path)) + 1], minlength=len(scores))


@pytest.mark.parametrize("size", [1, 2, 7, 15])
def test_the_choice_is_the_one_that_is_made_step_by_step(size):
    counts = greedy(SCORES, likelihood_jax, size=size)
    np.testing.assert_array_equal(counts, step_by_step(SCORES, size))


def test_the_choice_is_nearly_the_best_of_all_and_better_than_any_alone():
    """Of all means of up to six, which are 923 of these six networks."""
    counts = greedy(SCORES, likelihood_jax, size=6)
    mine = likelihood(np.average(SCORES, axis=0, weights=counts))
    every = [
        likelihood(SCORES[list(inside)].mean(axis=0))
        for size in range(1, 7)
        for inside in itertools.combinations_with_replacement(range(6), size)
    ]
    alone = [likelihood(score) for score in SCORES]
    assert mine >= max(alone)
    assert mine > 0.95 * max(every) + 0.05 * max(alone)
    assert mine <= max(every) + 1e-6


def test_the_best_alone_stays_alone():
    scores = np.stack([np.where(LABEL, 0.9, 0.1), np.where(LABEL, 0.1, 0.9)]).astype(np.float32)
    np.testing.assert_array_equal(greedy(scores, likelihood_jax, size=5), [1, 0])


def test_a_figure_that_is_not_finite_is_not_chosen():
    scores = np.concatenate([np.full((1, 60), np.nan, np.float32), SCORES])
    counts = greedy(scores, likelihood_jax, size=4)
    np.testing.assert_array_equal(counts, [0, *step_by_step(SCORES, 4)])
    with pytest.raises(InputError, match="finite of no candidate"):
        greedy(scores[:1], likelihood_jax, size=4)
    with pytest.raises(InputError, match=r"size=0.*at least 1"):
        greedy(scores, likelihood_jax, size=0)


def network(seed: int) -> TrainedNetwork:
    model = MLP(hidden=(5,))
    module_def = ModuleDef(model, inputs=2, outputs=1)
    return TrainedNetwork(
        module_def=module_def,
        weights=module_def.init(jax.random.key(seed)),
        hyperparameters={},
        transform=FeatureTransform.fit(np.eye(2, dtype=np.float32), np.ones(2), names=("a", "b")),
        feature_names=("a", "b"),
        signal_process=(1.0, 0.0),
    )


def test_weights_count_in_the_mean_and_are_kept(tmp_path):
    networks = [network(seed) for seed in range(3)]
    features = RNG.normal(size=(40, 2)).astype(np.float32)
    apart = np.array([each.score(features) for each in networks], np.float64)
    together = Ensemble(networks, (3, 1, 2))
    expected = (3 * apart[0] + apart[1] + 2 * apart[2]) / 6
    np.testing.assert_allclose(together.score(features), expected, rtol=1e-6)
    np.testing.assert_allclose(Ensemble(networks).score(features), apart.mean(axis=0), rtol=1e-6)
    together.save(tmp_path)
    loaded = Ensemble.load(tmp_path)
    np.testing.assert_array_equal(loaded.score(features), together.score(features))

    for weights in ([3, 1], [3, 1, 0], [3, 1, float("nan")], [3, 1, -1]):
        with pytest.raises(InputError, match=r"weights.*a positive number for each of the 3"):
            Ensemble(networks, weights)
    for weights in ([3, 1], [3, 1, 0], [3, 1, "2"], [1, 1, True], 2.0, {}):
        content = json.dumps({"networks": 3, "weights": weights})
        (tmp_path / "ensemble.json").write_text(content)
        with pytest.raises(InputError, match=r"ensemble\.json: weights"):
            Ensemble.load(tmp_path)
