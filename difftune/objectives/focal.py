"""Focal loss: cross-entropy that looks away from events that are classified well."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.objectives.base import Objective


@takes()
@dataclass(frozen=True, kw_only=True)
class Focal(Objective):
    """Binary cross-entropy times a power of the probability of the wrong class.

    `L = mean_i w_i (1 - q_i)^gamma (-ln q_i)` (arXiv 1708.02002), with the probability `q_i` that
    the network gives the true class. The class-balanced training weights `w` take the place of the
    paper's factor alpha. An event contributes at least 0 times its weight, and no probability
    saturates.

    The hyperparameter `"focal_gamma"`, where the search has it, takes the place of `gamma`.

    Args:
        gamma: Exponent; 0 is the cross-entropy.

    Raises:
        InputError: For a negative exponent.
    """

    mean_over_events: ClassVar[bool] = True

    gamma: float = 2.0

    def __post_init__(self):
        if not self.gamma >= 0.0:
            raise InputError(f"Focal(gamma={self.gamma}): the exponent cannot be negative.")

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The mean weighted loss."""
        gamma = hyperparameters.get("focal_gamma", self.gamma)
        towards_wrong = jnp.where(batch.label == 1, -scores, scores)
        # A power of the probability would have the derivative 0 * inf in gamma where it underflows.
        focus = jnp.exp(-gamma * jax.nn.softplus(-towards_wrong))
        return jnp.mean(batch.training_weight * focus * jax.nn.softplus(towards_wrong))
