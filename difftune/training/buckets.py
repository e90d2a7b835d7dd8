"""Networks on objects at the cost of the objects that events have, not of those they may have."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from difftune.models import Inputs
from difftune.objectives import Column
from difftune.training.module_def import ModuleDef

T = TypeVar("T")

Room = tuple[int, ...]
"""Places of each collection."""

_MOST = 8  # Each is a program to compile.
_WORTH = 0.98  # What the cost is at most of that with one bucket less.
_STEPS = (0.25, 0.375, 0.5, 0.75)  # Of the places, where the events are not known before.
_SHARES = 50  # Of the events, that may fit into a bucket: few have many objects, at much cost.
_LOOKED_AT = 65536  # Events whose objects are counted.


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A network with room for some of the objects, for events that have no more.

    Attributes:
        module_def: The network. Its weights are those of the one with room for all.
        inputs: Numbers of the inputs that it takes.
        beyond: Numbers of the masks of the places that it lacks.
    """

    module_def: ModuleDef
    inputs: tuple[int, ...]
    beyond: tuple[int, ...]


def buckets_of(
    module_def: ModuleDef, features: Float[np.ndarray, "events inputs"]
) -> tuple[Bucket, ...]:
    """The buckets that are worth their compilation, each with more room than the one before.

    The last one has room for all objects.

    Args:
        module_def: With room for all objects.
        features: Inputs of events such as those that are to come.

    Returns:
        At least two; none where the network depends on the number of places, or gains nothing.
    """
    collections = module_def.inputs.collections.values()
    if not collections or not getattr(module_def.model, "of_any_number", False):
        return ()
    count = min(len(features), _LOOKED_AT)
    some = np.linspace(0, len(features) - 1, count, dtype=int)
    # The number of the last place that is taken.
    used = np.stack(
        [
            np.max(
                (np.asarray(features[some, each.mask : each.mask + each.max]) != 0)
                * np.arange(1, each.max + 1),
                axis=1,
            )
            for each in collections
        ],
        axis=1,
    )
    rooms = _rooms(module_def, used)
    return tuple(_bucket(module_def, room) for room in rooms) if len(rooms) > 1 else ()


def _rooms(module_def: ModuleDef, used: Int[np.ndarray, "events collections"]) -> list[Room]:
    """Places of each collection in each bucket, such that little is computed for empty ones.

    The best choice of so many buckets follows from that of one bucket less, for every room that
    could be the largest.
    """
    most = np.array([each.max for each in module_def.inputs.collections.values()])
    shares = np.arange(1, _SHARES) / _SHARES
    found = np.maximum(np.quantile(used, shares, axis=0, method="higher"), 1)
    found = np.unique(np.concatenate([found, most[None]]), axis=0).astype(int)
    rooms: list[Room] = [tuple(map(int, room)) for room in found]
    of_event = getattr(module_def.model, "rows_of_event", sum_of_places)
    cost = np.array([of_event(_cut(module_def.inputs, room).inputs) for room in rooms])
    within = np.array([np.all(used <= room, axis=1).mean() for room in found])
    # Cost of all events that fit into each room, and the rooms that they are in.
    cheapest, chosen = within * cost, [[room] for room in rooms]
    best, least = chosen[-1], cheapest[-1]
    for _ in range(min(_MOST, len(rooms)) - 1):
        # With the room of the row as the second largest, that of the column as the largest.
        with_more = cheapest[:, None] + (within - within[:, None]) * cost
        with_more[np.tril_indices(len(rooms))] = np.inf
        second = np.argmin(with_more, axis=0)
        cheapest = np.min(with_more, axis=0)
        chosen = [[*chosen[i], room] for i, room in zip(second, rooms, strict=True)]
        if not cheapest[-1] <= _WORTH * least:
            break
        best, least = chosen[-1], cheapest[-1]
    return best


def sum_of_places(inputs: Inputs) -> int:
    """What an event costs where the network does not say it: the objects that it may have."""
    return sum(each.max for each in inputs.collections.values())


class _Cut(NamedTuple):
    """Inputs with less room: what they are, their numbers, and those of the masks beyond."""

    inputs: Inputs
    left: tuple[int, ...]
    beyond: tuple[int, ...]


def _cut(inputs: Inputs, room: Room) -> _Cut:
    left = list(range(int(inputs)))
    beyond: list[int] = []
    for each, places in zip(inputs.collections.values(), room, strict=True):
        beyond += range(each.mask + places, each.mask + each.max)
        cut = {*range(each.start + places * len(each.features), each.stop), *beyond}
        left = [number for number in left if number not in cut]
    place = {number: at for at, number in enumerate(left)}
    collections = {
        name: replace(each, max=places, start=place[each.start], mask=place[each.mask])
        for (name, each), places in zip(inputs.collections.items(), room, strict=True)
    }
    return _Cut(Inputs(len(left), collections), tuple(left), tuple(beyond))


def _bucket(module_def: ModuleDef, room: Room) -> Bucket:
    own = _cut(module_def.inputs, room)
    smaller = ModuleDef(module_def.model, inputs=own.inputs, outputs=module_def.outputs)
    return Bucket(module_def=smaller, inputs=own.left, beyond=own.beyond)


def whole(module_def: ModuleDef) -> tuple[Bucket, ...]:
    """The one bucket that has room for all objects.

    Args:
        module_def: The network.
    """
    inputs = tuple(range(int(module_def.inputs)))
    return (Bucket(module_def=module_def, inputs=inputs, beyond=()),)


@lru_cache(maxsize=16)
def in_steps(module_def: ModuleDef) -> tuple[Bucket, ...]:
    """Buckets for whatever events come, so that nothing is compiled anew for others.

    They have a quarter, three eighths, half and three quarters of the places, and all.

    Args:
        module_def: With room for all objects.

    Returns:
        One that has room for all where the network depends on the number of places.
    """
    most = [each.max for each in module_def.inputs.collections.values()]
    if not most or not getattr(module_def.model, "of_any_number", False):
        return whole(module_def)
    rooms = dict.fromkeys(tuple(math.ceil(step * each) for each in most) for step in _STEPS)
    return (
        *(_bucket(module_def, room) for room in rooms if room != tuple(most)),
        *whole(module_def),
    )


def bucket_numbers(
    buckets: Sequence[Bucket], features: Float[Column, "events inputs"]
) -> Int[Array, " events"]:
    """The first bucket that has room for each event.

    Args:
        buckets: As `buckets_of` gives them.
        features: Inputs of the network with room for all.
    """
    if len(buckets) == 1:
        return jnp.zeros(len(features), int)
    outside = [jnp.any(features[:, np.asarray(each.beyond)] != 0, axis=1) for each in buckets[:-1]]
    return jnp.sum(jnp.stack(outside), axis=0)


def in_bucket(
    buckets: Sequence[Bucket],
    features: Float[Column, "events inputs"],
    function: Callable[[ModuleDef, Float[Array, "events some"]], T],
) -> T:
    """A function of the smallest network that has room for all of some events.

    Args:
        buckets: As `buckets_of` gives them.
        features: Inputs of the network with room for all.
        function: Of a network and its inputs.
    """

    def of(bucket: Bucket) -> Callable[[Array], T]:
        return lambda x: function(bucket.module_def, x[:, np.asarray(bucket.inputs)])

    which = jnp.max(bucket_numbers(buckets, features))
    return jax.lax.switch(which, [of(each) for each in buckets], jnp.asarray(features))
