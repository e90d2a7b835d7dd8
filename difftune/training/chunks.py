"""A network on many events, in the memory that some of them take."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

Network = Callable[[Float[Array, "some inputs"], PyTree], tuple[Array, PyTree]]


def in_chunks(
    network: Network, features: Float[Array, "events inputs"], carry: PyTree, chunk: int | None
) -> tuple[Array, PyTree]:
    """Scores of all events, computed chunk by chunk, forwards and backwards.

    An objective that is no mean over events needs the scores of all of them before any of them has
    a gradient. So there are two passes: the first keeps the scores alone, and the second, in which
    the gradient comes back, computes each chunk anew (as arXiv 2101.06983). The gradient is that of
    all events, and costs one forward pass more.

    Args:
        network: Scores of some events, and what it hands on: random streams, buffers. Batch
            normalisation has the statistics of a chunk.
        features: Of all events.
        carry: What the first chunk is handed.
        chunk: Events of a chunk; None for all at once.
    """
    events = features.shape[0]
    if chunk is None or events <= chunk:
        return network(features, carry)
    full = events // chunk * chunk

    @jax.checkpoint
    def one(carry: PyTree, start: Any) -> tuple[PyTree, Array]:
        scores, carry = network(jax.lax.dynamic_slice_in_dim(features, start, chunk), carry)
        return carry, scores

    carry, scores = jax.lax.scan(one, carry, jnp.arange(0, full, chunk))
    scores = scores.reshape(full, *scores.shape[2:])
    if full < events:
        rest, carry = jax.checkpoint(network)(features[full:], carry)
        scores = jnp.concatenate([scores, rest])
    return scores, carry
