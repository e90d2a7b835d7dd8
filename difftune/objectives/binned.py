"""The histogram of the score: what objectives of it share, separation and significance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from difftune.arguments import Count, Positive, takes
from difftune.errors import InputError
from difftune.histograms import in_blocks, separation_power, soft_histogram, yields
from difftune.inference import asimov_significance
from difftune.objectives.base import Metric, Objective
from difftune.objectives.batch import Batch, Column, Scalar, Scores, Values, signal_probability
from difftune.objectives.bins import (
    HARD,
    Bins,
    Kernel,
    annealed,
    check_bins,
    check_kernel,
    edges_of,
    start_and_end,
    start_edges,
)


@takes()
@dataclass(frozen=True, kw_only=True)
class Binned(Objective):
    """An objective of the differentiable histogram of the score in bins on [0, 1].

    Args:
        bins: Number of equidistant bins, or `difftune.binning.LearnedEdges` to train the edges
            along with the network.
        bandwidth: Width of the kernel that smears an event over the bins, in units of the score,
            at the start and at the end of the training; geometrically annealed in between. The
            hyperparameter `"bandwidth"`, where the search has it, multiplies both.
        kernel: How an event is spread over the bins: `"logistic"`, `"normal"` or `"softmax"`, as in
            `difftune.histograms.soft_histogram`.
        straight_through: Whether the value is that of hard bins, and only the gradient that of
            smeared events.

    Raises:
        InputError: For fewer than two bins, a bandwidth that is not positive, or an unknown kernel.
    """

    bins: Bins = 20
    bandwidth: Sequence[Positive] = (0.05, 0.01)
    kernel: Kernel = "logistic"
    straight_through: bool = False

    def __post_init__(self) -> None:
        name = type(self).__name__
        object.__setattr__(self, "bandwidth", start_and_end(self.bandwidth, f"{name}(bandwidth"))
        check_bins(self.bins, name)
        check_kernel(self.kernel, name)

    def init(self, key: Array) -> PyTree:
        """The parameters of the edges, if they are to be trained."""
        return start_edges(self.bins, key)

    def hard_limit(self) -> "Binned":
        """With bins that events are in or not."""
        return replace(self, bandwidth=HARD)

    def histograms(
        self, scores: Array, batch: Batch, weight: Column, hyperparameters: Values, edges: Array
    ) -> Float[Array, "2 bins"]:
        """Sums of weights of background and signal between edges, of smeared events.

        Args:
            scores: Logits of the network.
            batch: The same events.
            weight: Their weights.
            hyperparameters: May hold the factor on the bandwidth.
            edges: Increasing; the outer bins are open.
        """
        bandwidth = annealed(self.bandwidth, batch, hyperparameters.get("bandwidth", 1.0))

        def filled(score: Array, is_signal: Array, weight: Array) -> Array:
            return soft_histogram(
                score,
                jnp.stack([1.0 - is_signal, is_signal]) * weight,
                edges,
                bandwidth=bandwidth,
                kernel=self.kernel,
                straight_through=self.straight_through,
            )

        score = signal_probability(scores, batch)
        return in_blocks(filled, score, jnp.asarray(batch.label, scores.dtype), jnp.asarray(weight))

    def edges(self, parameters: PyTree, dtype: DTypeLike) -> Float[Array, " edges"]:
        """Of the bins, as they are now."""
        return edges_of(self.bins, parameters, dtype)


def equal_share_edges(
    score: Float[Array, " events"], weight: Float[Column, " events"], *, bins: int
) -> Float[Array, " edges"]:
    """Edges between bins of equal |weight|, on the device.

    `difftune.binning.quantile_edges` is for the host, and shares out the weights as they are.

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
class BinnedMetric(Metric):
    """Bins of equal shares of the class-balanced sample.

    Args:
        bins: Number of bins.

    Raises:
        InputError: For less than one bin.
    """

    bins: Count = 10

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise InputError(f"{type(self).__name__}(bins={self.bins}): at least 1 is needed.")

    def histograms(self, scores: Scores, batch: Batch) -> Float[Array, "2 bins"]:
        """Expected background and signal in the bins."""
        score = signal_probability(scores, batch)
        edges = equal_share_edges(score, batch.training_weight, bins=self.bins)
        classes = jnp.stack([1 - batch.label, batch.label])
        return yields(score, classes * batch.weight, edges)


@takes()
@dataclass(frozen=True, kw_only=True)
class Significance(BinnedMetric):
    """Stat-only Asimov significance in hard bins; larger is better.

    The bins hold equal shares of the class-balanced sample, so that each has many simulated events
    and none is placed where a fluctuation makes it look good. More bins resolve more, and fluctuate
    more.

    Args:
        bins: Number of bins.
    """

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The significance, in standard deviations."""
        background, signal = self.histograms(scores, batch)
        return asimov_significance(signal, background)


@takes()
@dataclass(frozen=True, kw_only=True)
class Separation(BinnedMetric):
    """Separation power of the score in hard bins, from 0 to 1; larger is better.

    `1/2 sum_i (s_i - b_i)^2 / (s_i + b_i)` of the normalised histograms, in bins of equal shares of
    the class-balanced sample, so that only the order of the scores counts. A bin with a negative
    sum of weights counts as empty.

    Args:
        bins: Number of bins.
    """

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The separation power."""
        background, signal = self.histograms(scores, batch)
        return separation_power(signal, background)


@takes()
@dataclass(frozen=True, kw_only=True)
class SeparationLoss(Binned):
    """One minus the separation power of the binned score.

    `1 - 1/2 sum_i (s_i - b_i)^2 / (s_i + b_i)` of the normalised differentiable histograms of
    signal and background, with training weights. It is 0 for a perfect score and 1 for one that
    tells nothing, whatever the yields. A bin counts by its share of the events of both classes: a
    small corner with much signal and hardly any background, where a significance comes from, is
    worth little here.

    Args:
        bins: Number of equidistant bins on [0, 1], or `difftune.binning.LearnedEdges`.
        bandwidth: Width of the kernel in units of the score, at the start and at the end of the
            training. The hyperparameter `"bandwidth"` multiplies both.
        kernel: `"logistic"`, `"normal"` or `"softmax"`.
        straight_through: Whether the value is that of hard bins, and only the gradient smeared.

    Raises:
        InputError: For fewer than two bins, or a bandwidth that is not positive.
    """

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The loss, from 0 to 1."""
        edges = self.edges(parameters, scores.dtype)
        weight = batch.training_weight
        background, signal = self.histograms(scores, batch, weight, hyperparameters, edges)
        return 1.0 - separation_power(signal, background)
