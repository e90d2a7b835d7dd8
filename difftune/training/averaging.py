"""The fading mean of a member's weights over its steps, beside the state of its optimizer."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from difftune.training.module_def import Weights
from difftune.training.optimizers import Optimizer

AVERAGED = "averaged_steps"
"""The hyperparameter that says over about how many steps."""


class Averaged(NamedTuple):
    """State of an optimizer, and the mean of what it has made of the parameters of a network.

    Attributes:
        optimizer: The state.
        mean: Of the parameters after each step.
        steps: How many these were.
    """

    optimizer: PyTree
    mean: PyTree
    steps: Float[Array, ""]


def averaging(optimizer: Optimizer) -> Optimizer:
    """An optimizer that also averages the weights, where the hyperparameter `averaged_steps` asks.

    It is over how many steps, of which the last counts most: with n of them a step moves the mean
    by 1/n of its way to the weights (B. Polyak and A. Juditsky, SIAM J. Control Optim. 30 (1992)
    838, fading). Before, the mean is over about a ninth of the steps there were, so that it forgets
    the start values. The training goes on from the weights, not from their mean.

    Args:
        optimizer: Makes the optimizer of a network and of what its objective trains, a pair, of
            which the first is averaged.
    """

    def make(hyperparameters: Mapping[str, Array]) -> optax.GradientTransformation:
        rule = optimizer(hyperparameters)
        if AVERAGED not in hyperparameters:
            return rule
        most = jnp.maximum(hyperparameters[AVERAGED], 1.0)

        def init(trained: Any) -> Averaged:
            return Averaged(rule.init(trained), trained[0], jnp.float32(0.0))

        def update(
            gradient: Any, state: Any, trained: Any = None, **given: Any
        ) -> tuple[Any, Averaged]:
            updates, after = rule.update(gradient, state.optimizer, trained, **given)
            share = 1.0 / jnp.minimum(most, (10.0 + state.steps) / 9.0)
            mean = jax.tree.map(
                lambda mean, weight, update: mean + share * (weight + update - mean),
                state.mean,
                trained[0],
                updates[0],
            )
            return updates, Averaged(after, mean, state.steps + 1.0)

        return optax.GradientTransformationExtraArgs(init, update)

    return make


def averaged(weights: Weights, optimizer: PyTree) -> Weights:
    """The mean of the weights where there is one; else the weights themselves.

    Args:
        weights: Of a member. Buffers, such as batch statistics, stay as they are.
        optimizer: The state of its optimizer.
    """
    if not isinstance(optimizer, Averaged):
        return weights
    return weights._replace(parameters=optimizer.mean)
