"""Metrics: what a search compares members by. The form of an objective, without a gradient."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.histograms import yields
from difftune.inference.asimov import asimov_significance
from difftune.objectives.batch import signal_probability


def quantile_edges(
    score: Float[Array, " events"], weight: Float[Array, " events"], *, bins: int
) -> Float[Array, " edges"]:
    """Edges between bins of equal |weight|, on the device.

    Args:
        score: Discriminant in [0, 1].
        weight: Weights; their magnitude counts.
        bins: Number of bins.
    """
    order = jnp.argsort(score)
    cumulative = jnp.cumsum(jnp.abs(weight)[order])
    inner = jnp.arange(1, bins) / bins * cumulative[-1]
    edges = score[order][jnp.searchsorted(cumulative, inner)]
    return jnp.concatenate([jnp.zeros(1), edges, jnp.ones(1)]).astype(score.dtype)


@dataclass(frozen=True, kw_only=True)
class Significance:
    """Stat-only Asimov significance in hard bins; larger is better.

    The bins hold equal shares of the class-balanced sample, so that each has many simulated events
    and none is placed where a fluctuation makes it look good. More bins resolve more, and fluctuate
    more.

    Args:
        bins: Number of bins.
    """

    bins: int = 10

    def __call__(self, scores, batch, hyperparameters, parameters) -> Float[Array, ""]:
        """The significance, in standard deviations."""
        score = signal_probability(scores, batch)
        edges = quantile_edges(score, batch.training_weight, bins=self.bins)
        signal = yields(score, batch.weight * batch.label, edges)
        background = yields(score, batch.weight * (1 - batch.label), edges)
        return asimov_significance(signal, background)
