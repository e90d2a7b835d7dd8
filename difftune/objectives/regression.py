"""Losses and figures of networks that learn targets: Huber, quantiles, normal laws; resolution."""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from difftune.arguments import Count, Positive, takes
from difftune.data import Process
from difftune.errors import InputError
from difftune.objectives.base import Metric, Objective, Outputs
from difftune.objectives.batch import Batch, Scalar, Scores, Values
from difftune.objectives.link import Link, Prediction


def link_of(batch: Batch, who: str) -> tuple[Link, Float[Array, "events targets"]]:
    """How outputs become predictions, and the targets as the network learns them.

    Args:
        batch: The events.
        who: What asks, for the message.

    Raises:
        InputError: When the events have no targets, or the network does not learn them.
    """
    if batch.link is None or batch.target is None:
        raise InputError(
            f"{who} is about targets, and this network learns classes: give the events targets "
            "(dt.read(..., target='energy'), Events.from_arrays(..., target=energy)) and an "
            "objective that learns them, such as difftune.objectives.Huber()."
        )
    return batch.link, jnp.asarray(batch.target)


class Regression(Objective):
    """A loss of the distance between targets and what a network says of them.

    It is the mean over events and targets, with training weights of mean one. Targets are on the
    scale of the network (`difftune.data.TargetTransform`), so that each counts alike.
    """

    mean_over_events: ClassVar[bool] = True

    @abc.abstractmethod
    def losses(
        self,
        values: Float[Array, "events targets per_target"],
        target: Float[Array, "events targets"],
        hyperparameters: Values,
    ) -> Float[Array, "events targets"]:
        """The loss of each target of each event.

        Args:
            values: What the network says (`Prediction.apart`).
            target: The transformed targets.
            hyperparameters: Of the member.
        """

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The mean weighted loss."""
        _, target = link_of(batch, type(self).__name__)
        assert isinstance(self.outputs, Prediction), "it is of targets"
        values = jnp.asarray(self.outputs.apart(scores))
        losses = jnp.mean(self.losses(values, target, hyperparameters), axis=-1)
        return jnp.mean(batch.training_weight * losses)


@takes()
@dataclass(frozen=True, kw_only=True)
class Huber(Regression):
    """Half the squared residual up to `delta`, and proportional to it beyond.

    `L = r²/2` for |r| ≤ δ, else `δ (|r| - δ/2)` (P. Huber, Ann. Math. Stat. 35 (1964) 73), with the
    residual r in standard deviations of the target. A large δ makes it least squares, whose optimum
    is the mean of the target; a small one the absolute deviation, whose optimum is the median.

    The hyperparameter `"huber_delta"`, where the search has it, takes the place of `delta`.

    Args:
        delta: Where the loss becomes linear, in standard deviations of the target.

    Raises:
        InputError: For a delta that is not positive.
    """

    outputs: ClassVar[Outputs] = Prediction()

    delta: Positive = 1.0

    def __post_init__(self) -> None:
        if not self.delta > 0.0:
            raise InputError(f"Huber(delta={self.delta}): must be positive.")

    def losses(self, values: Array, target: Array, hyperparameters: Values) -> Array:
        """The loss of each target."""
        delta = hyperparameters.get("huber_delta", self.delta)
        size = jnp.abs(values[..., 0] - target)
        near = jnp.minimum(size, delta)
        return near * (size - 0.5 * near)


@takes()
@dataclass(frozen=True, kw_only=True)
class Quantile(Regression):
    """The pinball loss of several quantiles at once, which cannot cross.

    `L = max(q (t - v), (q - 1) (t - v))`, the mean over the levels q (R. Koenker and G. Bassett,
    Econometrica 46 (1978) 33). Its optimum is the quantile of the target, given the features. The
    network says the middle one and, through a softplus, how far apart the others are.

    Args:
        quantiles: Levels in (0, 1), ascending; by default the median and the ends of the central
            interval of 68 %.

    Raises:
        InputError: For levels that are not in (0, 1), or do not ascend.
    """

    quantiles: Sequence[float] = (0.16, 0.5, 0.84)

    def __post_init__(self) -> None:
        levels = tuple(map(float, self.quantiles))
        ascending = all(low < high for low, high in pairwise(levels))
        if not levels or not ascending or not 0.0 < levels[0] <= levels[-1] < 1.0:
            raise InputError(
                f"Quantile(quantiles={list(levels)}): give levels between 0 and 1 in ascending "
                "order, such as (0.16, 0.5, 0.84)."
            )
        object.__setattr__(self, "quantiles", levels)

    @property
    def outputs(self) -> Outputs:
        """One for each level and target."""
        return Prediction(form="quantiles", quantiles=tuple(self.quantiles))

    def losses(self, values: Array, target: Array, hyperparameters: Values) -> Array:
        """The loss of each target, the mean over the levels."""
        level = jnp.asarray(self.quantiles, values.dtype)
        beyond = target[..., None] - values
        return jnp.mean(jnp.maximum(level * beyond, (level - 1.0) * beyond), axis=-1)


@takes()
@dataclass(frozen=True, kw_only=True)
class GaussianNLL(Regression):
    """Minus the log-likelihood of a normal law, whose mean and width the network both says.

    `L = ln σ + (t - μ)² / (2 σ²)`, without the constant (D. Nix and A. Weigend, ICNN 1994). So each
    event has an uncertainty of its own, which is right as far as the law is.
    """

    outputs: ClassVar[Outputs] = Prediction(form="normal")

    def losses(self, values: Array, target: Array, hyperparameters: Values) -> Array:
        """The loss of each target."""
        mean, sigma = values[..., 0], values[..., 1]
        return jnp.log(sigma) + 0.5 * jnp.square((target - mean) / sigma)


@takes()
@dataclass(frozen=True, kw_only=True)
class Precision(Metric):
    """One over the loss of a network that learns targets; larger is better.

    For losses that are positive and vanish for a perfect network, as Huber's and the pinball loss:
    a network of twice the precision has half the loss. It is what networks are compared by where
    nobody says it.

    Args:
        objective: The loss.
    """

    objective: Objective

    of_member: ClassVar[bool] = False

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The inverse of the loss."""
        return 1.0 / jnp.maximum(self.objective(scores, batch, {}, {}), 1e-12)

    def bound_to(self, processes: Sequence[Process]) -> "Precision":
        """The same of the loss for events of these processes."""
        return replace(self, objective=self.objective.bound_to(processes))


