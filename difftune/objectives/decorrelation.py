"""Penalties on what a score must not depend on: a feature, or systematic variations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from annotated_types import Ge
from jaxtyping import Array, Float, PyTree

from difftune.arguments import Count, takes
from difftune.errors import InputError, nearest
from difftune.objectives.base import Objective
from difftune.objectives.batch import (
    Batch,
    Column,
    Scalar,
    Scores,
    Values,
    in_direction,
    signal_probability,
)
from difftune.objectives.binned import Binned

Among = Literal["all", "signal", "background"]
"""Events that an objective looks at."""


def of_class(among: str, batch: Batch) -> Array:
    """1 for the events that count: of `"all"`, `"signal"` or `"background"`."""
    label = jnp.asarray(batch.label)
    return {"all": jnp.ones_like(label), "signal": label, "background": 1 - label}[among]


@dataclass(frozen=True, kw_only=True)
class OnVariations(Objective):
    """An objective of what systematic variations do to the scores.

    Args:
        variations: Names of the variations; by default all that the events have.
        among: Whether `"all"` events count, or those of `"signal"` or `"background"`.

    Raises:
        InputError: For an unknown kind of events; when the training begins, for a variation that
            the events do not have.
    """

    varied: ClassVar[bool] = True

    variations: Sequence[str] | None = None
    among: Among = "all"

    def __post_init__(self) -> None:
        if self.variations is not None:
            object.__setattr__(self, "variations", tuple(self.variations))
        if self.among not in get_args(Among):
            raise InputError(
                f"{type(self).__name__}(among={self.among!r}): choose 'all', 'signal' or "
                "'background'."
            )

    def with_variations(self, variations: Sequence[str]) -> "OnVariations":
        """The objective of these variations, unless some were chosen.

        Raises:
            InputError: There are none, or not one of those that were chosen.
        """
        who, known = type(self).__name__, sorted(variations)
        if not known:
            raise InputError(
                f"{who} looks at systematic variations, and the events have none: give some to "
                "`read`, or take the objective out."
            )
        for name in self.variations or ():
            if name not in known:
                raise InputError(
                    f"{who}(variations=...): the events have no variation {name!r}."
                    f"{nearest(name, known)} Known: {', '.join(known)}."
                )
        if self.variations is not None:
            return self
        return replace(self, variations=tuple(known))


@takes()
@dataclass(frozen=True, kw_only=True)
class DistanceCorrelation(Objective):
    """Squared distance correlation of score and one feature among background events.

    It is 0 only where the two are independent, and at most 1 (Székely, Rizzo and Bakirov, Ann.
    Statist. 35 (2007) 2769). As a term of a loss it makes the score of background events tell
    nothing of, say, an invariant mass (arXiv 2001.05310):
    `CrossEntropy() + "decorrelation" * DistanceCorrelation(feature=0)`.

    Events count with the magnitude of their training weights: a distance covariance with negative
    weights need not be positive, and a penalty that can be negative is one that a network exploits.
    What is decorrelated is then the sample of these magnitudes. Where score or feature is constant,
    or no background has weight, the penalty is 0, with no gradient.

    All pairs of events are visited, a million of them for a batch of 1024: the time grows as the
    square of the batch. The memory does so up to `rows` events, and linearly beyond: two
    matrices of `rows` times the batch for each member that trains at the same time.

    Args:
        feature: Which of the network's inputs, counted from 0, after the feature transform (which
            shifts and scales, and so changes nothing here).
        rows: How many rows of the distance matrices are in memory at once.

    Raises:
        InputError: For a negative column or number of rows, and, when it is called, for a column
            that the batch does not have.
    """

    feature: Annotated[int, Ge(0)]
    rows: Count = 1024

    def __post_init__(self) -> None:
        if self.feature < 0:
            raise InputError(
                f"DistanceCorrelation(feature={self.feature}): give the number of a feature, "
                "counted from 0."
            )
        if self.rows < 1:
            raise InputError(f"DistanceCorrelation(rows={self.rows}): at least 1 is needed.")

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The penalty, from 0 to 1."""
        columns = batch.features.shape[-1]
        if self.feature >= columns:
            raise InputError(
                f"DistanceCorrelation(feature={self.feature}): there are {columns} features, "
                f"counted from 0 to {columns - 1}."
            )
        weight = jnp.abs(batch.training_weight) * (1 - batch.label)
        return distance_correlation(
            signal_probability(scores, batch),
            jnp.asarray(batch.features[:, self.feature], scores.dtype),
            weight.astype(scores.dtype),
            rows=self.rows,
        )


