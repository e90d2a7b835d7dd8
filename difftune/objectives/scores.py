"""Metrics of other things: of a user's function, of a loss, and several at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from difftune.arguments import called_with, made, said, takes
from difftune.data import Process
from difftune.errors import InputError
from difftune.objectives.base import ARGUMENTS, FORM, Function, Metric, Objective, Scaled
from difftune.objectives.batch import Batch, Scalar, Scores, Values

# Below it a score is worth nothing; it keeps logarithms finite.
_LEAST = 1e-12


@dataclass(frozen=True)
class UserMetric(Metric):
    """A user's own function as a metric."""

    function: Function

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Array:
        """Calls the function."""
        return self.function(scores, batch, hyperparameters, parameters)


@takes()
@dataclass(frozen=True, kw_only=True)
class MetricOf(Metric):
    """A loss as a metric: minus the loss, or the figure of which the loss is the logarithm.

    Without `power` it is minus the loss, with hyperparameters and parameters of each member: the
    score of what is minimised. `-1.0 * loss`, given as a metric, is the same.

    With `power` it is `exp(-power loss)`, for losses through the fit, which are logarithms:
    1 / σ(μ) of `PoiUncertainty`, 1 / limit of `ExpectedLimit`, and with `power=0.5` the
    significance of `DiscoverySignificance`. So a fraction of it means something, as overtraining
    conditions need. Hyperparameters and parameters of the members play no role then: one yardstick
    for all. Its bins are equidistant; with a narrow kernel they are all but hard.

    Args:
        objective: The loss.
        power: As above.
    """

    objective: Objective
    power: float | None = None

    @property
    def varied(self) -> bool:
        """Whether the loss wants variations."""
        return self.objective.varied

    @property
    def of_member(self) -> bool:
        """Whether the loss is that of each member."""
        return self.power is None

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The score of one member."""
        if self.power is None:
            return -self.objective(scores, batch, hyperparameters, parameters)
        return jnp.exp(-self.power * self.objective(scores, batch, {}, {}))

    def bound_to(self, processes: Sequence[Process]) -> "MetricOf":
        """The score for events of these processes."""
        return replace(self, objective=self.objective.bound_to(processes))


@takes()
@dataclass(frozen=True)
class MultiObjective(Metric):
    """Scores that compete, such as significance and robustness; larger is better for each.

    A search with it keeps the networks that no other one beats in all scores: the Pareto front.
    Where one number must do (the best epoch of a member, early stopping, the network of the run)
    it is their geometric mean: a percent of one is worth a percent of another, in whatever units
    they are.

    Args:
        scores: Metrics by name, of positive values.

    Raises:
        InputError: For less than two.
    """

    scores: Mapping[str, Metric | Function]

    def __post_init__(self) -> None:
        if not isinstance(self.scores, Mapping):
            raise InputError(
                f"MultiObjective({said(self.scores)}): give scores by name, as in "
                'MultiObjective({"significance": Significance(), "area": AUC()}).'
            )
        if len(self.scores) < 2:
            raise InputError(
                f"MultiObjective({list(self.scores)}): give at least two scores by name; one "
                "alone is a metric as it is."
            )

    @property
    def _each(self) -> dict[str, Metric]:
        return {name: as_metric(score) for name, score in self.scores.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """What the scores are called."""
        return tuple(self.scores)

    @property
    def varied(self) -> bool:
        """Whether a score wants variations."""
        return any(score.varied for score in self._each.values())

    def bound_to(self, processes: Sequence[Process]) -> "MultiObjective":
        """The scores for events of these processes."""
        bound = {name: score.bound_to(processes) for name, score in self._each.items()}
        return replace(self, scores=bound)

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Float[Array, " scores"]:
        """All scores of one member."""
        values = [
            score(scores, batch, hyperparameters, parameters) for score in self._each.values()
        ]
        return jnp.stack([jnp.asarray(value, jnp.float32) for value in values])


def geometric_mean(values: Float[Array, "*scores"]) -> Float[Array, ""]:
    """One number for one or several scores.

    Args:
        values: What a metric gave: a scalar, which stays as it is, or an array of scores.
    """
    if jnp.ndim(values) == 0:
        return values
    return jnp.exp(jnp.mean(jnp.log(jnp.maximum(values, _LEAST))))


def as_metric(metric: Any) -> Metric:
    """The metric itself, that of a class without brackets, a user's function or minus a loss.

    Raises:
        InputError: For a loss that is not negated, and for what cannot be called with four
            arguments.
    """
    metric = made(metric, "metric")
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, Objective):
        if isinstance(metric, Scaled) and not isinstance(metric.factor, str) and metric.factor < 0:
            whole = metric.factor == -1
            loss = metric.objective if whole else Scaled(metric.objective, -metric.factor)
            return MetricOf(objective=loss)
        name = type(metric).__name__
        raise InputError(
            f"metric={name}(...) is a loss, and of a score larger is better: write "
            f"metric=-1.0 * {name}(...)."
        )
    if not callable(metric):
        raise InputError(
            f"metric={said(metric)} cannot be called; give a score such as "
            f"difftune.objectives.Significance(), or a function {FORM}."
        )
    called_with(metric, ARGUMENTS, "metric", FORM)
    return UserMetric(metric)
