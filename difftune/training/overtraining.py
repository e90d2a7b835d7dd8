"""Conditions that a member must meet to be copied or chosen.

A condition measures how far training and validation are apart, in units of what it allows: 0 is not
at all, above 1 is too far. Whatever its score, a member beyond 1 is not eligible.
"""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from jaxtyping import Array, Bool, Float, Int

from difftune.arguments import NotNegative, Positive, called_with, is_number, made, said, takes
from difftune.errors import InputError
from difftune.histograms import chi2_p_value, ks_p_value
from difftune.registry import Registry


class ScoredSample(NamedTuple):
    """Events of one sample as a network scores them.

    Attributes:
        score: Discriminant in [0, 1].
        weight: Physics weight.
        label: 1 for signal, 0 for background.
    """

    score: Float[Array, " events"]
    weight: Float[Array, " events"]
    label: Int[Array, " events"]


class Evidence(NamedTuple):
    """A member on validation events, and on as many training events, at the end of an epoch.

    Attributes:
        train_score: The metric on training events.
        validation_score: The metric on validation events.
        train_loss: The objective on training events, in evaluation mode.
        validation_loss: The objective on validation events.
        train: The training events; None unless the condition sees events.
        validation: The validation events; likewise.
        train_error: Statistical standard error of `train_score`; None unless the condition wants
            errors.
        validation_error: That of `validation_score`; likewise.
    """

    train_score: Float[Array, ""]
    validation_score: Float[Array, ""]
    train_loss: Float[Array, ""]
    validation_loss: Float[Array, ""]
    train: ScoredSample | None
    validation: ScoredSample | None
    train_error: Float[Array, ""] | None = None
    validation_error: Float[Array, ""] | None = None


@runtime_checkable
class OvertrainingCondition(Protocol):
    """Compares a member on training and on validation events; must be traceable."""

    def __call__(
        self, train_score: Float[Array, ""], validation_score: Float[Array, ""]
    ) -> Bool[Array, ""]:
        """Whether the member is acceptable."""
        ...


class Condition(abc.ABC):
    """A condition that sees all the evidence."""

    @property
    def sees_events(self) -> bool:
        """Whether it wants the scored events, not only figures."""
        return False

    @property
    def wants_errors(self) -> bool:
        """Whether it wants the statistical errors of the scores, which cost their gradients."""
        return False

    @abc.abstractmethod
    def excess(self, evidence: Evidence) -> Float[Array, ""]:
        """How far training and validation are apart, in units of what is allowed."""


AnyCondition = Condition | OvertrainingCondition
"""A condition on overtraining, or a plain function of the two scores."""


@dataclass(frozen=True)
class UserCondition(Condition):
    """A user's own function of both scores as a condition, met or not."""

    function: OvertrainingCondition

    def excess(self, evidence: Evidence) -> Float[Array, ""]:
        """0 where it is met, else 2."""
        fits = self.function(evidence.train_score, evidence.validation_score)
        return jnp.where(fits, 0.0, 2.0)


@takes()
@dataclass(frozen=True, kw_only=True)
class ScoreGap(Condition):
    """The score may be better on training than on validation events by this fraction at most.

    A few thousand events give a score that fluctuates by as much, so what the gap may be by chance
    is allowed on top.

    Args:
        limit: Largest `train_score / validation_score - 1`; infinity switches the condition off.
        sigmas: How many standard errors of the gap, from the finite number of events, it may be
            larger (`difftune.training.jackknife`).

    Raises:
        InputError: For a limit that is not positive, or negative sigmas.
    """

    limit: Positive = 0.1
    sigmas: NotNegative = 1.0

    def __post_init__(self) -> None:
        _positive(
            self,
            "limit",
            "0.1 allows a score 10 % better on training events, infinity any",
        )
        if not (self.sigmas >= 0.0 and math.isfinite(self.sigmas)):
            raise InputError(
                f"ScoreGap(sigmas={self.sigmas}): must be 0 or a positive number; 1 allows a gap "
                "that is one standard error larger than the limit."
            )

    @property
    def wants_errors(self) -> bool:
        """Whether errors matter."""
        return self.sigmas > 0.0 and math.isfinite(self.limit)

    def excess(self, evidence: Evidence) -> Float[Array, ""]:
        """The gap in units of the limit, with what chance may add."""
        gap = evidence.train_score - evidence.validation_score
        if math.isinf(self.limit):
            allowed, fits = jnp.zeros_like(gap), jnp.isfinite(gap)
        else:
            allowed = self.limit * jnp.abs(evidence.validation_score)
            if self.wants_errors:
                assert evidence.train_error is not None, "it wants errors"
                assert evidence.validation_error is not None, "it wants errors"
                error = jnp.hypot(evidence.train_error, evidence.validation_error)
                # No gradient, as where the score is that of empty bins: no error.
                allowed = allowed + self.sigmas * jnp.where(jnp.isfinite(error), error, 0.0)
            fits = gap <= allowed
        return _measured(gap, allowed, fits)


@takes()
@dataclass(frozen=True, kw_only=True)
class LossGap(Condition):
    """The loss may be larger on validation than on training events by this much at most.

    Both without dropout. It is for losses whose size means something, as cross-entropy.

    Args:
        limit: Largest difference, as a fraction of the magnitude of the loss on training events.

    Raises:
        InputError: For a limit that is not positive.
    """

    limit: Positive = 0.1

    def __post_init__(self) -> None:
        _positive(self, "limit", "0.1 allows a loss 10 % larger on validation events")

    def excess(self, evidence: Evidence) -> Float[Array, ""]:
        """The gap in units of the limit."""
        gap = evidence.validation_loss - evidence.train_loss
        allowed = self.limit * jnp.abs(evidence.train_loss)
        return _measured(gap, allowed, gap <= allowed)


