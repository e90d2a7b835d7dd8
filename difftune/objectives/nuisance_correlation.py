"""Distance correlation of the score with a systematic variation, as a penalty."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.objectives.base import Objective
from difftune.objectives.batch import Varied, signal_probability
from difftune.objectives.varied import Among, chosen, of_class, varied_scores


@takes()
@dataclass(frozen=True, kw_only=True)
class NuisanceCorrelation(Objective):
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

    varied: ClassVar[bool] = True

    variations: Sequence[str] | None = None
    among: str = "all"

    def __post_init__(self):
        if self.variations is not None:
            object.__setattr__(self, "variations", tuple(self.variations))
        if self.among not in get_args(Among):
            raise InputError(
                f"NuisanceCorrelation(among={self.among!r}): choose 'all', 'signal' or "
                "'background'."
            )

    def with_variations(self, variations):
        """The penalty of these variations, unless some were chosen."""
        return replace(self, variations=chosen("NuisanceCorrelation", self.variations, variations))

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The penalty, from 0 to 1."""
        mine = of_class(self.among, batch).astype(scores.dtype)
        penalties = []
        for name in self.variations or sorted(batch.variations):
            variation = batch.variations[name]
            columns = []
            for side in (variation.up, variation.down or Varied()):
                own = scores if side.features is None else varied_scores(name, side)
                weight = batch.weight if side.weight is None else side.weight
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
