"""Collections of objects, such as the jets of an event, as columns of a table.

An event has any number of objects. They become a block of columns, `max` times those of one
object, which stand side by side: `jets[0].pt`, `jets[0].eta`, `jets[1].pt`. Where an event has
fewer, the values are NaN. So whatever is done to columns is done to objects: weights, folds,
variations, files. An object is there where one of its values is.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped

from difftune.arguments import said, takes, texts, whole
from difftune.data.expressions import parse
from difftune.data.lists import Part
from difftune.errors import InputError, nearest

logger = logging.getLogger("difftune")

_MOST = 10_000
EXAMPLE = 'Objects(branches=["Jet_pt", "Jet_eta"], max=8)'


def as_branches(given: Any) -> Any:
    """Branches: expressions, or what they are called with expressions or arrays."""
    if isinstance(given, Mapping):
        for name in given:
            if not isinstance(name, str):
                raise InputError(f"Objects(branches): the name {said(name)} is no string.")
        return dict(given)
    if isinstance(given, Sequence) and any(isinstance(each, list | tuple) for each in given):
        raise InputError(
            f"Objects(branches={said(given)}): each is an expression; of flat branches brackets "
            "make a list: branches={'pt': '[jet1_pt, jet2_pt]', 'eta': '[jet1_eta, jet2_eta]'}."
        )
    return texts(given, "Objects(branches)", EXAMPLE)


def _as_max(given: Any) -> int:
    where = f"Objects(max={said(given)})"
    number = whole(given, where, least=1)
    if number > _MOST:
        raise InputError(
            f"{where}: each place is a column of every event, and no more than {_MOST} are "
            "allowed. Take as many as most events have."
        )
    return number


@takes(
    branches=as_branches,
    max=_as_max,
)
@dataclass(frozen=True, kw_only=True)
class Objects:
    """What a network sees of a collection of objects, such as the jets of an event.

    Attributes:
        branches: What each object has: expressions of branches with a value for each object, as
            `["Jet_pt", "Jet_eta"]`. With names of your own as a mapping,
            `{"pt": "Jet_pt", "eta": "Jet_eta"}`. For `Events.from_arrays` arrays by name: jagged
            ones `[events, any number]` of awkward, lists of lists, or padded ones
            `[events, objects]` of numpy with NaN (or masked) where there is no object.
        max: How many objects of an event are kept; others are dropped, from the end of the order.
        order: Expression by which objects are sorted, the smallest value first: `"-Jet_pt"` for
            the hardest. None for the order that they have.
        selection: Expression that is true for the objects to keep. None for all.

    Raises:
        InputError: For no branch, or a `max` below 1 or above 10 000.
    """

    branches: Sequence[str] | Mapping[str, Any]
    max: int
    order: str | None = None
    selection: str | None = None

    def __post_init__(self) -> None:
        if not self.branches:
            raise InputError(f"Objects(branches={self.branches!r}): give one at least: {EXAMPLE}.")
        twice = [name for name in self.features if self.features.count(name) > 1]
        if twice:
            raise InputError(f"Objects(branches): {twice[0]!r} is given more than once.")
        for name in ("order", "selection"):
            if getattr(self, name) is not None:
                parse(getattr(self, name), f"Objects({name})")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what each object has."""
        return tuple(self.branches)

    @property
    def values(self) -> dict[str, Any]:
        """Expressions or arrays by name."""
        return (
            dict(self.branches)
            if isinstance(self.branches, Mapping)
            else {name: name for name in self.branches}
        )


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Where the columns of a collection are among those of the features.

    Attributes:
        name: Of the collection.
        features: Names of what each object has.
        max: How many objects there is room for.
        start: Number of its first column.
    """

    name: str
    features: tuple[str, ...]
    max: int
    start: int

    @property
    def stop(self) -> int:
        """Number of the column behind its last one."""
        return self.start + self.max * len(self.features)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns."""
        places = range(self.max)
        return tuple(f"{self.name}[{i}].{feature}" for i in places for feature in self.features)

    @property
    def slots(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the columns of each object."""
        size = len(self.features)
        return tuple(tuple(range(i, i + size)) for i in range(self.start, self.stop, size))

    def of_feature(self, number: int) -> list[int]:
        """Numbers of the columns that have this feature, one for each object."""
        return list(range(self.start + number, self.stop, len(self.features)))


def as_objects(given: Any) -> dict[str, Objects]:
    """Collections by name.

    Raises:
        InputError: It is no mapping of `Objects`, or of what makes them.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(
            f"objects = {said(given)}: give collections by name: {{'jets': {EXAMPLE}}}."
        )
    made = {
        name: Objects(**each) if isinstance(each, Mapping) and "branches" in each else each
        for name, each in given.items()
    }
    for name, each in made.items():
        if not isinstance(name, str) or not name or not isinstance(each, Objects):
            raise InputError(f"objects[{said(name)}] = {said(each)}: give {EXAMPLE}.")
    return made


def collections_of(objects: Mapping[str, Objects], start: int) -> tuple[Collection, ...]:
    """The blocks of columns that collections become.

    Args:
        objects: The collections.
        start: How many columns come before them.
    """
    found = []
    for name, each in objects.items():
        one = Collection(name=name, features=each.features, max=each.max, start=start)
        found.append(one)
        start = one.stop
    return tuple(found)


def there(
    missing: Bool[np.ndarray | jax.Array, "events variables"], collection: Collection
) -> Bool[np.ndarray | jax.Array, "events max"]:
    """Which of the objects of a collection are there: those with one value at least.

    Args:
        missing: Where the value of a variable is missing.
        collection: Its place among the variables.
    """
    block: Any = missing[:, collection.start : collection.stop]
    return ~block.reshape(len(block), collection.max, -1).all(axis=-1)


def packed(
    counts: Int[np.ndarray, " events"],
    values: Mapping[str, Shaped[np.ndarray, " objects"]],
    *,
    max: int,
    order: Float[np.ndarray, " objects"] | None = None,
    kept: Bool[np.ndarray, " objects"] | None = None,
    what: str = "objects",
) -> Float32[np.ndarray, "events columns"]:
    """The block of columns of a collection; NaN where there is no object.

    Args:
        counts: How many objects each event has.
        values: By name of a feature its value for each object, event after event.
        max: How many objects of an event are kept.
        order: What objects are sorted by, the smallest first; NaN comes last.
        kept: Which objects are kept at all.
        what: The collection, for the log.
    """
    events = len(counts)
    event = np.repeat(np.arange(events), counts)
    which = np.arange(len(event)) if kept is None else np.flatnonzero(kept)
    event = event[which]
    if order is not None:
        # Stable, so that equal ones stay as they are in the file.
        sorting = np.lexsort((order[which], event))
        which, event = which[sorting], event[sorting]
    left = np.bincount(event, minlength=events)
    slot = np.arange(len(event)) - np.repeat(np.cumsum(left) - left, left)
    fits = slot < max
    dropped = int((left > max).sum())
    if dropped:
        logger.info("%s: %d of %d events have more than %d", what, dropped, events, max)
    block = np.full((events, max, len(values)), np.nan, np.float32)
    with np.errstate(over="ignore"):
        for i, each in enumerate(values.values()):
            block[event[fits], slot[fits], i] = np.asarray(each)[which[fits]]
    return block.reshape(events, -1)


def from_arrays(name: str, objects: Objects, events: int) -> Float32[np.ndarray, "events columns"]:
    """The block of columns of a collection that is given by arrays.

    Args:
        name: Of the collection.
        objects: The collection.
        events: How many events there are.

    Raises:
        InputError: Arrays do not fit each other or the events, or an expression does not fit them.
    """
    counts, flat = _flattened(name, objects, events)
    order, kept = (
        None
        if text is None
        else _per_object(f"objects[{name!r}]: {what}", text, flat, condition=what == "selection")
        for what, text in (("order", objects.order), ("selection", objects.selection))
    )
    return packed(
        counts,
        flat,
        max=objects.max,
        order=order,
        kept=None if kept is None else kept.astype(bool),
        what=f"objects[{name!r}]",
    )


def _flattened(
    name: str, objects: Objects, events: int
) -> tuple[Int[np.ndarray, " events"], dict[str, np.ndarray]]:
    """How many objects each event has, and their features, event after event."""
    counts: np.ndarray | None = None
    given = {feature: _jagged(name, feature, each) for feature, each in objects.values.items()}
    padded = {feature: each for feature, each in given.items() if isinstance(each, np.ndarray)}
    if padded and len(padded) < len(given):
        raise InputError(
            f"objects[{name!r}]: {next(iter(padded))!r} is padded and others are jagged; give all "
            "in one way."
        )
    first = next(iter(given))
    if padded:
        shapes = {feature: each.shape for feature, each in padded.items()}
        for feature, shape in shapes.items():
            if len(shape) != 2 or shape[0] != events or shape != shapes[first]:
                raise InputError(
                    f"objects[{name!r}]: {feature!r} has the shape {list(shape)}; all features are "
                    f"[events, objects], and there are {events} events"
                    + (f" ({first!r}: {list(shapes[first])})." if feature != first else ".")
                )
        here = ~np.logical_and.reduce([np.isnan(each) for each in padded.values()])
        return here.sum(axis=1), {feature: each[here] for feature, each in padded.items()}
    flat: dict[str, np.ndarray] = {}
    for feature, (own, values) in given.items():
        if len(own) != events:
            raise InputError(
                f"objects[{name!r}]: {feature!r} has {len(own)} events, but there are {events}."
            )
        counts = own if counts is None else counts
        differ = np.flatnonzero(own != counts)
        if len(differ):
            at = differ[0]
            raise InputError(
                f"objects[{name!r}]: event {at} has {own[at]} values of {feature!r} and "
                f"{counts[at]} of {first!r}, but all are of the same objects: put branches of "
                "other collections into collections of their own."
            )
        flat[feature] = values
    assert counts is not None
    return counts, flat


def _jagged(name: str, feature: str, given: Any) -> Any:
    """Padded arrays as they are; jagged ones as the counts, and the values one after the other."""
    where = f"objects[{name!r}]: {feature!r}"
    if isinstance(given, str):
        raise InputError(
            f"{where} is the expression {given!r}, which `read` takes; give arrays by name here: "
            "Objects(branches={'pt': array}, max=8)."
        )
    if isinstance(given, np.ma.MaskedArray):
        return np.ma.filled(given.astype(float), np.nan)
    if isinstance(given, np.ndarray) and given.dtype.kind == "O":
        given = list(given)  # an array of arrays, as uproot and pandas have them
    if isinstance(given, np.ndarray | jax.Array):
        array = np.asarray(given)
        if array.dtype.kind not in "fiub":
            raise InputError(f"{where} is of the type {array.dtype}: give numbers.")
        return array.astype(array.dtype if array.dtype.kind == "f" else float)
    import awkward as ak

    try:
        array = ak.Array(given)
        counts = np.asarray(ak.num(array, axis=1), np.int64)
        values = ak.to_numpy(ak.flatten(ak.fill_none(array, np.nan, axis=1), axis=1))
    except Exception as error:
        raise InputError(
            f"{where}: {said(given)} is no array of numbers [events, any number]: {error}"
        ) from error
    if values.ndim != 1 or (len(values) and values.dtype.kind not in "fiub"):
        raise InputError(
            f"{where} has values of the type {array.type}: each object has one number of it."
        )
    return counts, values


def _per_object(
    where: str, text: str, flat: Mapping[str, np.ndarray], *, condition: bool
) -> np.ndarray:
    """An expression of features, for each object."""
    expression = parse(text, where)
    for column in expression.columns:
        if column not in flat:
            raise expression.error(
                f"there is no feature {column!r}.{nearest(column, flat)} "
                f"There are: {', '.join(flat)}."
            )
    code = expression.typed(lambda name: "number")
    if code.kind not in ("number", "bool"):
        raise expression.error("is no number or condition for each object.")
    if condition:
        expression.check_condition(code.kind)
    rows = len(next(iter(flat.values())))
    return expression.values(code, lambda name: Part(flat[name]), rows).filled()
