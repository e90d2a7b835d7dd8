"""What objectives of a binned or cut score share: soft yields, and the form of the loss."""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.histograms import in_blocks, soft_histogram
from difftune.objectives.annealing import HARD, annealed, check_kernel, start_and_end
from difftune.objectives.base import Objective
from difftune.objectives.batch import Batch, signal_probability
from difftune.objectives.edges import Bins, check_bins, edges_of, start_edges


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
    bandwidth: Sequence[float] = (0.05, 0.01)
    kernel: str = "logistic"
    straight_through: bool = False

    def __post_init__(self):
        name = type(self).__name__
        object.__setattr__(self, "bandwidth", start_and_end(self.bandwidth, f"{name}(bandwidth"))
        check_bins(self.bins, name)
        check_kernel(self.kernel, name)

    def init(self, key):
        """The parameters of the edges, if they are to be trained."""
        return start_edges(self.bins, key)

    def hard_limit(self):
        """With bins that events are in or not."""
        return replace(self, bandwidth=HARD)

    def histograms(
        self, scores: Array, batch: Batch, weight: Array, hyperparameters, edges: Array
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
        return in_blocks(filled, score, jnp.asarray(batch.label, scores.dtype), weight)

    def edges(self, parameters, dtype) -> Float[Array, " edges"]:
        """Of the bins, as they are now."""
        return edges_of(self.bins, parameters, dtype)


Regions = Literal["bins", "cut", "probability"]
Form = Literal["linear", "log"]


@takes()
@dataclass(frozen=True, kw_only=True)
class Counting(Binned):
    """An objective of the expected signal and background in regions of the score.

    A subclass says what the squared significance of such yields is. The loss is minus that, or
    minus its logarithm.

    Args:
        bins: Number of bins.
        bandwidth: Width of the kernel that smears an event over the edges of bins or cut, in units
            of the score, at the start and at the end of the training; geometrically annealed in
            between. The hyperparameter `"bandwidth"`, where the search has it, multiplies both.
        kernel: `"logistic"`, `"normal"` or `"softmax"`.
        straight_through: Whether the value is that of hard bins, and only the gradient smeared.
        form: `"linear"` is minus the squared significance. `"log"` is minus its logarithm: the
            same optimum, with a gradient that does not depend on the luminosity, so that it can be
            added to other losses.
        regions: `"bins"` takes all bins, `"cut"` only what lies above one cut, and
            `"probability"` counts each event with the signal probability that the network gives
            it, as in arXiv 1806.00322: a cut as soft as the sigmoid itself.
        cut: The cut on the score, between 0 and 1.
        train_cut: Whether the cut is a parameter that is trained with the network, from `cut` on.

    Raises:
        InputError: For fewer than two bins, a bandwidth that is not positive, a cut outside of
            (0, 1), an unknown form or kind of regions.
    """

    form: str = "log"
    regions: str = "bins"
    cut: float = 0.5
    train_cut: bool = True

    def __post_init__(self):
        super().__post_init__()
        name = type(self).__name__
        for option, known in (("form", get_args(Form)), ("regions", get_args(Regions))):
            value = getattr(self, option)
            if value not in known:
                *others, last = map(repr, known)
                raise InputError(
                    f"{name}({option}={value!r}): choose {', '.join(others)} or {last}."
                )
        if not 0.0 < self.cut < 1.0:
            raise InputError(
                f"{name}(cut={self.cut}): the cut is one on the score, between 0 and 1."
            )

    def init(self, key):
        """The edges, or the logit of the cut (so that it cannot leave (0, 1)), if trained."""
        if self.regions == "bins":
            return super().init(key)
        if self.regions == "cut" and self.train_cut:
            return {"cut": jnp.asarray(math.log(self.cut / (1.0 - self.cut)))}
        return {}

    def yields(self, scores, batch, hyperparameters, parameters) -> Float[Array, "2 regions"]:
        """Expected background and signal yields of the regions.

        Args:
            scores: Logits of the network.
            batch: The same events, whose weights stand for the full yield.
            hyperparameters: May hold the factor on the bandwidth.
            parameters: The edges or the logit of the cut, if they are trained.
        """
        if self.regions == "probability":
            passes = signal_probability(scores, batch) * batch.weight
            is_signal = batch.label.astype(scores.dtype)
            return jnp.stack([jnp.sum(passes * (1.0 - is_signal)), jnp.sum(passes * is_signal)])[
                :, None
            ]
        if self.regions == "bins":
            edges = self.edges(parameters, scores.dtype)
        else:
            cut = jax.nn.sigmoid(parameters["cut"]) if self.train_cut else jnp.asarray(self.cut)
            edges = jnp.stack([jnp.zeros_like(cut), cut, jnp.ones_like(cut)])
        counts = self.histograms(scores, batch, batch.weight, hyperparameters, edges)
        return counts[:, 1:] if self.regions == "cut" else counts

    @abc.abstractmethod
    def squared_significance(
        self, signal: Float[Array, " regions"], background: Float[Array, " regions"]
    ) -> Float[Array, ""]:
        """What is maximised, in squared standard deviations.

        Args:
            signal: Expected signal in each region.
            background: Expected background in each region.
        """

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The loss of the batch, whose weights stand for the full yield."""
        background, signal = self.yields(scores, batch, hyperparameters, parameters)
        squared = self.squared_significance(signal, background)
        if self.form == "linear":
            return -squared
        # The floor keeps the logarithm finite where a batch has no signal at all.
        return -jnp.log(jnp.maximum(squared, 1e-12))
