"""The order of the scores: the area under the ROC curve, as metric and loss, and the best cut."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

from difftune.arguments import Fraction, NotNegative, Positive, takes
from difftune.errors import InputError
from difftune.inference import asimov_significance
from difftune.objectives.base import Metric, Objective
from difftune.objectives.batch import Batch, Scalar, Scores, Values, signal_logit
from difftune.objectives.bins import HARD, annealed, start_and_end
from difftune.objectives.counting import squared_ams

_BY_PAIRS = 1024
"""Events of which a CPU compares all pairs in less time than it sorts them."""


class Passed(NamedTuple):
    """Yields above every cut, from the tightest to the loosest.

    Attributes:
        signal: Expected signal with at least the score of the event whose place this is.
        background: The same of the background.
        distinct: Whether the next event has another score, so that there is a cut here.
    """

    signal: Float[Array, " events"]
    background: Float[Array, " events"]
    distinct: Bool[Array, " events"]


def passed(scores: Array, batch: Batch) -> Passed:
    """The yields above all cuts. A NaN among the scores makes them all NaN."""
    score = signal_logit(scores, batch)
    order = jnp.argsort(-score)
    score = score[order]
    weight, label = batch.weight[order].astype(score.dtype), batch.label[order]
    weight = jnp.where(jnp.any(jnp.isnan(score)), jnp.nan, weight)
    distinct = jnp.concatenate([score[1:] != score[:-1], jnp.ones(1, bool)])
    signal, background = (jnp.cumsum(weight * (label == cls)) for cls in (1, 0))
    return Passed(signal, background, distinct)


@takes()
@dataclass(frozen=True, kw_only=True)
class AUC(Metric):
    """Area under the ROC curve with physics weights; larger is better.

    Exact: the weighted fraction of (signal, background) pairs that the score orders rightly, ties
    counted half. Negative weights count as they are, so the result may leave [0, 1] where they
    prevail. Without a class, or if one has a sum of weights that is not positive, it is 1/2.
    """

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The area."""
        if len(batch.weight) > _BY_PAIRS:
            return self._by_cuts(scores, batch)
        return lax.platform_dependent(scores, batch, cpu=self._by_pairs, default=self._by_cuts)

    @staticmethod
    def _by_pairs(scores: Scores, batch: Batch) -> Scalar:
        score = signal_logit(scores, batch)
        weight = jnp.where(jnp.any(jnp.isnan(score)), jnp.nan, batch.weight.astype(score.dtype))
        signal, background = weight * (batch.label == 1), weight * (batch.label == 0)
        s, b = jnp.sum(signal), jnp.sum(background)
        none = (s <= 0.0) | (b <= 0.0)

        def one(below: Array, event: tuple[Array, Array]) -> tuple[Array, None]:
            own, weight = event
            return below + weight * ((own > score) - 1.0 * (own < score)), None

        below, _ = lax.scan(one, jnp.zeros_like(score), (score, signal), unroll=8)
        ordered = jnp.sum(below / jnp.where(none, 1.0, s) * background / jnp.where(none, 1.0, b))
        return jnp.where(none, 0.5, 0.5 + 0.5 * ordered)

    @staticmethod
    def _by_cuts(scores: Scores, batch: Batch) -> Scalar:
        signal, background, distinct = passed(scores, batch)
        s, b = signal[-1], background[-1]
        none = (s <= 0.0) | (b <= 0.0)
        # Efficiencies, each for itself: the product of two small sums would underflow.
        signal, background = signal / jnp.where(none, 1.0, s), background / jnp.where(none, 1.0, b)
        # Trapezia between cuts: each place looks up the last cut before it, by the largest number.
        place = jnp.where(distinct, jnp.arange(len(signal)), -1)
        before = jnp.concatenate([jnp.full(1, -1), lax.cummax(place)[:-1]])
        lower = jnp.where(before < 0, 0.0, signal[before])
        left = jnp.where(before < 0, 0.0, background[before])
        area = jnp.sum(jnp.where(distinct, 0.5 * (signal + lower) * (background - left), 0.0))
        return jnp.where(none, 0.5, area)


