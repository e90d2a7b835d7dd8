"""Learning-rate schedules, each a factor of the progress of the training."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

CONSTANT, COSINE, ONE_CYCLE = range(3)
SCHEDULES = ("constant", "cosine", "one-cycle")
"""Values of the hyperparameter `"schedule"`, by number."""

# Of the one-cycle schedule: share of the rise, and the factors at its start and at the very end.
_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1e-4 / 25


def rate_factor(
    hyperparameters: Mapping[str, Array], done: Float[Array, "*steps"]
) -> Float[Array, "*steps"]:
    """What the learning rate is multiplied with.

    - constant: 1.
    - cosine: half a period of a cosine, from 1 to 0 (arXiv 1608.03983, without restarts).
    - one-cycle: along half periods from 1/25 up to 1 in the first 30 %, then down to 4e-6 (arXiv
      1708.07120, with the usual shares).

    Args:
        hyperparameters: `"schedule"` is read where it is given: 0, 1 or 2 in this order.
        done: Fraction of the training that is behind, from 0 to 1.
    """
    if "schedule" not in hyperparameters:
        return jnp.ones_like(done)

    def between(start: float, end: float, share: Array) -> Array:
        return end + (start - end) * (1.0 + jnp.cos(jnp.pi * share)) / 2.0

    rise = between(_FIRST, 1.0, done / _RISE)
    fall = between(1.0, _LAST, (done - _RISE) / (1.0 - _RISE))
    kind = jnp.round(hyperparameters["schedule"])
    one_cycle = jnp.where(done < _RISE, rise, fall)
    cosine = between(1.0, 0.0, done)
    return jnp.where(kind == COSINE, cosine, jnp.where(kind == ONE_CYCLE, one_cycle, 1.0))