def distance_correlation(
    x: Float[Array, " events"],
    y: Float[Array, " events"],
    weight: Float[Array, " events"],
    *,
    rows: int,
) -> Float[Array, ""]:
    """Squared distance correlation of two weighted columns.

    With distances `a_ij = |x_i - x_j|`, doubly centred as `A_ij = a_ij - a_i - a_j + a` by their
    weighted means, and likewise `B` of y, it is `<AB> / sqrt(<AA> <BB>)`.

    Args:
        x: One column.
        y: The other.
        weight: Weights of the events, none negative.
        rows: How many rows of the distance matrices are in memory at once.
    """
    total = jnp.sum(weight)
    p = weight / jnp.where(total <= 0.0, 1.0, total)

    def mean(column: Array) -> Array:
        # The default precision of an accelerator's matrix product is ten bits.
        return jnp.matmul(column, p, precision="highest")

    def each(function: Callable[[Array], PyTree]) -> PyTree:
        """A function of one event, for all of them; its matrices are made again for gradients."""
        events = jnp.arange(len(x))
        return jax.lax.map(jax.checkpoint(function), events, batch_size=min(rows, len(x)))

    def mean_distance(i: Array) -> tuple[Array, Array]:
        return mean(jnp.abs(x - x[i])), mean(jnp.abs(y - y[i]))

    mean_a, mean_b = each(mean_distance)
    all_a, all_b = mean(mean_a), mean(mean_b)

    def products(i: Array) -> tuple[Array, Array, Array]:
        a = jnp.abs(x - x[i]) - mean_a - mean_a[i] + all_a
        b = jnp.abs(y - y[i]) - mean_b - mean_b[i] + all_b
        return mean(a * b), mean(a * a), mean(b * b)

    covariance, variance_x, variance_y = map(mean, each(products))
    # Rounding makes something of nothing where all distances are of the size of the last digit.
    eps = jnp.finfo(x.dtype).eps
    constant = (variance_x <= eps**2) | (variance_y <= eps**2)
    product = jnp.where(constant, 1.0, variance_x * variance_y)
    return jnp.where(constant, 0.0, covariance / jnp.sqrt(product))


