"""Distance correlation of the score with a feature, as a penalty."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.objectives.base import Objective
from difftune.objectives.batch import signal_probability


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

    feature: int
    rows: int = 1024

    def __post_init__(self):
        if self.feature < 0:
            raise InputError(
                f"DistanceCorrelation(feature={self.feature}): give the number of a feature, "
                "counted from 0."
            )
        if self.rows < 1:
            raise InputError(f"DistanceCorrelation(rows={self.rows}): at least 1 is needed.")

    def __call__(self, scores, batch, hyperparameters, parameters):
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

    def mean(column):
        # The default precision of an accelerator's matrix product is ten bits.
        return jnp.matmul(column, p, precision="highest")

    def each(function):
        """A function of one event, for all of them; its matrices are made again for gradients."""
        events = jnp.arange(len(x))
        return jax.lax.map(jax.checkpoint(function), events, batch_size=min(rows, len(x)))

    def mean_distance(i):
        return mean(jnp.abs(x - x[i])), mean(jnp.abs(y - y[i]))

    mean_a, mean_b = each(mean_distance)
    all_a, all_b = mean(mean_a), mean(mean_b)

    def products(i):
        a = jnp.abs(x - x[i]) - mean_a - mean_a[i] + all_a
        b = jnp.abs(y - y[i]) - mean_b - mean_b[i] + all_b
        return mean(a * b), mean(a * a), mean(b * b)

    covariance, variance_x, variance_y = map(mean, each(products))
    # Rounding makes something of nothing where all distances are of the size of the last digit.
    eps = jnp.finfo(x.dtype).eps
    constant = (variance_x <= eps**2) | (variance_y <= eps**2)
    product = jnp.where(constant, 1.0, variance_x * variance_y)
    return jnp.where(constant, 0.0, covariance / jnp.sqrt(product))