@takes()
@dataclass(frozen=True, kw_only=True)
class Resolution(Metric):
    """One over the resolution: half of the central 68.3 % interval of the residuals.

    The interval is that of the weighted residuals of central values, prediction less truth in the
    unit of the data, over the truth with `relative=True`. It does not see a bias that all events
    share. Negative weights count as they are. Of several targets it is the geometric mean. Its
    statistical error follows from the density of the residuals around the ends of the interval.

    Args:
        relative: Whether residuals are divided by the truth.
    """

    of_member: ClassVar[bool] = False

    relative: bool = False

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The inverse resolution."""
        link, target = link_of(batch, "Resolution")
        truth = link.transform.inverse(target)
        residual = link.central(scores) - truth
        residual = residual / truth if self.relative else residual
        weight = jnp.asarray(batch.weight, residual.dtype)
        halves = [
            0.5 * (_quantile(each, weight, 0.5 + _HALF) - _quantile(each, weight, 0.5 - _HALF))
            for each in residual.T
        ]
        return jnp.exp(-jnp.mean(jnp.log(jnp.maximum(jnp.stack(halves), 1e-30))))


@takes()
@dataclass(frozen=True, kw_only=True)
class Bias(Metric):
    """One over the bias in bins of the truth: the root mean square of the median residuals.

    Bins have equal weight. The residuals are those of `Resolution`; the bias of a bin is their
    weighted median. It is in the unit of the data, or relative, and of several targets the
    geometric mean. What chance gives the median of a bin is in it, so that it is finite. By itself
    it does not see how wide the residuals are: it is meant beside `Resolution`, as one of several
    scores.

    Args:
        bins: Number of bins of the truth.
        relative: Whether residuals are divided by the truth.
    """

    of_member: ClassVar[bool] = False

    bins: Count = 8
    relative: bool = False

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The inverse of the root mean square."""
        link, target = link_of(batch, "Bias")
        truth = link.transform.inverse(target)
        residual = link.central(scores) - truth
        residual = residual / truth if self.relative else residual
        weight = jnp.asarray(batch.weight, residual.dtype)
        logs = []
        for own, true in zip(residual.T, truth.T, strict=True):
            inner = [_quantile(true, weight, i / self.bins) for i in range(1, self.bins)]
            place = jnp.searchsorted(jax.lax.stop_gradient(jnp.asarray(inner)), true)
            squares, filled = [], []
            for i in range(self.bins):
                inside = jnp.where(place == i, weight, 0.0)
                # A truth that many events share may leave a bin empty.
                filled.append(jnp.sum(inside) > 0)
                median = _quantile(own, jnp.where(filled[-1], inside, weight), 0.5)
                squares.append(jnp.where(filled[-1], jnp.square(median), 0.0))
            square = sum(squares) / jnp.sum(jnp.stack(filled))
            logs.append(0.5 * jnp.log(jnp.maximum(square, 1e-30)))
        return jnp.exp(-jnp.mean(jnp.stack(logs)))


_HALF = 0.5 * math.erf(math.sqrt(0.5))
"""Half of the probability within one standard deviation."""

_AROUND = 0.05
"""On both sides of a quantile the share of events by which its density is estimated."""


def _quantile(
    values: Float[Array, " events"], weight: Float[Array, " events"], level: float
) -> Float[Array, ""]:
    """A weighted quantile, with its derivative by the weights (of the values it has none).

    That follows from keeping the share of weight below in place: `dq = (level dW - dB) / (f W)`,
    with the weight B below, the whole W and the density f, estimated from quantiles around.
    """
    order = jnp.argsort(values)
    ordered = jax.lax.stop_gradient(values[order])
    below = jax.lax.stop_gradient(jnp.cumsum(weight[order]))
    total = below[-1]

    def at(share: float) -> Array:
        # With negative weights the sum may pass a share more than once: the first time counts.
        place = jnp.argmax(below >= share * total)
        return ordered[place]

    found = at(level)
    low, high = max(level - _AROUND, 0.0), min(level + _AROUND, 1.0)
    density = (high - low) / jnp.maximum(at(high) - at(low), 1e-30)
    share = jnp.sum(jnp.where(jax.lax.stop_gradient(values) <= found, weight, 0.0)) / jnp.sum(
        weight
    )
    return found - (share - jax.lax.stop_gradient(share)) / density
