"""Losses that are a mean over events: cross-entropy, focal loss and squared error."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from difftune.arguments import NotNegative, takes
from difftune.errors import InputError
from difftune.objectives.base import Objective, Outputs
from difftune.objectives.batch import Batch, Scalar, Scores, Values


@takes()
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Objective):
    """Binary cross-entropy of signal against background, with class-balanced weights.

    `L = mean_i w_i [-y_i ln p_i - (1 - y_i) ln(1 - p_i)]`, computed from logits, so that no
    probability saturates; `w` is the batch's training weight and may be negative.

    The hyperparameter `"label_smoothing"` (0 by default) pulls the labels towards one half.
    """

    mean_over_events: ClassVar[bool] = True

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The mean weighted loss."""
        smoothing = hyperparameters.get("label_smoothing", 0.0)
        label = batch.label * (1.0 - smoothing) + 0.5 * smoothing
        # -y ln p - (1 - y) ln(1 - p), with one exponential and one logarithm per event.
        losses = jnp.maximum(scores, 0.0) - label * scores + jnp.log1p(jnp.exp(-jnp.abs(scores)))
        return jnp.mean(batch.training_weight * losses)


@takes()
@dataclass(frozen=True, kw_only=True)
class CategoricalCrossEntropy(Objective):
    """Cross-entropy with one class per process, for a network with one logit per process.

    The discriminant that is histogrammed is the summed probability of the signal processes.
    """

    outputs: ClassVar[Outputs] = "processes"
    mean_over_events: ClassVar[bool] = True

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The mean weighted loss."""
        smoothing = hyperparameters.get("label_smoothing", 0.0)
        label = optax.smooth_labels(jax.nn.one_hot(batch.process, scores.shape[-1]), smoothing)
        losses = optax.softmax_cross_entropy(scores, label)
        return jnp.mean(batch.training_weight * losses)


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

    gamma: NotNegative = 2.0

    def __post_init__(self) -> None:
        if not self.gamma >= 0.0:
            raise InputError(f"Focal(gamma={self.gamma}): the exponent cannot be negative.")

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The mean weighted loss."""
        gamma = hyperparameters.get("focal_gamma", self.gamma)
        towards_wrong = jnp.where(batch.label == 1, -scores, scores)
        # A power of the probability would have the derivative 0 * inf in gamma where it underflows.
        focus = jnp.exp(-gamma * jax.nn.softplus(-towards_wrong))
        return jnp.mean(batch.training_weight * focus * jax.nn.softplus(towards_wrong))


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

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The mean weighted loss."""
        smoothing = hyperparameters.get("label_smoothing", 0.0)
        # The probability of the wrong class, not one minus that of the right one: small errors
        # keep their digits.
        wrong = jax.nn.sigmoid(jnp.where(batch.label == 1, -scores, scores))
        return jnp.mean(batch.training_weight * jnp.square(wrong - 0.5 * smoothing))