@takes()
@dataclass(frozen=True, kw_only=True)
class NuisanceCorrelation(OnVariations):
    """Squared distance correlation of the score with which variation an event is from.

    For each variation the events at plus and minus one standard deviation (and none, where there is
    no minus) are one sample, in equal shares, and what is decorrelated from the score is which of
    the two an event is (arXiv 2001.05310 with a nuisance parameter as the variable). It is 0 only
    where the variation does not change the shape of the score, and a mean over the variations.
    As a term: `CrossEntropy() + "decorrelation" * NuisanceCorrelation()`.

    Unlike `DistanceCorrelation` it takes the time of a sort, and memory linear in the batch: with
    two values of a variable all sums over pairs are sums along the sorted score. Events count with
    the magnitude of their physics weights.

    Args:
        variations: Names of the variations; by default all that the events have.
        among: Whether `"all"` events count, or those of `"signal"` or `"background"`.

    Raises:
        InputError: For an unknown kind of events; when the training begins, for a variation that
            the events do not have.
    """

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The penalty, from 0 to 1."""
        mine = of_class(self.among, batch).astype(scores.dtype)
        penalties = []
        for name in self.variations or sorted(batch.variations):
            variation = batch.variations[name]
            columns = []
            for side in (variation.up, variation.down):
                own, weight = in_direction(name, side, scores, batch)
                columns += [signal_probability(own, batch), mine * jnp.abs(weight)]
            penalties.append(two_sample_correlation(*columns))
        return sum(penalties, jnp.zeros((), scores.dtype)) / max(len(penalties), 1)


def two_sample_correlation(
    x: Float[Array, " some"],
    weight_x: Float[Array, " some"],
    y: Float[Array, " others"],
    weight_y: Float[Array, " others"],
) -> Float[Array, ""]:
    """Squared distance correlation of a value with which of two samples it is from.

    The samples have equal shares. With mean distances D within and between them, the distance
    covariance is `(2 D_xy - D_xx - D_yy) / 8`, a fourth of the energy distance.

    Args:
        x: Values of one sample.
        weight_x: Their weights, none negative.
        y: Values of the other.
        weight_y: Their weights.
    """
    parts = []
    for weight in (weight_x, weight_y):
        total = jnp.sum(weight)
        parts.append(weight / jnp.where(total > 0, total, 1.0))
    p, q = parts
    z, none = jnp.concatenate([x, y]), jnp.zeros_like
    # Around the middle, where sums of products lose least.
    z = z - jnp.sum(z * jnp.concatenate([p, q])) / 2
    order = jnp.argsort(z)
    z = z[order]
    shares = jnp.stack([jnp.concatenate([p, none(q)]), jnp.concatenate([none(p), q])])[:, order]
    # Mean distance of each value to each sample: those below it, and those above.
    below, moment = jnp.cumsum(shares, axis=1), jnp.cumsum(shares * z, axis=1)
    away = z * (2 * below - below[:, -1:]) + moment[:, -1:] - 2 * moment
    within_x, within_y = jnp.sum(shares * away, axis=1)
    between = jnp.sum(shares[0] * away[1])
    covariance = (2 * between - within_x - within_y) / 8
    # The variance of the value; that of the indicator, 0 or 1 in equal shares, is 1 / 4.
    both, means = jnp.sum(shares, axis=0) / 2, jnp.sum(away, axis=0) / 2
    mean = jnp.sum(both * means)
    squares = 2 * (jnp.sum(both * z**2) - jnp.sum(both * z) ** 2)
    variance = squares + mean**2 - 2 * jnp.sum(both * means**2)
    there = variance > jnp.finfo(x.dtype).eps
    root = jnp.sqrt(jnp.where(there, variance, 1.0) / 4)
    return jnp.where(there, covariance / root, 0.0)


@takes()
@dataclass(frozen=True, kw_only=True)
class HistogramVariation(OnVariations, Binned):
    """Mean squared relative change of the bins of the score under systematic variations.

    `1/n sum_k ((N_k - N'_k) / N_k)^2` over bins, directions and variations (arXiv 1907.11674), for
    signal and background each with its physics weights, as a term to be added:
    `CrossEntropy() + "penalty" * HistogramVariation(bins=10)`. A bin whose expectation is not
    positive counts nothing.

    A change of the total yield is in all bins, whatever the score; what can be trained away is the
    rest. All bins count alike, also those with few events, whose batches fluctuate: few bins and
    large batches suit it.

    Args:
        bins: Number of equidistant bins on [0, 1], or `difftune.binning.LearnedEdges`.
        bandwidth: Width of the kernel in units of the score, at the start and at the end of the
            training. The hyperparameter `"bandwidth"` multiplies both.
        variations: Names of the variations; by default all that the events have.
        among: Whether the histograms of `"signal"`, of `"background"` or of both (`"all"`) count.

    Raises:
        InputError: For fewer than two bins, a bandwidth that is not positive, an unknown kind of
            events; when the training begins, for a variation that the events do not have.
    """

    def __post_init__(self) -> None:
        Binned.__post_init__(self)
        OnVariations.__post_init__(self)

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The penalty, from 0."""
        edges = self.edges(parameters, scores.dtype)
        rows = {"all": slice(None), "background": slice(0, 1), "signal": slice(1, 2)}[self.among]

        def filled(scores: Array, weight: Column) -> Array:
            return self.histograms(scores, batch, weight, hyperparameters, edges)[rows]

        nominal = filled(scores, batch.weight)
        there = nominal > 0
        inverse = jnp.where(there, 1 / jnp.where(there, nominal, 1.0), 0.0)
        changes = []
        for name in self.variations or sorted(batch.variations):
            variation = batch.variations[name]
            for side in (variation.up, variation.down):
                if side is not None:
                    moved = filled(*in_direction(name, side, scores, batch))
                    changes.append((moved - nominal) * inverse)
        if not changes:
            return jnp.zeros((), scores.dtype)
        bins = jnp.maximum(jnp.sum(there), 1)
        return jnp.sum(jnp.square(jnp.stack(changes))) / (len(changes) * bins)
