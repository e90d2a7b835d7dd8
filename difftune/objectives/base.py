"""The form of an objective and that of a metric, and how objectives compose."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from difftune.arguments import called_with, is_number, made, said
from difftune.data import Process
from difftune.errors import InputError
from difftune.objectives.batch import Batch, Scalar, Scores, Values
from difftune.objectives.link import Prediction

Outputs = Literal["binary", "processes"] | int | Prediction
ARGUMENTS = ("scores", "batch", "hyperparameters", "parameters")
Gradient = Literal["there", "none", "needed"]
FORM = f"({', '.join(ARGUMENTS)}) -> scalar"
Function = Callable[[Array, Batch, Values, PyTree], Array]


class Objective(abc.ABC):
    """A scalar to minimise, as a pure function of scores, batch, hyperparameters and parameters.

    Anything with the signature of `__call__` is an objective; a plain function needs no
    registration. Inherit to take part in sums (`a + 0.1 * b`), to have trainable parameters, or to
    ask for a multi-class network.
    """

    @property
    def outputs(self) -> Outputs:
        """What the network gives: one logit per event, one for each process, or so many.

        Where it learns targets of the events, this is what it says of each of them.
        """
        return "binary"

    @property
    def varied(self) -> bool:
        """Whether it wants the systematic variations of the events."""
        return False

    @property
    def mean_over_events(self) -> bool:
        """Whether the loss of a batch is the mean of the losses of its equal parts.

        The training may then look at them one after the other; variations are not for such a loss.
        """
        return False

    @property
    def gradient(self) -> Gradient:
        """Whether it has a gradient: `"there"`, or `"none"`; or `"needed"` where that is all.

        What has none is for optimizers that need none (`difftune.training.EvolutionStrategy`),
        and what is a loss by its gradient alone, as an adversary, is not.
        """
        return "there"

    @abc.abstractmethod
    def __call__(
        self,
        scores: Scores,
        batch: Batch,
        hyperparameters: Values,
        parameters: PyTree,
    ) -> Scalar:
        """The loss of one member on one batch.

        Args:
            scores: Logits of the network, `[events]`, or `[events, processes]` where `outputs` is
                `"processes"`, or `[events, outputs]` where it is a number.
            batch: Labels, weights, features of the same events.
            hyperparameters: This member's values, one scalar a name.
            parameters: This member's values of what `init` returned, trained with the network.
        """

    def init(self, key: Array) -> PyTree:
        """Start values of the objective's own trainable parameters (none by default).

        Args:
            key: This member's random key.
        """
        del key
        return {}

    def bound_to(self, processes: Sequence[Process]) -> "Objective":
        """The objective for events of these processes (by default itself).

        Called once before the training, so that names and roles of processes, which a batch does
        not hold, may decide what is computed.

        Args:
            processes: In the order of the batch's process index.
        """
        del processes
        return self

    def with_variations(self, variations: Sequence[str]) -> "Objective":
        """The objective for events with these systematic variations (by default itself).

        Called once before the training; what `init` gives may depend on it.

        Args:
            variations: Their names.
        """
        del variations
        return self

    def scale_updates(self, updates: PyTree, hyperparameters: Values) -> PyTree:
        """A step of the optimizer in the objective's own parameters (by default as it is).

        For parameters with a learning rate of their own: whatever the optimizer, its step is
        proportional to the learning rate.

        Args:
            updates: What is going to be added to the parameters.
            hyperparameters: This member's values; `"learning_rate"` is that of the step, without
                its schedule.
        """
        del hyperparameters
        return updates

    def hard_limit(self) -> "Objective":
        """The limit of no smearing: events in hard bins or hard order (by default itself).

        The training records both on the validation events. Their difference is what the training
        optimises and the measurement does not have.
        """
        return self

    def __add__(self, other: "Objective | Function") -> "Sum":
        return Sum((self, as_objective(other)))

    def __mul__(self, factor: int | float | str) -> "Scaled":
        return Scaled(self, factor)

    __radd__ = __add__
    __rmul__ = __mul__


class Metric(abc.ABC):
    """A score that networks are compared by, of the form of an objective; larger is better.

    It needs no gradient by the scores; one by the weights of the events gives its statistical
    error. A plain function with the signature of `__call__` is a metric too. Inherit to see
    systematic variations or the processes of the events, or to give several scores.
    """

    @property
    def varied(self) -> bool:
        """Whether it wants the systematic variations of the events."""
        return False

    @property
    def of_member(self) -> bool:
        """Whether hyperparameters and parameters of the members may play a role (by default yes).

        Where they do not and it wants variations, networks of all kinds share its program, which a
        fit makes long to compile.
        """
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """What the scores are called, where there are several; empty for a single one."""
        return ()

    @abc.abstractmethod
    def __call__(
        self,
        scores: Scores,
        batch: Batch,
        hyperparameters: Values,
        parameters: PyTree,
    ) -> Float[Array, "*scores"]:
        """The score of one member, or all of `names`.

        Args:
            scores: Logits of the network.
            batch: The events that they are of.
            hyperparameters: This member's values.
            parameters: Of the objective that the member minimises.
        """

    def bound_to(self, processes: Sequence[Process]) -> "Metric":
        """The metric for events of these processes (by default itself).

        Args:
            processes: In the order of the batch's process index.
        """
        del processes
        return self


@dataclass(frozen=True)
class UserObjective(Objective):
    """A user's own function as an objective.

    Raises:
        InputError: When it is called and does not give a scalar.
    """

    function: Function

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Array:
        """Calls the function."""
        given = self.function(scores, batch, hyperparameters, parameters)
        if not is_number(given) and not isinstance(given, jax.Array | np.ndarray):
            raise InputError(
                f"objective {said(self.function)} returned {said(given)}; an objective is one "
                "number: did it forget to return it?"
            )
        loss = jnp.asarray(given)
        if loss.ndim:
            raise InputError(
                f"objective {self.function!r} returned an array {list(loss.shape)}; an objective "
                "is one number: take a mean or a sum."
            )
        return loss


@dataclass(frozen=True)
class Scaled(Objective):
    """An objective times a number, or times a hyperparameter that the search tunes.

    Args:
        objective: What is scaled.
        factor: A number, or the name of a hyperparameter.
    """

    objective: Objective
    factor: int | float | str

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The scaled loss."""
        factor = hyperparameters[self.factor] if isinstance(self.factor, str) else self.factor
        return factor * self.objective(scores, batch, hyperparameters, parameters)

    def init(self, key: Array) -> PyTree:
        """The parameters of what is scaled."""
        return self.objective.init(key)

    def bound_to(self, processes: Sequence[Process]) -> "Scaled":
        """The scaled objective, bound to these processes."""
        return Scaled(self.objective.bound_to(processes), self.factor)

    def with_variations(self, variations: Sequence[str]) -> "Scaled":
        """The scaled objective, with these variations."""
        return Scaled(self.objective.with_variations(variations), self.factor)

    def scale_updates(self, updates: PyTree, hyperparameters: Values) -> PyTree:
        """The step of what is scaled."""
        return self.objective.scale_updates(updates, hyperparameters)

    def hard_limit(self) -> "Scaled":
        """The hard limit of the objective, scaled."""
        return Scaled(self.objective.hard_limit(), self.factor)

    @property
    def outputs(self) -> Outputs:
        """What the network gives."""
        return self.objective.outputs

    @property
    def gradient(self) -> Gradient:
        """Whether what is scaled has one."""
        return self.objective.gradient

    @property
    def mean_over_events(self) -> bool:
        """Whether what is scaled is such a mean."""
        return self.objective.mean_over_events

    @property
    def varied(self) -> bool:
        """Whether what is scaled wants variations."""
        return self.objective.varied


