"""The area under the ROC curve as a loss."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.objectives.annealing import HARD, annealed, start_and_end
from difftune.objectives.base import Objective
from difftune.objectives.discriminant import signal_logit


@takes()
@dataclass(frozen=True, kw_only=True)
class AUCLoss(Objective):
    """One minus the area under the ROC curve, of smeared differences of logits.

    The area is the weighted fraction of pairs of a signal and a background event that the score
    orders rightly. Here a pair counts as wrong to the degree

        K((z_b - z_s) / T),   K(x) = e^x / 2 for x < 0,  1 - e^-x / 2 for x >= 0

    with the logits z and the temperature T: K is the distribution function of Laplace's density,
    which has the value 1/2 for a tie and the exponential tails of a sigmoid. Towards T = 0 the
    loss is exactly one minus the weighted area, ties counted half.

    Other than a sigmoid, K lets the sum over all pairs be written as two recurrences along the
    sorted logits. So the result is that of all pairs, to rounding, at the cost of a sort: n log n
    operations and as much memory for n events, gradient included. No pair matrix is built.

    The weights are the training weights, of which only those within a class count. Without signal
    or background (no events, or a sum of weights that is not positive) the loss is 1/2, with no
    gradient. Every pair contributes at most its weight, so negative weights cannot make the loss
    run away.

    Args:
        temperature: Of the differences, in units of the logit, at the start and at the end of the
            training; geometrically annealed in between. The hyperparameter `"temperature"`, where
            the search has it, multiplies both.

    Raises:
        InputError: For a temperature that is not positive.
    """

    temperature: Sequence[float] = (1.0, 0.2)

    def __post_init__(self):
        pair = start_and_end(self.temperature, "AUCLoss(temperature")
        object.__setattr__(self, "temperature", pair)

    def hard_limit(self):
        """One minus the area itself."""
        return replace(self, temperature=HARD)

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The loss, between 0 and 1 where no weight is negative."""
        factor = hyperparameters.get("temperature", 1.0)
        temperature = annealed(self.temperature, batch, factor)
        is_signal = batch.label.astype(scores.dtype)
        weight = batch.training_weight.astype(scores.dtype)
        return misordered(
            signal_logit(scores, batch) * (1.0 / temperature.astype(scores.dtype)),
            weight * is_signal,
            weight * (1.0 - is_signal),
        )


def misordered(
    x: Float[Array, " events"],
    signal: Float[Array, " events"],
    background: Float[Array, " events"],
) -> Float[Array, ""]:
    """Weighted fraction of (signal, background) pairs in wrong order, smeared as in `AUCLoss`.

    Args:
        x: Scores in units of the temperature.
        signal: Weights as signal.
        background: Weights as background.
    """
    order = jnp.argsort(x)
    x, s, b = x[order], signal[order], background[order]
    total_s, total_b = jnp.sum(s), jnp.sum(b)
    none = (total_s <= 0.0) | (total_b <= 0.0)
    # Shares, each for itself: the product of two small sums would underflow.
    s, b = (w / jnp.where(none, 1.0, total) for w, total in ((s, total_s), (b, total_b)))
    # exp(-(x_j - x_i)) of events further apart is a product of those of neighbours, all at most 1.
    decay, end = jnp.exp(x[:-1] - x[1:]), jnp.zeros(1, x.dtype)
    below = _decayed_sums(jnp.concatenate([end, decay]), b, 1)
    above = _decayed_sums(jnp.concatenate([decay, end]), b, -1)
    # The event itself is in both sums and cancels.
    higher = 1.0 - jnp.cumsum(b)
    return jnp.where(none, 0.5, jnp.sum(s * (higher + 0.5 * (below - above))))


def _decayed_sums(
    decay: Float[Array, " events"], weight: Float[Array, " events"], step: int
) -> Float[Array, " events"]:
    """`y_i = weight_i + decay_i y_(i - step)`, by doubling: as many rounds as n has bits.

    Args:
        decay: Factors. The first in the direction of the step is 0, which also ends the sums where
            the doubled distance goes around the circle.
        weight: What is summed.
        step: 1, or -1 to go from the end on.
    """

    def twice_as_far(sums, shift):
        decay, y = sums
        return (decay * jnp.roll(decay, shift), y + decay * jnp.roll(y, shift)), None

    shifts = jnp.asarray([step * 2**k for k in range((len(decay) - 1).bit_length())], jnp.int32)
    return jax.lax.scan(twice_as_far, (decay, weight), shifts)[0][1]
