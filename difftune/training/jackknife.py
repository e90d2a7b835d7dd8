"""By how much a score fluctuates with the events that it is computed from."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from difftune.errors import InputError
from difftune.objectives import Batch, Column


def infinitesimal_jackknife(
    score: Callable[[Batch], tuple[Array, Array]], batch: Batch
) -> tuple[Array, Array, Array]:
    """A score and its standard error, by the infinitesimal jackknife.

    It is what a bootstrap of the events would give, of first order in their counts, and costs one
    gradient: with `u_i` the derivative of the score by how often event i counts, the variance is
    the sum of `u_i²` (L. Jaeckel, Bell Laboratories MM 72-1215-11 (1972); B. Efron, "The jackknife,
    the bootstrap and other resampling plans", 1982). Yields are known: a process with more events
    by chance is scaled back to what is expected, which takes the mean from its `u_i`. To a score of
    sums of squared weights an event that counts twice is one of twice the weight.

    Args:
        score: Of a batch: one number, and something else beside it that is handed through.
        batch: The events; their variations with scores.

    Returns:
        The number, what was beside it, and the standard error.

    Raises:
        InputError: When the score has no derivative by the weights of the events.
    """
    weight = jnp.asarray(batch.weight)

    def of(count: Array) -> tuple[Array, Array]:
        return score(batch.counted(count))

    try:
        value, slope, beside = _differentiated(of, jnp.ones_like(weight))
    except InputError:
        raise
    except (TypeError, ValueError, NotImplementedError) as problem:
        # What is wrong with the score itself is reported as that.
        score(batch)
        raise InputError(
            "the validation score has no derivative by the weights of events, from which its "
            f"statistical error would follow ({problem}): write it in jax.numpy, or switch the "
            "error off: selection_rule=AS_SCORED, overtraining=ScoreGap(sigmas=0); in the file "
            "score_sigmas = 0, overtraining_sigmas = 0."
        ) from problem
    processes = batch.signal_process.shape[-1]
    process = jnp.asarray(batch.process)

    def sums(column: Column) -> Array:
        return jax.ops.segment_sum(column, process, processes)

    total = sums(weight)
    mean = jnp.where(total == 0.0, 0.0, sums(slope) / jnp.where(total == 0.0, 1.0, total))
    return value, beside, jnp.sqrt(jnp.sum(jnp.square(slope - weight * mean[process])))


def _differentiated(of: Callable[..., Any], count: Array) -> tuple[Array, Array, Array]:
    value, pull, beside = jax.vjp(of, count, has_aux=True)
    (slope,) = pull(jnp.ones_like(value))
    return value, slope, beside
