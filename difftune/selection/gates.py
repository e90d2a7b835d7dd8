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

Gates can also be learned, so that selection and network are trained together. `TemplateShift` is an
objective to ask gates about: how far a systematic moves the templates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, PyTree

from difftune.arguments import takes
from difftune.errors import InputError, nearest
from difftune.histograms import soft_histogram
from difftune.models import Gated, open_probability
from difftune.objectives import Batch, Objective, signal_probability
from difftune.selection.network_on_fold import NetworkOnFold
from difftune.selection.study import Study
from difftune.training import Replicas, diverged

# Of the linear regression, where inputs have variance 1: so much of a variable is not told by the
# others however well they know it, as a network that is trained for a while does not learn
# differences of large numbers.
RIDGE = 1.0

# Random functions of the other variables that may make up for one, relative ridge of their fit, and
# most events of it. All were chosen where `python -m benchmarks selection` measures agreement.
FEATURES, STABLE, FITTED = 64, 1e-4, 4096


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
    """What closing a gate takes away where the variable is drawn given those of the other units.

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


def gradients(
    view: NetworkOnFold, features: Float[Array, "rows inputs"]
) -> Float[Array, "rows c inputs"]:
    """Gradient of each event's score in its inputs; one backward pass for each class."""
    classes = jax.eval_shape(view.logits, features).shape[1:]

    def total(features: Array, number: int) -> Array:
        logits = view.logits(features)
        return jnp.sum(logits if not classes else logits[:, number])

    each = [jax.grad(total)(features, number) for number in range(classes[0] if classes else 1)]
    return jnp.stack(each, axis=1)


