"""Every objective in closed form, its derivatives three ways, and awkward batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from difftune.objectives import (
    AMSLoss,
    AsimovLLR,
    AUCLoss,
    CategoricalCrossEntropy,
    CrossEntropy,
    DistanceCorrelation,
    Focal,
    MeanSquaredError,
    SeparationLoss,
    SOverRootB,
)
from tests.objectives.samples import batch, logits

# With the hyperparameters that each one reads.
OBJECTIVES = {
    "cross-entropy": (CrossEntropy(), {"label_smoothing": 0.1}),
    "categorical cross-entropy": (CategoricalCrossEntropy(), {"label_smoothing": 0.1}),
    "focal": (Focal(), {"focal_gamma": 1.5}),
    "squared error": (MeanSquaredError(), {"label_smoothing": 0.1}),
    "separation": (SeparationLoss(bins=4), {"bandwidth": 1.5}),
    "asimov": (AsimovLLR(bins=4), {"bandwidth": 1.5}),
    "asimov with uncertainty": (
        AsimovLLR(bins=4, background_uncertainty=0.2, form="linear"),
        {"bandwidth": 1.5},
    ),
    "asimov above a cut": (AsimovLLR(regions="cut", background_uncertainty=0.2), {"bandwidth": 2}),
    "s over root s+b": (SOverRootB(regions="probability", form="linear"), {}),
    "s over root b": (SOverRootB(noise="b", regions="cut"), {"bandwidth": 1.5}),
    "area under the roc curve": (AUCLoss(), {"temperature": 1.5}),
    "distance correlation": (DistanceCorrelation(feature=0, rows=25), {}),
    "ams": (AMSLoss(), {"bandwidth": 1.5}),
}


def classes(objective) -> int | None:
    return 3 if objective.outputs == "processes" else None


@functools.partial(jax.jit, static_argnums=0)
def slopes(objective, b, point, direction, step=5e-6):
    """Along one direction: forward, reverse, and finite differences of the fourth order.

    A step of 5e-6 lets no two scores of the sample change places, where distances have a kink; one
    of 1e-3 suits a loss with a fit in it, whose value has fewer digits.
    """

    def loss(at):
        return objective(at[0], b, at[1], at[2])

    _, forward = jax.jvp(loss, (point,), (direction,))
    reverse = jax.tree.map(jnp.vdot, jax.grad(loss)(point), direction)
    along = step * jnp.array([-2.0, -1.0, 1.0, 2.0])
    places = jax.tree.map(lambda x, d: x + jnp.multiply.outer(along, d), point, direction)
    values = jax.lax.map(loss, places)
    numeric = values @ jnp.array([1.0, -8.0, 8.0, -1.0]) / (12 * step)
    return forward, sum(jax.tree.leaves(reverse)), numeric


def point_of(objective, values, scores) -> tuple:
    """Scores, hyperparameters and parameters, in float64: all that slopes are taken in."""
    hyperparameters = {key: jnp.float64(value) for key, value in values.items()}
    return scores, hyperparameters, objective.init(jax.random.key(0))


def random_direction(point) -> tuple:
    """In everything at once."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), point)


def awkward(shape):
    """Batches and scores of which anything may be asked but a number that is no NaN."""
    scores, odd = logits(classes=None if len(shape) == 1 else shape[1]), jnp.arange(60) % 2 == 1
    apart = jnp.where(batch().label == 1, 9.0, -9.0)
    far = jnp.where(odd, 500.0, -500.0)
    wide = (lambda x: x) if len(shape) == 1 else (lambda x: jnp.stack([-x, x, 0 * x], axis=1))
    nothing, ones = np.zeros(60), np.ones(60)
    alternating = np.where(odd, -1.0, 0.2)

    def weighted(w, **columns):
        return batch(weight=w, training_weight=w, **columns)

    return {
        "negative bins": (weighted(alternating), scores),
        "all weights negative": (weighted(-ones), scores),
        "sums of zero": (weighted(np.where(np.arange(60) // 3 % 2, -1.0, 1.0)), scores),
        "tiny weights": (weighted(1e-30 * ones), scores),
        "empty bins": (batch(), wide(apart)),
        "all scores equal": (batch(), jnp.zeros(shape)),
        "saturated scores": (batch(), wide(far)),
        "no signal": (batch(label=nothing), scores),
        "no background": (batch(label=ones), scores),
        "no weights": (weighted(nothing), scores),
        "one event": (weighted(np.eye(60)[1]), scores),
        "constant features": (batch(features=np.ones((60, 2))), scores),
        "narrow kernel": (batch(progress=1.0), wide(apart)),
    }


@functools.partial(jax.jit, static_argnums=0)
def alone(objective, scores, b, hyperparameters, parameters):
    """Loss and gradients of one member, as the training asks for them."""
    both = jax.value_and_grad(objective, argnums=(0, 3))
    return both(scores, b, hyperparameters, parameters)