@dataclass(frozen=True, kw_only=True)
class _ShapeTest(Condition):
    """The score of signal, and that of background, has one shape in both samples.

    Args:
        p_value: Least p-value of both tests. The smaller, the more is allowed.

    Raises:
        InputError: For a p-value outside of (0, 1).
    """

    sees_events: ClassVar[bool] = True

    p_value: Annotated[float, Gt(0), Lt(1)] = 0.01

    def __post_init__(self) -> None:
        if not 0.0 < self.p_value < 1.0:
            raise InputError(
                f"{type(self).__name__}(p_value={self.p_value}): must lie between 0 and 1."
            )

    @abc.abstractmethod
    def p_value_of(self, train: ScoredSample, validation: ScoredSample) -> Float[Array, ""]:
        """The p-value for the events of one class (weights of the others are 0)."""

    def excess(self, evidence: Evidence) -> Float[Array, ""]:
        """Least allowed ln p over the smaller ln p: 1 at the limit, 0 for equal shapes."""
        assert evidence.train is not None, "it sees events"
        assert evidence.validation is not None, "it sees events"
        values = []
        for label in (0, 1):
            train, validation = (
                sample._replace(weight=jnp.where(sample.label == label, sample.weight, 0.0))
                for sample in (evidence.train, evidence.validation)
            )
            values.append(self.p_value_of(train, validation))
        least = jnp.minimum(*values)
        return jnp.log(jnp.maximum(least, 1e-30)) / math.log(self.p_value)


@takes()
@dataclass(frozen=True, kw_only=True)
class ShapeKS(_ShapeTest):
    """Weighted Kolmogorov-Smirnov test of the score, training against validation.

    Asymptotic, with the effective numbers of events `(sum w)² / sum w²` and Stephens' correction
    for small ones (J. R. Stat. Soc. B 32 (1970) 115).
    """

    def p_value_of(self, train: ScoredSample, validation: ScoredSample) -> Float[Array, ""]:
        """The p-value of the largest distance."""
        return ks_p_value(train.score, train.weight, validation.score, validation.weight)


@takes()
@dataclass(frozen=True, kw_only=True)
class ShapeChi2(_ShapeTest):
    """Chi-square test of normalised histograms of the score (arXiv physics/0605123).

    Args:
        p_value: Least p-value for signal and for background.
        bins: Number of equidistant bins.
    """

    bins: Annotated[int, Ge(2)] = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bins < 2:
            raise InputError(f"ShapeChi2(bins={self.bins}): at least 2 are needed.")

    def p_value_of(self, train: ScoredSample, validation: ScoredSample) -> Float[Array, ""]:
        """The p-value of the chi-square."""
        samples = ((each.score, each.weight) for each in (train, validation))
        return chi2_p_value(*samples, bins=self.bins)


@takes()
@dataclass(frozen=True)
class AllOf(Condition):
    """Several conditions, all of which must be met.

    Args:
        conditions: At least one.

    Raises:
        InputError: Without any.
    """

    conditions: Sequence[AnyCondition]

    def __post_init__(self) -> None:
        object.__setattr__(self, "conditions", tuple(self.conditions))
        if not self.conditions:
            raise InputError("AllOf(()): give at least one condition.")

    @property
    def _each(self) -> list[Condition]:
        return [as_condition(each) for each in self.conditions]

    @property
    def sees_events(self) -> bool:
        """Whether one of them does."""
        return any(each.sees_events for each in self._each)

    @property
    def wants_errors(self) -> bool:
        """Whether one of them does."""
        return any(each.wants_errors for each in self._each)

    def excess(self, evidence: Evidence) -> Float[Array, ""]:
        """The largest measure."""
        each = [condition.excess(evidence) for condition in self._each]
        return jnp.max(jnp.stack([value.astype(jnp.float32) for value in each]))


def as_condition(given: Any) -> Condition:
    """A condition on overtraining; a number is the limit of a `ScoreGap`, several hold together.

    A plain function is made one.

    Raises:
        InputError: For what is no condition.
    """
    if given is None:
        return ScoreGap()
    if is_number(given):
        return ScoreGap(limit=float(given))
    if isinstance(given, list | tuple) and given:
        return AllOf([as_condition(one) for one in given])
    given = made(given, "overtraining")
    if isinstance(given, Condition):
        return given
    example = "a function (train_score, validation_score) -> bool"
    if not callable(given):
        raise InputError(
            f"overtraining={said(given)} is no condition; give one such as ScoreGap(limit=0.1), or "
            f"{example}."
        )
    called_with(given, ("train_score", "validation_score"), "overtraining", example)
    return UserCondition(given)


CONDITIONS = Registry(
    "condition",
    "a condition such as ScoreGap(limit=0.1)",
    {"score_gap": ScoreGap, "loss_gap": LossGap, "ks": ShapeKS, "chi2": ShapeChi2},
)
"""By the name that they have in the analysis file."""


def _positive(condition: Any, name: str, meaning: str) -> None:
    value = getattr(condition, name)
    if not value > 0.0:
        kind = type(condition).__name__
        raise InputError(f"{kind}({name}={value}): must be positive; {meaning}.")


def _measured(gap: Array, allowed: Array, fits: Array) -> Array:
    """Gap over what is allowed; on the side of 1 where `fits` has it, whatever the rounding."""
    ratio = jnp.where(allowed > 0, gap / jnp.where(allowed > 0, allowed, 1.0), 0.0)
    ratio = jnp.where(jnp.isfinite(ratio), jnp.maximum(ratio, 0.0), 0.0)
    above = jnp.nextafter(jnp.float32(1.0), jnp.float32(2.0))
    return jnp.where(fits, jnp.minimum(ratio, 1.0), jnp.maximum(ratio, above))
