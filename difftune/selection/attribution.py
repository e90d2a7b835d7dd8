"""What a variable tells by itself, and attributions of a score to its inputs: plain functions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from difftune import histograms

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

    def add(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
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

    def add(total: Array, key: Array) -> tuple[Array, None]:
        which, where = jax.random.split(key)
        drawn = background[jax.random.choice(which, sample, (count,), p=chance)]
        away = features - drawn
        along = jax.random.uniform(where, (count, 1), away.dtype)
        return total + away * input_gradients(score, drawn + along * away), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(features), jax.random.split(key, draws))
    return total / draws


Column = Float[np.ndarray, " events"]


def shares(
    values: Column, weight: Column, label: Int[np.ndarray, " events"], *, bins: int
) -> Float[np.ndarray, "2 bins"]:
    """Histograms of background and signal, in bins of equal shares of the events.

    Args:
        values: A variable.
        weight: Weights; a bin with a negative sum counts as empty.
        label: 1 for signal, 0 for background.
        bins: How many, at most: a discrete variable has no more than values.

    Returns:
        Shares of each class; they sum to 1 each.
    """
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, values, side="right")
    found = np.stack(
        [
            np.bincount(place[label == c], weight[label == c], minlength=len(edges) + 1)
            for c in (0, 1)
        ]
    )
    found = np.maximum(found, 0.0)
    return found / np.maximum(found.sum(axis=1, keepdims=True), 1e-300)


def separation(
    values: Column, weight: Column, label: Int[np.ndarray, " events"], *, bins: int = 20
) -> float:
    """Separation power, `1/2 sum_i (s_i - b_i)^2 / (s_i + b_i)`, from 0 to 1."""
    background, signal = shares(values, weight, label, bins=bins)
    return histograms.separation(signal, background)


def mutual_information(
    values: Column, weight: Column, label: Int[np.ndarray, " events"], *, bins: int = 20
) -> float:
    """Mutual information of a variable in bins with the class, both equally likely, in nats.

    0 for a variable that tells nothing (and the bins' fluctuations above it), ln 2 for one that
    tells everything.
    """
    joint = shares(values, weight, label, bins=bins) / 2
    expected = joint.sum(axis=0) / 2
    ratio = np.where(joint > 0, joint / np.where(expected > 0, expected, 1.0), 1.0)
    return float(np.sum(joint * np.log(ratio)))


def information_about(values: Column, weight: Column, target: Column, *, bins: int = 10) -> float:
    """Mutual information of a variable with a target, both in bins of equal shares, in nats.

    0 for a variable that tells nothing, but for the fluctuations of the bins: about
    `(bins - 1)² / 2` over the number of events.

    Args:
        values: A variable.
        weight: Weights; a bin of both with a negative sum counts as empty.
        target: What is learned of each event.
        bins: How many of each, at most.
    """
    places = []
    for own in (values, target):
        edges = np.unique(np.quantile(own, np.linspace(0, 1, bins + 1)[1:-1]))
        places.append(np.searchsorted(edges, own, side="right"))
    filled = np.bincount(places[0] * bins + places[1], weight, minlength=bins * bins)
    joint = np.maximum(filled, 0.0).reshape(bins, bins)
    joint = joint / max(float(joint.sum()), 1e-300)
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    ratio = np.where(joint > 0, joint / np.where(expected > 0, expected, 1.0), 1.0)
    return float(np.sum(joint * np.log(ratio)))


def correlation(
    features: Float[np.ndarray, "events inputs"], weight: Column
) -> Float[np.ndarray, "inputs inputs"]:
    """Linear correlations of weighted columns; 0 for a column that is constant."""
    found = np.nan_to_num(histograms.weighted_correlation(features, np.abs(weight)))
    np.fill_diagonal(found, 1.0)
    return found