@dataclass(frozen=True)
class Sum(Objective):
    """A sum of objectives, each with its own parameters.

    Raises:
        InputError: When one term wants a binary and another a multi-class network.
    """

    terms: tuple[Objective, ...]

    def __post_init__(self) -> None:
        if {"none", "needed"} <= {term.gradient for term in self.terms}:
            raise InputError(
                f"{self.terms}: one has no gradient, and another is nothing without: they cannot "
                "be added."
            )
        if len({term.outputs for term in self.terms}) > 1:
            wanted = ", ".join(f"{term}: {term.outputs}" for term in self.terms)
            raise InputError(
                f"objectives of different network outputs cannot be added ({wanted}); "
                "take binary or multi-class ones throughout, as many regions, or losses that say "
                "the same of the targets."
            )

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The sum of the losses."""
        losses = [
            term(scores, batch, hyperparameters, own)
            for term, own in zip(self.terms, parameters, strict=True)
        ]
        return jnp.sum(jnp.stack(losses))

    def init(self, key: Array) -> PyTree:
        """One entry a term."""
        keys = jax.random.split(key, len(self.terms))
        return tuple(term.init(k) for term, k in zip(self.terms, keys, strict=True))

    def bound_to(self, processes: Sequence[Process]) -> "Sum":
        """The sum of what is bound."""
        return Sum(tuple(term.bound_to(processes) for term in self.terms))

    def with_variations(self, variations: Sequence[str]) -> "Sum":
        """The sum of what sees them."""
        return Sum(tuple(term.with_variations(variations) for term in self.terms))

    def scale_updates(self, updates: PyTree, hyperparameters: Values) -> PyTree:
        """Each term's own."""
        return tuple(
            term.scale_updates(own, hyperparameters)
            for term, own in zip(self.terms, updates, strict=True)
        )

    def hard_limit(self) -> "Sum":
        """The sum of what is hard."""
        return Sum(tuple(term.hard_limit() for term in self.terms))

    @property
    def outputs(self) -> Outputs:
        """What the network gives."""
        return self.terms[0].outputs

    @property
    def gradient(self) -> Gradient:
        """Whether all terms have one."""
        kinds = {term.gradient for term in self.terms}
        return next((kind for kind in ("none", "needed") if kind in kinds), "there")

    @property
    def mean_over_events(self) -> bool:
        """Whether all terms are."""
        return all(term.mean_over_events for term in self.terms)

    @property
    def varied(self) -> bool:
        """Whether a term wants variations."""
        return any(term.varied for term in self.terms)