@dataclass(frozen=True, kw_only=True)
class _CutScan(Metric):
    """The best of all cuts on the score that keep enough signal.

    Args:
        min_signal_efficiency: Least fraction of the signal that passes a cut.

    Raises:
        InputError: For an efficiency outside of [0, 1].
    """

    min_signal_efficiency: Fraction = 0.25

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_signal_efficiency <= 1.0:
            raise InputError(
                f"{type(self).__name__}(min_signal_efficiency={self.min_signal_efficiency}) is a "
                "fraction, from 0 to 1."
            )

    def best(self, cuts: Passed, figure: Float[Array, " events"]) -> Float[Array, ""]:
        """The largest figure of merit, 0 if no cut is allowed.

        Args:
            cuts: The yields above all cuts.
            figure: The figure of merit of each.
        """
        enough = cuts.signal >= self.min_signal_efficiency * cuts.signal[-1]
        best = jnp.max(jnp.where(cuts.distinct & enough, figure, 0.0))
        # NaN is not "enough", and must not pass unseen.
        return jnp.where(jnp.isnan(cuts.signal[-1] + cuts.background[-1]), jnp.nan, best)


@takes()
@dataclass(frozen=True, kw_only=True)
class CutSignificance(_CutScan):
    """Asimov significance above the best cut on the score; larger is better.

    All cuts between two scores are tried. The best of many is one where a fluctuation helps, the
    more so the fewer background events pass: the least signal efficiency, an uncertainty of the
    background, or both keep the cut away from there. A cut whose background has a sum of weights
    that is not positive counts nothing.

    Args:
        min_signal_efficiency: Least fraction of the signal that passes the cut.
        background_uncertainty: Uncertainty of the background, as a fraction of it.

    Raises:
        InputError: For an efficiency outside of [0, 1] or a negative uncertainty.
    """

    background_uncertainty: NotNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.background_uncertainty >= 0.0:
            raise InputError(
                f"CutSignificance(background_uncertainty={self.background_uncertainty}): an "
                "uncertainty is not negative."
            )

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The significance, in standard deviations."""
        cuts = passed(scores, batch)
        s, b = cuts.signal[:, None], cuts.background[:, None]
        sigma = self.background_uncertainty * b if self.background_uncertainty else None
        return self.best(cuts, asimov_significance(s, b, sigma))


@takes()
@dataclass(frozen=True, kw_only=True)
class CutAMS(_CutScan):
    """Approximate median significance above the best cut on the score; larger is better.

    The measure of the HiggsML challenge, `sqrt(2 [(s + b + r) ln(1 + s / (b + r)) - s])`.

    Args:
        min_signal_efficiency: Least fraction of the signal that passes the cut; 0 in the
            challenge.
        regularisation: Events that are added to the background; 10 in the challenge.

    Raises:
        InputError: For an efficiency outside of [0, 1] or a regularisation that is not positive.
    """

    min_signal_efficiency: Fraction = 0.0
    regularisation: Positive = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.regularisation > 0.0:
            raise InputError(f"CutAMS(regularisation={self.regularisation}) must be positive.")

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The AMS."""
        cuts = passed(scores, batch)
        squared = squared_ams(cuts.signal[:, None], cuts.background[:, None], self.regularisation)
        return self.best(cuts, jnp.sqrt(squared))


