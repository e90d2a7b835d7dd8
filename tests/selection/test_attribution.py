"""Attributions against closed forms of linear and quadratic scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.models import MLP
from difftune.selection import expected_gradients, input_gradients, integrated_gradients
from difftune.training import ModuleDef

RNG = np.random.default_rng(3)
SLOPE = jnp.asarray(RNG.normal(size=4), jnp.float32)
MATRIX = RNG.normal(size=(4, 4))
MATRIX = jnp.asarray(MATRIX + MATRIX.T, jnp.float32)
X = jnp.asarray(RNG.normal(size=(50, 4)), jnp.float32)
BASE = jnp.asarray(RNG.normal(size=(1, 4)), jnp.float32)


def linear(x):
    return x @ SLOPE


def quadratic(x):
    return jnp.einsum("ei,ij,ej->e", x, MATRIX, x)


def test_of_a_linear_score_are_slope_times_difference():
    expected = (X - BASE) * SLOPE
    np.testing.assert_allclose(integrated_gradients(linear, X, BASE), expected, atol=1e-5)
    np.testing.assert_allclose(input_gradients(linear, X), np.tile(SLOPE, (50, 1)), atol=1e-6)


@pytest.mark.parametrize("steps", [1, 7])
def test_of_a_quadratic_score_are_those_of_the_midpoint(steps):
    # The gradient 2 M x is linear along the path, so its mean is that in the middle.
    expected = (X - BASE) * ((X + BASE) @ MATRIX)
    found = integrated_gradients(quadratic, X, BASE, steps=steps)
    np.testing.assert_allclose(found, expected, atol=1e-4)


# The gradient of a network of rectifiers jumps, and a sum over n points errs by 1 / n.
@pytest.mark.parametrize(("activation", "steps"), [("tanh", 50), ("relu", 2000)])
def test_of_a_network_are_complete(activation, steps):
    module_def = ModuleDef(MLP(hidden=(32, 32), activation=activation), inputs=4, outputs=1)
    weights = module_def.init(jax.random.key(1))

    def score(x):
        return module_def.evaluate(weights, {}, x)

    found = integrated_gradients(score, X, BASE, steps=steps)
    difference = score(X) - score(BASE)
    np.testing.assert_allclose(found.sum(axis=1), difference, atol=1e-3)


def test_expected_gradients_of_a_quadratic_score():
    """The mean over baselines of (x_i - x'_i) ((x + x') M)_i, with the moments of the sample."""
    sample = jnp.asarray(RNG.normal(size=(40, 4)) @ RNG.normal(size=(4, 4)), jnp.float32)
    weight = jnp.asarray(RNG.uniform(0.2, 2.0, 40), jnp.float32)
    away, both = X[:, None] - sample, (X[:, None] + sample) @ MATRIX
    expected = np.average(away * both, axis=1, weights=weight)
    draws = 4000
    found = expected_gradients(quadratic, X, sample, jax.random.key(0), draws=draws, weight=weight)
    # One draw has the gradient at a random point of the path: the spread of 2 M x' along it too.
    along = jnp.linspace(0, 1, 21)[:, None, None, None]
    each = away * 2 * ((sample + along * away) @ MATRIX)
    chance = np.asarray(weight / weight.sum())[None, None, :, None]
    variance = np.mean(np.sum(chance * (each - expected[:, None]) ** 2, axis=2), axis=0)
    assert np.all(np.abs(found - expected) < 5 * np.sqrt(variance / draws) + 1e-4)
    assert np.abs(found - expected).mean() < np.sqrt(variance / draws).mean()
