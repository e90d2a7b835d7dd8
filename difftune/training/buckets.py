"""Networks on objects at the cost of the objects that events have, not of those they may have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from difftune.models import Inputs
from difftune.objectives import Column
from difftune.training.module_def import ModuleDef

T = TypeVar("T")

_MOST = 4  # Each is a program to compile.
_WORTH = 0.95  # What the cost is at most of that with one bucket less.
_SHARES = 24  # Of the events, that may fit into a bucket.
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
    rooms = _rooms(used, np.array([each.max for each in collections]))
    return tuple(_bucket(module_def, room) for room in rooms) if len(rooms) > 1 else ()


def _rooms(
    used: Int[np.ndarray, "events collections"], most: Int[np.ndarray, " collections"]
) -> list[tuple[int, ...]]:
    """Places of each collection in each bucket, such that few are left empty."""
    shares = np.arange(1, _SHARES) / _SHARES
    found = np.maximum(np.quantile(used, shares, axis=0, method="higher"), 1)
    found = np.unique(np.concatenate([found, most[None]]), axis=0).astype(int)
    cost = found.sum(axis=1)
    within = np.array([np.all(used <= room, axis=1).mean() for room in found])

    def places(chosen: Sequence[int]) -> float:
        """That an event takes on average."""
        own = list(chosen)
        return float(np.diff(within[own], prepend=0.0) @ cost[own])

    last = len(found) - 1
    best = [last]
    for count in range(1, min(_MOST, len(found))):
        more = min(([*smaller, last] for smaller in combinations(range(last), count)), key=places)
        if places(more) > _WORTH * places(best):
            break
        best = more
    return [tuple(map(int, found[i])) for i in best]


def _bucket(module_def: ModuleDef, room: Sequence[int]) -> Bucket:
    inputs = module_def.inputs
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
    smaller = ModuleDef(
        module_def.model, inputs=Inputs(len(left), collections), outputs=module_def.outputs
    )
    return Bucket(module_def=smaller, inputs=tuple(left), beyond=tuple(beyond))


def bucket_numbers(
    buckets: Sequence[Bucket], features: Float[Column, "events inputs"]
) -> Int[Array, " events"]:
    """The first bucket that has room for each event.

    Args:
        buckets: As `buckets_of` gives them.
        features: Inputs of the network with room for all.
    """
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
