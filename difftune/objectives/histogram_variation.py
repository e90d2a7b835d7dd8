"""A penalty on what systematic variations do to the histogram of the score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

import jax.numpy as jnp
from jaxtyping import Array

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.objectives.soft_yields import Binned
from difftune.objectives.varied import Among, chosen, varied_scores


@takes()
@dataclass(frozen=True, kw_only=True)
class HistogramVariation(Binned):
    """Mean squared relative change of the bins of the score under systematic variations.

    `1/n sum_k ((N_k - N'_k) / N_k)^2` over bins, directions and variations (arXiv 1907.11674), for
    signal and background each with its physics weights, as a term to be added:
    `CrossEntropy() + "penalty" * HistogramVariation(bins=10)`. A bin whose expectation is not
    positive counts nothing.

    A change of the total yield is in all bins, whatever the score; what can be trained away is the
    rest. All bins count alike, also those with few events, whose batches fluctuate: few bins and
    large batches suit it.

    Args:
        bins: Number of equidistant bins on [0, 1], or `difftune.binning.LearnedEdges`.
        bandwidth: Width of the kernel in units of the score, at the start and at the end of the
            training. The hyperparameter `"bandwidth"` multiplies both.
        variations: Names of the variations; by default all that the events have.
        among: Whether the histograms of `"signal"`, of `"background"` or of both (`"all"`) count.

    Raises:
        InputError: For fewer than two bins, a bandwidth that is not positive, an unknown kind of
            events; when the training begins, for a variation that the events do not have.
    """

    varied: ClassVar[bool] = True

    variations: Sequence[str] | None = None
    among: str = "all"

    def __post_init__(self):
        super().__post_init__()
        if self.variations is not None:
            object.__setattr__(self, "variations", tuple(self.variations))
        if self.among not in get_args(Among):
            raise InputError(
                f"HistogramVariation(among={self.among!r}): choose 'all', 'signal' or 'background'."
            )

    def with_variations(self, variations):
        """The penalty of these variations, unless some were chosen."""
        return replace(self, variations=chosen("HistogramVariation", self.variations, variations))

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The penalty, from 0."""
        edges = self.edges(parameters, scores.dtype)
        rows = {"all": slice(None), "background": slice(0, 1), "signal": slice(1, 2)}[self.among]

        def filled(scores: Array, weight: Array) -> Array:
            return self.histograms(scores, batch, weight, hyperparameters, edges)[rows]

        nominal = filled(scores, batch.weight)
        there = nominal > 0
        inverse = jnp.where(there, 1 / jnp.where(there, nominal, 1.0), 0.0)
        changes = []
        for name in self.variations or sorted(batch.variations):
            variation = batch.variations[name]
            for varied in (variation.up, variation.down):
                if varied is not None:
                    own = scores if varied.features is None else varied_scores(name, varied)
                    weight = batch.weight if varied.weight is None else varied.weight
                    changes.append((filled(own, weight) - nominal) * inverse)
        if not changes:
            return jnp.zeros((), scores.dtype)
        bins = jnp.maximum(jnp.sum(there), 1)
        return jnp.sum(jnp.square(jnp.stack(changes))) / (len(changes) * bins)
