"""Separation power of two distributions, and the loss that maximises it."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.objectives.soft_yields import Binned


def separation_power(
    signal: Float[Array, " bins"], background: Float[Array, " bins"]
) -> Float[Array, ""]:
    """Half of the triangular discrimination, `1/2 sum_i (s_i - b_i)^2 / (s_i + b_i)`.

    Both are normalised first. It is 0 where the two have the same shape and 1 where they do not
    overlap. A bin whose sum of weights is negative counts as empty, so that the result stays in
    [0, 1]; if all bins of a class are empty it is 0, in value and gradient.

    Args:
        signal: Sums of weights in each bin.
        background: The same of the background.
    """
    least = float(jnp.finfo(signal.dtype).tiny) ** 0.4
    s, b = (_normalised(x, least) for x in (signal, background))
    filled = ~(s + b <= least)
    difference = jnp.where(filled, s - b, 0.0)
    separation = 0.5 * jnp.sum(difference**2 / jnp.where(filled, s + b, 1.0))
    # Without one of the classes there is nothing to separate.
    return jnp.where((jnp.sum(s) == 0.0) | (jnp.sum(b) == 0.0), 0.0, separation)


def _normalised(x: Float[Array, " bins"], least: float) -> Float[Array, " bins"]:
    """Positive parts as shares of their sum; zeros where that is not above `least`."""
    positive = jnp.where(x <= 0.0, 0.0, x)
    total = jnp.sum(positive)
    empty = total <= least
    return jnp.where(empty, 0.0, positive) / jnp.where(empty, 1.0, total)


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

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The loss, from 0 to 1."""
        edges = self.edges(parameters, scores.dtype)
        weight = batch.training_weight
        background, signal = self.histograms(scores, batch, weight, hyperparameters, edges)
        return 1.0 - separation_power(signal, background)
