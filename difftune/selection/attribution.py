"""Attributions of a score to its inputs, event by event: pure functions of arrays."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Score = Callable[[Array], Array]
"""From features `[events, inputs]` to scores `[events]`, each of its own event alone."""


def input_gradients(
    score: Score, features: Float[Array, "events inputs"]
) -> Float[Array, "events inputs"]:
    """Gradient of each event's score in its own inputs."""
    return jax.grad(lambda x: jnp.sum(score(x)))(features)


def integrated_gradients(
    score: Score,
    features: Float[Array, "events inputs"],
    baseline: Float[Array, "#events inputs"],
    *,
    steps: int = 50,
) -> Float[Array, "events inputs"]:
    """Integrated gradients (arXiv 1703.01365).

    `(x - x') ∫_0^1 ∂s/∂x (x' + t (x - x')) dt`; they sum to s(x) - s(x'). The integral is a
    Gauss-Legendre sum.

    Args:
        score: The network.
        features: Where scores are explained, x.
        baseline: What they are compared with, x': one event, or one for each.
        steps: Nodes of the integral; a network of rectifiers has kinks, and wants many.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    away = features - baseline

    def add(total, node):
        position, weight = node
        return total + weight * input_gradients(score, baseline + position * away), None

    along = (jnp.asarray((nodes + 1) / 2, away.dtype), jnp.asarray(weights / 2, away.dtype))
    total, _ = jax.lax.scan(add, jnp.zeros_like(away), along)
    return away * total


def expected_gradients(
    score: Score,
    features: Float[Array, "events inputs"],
    background: Float[Array, "sample inputs"],
    key: Array,
    *,
    draws: int = 100,
    weight: Float[Array, " sample"] | None = None,
) -> Float[Array, "events inputs"]:
    """Expected gradients (arXiv 1906.10670).

    Integrated gradients averaged over baselines that are drawn from a sample, one random point of
    the path for each draw. They sum to s(x) minus the mean score of the sample, on average.

    Args:
        score: The network.
        features: Where scores are explained.
        background: Sample that baselines are drawn from.
        key: Random key.
        draws: For each event.
        weight: Of the sample; not negative.
    """
    count, sample = features.shape[0], background.shape[0]
    chance = None if weight is None else weight / jnp.sum(weight)

    def add(total, key):
        which, where = jax.random.split(key)
        drawn = background[jax.random.choice(which, sample, (count,), p=chance)]
        away = features - drawn
        along = jax.random.uniform(where, (count, 1), away.dtype)
        return total + away * input_gradients(score, drawn + along * away), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(features), jax.random.split(key, draws))
    return total / draws
