"""Bin edges that are trained along with the network."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.binning import LearnedEdges
from difftune.errors import InputError
from difftune.histograms import histogram
from difftune.inference import asimov_significance
from difftune.objectives import (
    AMSLoss,
    AsimovLLR,
    CrossEntropy,
    FitModel,
    PoiUncertainty,
    SeparationLoss,
)
from tests.objectives.samples import batch, logits
from tests.training import toy

EDGES = LearnedEdges(bins=4, start=(0.0, 0.2, 0.45, 0.8, 1.0))
OBJECTIVES = {
    "q0": AsimovLLR(bins=EDGES, bandwidth=(0.1, 0.1)),
    "ams": AMSLoss(bins=EDGES, regions="bins", bandwidth=(0.1, 0.1)),
    "separation": SeparationLoss(bins=EDGES, bandwidth=(0.1, 0.1)),
    "fit": PoiUncertainty(model=FitModel(bins=EDGES, bandwidth=(0.1, 0.1))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_edges_have_the_gradient_of_finite_differences(name):
    objective = OBJECTIVES[name]
    with jax.enable_x64(True):
        scores, events = logits(200, dtype=float), batch(200, dtype=float)
        start = objective.init(jax.random.key(0))
        flat, restore = jax.flatten_util.ravel_pytree(start)
        flat = flat.astype(jnp.float64)

        @jax.jit
        def loss(flat):
            return objective(scores, events, {}, restore(flat))

        slope = jax.grad(loss)(flat)
        step = 1e-5
        numeric = [
            (loss(flat.at[i].add(step)) - loss(flat.at[i].add(-step))) / (2 * step)
            for i in range(len(flat))
        ]
    assert np.abs(slope).max() > 1e-3
    np.testing.assert_allclose(slope, numeric, rtol=1e-6, atol=1e-8)


def test_equidistant_start_is_the_objective_without():
    scores, events = logits(200), batch(200)
    learned = AsimovLLR(bins=LearnedEdges(bins=5))
    value = jax.jit(learned)(scores, events, {}, learned.init(jax.random.key(0)))
    np.testing.assert_allclose(value, jax.jit(AsimovLLR(bins=5))(scores, events, {}, {}), rtol=1e-5)


@pytest.mark.slow
def test_edges_trained_with_the_network_are_better_than_equidistant_ones():
    data = toy.columns(4000)
    learned = LearnedEdges(bins=4)
    population = toy.population(
        objective=CrossEntropy() + 0.3 * AsimovLLR(bins=learned, bandwidth=(0.05, 0.02)),
        train=data,
        validation=toy.columns(512),
        members=2,
        batch_size=500,
    )
    state, _ = population.run({"learning_rate": np.full(2, 1e-2)}, epochs=12)
    test = toy.columns(40_000, seed=1)
    scores = np.asarray(population.scores(state.best, test.features))
    for slot in range(2):
        own = jax.tree.map(lambda leaf, slot=slot: leaf[slot], state.best.objective)
        edges = np.asarray(learned(own[1]["edges"]), float)
        assert np.all(np.diff(edges) > 0)
        score = 1 / (1 + np.exp(-scores[slot].astype(float)))

        def significance(edges, score=score):
            s, b = (
                histogram(score[chosen], test.weight[chosen], edges).sumw
                for chosen in (test.label == 1, test.label == 0)
            )
            return float(asimov_significance(s, b))

        assert significance(edges) > 1.01 * significance(np.linspace(0.0, 1.0, 5))


def test_edges_that_the_score_never_reaches_are_refused():
    with pytest.raises(InputError, match=r"AsimovLLR\(bins=.*leave out low and high"):
        AsimovLLR(bins=LearnedEdges(bins=4, low=-1.0))
