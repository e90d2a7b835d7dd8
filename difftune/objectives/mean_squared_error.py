"""Mean squared error of the probability: the Brier score."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from difftune.arguments import takes
from difftune.objectives.base import Objective


@takes()
@dataclass(frozen=True, kw_only=True)
class MeanSquaredError(Objective):
    """Squared distance of the probability to the label, with class-balanced weights.

    `L = mean_i w_i (p_i - y_i)^2`, the weighted Brier score. Its minimum over all functions is the
    probability of signal, as that of the cross-entropy is; but an event costs at most 1, so single
    events, those of negative weight too, cannot dominate, and hopeless ones lose their gradient.

    The hyperparameter `"label_smoothing"` (0 by default) pulls the labels towards one half.
    """

    mean_over_events: ClassVar[bool] = True

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The mean weighted loss."""
        smoothing = hyperparameters.get("label_smoothing", 0.0)
        # The probability of the wrong class, not one minus that of the right one: small errors
        # keep their digits.
        wrong = jax.nn.sigmoid(jnp.where(batch.label == 1, -scores, scores))
        return jnp.mean(batch.training_weight * jnp.square(wrong - 0.5 * smoothing))