def responses(
    view: NetworkOnFold, away: Float[Array, "table inputs"], units: Float[Array, "inputs units"]
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


def replaced(
    view: NetworkOnFold, scores: Array, change: Array, units: Float[Array, "inputs units"]
) -> Array:
    """What is left of the changes when the other variables make up for them as they can.

    A network that is trained without a variable puts something else in its place. The closed gate's
    change of the score is a function of all variables; its projection on functions of the others
    alone, linear ones and random rectified ones, is what they can undo. The projection weighs
    events with the curvature of their cross-entropy: of a score that is right on average, to
    second order, it is what training undoes.

    Args:
        view: The network and its events.
        scores: With all gates open.
        change: From `responses`.
        units: 1 where an input belongs to a unit.
    """
    x = view.features
    events = view.batch.weight.shape[0]
    directions = jax.random.normal(jax.random.key(2), (x.shape[1], FEATURES))
    directions = directions / jnp.linalg.norm(directions, axis=0)
    offset = jax.random.normal(jax.random.key(3), (FEATURES,))
    weight = jnp.abs(jnp.asarray(view.batch.training_weight)) * view.chosen[:events]
    some = np.arange(0, events, -(-events // FITTED))
    many = change.ndim == 3
    probability = jax.nn.softmax(scores) if many else jax.nn.sigmoid(scores)[:, None]
    curvature = (probability * (1 - probability))[:events] * weight[:, None]

    def of_unit(inputs: tuple[Array, Array]) -> Array:
        own, change = inputs
        rest = x * (1 - own)
        basis = jnp.concatenate(
            [jnp.ones_like(x[:, :1]), rest, jax.nn.relu(rest @ directions + offset)], axis=1
        )
        basis = basis * view.chosen[:, None]

        def of_class(curvature: Array, change: Array) -> Array:
            weighted = basis[some] * curvature[some, None]
            gram = weighted.T @ basis[some]
            ridge = STABLE * jnp.trace(gram) / len(gram) + 1e-30
            against = weighted.T @ change[some]
            found = jnp.linalg.solve(gram + ridge * jnp.eye(len(gram)), against)
            return change - basis @ found

        columns = change if many else change[:, None]
        left = jax.vmap(of_class, in_axes=1, out_axes=1)(curvature, columns)
        return left if many else left[:, 0]

    return jax.lax.map(of_unit, (units.T, change))


def closing(
    view: NetworkOnFold,
    away: Float[Array, "table inputs"],
    units: Float[Array, "inputs units"],
    replicas: Array,
    *,
    replace: bool = False,
) -> dict[str, Array]:
    """What the objective loses when each gate is closed.

    Args:
        view: The network and its events.
        away: From `marginal` or `conditional`.
        units: 1 where an input belongs to a unit.
        replicas: Numbers of bootstrap replicas of the events, 0 first, `[replicas]`.
        replace: Whether the other variables make up for it as they can.

    Returns:
        `"loss"`, J(g = 0) - J(g = 1), `[replicas, units]`; and `"slope"`, -dJ/dg at g = 1,
        `[units]`.
    """
    scores, change = responses(view, away, units)
    if replace:
        change = replaced(view, scores, change, units)

    def of_replica(replica: Array) -> Array:
        before = view.loss(scores, replica)
        return jax.lax.map(lambda own: view.loss(scores + own, replica) - before, change)

    gradient = jax.grad(view.loss)(scores)
    slope = jnp.tensordot(change, gradient, gradient.ndim)
    return {"loss": jax.lax.map(of_replica, replicas), "slope": slope}


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedGates:
    """Gates learned for several penalties.

    Attributes:
        names: Variables and groups.
        penalty: Cost of an open gate, in units of the objective, `[penalties]`.
        probability: That the gate of a unit is open: the largest of its inputs, mean over seeds
            and folds, `[penalties, units]`.
        score: Validation score, `[penalties, seeds, folds]`; NaN where a training diverged.
    """

    names: tuple[str, ...]
    penalty: Float[np.ndarray, " penalties"]
    probability: Float[np.ndarray, "penalties units"]
    score: Float[np.ndarray, "penalties seeds folds"]

    def chosen(self, number: int) -> tuple[str, ...]:
        """Units whose gates are rather open than closed, for one of the penalties."""
        kept = self.probability[number] > 0.5
        return tuple(name for name, k in zip(self.names, kept, strict=True) if k)


def learn_gates(study: Study, penalties: Sequence[float]) -> LearnedGates:
    """Trains networks with hard-concrete gates (arXiv 1712.01312), for several penalties at once.

    The gates are those of the last epoch, not of the best: a gate takes its time to close, and the
    best score is that of open ones.

    Args:
        study: Events, network and training.
        penalties: What an open gate costs, in units of the objective.

    Raises:
        InputError: For a penalty below 0, or none at all.
    """
    if not len(penalties) or min(penalties) < 0:
        raise InputError(f"learn_gates(penalties={list(penalties)}): give some, none below 0.")
    recipe = replace(study.recipe, model=Gated(model=study.recipe.model))
    gated = replace(study, recipe=recipe)
    everything = np.ones((len(penalties), gated.columns.features.shape[1]), bool)
    replicas = Replicas.crossed(inputs=everything, seeds=study.seeds, folds=study.folds)
    members = len(penalties) * study.trainings
    population = gated.population(replicas, members)
    penalty = np.repeat(np.asarray(penalties, np.float32), study.trainings)
    state, _ = population.run({"gate_penalty": penalty}, epochs=study.epochs)
    state = jax.device_get(state)
    leaves = nnx.to_flat_state(state.weights.parameters)
    (log_alpha,) = (leaf[...] for path, leaf in leaves if path[-1] == "log_alpha")
    probability = np.asarray(open_probability(jnp.asarray(log_alpha)))
    shape = (len(penalties), study.trainings, -1)
    of_inputs = probability.reshape(shape)[..., None, :]
    of_units = np.max(np.where(study.units.inputs, of_inputs, 0.0), axis=-1)
    score = np.where(diverged(np.asarray(state.status)), np.nan, state.best.score)
    return LearnedGates(
        names=study.units.names,
        penalty=np.asarray(penalties, float),
        probability=of_units.mean(axis=1),
        score=score.reshape(len(penalties), study.seeds, study.folds),
    )


@takes()
@dataclass(frozen=True, kw_only=True)
class TemplateShift(Objective):
    """Minus the shift of the score's histogram by a systematic, in standard deviations squared.

    `-sum_i (u_i - n_i)^2 / n_i` of the expected events up and nominal: the χ² that a measurement
    would have. A variable that brings the systematic in has a positive importance by this: when its
    gate is closed, the shift is lost.

    Args:
        variation: Name of the systematic.
        bins: Equidistant bins of the score.
        bandwidth: Width of the kernel in units of the score.

    Raises:
        InputError: When called for events without this variation.
    """

    varied: ClassVar[bool] = True

    variation: str
    bins: int = 10
    bandwidth: float = 0.02

    def __call__(
        self,
        scores: Array,
        batch: Batch,
        hyperparameters: Mapping[str, Array | float],
        parameters: PyTree,
    ) -> Float[Array, ""]:
        """Minus the squared shift."""
        if self.variation not in batch.variations:
            raise InputError(
                f"TemplateShift(variation={self.variation!r}): the events have no such variation "
                f"of the same events.{nearest(self.variation, batch.variations)} "
                f"Known: {', '.join(batch.variations) or 'none'}."
            )
        up = batch.variations[self.variation].up
        edges = jnp.linspace(0.0, 1.0, self.bins + 1)
        own = signal_probability(scores, batch)
        other = own if up.scores is None else signal_probability(jnp.asarray(up.scores), batch)
        weight = batch.weight if up.weight is None else up.weight

        def filled(score: Array, weight: Array) -> Array:
            return soft_histogram(score, weight, edges, bandwidth=self.bandwidth)

        nominal, varied = filled(own, jnp.asarray(batch.weight)), filled(other, jnp.asarray(weight))
        return -jnp.sum((varied - nominal) ** 2 / jnp.maximum(nominal, 1e-3))