@takes()
@dataclass(frozen=True, kw_only=True)
class AUCLoss(Objective):
    """One minus the area under the ROC curve, of smeared differences of logits.

    The area is the weighted fraction of pairs of a signal and a background event that the score
    orders rightly. Here a pair counts as wrong to the degree

        K((z_b - z_s) / T),   K(x) = e^x / 2 for x < 0,  1 - e^-x / 2 for x >= 0

    with the logits z and the temperature T: K is the distribution function of Laplace's density,
    which has the value 1/2 for a tie and the exponential tails of a sigmoid. Towards T = 0 the
    loss is exactly one minus the weighted area, ties counted half.

    Other than a sigmoid, K lets the sum over all pairs be written as two recurrences along the
    sorted logits. So the result is that of all pairs, to rounding, at the cost of a sort: n log n
    operations and as much memory for n events, gradient included. No pair matrix is built.

    The weights are the training weights, of which only those within a class count. Without signal
    or background (no events, or a sum of weights that is not positive) the loss is 1/2, with no
    gradient. Every pair contributes at most its weight, so negative weights cannot make the loss
    run away.

    Args:
        temperature: Of the differences, in units of the logit, at the start and at the end of the
            training; geometrically annealed in between. The hyperparameter `"temperature"`, where
            the search has it, multiplies both.

    Raises:
        InputError: For a temperature that is not positive.
    """

    temperature: Sequence[Positive] = (1.0, 0.2)

    def __post_init__(self) -> None:
        pair = start_and_end(self.temperature, "AUCLoss(temperature")
        object.__setattr__(self, "temperature", pair)

    def hard_limit(self) -> "AUCLoss":
        """One minus the area itself."""
        return replace(self, temperature=HARD)

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The loss, between 0 and 1 where no weight is negative."""
        factor = hyperparameters.get("temperature", 1.0)
        temperature = annealed(self.temperature, batch, factor)
        is_signal = jnp.asarray(batch.label, scores.dtype)
        weight = jnp.asarray(batch.training_weight, scores.dtype)
        return misordered(
            signal_logit(scores, batch) * (1.0 / temperature.astype(scores.dtype)),
            weight * is_signal,
            weight * (1.0 - is_signal),
        )


def misordered(
    x: Float[Array, " events"],
    signal: Float[Array, " events"],
    background: Float[Array, " events"],
) -> Float[Array, ""]:
    """Weighted fraction of (signal, background) pairs in wrong order, smeared as in `AUCLoss`.

    Args:
        x: Scores in units of the temperature.
        signal: Weights as signal.
        background: Weights as background.
    """
    order = jnp.argsort(x)
    x, s, b = x[order], signal[order], background[order]
    total_s, total_b = jnp.sum(s), jnp.sum(b)
    none = (total_s <= 0.0) | (total_b <= 0.0)
    # Shares, each for itself: the product of two small sums would underflow.
    s, b = (w / jnp.where(none, 1.0, total) for w, total in ((s, total_s), (b, total_b)))
    # exp(-(x_j - x_i)) of events further apart is a product of those of neighbours, all at most 1.
    decay, end = jnp.exp(x[:-1] - x[1:]), jnp.zeros(1, x.dtype)
    below = _decayed_sums(jnp.concatenate([end, decay]), b, 1)
    above = _decayed_sums(jnp.concatenate([decay, end]), b, -1)
    # The event itself is in both sums and cancels.
    higher = 1.0 - jnp.cumsum(b)
    return jnp.where(none, 0.5, jnp.sum(s * (higher + 0.5 * (below - above))))


def _decayed_sums(
    decay: Float[Array, " events"], weight: Float[Array, " events"], step: int
) -> Float[Array, " events"]:
    """`y_i = weight_i + decay_i y_(i - step)`, by doubling: as many rounds as n has bits.

    Args:
        decay: Factors. The first in the direction of the step is 0, which also ends the sums where
            the doubled distance goes around the circle.
        weight: What is summed.
        step: 1, or -1 to go from the end on.
    """

    def twice_as_far(sums: tuple[Array, Array], shift: Array) -> tuple[tuple[Array, Array], None]:
        decay, y = sums
        return (decay * jnp.roll(decay, shift), y + decay * jnp.roll(y, shift)), None

    shifts = jnp.asarray([step * 2**k for k in range((len(decay) - 1).bit_length())], jnp.int32)
    return jax.lax.scan(twice_as_far, (decay, weight), shifts)[0][1]
