"""Edges as parameters, alone and inside an objective."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from difftune.binning import Asimov, Cells, LearnedEdges, exact_edges
from difftune.errors import InputError
from difftune.histograms import soft_histogram
from difftune.inference.expected import asimov_llr
from difftune.objectives import AsimovLLR, Objective
from difftune.objectives.batch import signal_probability
from tests.binning.samples import FREE, asimov, events
from tests.objectives.samples import batch, evaluate, logits, value_and_gradient


@dataclass(frozen=True, kw_only=True)
class Learned(Objective):
    """q0 in bins whose edges are trained with the network."""

    edges: LearnedEdges
    bandwidth: float = 0.02

    def init(self, key):
        return self.edges.init(key)

    def __call__(self, scores, batch, hyperparameters, parameters):
        score = signal_probability(scores, batch)
        is_signal = batch.label.astype(score.dtype)
        weight = jnp.stack([is_signal, 1.0 - is_signal]) * batch.weight
        edges = self.edges(parameters)
        yields = soft_histogram(score, weight, edges, bandwidth=self.bandwidth)
        return -asimov_llr(*yields)


def test_start_edges_are_those_given():
    wanted = [0.0, 0.3, 0.35, 0.9, 1.0]
    edges = LearnedEdges(bins=4, start=wanted)
    np.testing.assert_allclose(edges(edges.init(jax.random.key(0))), wanted, atol=1e-6)
    plain = LearnedEdges(bins=5, low=-2.0, high=3.0)
    found = plain(plain.init(jax.random.key(0)))
    np.testing.assert_allclose(found, np.linspace(-2, 3, 6), atol=1e-6)


def test_edges_are_in_order_whatever_the_parameters():
    edges = LearnedEdges(bins=6, low=-1.0, high=2.0, min_width=0.01)
    for seed in range(20):
        drawn = 100 * jax.random.normal(jax.random.key(seed), (6,))
        found = np.asarray(edges({"log_widths": drawn}))
        assert (np.diff(found) > 0.9 * 3 * 0.01).all()
        assert (found[0], found[-1]) == (-1.0, 2.0)


def test_members_begin_apart():
    edges = LearnedEdges(bins=4, jitter=0.3)
    parameters = jax.vmap(edges.init)(jax.random.split(jax.random.key(1), 3))
    found = np.asarray(jax.vmap(edges)(parameters))
    assert found.shape == (3, 5)
    assert np.ptp(found[:, 2]) > 0.01


def test_pace_is_that_of_the_logarithm():
    """The same step of the parameter moves the edges `pace` times as far."""
    moved = []
    for pace in (1.0, 10.0):
        edges = LearnedEdges(bins=3, pace=pace, min_width=0.0)
        parameters = edges.init(jax.random.key(0))
        step = {"log_widths": parameters["log_widths"] + jnp.array([1e-3, 0.0, 0.0])}
        moved.append(edges(step)[1] - edges(parameters)[1])
    np.testing.assert_allclose(moved[1] / moved[0], 10.0, rtol=0.01)


def test_start_gives_what_fixed_edges_give():
    objective = Learned(edges=LearnedEdges(bins=20), bandwidth=0.05)
    fixed = AsimovLLR(bins=20, bandwidth=(0.05, 0.05), form="linear")
    parameters = objective.init(jax.random.key(0))
    given = logits(), batch()
    found = evaluate(objective, *given, {}, parameters)
    np.testing.assert_allclose(found, evaluate(fixed, *given), rtol=1e-5)


@pytest.mark.slow
def test_gradient_is_that_of_finite_differences():
    with jax.enable_x64(True):
        objective = Learned(edges=LearnedEdges(bins=4, pace=1.0), bandwidth=0.1)
        given = logits(dtype=jnp.float64), batch(dtype=jnp.float64)
        start = jnp.array([-1.0, 0.3, 0.0, -0.4])

        def loss(log_widths):
            return objective(*given, {}, {"log_widths": jnp.asarray(log_widths)})

        check_grads(loss, (start,), order=1, modes=["rev"])


def test_a_sum_gives_the_edges_their_parameters():
    objective = 0.5 * Learned(edges=LearnedEdges(bins=3)) + AsimovLLR(bins=5)
    parameters = objective.init(jax.random.key(0))
    loss, _ = value_and_gradient(objective, logits(), batch(), {}, parameters)
    assert np.isfinite(loss)
    assert jax.tree.leaves(parameters)[0].shape == (3,)


def test_trained_edges_reach_the_exact_optimum():
    sample = events(20_000, seed=4)
    shape = LearnedEdges(bins=4, pace=1.0)
    score = jnp.asarray(sample.score, jnp.float32)
    weight = jnp.asarray(np.stack([sample.signal, ~sample.signal]) * sample.weight, jnp.float32)
    optimizer = optax.adam(0.1)

    def loss(parameters, bandwidth):
        yields = soft_histogram(score, weight, shape(parameters), bandwidth=bandwidth)
        return -asimov_llr(*yields)

    @jax.jit
    def trained(parameters):
        def step(state, bandwidth):
            parameters, moments = state
            slope = jax.grad(loss)(parameters, bandwidth)
            updates, moments = optimizer.update(slope, moments)
            return (optax.apply_updates(parameters, updates), moments), None

        annealed = jnp.geomspace(0.05, 0.003, 200)
        return jax.lax.scan(step, (parameters, optimizer.init(parameters)), annealed)[0][0]

    start = shape.init(jax.random.key(0))
    hard = [asimov(sample, np.asarray(shape(p))) for p in (start, trained(start))]
    cells = Cells.of(sample, candidates=50)
    truth = asimov(sample, cells.edges[exact_edges(cells, 4, Asimov(), FREE)[4]])
    assert hard[0] < 0.8 * truth
    assert hard[1] > 0.98 * truth


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 1}, "no edge to learn"),
        ({"bins": 3, "low": 1.0}, "low is below high"),
        ({"bins": 10, "min_width": 0.1}, "less than 0.1"),
        ({"bins": 2, "start": [0.0, 0.5]}, "give 3 edges from 0.0 to 1.0"),
        ({"bins": 2, "start": [0.0, 1.0, 0.5]}, "give 3 edges"),
        ({"bins": 2, "pace": 0.0}, "pace is positive"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LearnedEdges(**options)