def logits_of(outputs: Outputs, processes: int, targets: int = 0) -> int:
    """How many logits, or other outputs, the network of an objective has.

    Args:
        outputs: What the objective wants.
        processes: Number of processes of the events.
        targets: Number of their targets.
    """
    if isinstance(outputs, Prediction):
        return outputs.per_target * targets
    if isinstance(outputs, int):
        return outputs
    return 1 if outputs == "binary" else processes


@dataclass(frozen=True)
class ScoreLoss(Objective):
    """Minus a metric, as what a training without gradients minimises.

    A metric that is given as an objective becomes one.

    Args:
        metric: The score, of which there is one.

    Raises:
        InputError: For a metric of several scores.
    """

    metric: Metric

    def __post_init__(self) -> None:
        if self.metric.names:
            raise InputError(
                f"objective={type(self.metric).__name__}(...) gives several scores, and one number "
                "is minimised: give one of them."
            )

    @property
    def gradient(self) -> Gradient:
        """None: the scores of events may move, and the metric stays."""
        return "none"

    @property
    def varied(self) -> bool:
        """Whether the metric wants variations."""
        return self.metric.varied

    def bound_to(self, processes: Sequence[Process]) -> "ScoreLoss":
        """That of the metric for events of these processes."""
        return ScoreLoss(self.metric.bound_to(processes))

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """Minus the score."""
        return -self.metric(scores, batch, hyperparameters, parameters)


@dataclass(frozen=True)
class NumpyLoss(Objective):
    """A function of numpy as what a training without gradients minimises.

    It is called on the host with the scores of one network after the other, outside of what is
    compiled: slower, and whatever Python can do may be done in it.

    Args:
        function: `(scores, batch) -> number`: logits and `Batch` with arrays of numpy. NaN and
            infinity count as worse than all numbers.
    """

    function: Callable[[np.ndarray, Batch], Any]

    def __post_init__(self) -> None:
        called_with(self.function, ("scores", "batch"), "NumpyLoss", "(scores, batch) -> number")

    @property
    def gradient(self) -> Gradient:
        """None."""
        return "none"

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """Calls the function."""

        def call(scores: Array, batch: Batch) -> np.ndarray:
            found = self.function(*jax.tree.map(np.asarray, (scores, batch)))
            loss = np.asarray(found, np.float32)
            if loss.ndim:
                raise InputError(
                    f"NumpyLoss({said(self.function)}) returned an array {list(loss.shape)}; a "
                    "loss is one number."
                )
            return loss

        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.pure_callback(call, shape, scores, batch, vmap_method="sequential")


def as_objective(objective: Any) -> Objective:
    """The objective itself, that of a class without brackets, of a metric, or of a function.

    Raises:
        InputError: For what cannot be called with four arguments.
    """
    objective = made(objective, "objective")
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, Metric):
        return ScoreLoss(objective)
    if not callable(objective):
        raise InputError(
            f"objective={said(objective)} cannot be called; give an objective of "
            f"difftune.objectives or a function {FORM}."
        )
    called_with(objective, ARGUMENTS, "objective", f"{FORM}; labels and weights are in the batch")
    return UserObjective(objective)
