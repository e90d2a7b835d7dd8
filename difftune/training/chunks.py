"""A network on many events, in the memory that some of them take."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from difftune.objectives import Batch, Column
from difftune.training.batches import of_each_column

Network = Callable[[Float[Array, "some inputs"], PyTree], tuple[Array, PyTree]]


def in_chunks(
    network: Network,
    features: Sequence[Float[Column, "events inputs"]],
    carry: PyTree,
    chunk: int | None,
) -> tuple[list[Array], PyTree]:
    """Scores of all events, computed chunk by chunk, forwards and backwards.

    An objective that is no mean over events needs the scores of all of them before any of them has
    a gradient. So there are two passes: the first keeps the scores alone, and the second, in which
    the gradient comes back, computes each chunk anew (as arXiv 2101.06983). The gradient is that of
    all events, and costs one forward pass more.

    In the chunks of a direction are only the events that it moves. The others, such as those of
    processes that it does not touch, have their nominal scores.

    Args:
        network: Scores of some events, and what it hands on: random streams, buffers. Batch
            normalisation has the statistics of a chunk.
        features: Of all events: nominal, and in each direction in which they are varied.
        carry: What the first chunk is handed.
        chunk: Events of a chunk at most; None for all of all directions at once.

    Returns:
        Scores in each direction, and what the last chunk handed on.
    """
    events, directions = features[0].shape[0], len(features)
    if chunk is None or directions * events <= chunk:
        scores, carry = network(jnp.concatenate(features), carry)
        return jnp.split(scores, directions), carry
    pieces = -(-events // chunk)
    size = -(-events // pieces)
    moved = [jnp.ones(events, bool), *((f != features[0]).any(axis=1) for f in features[1:])]
    place = [jnp.cumsum(each) - 1 for each in moved]
    # What fills up the last chunk is the first event, whose score there nobody asks for.
    rows = jnp.stack(
        [
            jnp.zeros(pieces * size, int).at[jnp.where(m, p, pieces * size)].set(jnp.arange(events))
            for m, p in zip(moved, place, strict=True)
        ]
    )
    count = jnp.stack([each[-1] + 1 for each in place])
    take = [partial(jnp.take, jnp.asarray(each), axis=0) for each in features]

    @partial(jax.checkpoint, prevent_cse=False)
    def one(carry: PyTree, where: tuple[Array, Array]) -> tuple[PyTree, Array]:
        direction, start = where

        def scored(carry: PyTree) -> tuple[Array, PyTree]:
            some = jax.lax.dynamic_slice_in_dim(rows[direction], start, size)
            return network(jax.lax.switch(direction, take, some), carry)

        def nothing(carry: PyTree) -> tuple[Array, PyTree]:
            scores, _ = jax.eval_shape(scored, carry)
            return jnp.zeros(scores.shape, scores.dtype), carry

        scores, carry = jax.lax.cond(start < count[direction], scored, nothing, carry)
        return carry, scores

    where = jnp.meshgrid(jnp.arange(directions), jnp.arange(0, events, size), indexing="ij")
    carry, found = jax.lax.scan(one, carry, tuple(each.ravel() for each in where))
    found = found.reshape(directions, pieces * size, *found.shape[2:])
    own = [jnp.take(each, p, axis=0, mode="clip") for each, p in zip(found, place, strict=True)]
    return [
        jnp.where(jnp.expand_dims(m, range(1, each.ndim)), each, own[0])
        for m, each in zip(moved, own, strict=True)
    ], carry


def tiles(events: int, most: int | None) -> int:
    """In how many equal parts of at most so many events a batch is taken; 1 if there are none.

    Args:
        events: Of the batch.
        most: Events of a part; None for whole batches.
    """
    if most is None or events <= most:
        return 1
    least = -(-events // most)
    # Parts that are much smaller than they may be cost more than they bring.
    return next((parts for parts in range(least, 2 * least) if events % parts == 0), 1)


class Stretch(NamedTuple):
    """Events of a batch, side by side, that have a function of their own.

    Attributes:
        value_and_gradient: Of a part, and of the number of its first event: what is averaged, and
            what the last part hands on.
        end: How many events of the batch there are up to its end.
        size: Events of a part.
    """

    value_and_gradient: Callable[[Batch, Any], tuple[PyTree, PyTree]]
    end: Any
    size: int


def mean_over_tiles(
    stretches: Sequence[Stretch], batch: Batch, handed_on: PyTree
) -> tuple[PyTree, PyTree]:
    """What a loss that is a mean over events, its gradient and all that comes with it are.

    The parts of the batch are looked at one after the other, so that what the way forward leaves
    for the way back stays in the cache.

    Args:
        stretches: One after the other. What is less than a part at the end of one belongs to the
            next; parts of the last one divide the batch, and all others are multiples of them.
        batch: Its variations are not looked at.
        handed_on: Of the shape of what the parts hand on.
    """

    def part(stretch: Stretch, start: Any) -> tuple[PyTree, PyTree]:
        own = partial(jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=stretch.size)
        return stretch.value_and_gradient(of_each_column(batch, own), start)

    def add(number: Any, carry: tuple[PyTree, PyTree], *, begin: Any, stretch: Stretch) -> Any:
        value, handed_on = part(stretch, begin + number * stretch.size)
        return jax.tree.map(lambda t, v: t + stretch.size * v, carry[0], value), handed_on

    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(partial(part, stretches[0]), jnp.int32(0))[0],
    )
    begin, carry = 0, (zeros, handed_on)
    for stretch in stretches:
        count = (stretch.end - begin) // stretch.size
        carry = jax.lax.fori_loop(0, count, partial(add, begin=begin, stretch=stretch), carry)
        begin = begin + count * stretch.size
    events = batch.weight.shape[0]
    return jax.tree.map(lambda leaf: leaf / events, carry[0]), carry[1]
