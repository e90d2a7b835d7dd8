"""Gates on the inputs: what the objective loses when one is closed.

A gate g on a variable shows the network g x + (1 - g) a in place of x. It closes from g = 1 to 0; a
is what the variable could have been instead. The score follows its gradient,

    s(g) = s - (1 - g) (x - a) ∂s/∂x,

so that one backward pass through the network serves all variables, and the objective is taken of
scores alone, as it is. Averaged over the draws, a is a mean: of the marginal distribution, or of
the conditional one given the other variables, which leaves them their correlation with it.

The slope dJ/dg at the open gate is what the objective loses to first order. A network that is
trained to the end for J has no slope: closing a gate is scaling weights of its first layer, and in
these J is stationary. What it then loses is of second order, and in the closed gate.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from difftune.selection.study import Study
from difftune.selection.view import View

# Of the regression, where inputs have variance 1. Without one, a variable that is a sum of others
# is told by them to the last digit; a network that is trained for a while does not learn
# differences of large numbers so well. Single top's retrainings agree best with 0.1 to 0.3,
# HiggsML's with any.
RIDGE = 0.1


def marginal(study: Study, kept: Bool[np.ndarray, " units"]) -> Float[np.ndarray, "table inputs"]:
    """What closing a gate takes away where the variable is drawn from its marginal distribution.

    Args:
        study: Knows the events.
        kept: Units that are used.

    Returns:
        Means in row 0, and the identity of the inputs in use: `(x - row 0) @ rest` is x - a.
    """
    used = study.units.mask(kept)
    mean, _ = _moments(study)
    return np.vstack([mean * used, np.diag(used.astype(float))]).astype(np.float32)


def conditional(
    study: Study, kept: Bool[np.ndarray, " units"]
) -> Float[np.ndarray, "table inputs"]:
    """The same where it is drawn from its distribution given the variables of the other units.

    The conditional mean is that of a ridge regression, with training weights: what the first layer
    of a network that is trained without the variable can easily put in its place.
    """
    used = study.units.mask(kept)
    mean, covariance = _moments(study)
    away = np.zeros_like(covariance)
    for unit in np.flatnonzero(kept):
        own = study.units.inputs[unit]
        rest = np.flatnonzero(used & ~own)
        own = np.flatnonzero(own)
        away[own, own] = 1.0
        among = covariance[np.ix_(rest, rest)] + RIDGE * np.eye(len(rest))
        away[np.ix_(rest, own)] = -np.linalg.solve(among, covariance[np.ix_(rest, own)])
    return np.vstack([mean * used, away]).astype(np.float32)


def _moments(study: Study) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the inputs, with the size of the training weights."""
    x = np.asarray(study.columns.features, np.float64)
    weight = np.abs(np.asarray(study.columns.training_weight, np.float64))
    weight /= weight.sum()
    mean = weight @ x
    x = x - mean
    return mean, x.T @ (weight[:, None] * x)


def gradients(view: View, features: Float[Array, "rows inputs"]) -> Float[Array, "rows c inputs"]:
    """Gradient of each event's score in its inputs; one backward pass for each class."""
    classes = jax.eval_shape(view.logits, features).shape[1:]

    def total(features, number):
        logits = view.logits(features)
        return jnp.sum(logits if not classes else logits[:, number])

    each = [jax.grad(total)(features, number) for number in range(classes[0] if classes else 1)]
    return jnp.stack(each, axis=1)


def responses(
    view: View, away: Float[Array, "table inputs"], units: Float[Array, "inputs units"]
) -> tuple[Array, Array]:
    """Scores with all gates open, and how they change when each gate is closed.

    Args:
        view: The network and its events.
        away: From `marginal` or `conditional`.
        units: 1 where an input belongs to a unit.

    Returns:
        `[rows]` and `[units, rows]`; or `[rows, classes]` and `[units, rows, classes]`.
    """
    features = view.features
    taken = (features - away[0]) @ away[1:] * view.chosen[:, None]
    change = -(gradients(view, features) * taken[:, None, :]) @ units
    scores = view.logits(features)
    change = jnp.moveaxis(change, -1, 0)
    return scores, change if scores.ndim == 2 else change[..., 0]


def closing(
    view: View,
    away: Float[Array, "table inputs"],
    units: Float[Array, "inputs units"],
    replicas: Array,
) -> dict[str, Array]:
    """What the objective loses when each gate is closed.

    Args:
        view: The network and its events.
        away: From `marginal` or `conditional`.
        units: 1 where an input belongs to a unit.
        replicas: Numbers of bootstrap replicas of the events, 0 first, `[replicas]`.

    Returns:
        `"loss"`, J(g = 0) - J(g = 1), `[replicas, units]`; and `"slope"`, -dJ/dg at g = 1,
        `[units]`.
    """
    scores, change = responses(view, away, units)

    def of_replica(replica):
        before = view.loss(scores, replica)
        return jax.lax.map(lambda own: view.loss(scores + own, replica) - before, change)

    gradient = jax.grad(view.loss)(scores)
    slope = jnp.tensordot(change, gradient, gradient.ndim)
    return {"loss": jax.lax.map(of_replica, replicas), "slope": slope}
