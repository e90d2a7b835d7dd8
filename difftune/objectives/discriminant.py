"""The discriminant on a scale without ends."""

import jax
from jaxtyping import Array, Float

from difftune.objectives.batch import Batch


def signal_logit(
    scores: Float[Array, " events"] | Float[Array, "events classes"], batch: Batch
) -> Float[Array, " events"]:
    """The logit of `signal_probability`: the same order, without ties where that is 0 or 1.

    Args:
        scores: Logits: `[events]` of a binary network, or `[events, processes]` of a multi-class
            one.
        batch: Tells which processes are signal.
    """
    if scores.ndim == 1:
        return scores
    signal = batch.signal_process.astype(scores.dtype)
    return jax.nn.logsumexp(scores, axis=-1, b=signal) - jax.nn.logsumexp(
        scores, axis=-1, b=1.0 - signal
    )
