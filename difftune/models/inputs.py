"""What the inputs of a network are: single numbers, and collections of objects with their masks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.errors import InputError, nearest


@dataclass(frozen=True, kw_only=True)
class ObjectInputs:
    """Where the inputs of a collection are.

    Attributes:
        features: Names of what each object has.
        max: How many objects there is room for.
        start: Number of the first input: object after object, each with its features.
        mask: Number of the first of the `max` inputs that are 1 where there is an object.
        center: What of each feature has become 0; nothing where the inputs are as they were read.
        scale: What has become 1 beyond that.
        bend: Beyond how many scales values were drawn in; 0 for none.
    """

    features: tuple[str, ...]
    max: int
    start: int
    mask: int
    center: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    bend: float = 0.0

    @property
    def stop(self) -> int:
        """Number of the input behind the last of the features."""
        return self.start + self.max * len(self.features)

    def number(self, name: str) -> int | None:
        """Number of a feature by its name, or by the end of it: `eta` is that of `Jet_eta`, too.

        Args:
            name: The name, or what stands behind the last `_` or `.` of one name alone, in large
                or small letters.
        """
        if name in self.features:
            return self.features.index(name)
        ends = [re.split(r"[_.]", feature)[-1].lower() for feature in self.features]
        return ends.index(name.lower()) if ends.count(name.lower()) == 1 else None


class _ByName(dict[str, ObjectInputs]):
    """Collections by name."""

    def __missing__(self, name: str) -> ObjectInputs:
        raise InputError(
            f"the network wants the collection {name!r}, and the events have "
            f"{', '.join(map(repr, self)) or 'none'}.{nearest(name, self)} Read them with "
            f"objects = {{{name!r}: Objects(branches=[...], max=8)}}."
        )


class InputParts(NamedTuple):
    """Inputs of a network, told apart; a pytree.

    Attributes:
        flat: What belongs to no collection, `[..., flat]`.
        collections: By name, `[..., max, features]`; 0 where there is no object.
        masks: By name 1 where there is an object and 0 elsewhere, `[..., max]`.
    """

    flat: Float[Array, "*events flat"]
    collections: dict[str, Float[Array, "*events max features"]]
    masks: dict[str, Float[Array, "*events max"]]


class Inputs(int):
    """How many inputs a network has: a number, which knows what they are.

    This is the `inputs` that a network is made with. One that looks at events as a row of numbers
    takes it for the number that it is. One that looks at collections of objects asks
    `inputs.collections` for their sizes while it is made, and in its call takes the row apart:
    `inputs.apart(x)`.
    """

    _collections: tuple[tuple[str, ObjectInputs], ...]

    def __new__(cls, count: int, collections: Mapping[str, ObjectInputs] | None = None) -> "Inputs":
        """As many inputs.

        Args:
            count: How many there are.
            collections: Which of them are of collections.
        """
        made = super().__new__(cls, count)
        made._collections = tuple((collections or {}).items())
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Inputs, (int(self), dict(self._collections))

    def __eq__(self, other: object) -> bool:
        """As a number, and of two that know what they are in that, too."""
        if isinstance(other, Inputs) and self._collections != other._collections:
            return False
        return int.__eq__(self, other) if isinstance(other, int) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    @property
    def collections(self) -> dict[str, ObjectInputs]:
        """The collections of objects by name."""
        return _ByName(self._collections)

    @property
    def flat(self) -> int:
        """How many inputs belong to no collection."""
        return len(self.flat_numbers)

    @property
    def flat_numbers(self) -> list[int]:
        """Numbers of the inputs that belong to no collection."""
        taken: set[int] = set()
        for _, each in self._collections:
            taken.update(range(each.start, each.stop))
            taken.update(range(each.mask, each.mask + each.max))
        return [number for number in range(self) if number not in taken]

    def apart(self, x: Float[Array, "*events inputs"]) -> InputParts:
        """The inputs of events, told apart.

        Args:
            x: All inputs.
        """
        # In stretches, since looking up single columns has a slow derivative.
        counted = enumerate(self.flat_numbers)
        runs = [list(run) for _, run in groupby(counted, lambda at: at[1] - at[0])]
        stretches = [x[..., run[0][1] : run[-1][1] + 1] for run in runs]
        collections, masks = {}, {}
        for name, each in self._collections:
            shape = (*x.shape[:-1], each.max, len(each.features))
            collections[name] = x[..., each.start : each.stop].reshape(shape)
            masks[name] = x[..., each.mask : each.mask + each.max]
        flat = jnp.concatenate(stretches, axis=-1) if stretches else x[..., :0]
        return InputParts(flat=flat, collections=collections, masks=masks)
