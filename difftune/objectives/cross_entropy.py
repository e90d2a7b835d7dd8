"""Weighted cross-entropy, binary and multi-class."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from difftune.arguments import takes
from difftune.objectives.base import Objective, Outputs


@takes()
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Objective):
    """Binary cross-entropy of signal against background, with class-balanced weights.

    `L = mean_i w_i [-y_i ln p_i - (1 - y_i) ln(1 - p_i)]`, computed from logits, so that no
    probability saturates; `w` is the batch's training weight and may be negative.

    The hyperparameter `"label_smoothing"` (0 by default) pulls the labels towards one half.
    """

    mean_over_events: ClassVar[bool] = True

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The mean weighted loss."""
        smoothing = hyperparameters.get("label_smoothing", 0.0)
        label = batch.label * (1.0 - smoothing) + 0.5 * smoothing
        # -y ln p - (1 - y) ln(1 - p), with one exponential and one logarithm an event.
        losses = jnp.maximum(scores, 0.0) - label * scores + jnp.log1p(jnp.exp(-jnp.abs(scores)))
        return jnp.mean(batch.training_weight * losses)


@takes()
@dataclass(frozen=True, kw_only=True)
class CategoricalCrossEntropy(Objective):
    """Cross-entropy with one class a process, for a network with one logit a process.

    The discriminant that is histogrammed is the summed probability of the signal processes.
    """

    outputs: ClassVar[Outputs] = "processes"
    mean_over_events: ClassVar[bool] = True

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The mean weighted loss."""
        smoothing = hyperparameters.get("label_smoothing", 0.0)
        label = optax.smooth_labels(jax.nn.one_hot(batch.process, scores.shape[-1]), smoothing)
        losses = optax.softmax_cross_entropy(scores, label)
        return jnp.mean(batch.training_weight * losses)
