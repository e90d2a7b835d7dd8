"""Metrics of hard bins. A metric is what a search compares members by.

It has the form of an objective, and no gradient; larger is better.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.histograms import yields
from difftune.inference import asimov_significance
from difftune.objectives.base import Metric
from difftune.objectives.batch import signal_probability
from difftune.objectives.separation import separation_power


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
class _Bins(Metric):
    """Bins of equal shares of the class-balanced sample.

    Args:
        bins: Number of bins.

    Raises:
        InputError: For less than one bin.
    """

    bins: int = 10

    def __post_init__(self):
        if self.bins < 1:
            raise InputError(f"{type(self).__name__}(bins={self.bins}): at least 1 is needed.")

    def histograms(self, scores, batch) -> Float[Array, "2 bins"]:
        """Expected background and signal in the bins."""
        score = signal_probability(scores, batch)
        edges = quantile_edges(score, batch.training_weight, bins=self.bins)
        classes = jnp.stack([1 - batch.label, batch.label])
        return yields(score, batch.weight * classes, edges)


@takes()
@dataclass(frozen=True, kw_only=True)
class Significance(_Bins):
    """Stat-only Asimov significance in hard bins; larger is better.

    The bins hold equal shares of the class-balanced sample, so that each has many simulated events
    and none is placed where a fluctuation makes it look good. More bins resolve more, and fluctuate
    more.

    Args:
        bins: Number of bins.
    """

    def __call__(self, scores, batch, hyperparameters, parameters) -> Float[Array, ""]:
        """The significance, in standard deviations."""
        background, signal = self.histograms(scores, batch)
        return asimov_significance(signal, background)


@takes()
@dataclass(frozen=True, kw_only=True)
class Separation(_Bins):
    """Separation power of the score in hard bins, from 0 to 1; larger is better.

    `1/2 sum_i (s_i - b_i)^2 / (s_i + b_i)` of the normalised histograms, in bins of equal shares of
    the class-balanced sample, so that only the order of the scores counts. A bin with a negative
    sum of weights counts as empty.

    Args:
        bins: Number of bins.
    """

    def __call__(self, scores, batch, hyperparameters, parameters) -> Float[Array, ""]:
        """The separation power."""
        background, signal = self.histograms(scores, batch)
        return separation_power(signal, background)
