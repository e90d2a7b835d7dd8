"""Lists of values for each event: elements, parts, order, and what a list is reduced to.

A `Part` is what an expression, or a part of one, comes to: values, and where there is none.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Union

import awkward as ak
import numpy as np

from difftune.data import arithmetic
from difftune.data.arithmetic import Beyond, number, truth


class Unequal(ValueError):
    """Two lists that should have the same length in each row.

    Attributes:
        row: The first in which they have not.
        arguments: Which two of the values they are.
        lengths: How long each is there.
    """

    def __init__(self, row: int, arguments: tuple[int, int], lengths: tuple[int, int]) -> None:
        super().__init__(row)
        self.row, self.arguments, self.lengths = row, arguments, lengths


@dataclass(frozen=True, eq=False)
class Lists:
    """A list for each row.

    Attributes:
        offsets: Where the list of each row begins in the content, and the last one ends [rows + 1].
        content: The elements of all lists, one after the other; lists again where they are deeper.
    """

    offsets: np.ndarray
    content: Union[np.ndarray, "Lists"]

    def __len__(self) -> int:
        """How many rows."""
        return len(self.offsets) - 1

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """Length of the list of each row [rows]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """The row that each element belongs to [elements]."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def places(self) -> np.ndarray:
        """The place of each element in its list [elements], from 0."""
        return np.arange(len(self.content)) - np.repeat(self.offsets[:-1], self.counts)


Array = np.ndarray | Lists
FARTHEST = 2**62
"""A place that is beyond the end of every list."""


def of_awkward(values: Any) -> Lists:
    """The same lists.

    Args:
        values: An awkward array of lists of numbers or bools, or of deeper ones; or an array of
            numpy with more than one axis.
    """
    return _of_layout(ak.to_layout(values))


def _of_layout(layout: Any) -> Any:
    if layout.is_option or layout.is_indexed:
        layout = ak.to_packed(layout)
        if layout.is_option or layout.is_indexed:
            layout = layout.project()
    if layout.is_numpy:
        if len(layout.inner_shape) == 0:
            return np.asarray(layout.data)
        layout = layout.to_RegularArray()
    listed = layout.to_ListOffsetArray64(True)
    offsets = np.asarray(listed.offsets.data)
    return Lists(offsets, _of_layout(listed.content[: offsets[-1]]))


def of_length(counts: np.ndarray, content: Array) -> Lists:
    """Lists of these lengths [rows]."""
    return Lists(np.concatenate([[0], np.cumsum(counts)]), content)


def elementwise(function: Callable[..., np.ndarray], *values: Array) -> Any:
    """A function of numpy, applied to the elements.

    One value for each row is the same for all elements of its list; a number without rows for all.

    Raises:
        Unequal: Two lists of a row differ in length.
    """
    listed = [i for i, value in enumerate(values) if isinstance(value, Lists)]
    if not listed:
        return np.asarray(function(*values))
    first: Any = values[listed[0]]
    for i in listed[1:]:
        _check_lengths(first, values[i], (listed[0], i))
    inside = [
        value.content
        if isinstance(value, Lists)
        else np.repeat(value, first.counts)
        if value.ndim
        else value
        for value in values
    ]
    with _rows_of(first):
        return Lists(first.offsets, elementwise(function, *inside))


@contextmanager
def _rows_of(lists: Lists) -> Iterator[None]:
    """Has an error in the content name the row instead of the element."""
    try:
        yield
    except Unequal as error:
        error.row = int(np.searchsorted(lists.offsets, error.row, side="right")) - 1
        raise


def _check_lengths(one: Lists, other: Any, arguments: tuple[int, int] = (0, 1)) -> None:
    if other.offsets is not one.offsets and not np.array_equal(other.offsets, one.offsets):
        row = int(np.argmax(other.counts != one.counts))
        raise Unequal(row, arguments, (int(one.counts[row]), int(other.counts[row])))


def gathered(values: Array, where: np.ndarray) -> Any:
    """Elements (or lists) in these places, or where a mask is true."""
    if not isinstance(values, Lists):
        return values[where]
    if where.dtype == bool:
        where = np.flatnonzero(where)
    counts = values.counts[where]
    begin = np.repeat(values.offsets[where], counts)
    new = of_length(counts, begin)
    return Lists(new.offsets, gathered(values.content, begin + new.places))


@dataclass(frozen=True, eq=False)
class Momenta:
    """Four-momenta: one for each row, or lists of them.

    Attributes:
        px: Component along x.
        py: Along y.
        pz: Along z, the beam.
        energy: The energy.
        mass: The invariant mass.
    """

    px: Array
    py: Array
    pz: Array
    energy: Array
    mass: Array

    @property
    def components(self) -> tuple[Array, ...]:
        """All of them."""
        return self.px, self.py, self.pz, self.energy, self.mass


@dataclass(frozen=True, eq=False)
class Part:
    """Values of an expression or a part of one.

    Attributes:
        values: One for each row, lists, or (a constant) one for all; or four-momenta.
        absent: Where there is no value, with the structure of the values; None if nowhere. What
            stands there among the values means nothing.
    """

    values: Any
    absent: Any = None

    @property
    def frame(self) -> Array:
        """An array of the structure of the values."""
        return self.values.px if isinstance(self.values, Momenta) else self.values

    def each(self, function: Callable[[Array], Array], absent: Any = None) -> "Part":
        """The same done to the values, or to each component of momenta; and what is absent then."""
        if isinstance(self.values, Momenta):
            return Part(Momenta(*map(function, self.values.components)), absent)
        return Part(function(self.values), absent)

    def filled(self) -> np.ndarray:
        """One value for each row: NaN, false, or an empty string where there is none."""
        values, absent = self.values, self.absent
        if absent is None or not np.any(absent):
            return values
        if values.dtype.kind in "bSU":
            return np.where(absent, np.zeros(1, values.dtype), values)
        return np.where(absent, np.nan, values)


def rows_of(part: Part, rows: np.ndarray) -> Part:
    """The values in these rows."""

    def take(values: Any) -> Any:
        # A component of momenta may be one number for all rows.
        return (
            values
            if np.ndim(values) == 0 and not isinstance(values, Lists)
            else gathered(values, rows)
        )

    absent = None if part.absent is None else take(part.absent)
    if isinstance(absent, np.ndarray) and not absent.any():
        absent = None
    return part.each(take, absent)


def united(frame: Array, *absent: Any) -> Any:
    """Where any of these is absent, in the structure of the frame; None if nothing is."""
    there = [each for each in absent if each is not None]
    if not there:
        return None

    def unite(values: np.ndarray, *masks: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(np.shape(values), *(np.shape(mask) for mask in masks))
        return np.broadcast_to(np.logical_or.reduce(np.broadcast_arrays(*masks)), shape)

    return elementwise(unite, frame, *there)


def applied(function: Callable[..., np.ndarray], *parts: Part) -> Part:
    """A function of numpy of values: absent where one of them is."""
    values = elementwise(function, *(part.values for part in parts))
    return Part(values, united(values, *(part.absent for part in parts)))


def joined(operation: Callable[..., Any], one: Part, other: Part) -> Part:
    """`and` or `or`, by what is known: false and nothing is false, true or nothing is true."""
    decides = operation(True, False)

    def known(value: np.ndarray, gone: np.ndarray) -> np.ndarray:
        return (truth(value) == decides) & ~gone

    def join(a: np.ndarray, b: np.ndarray, *sure: np.ndarray) -> np.ndarray:
        joint = operation(truth(a), truth(b))
        # Where one of them decides, what stands at the other one's place must not.
        return np.where(np.logical_or.reduce(sure), decides, joint) if sure else joint

    if one.absent is None and other.absent is None:
        return Part(elementwise(join, one.values, other.values))
    sides = [(p.values, np.array(False) if p.absent is None else p.absent) for p in (one, other)]
    sure = [elementwise(known, *side) for side in sides]
    values = elementwise(join, one.values, other.values, *sure)

    def unknown(gone: np.ndarray, *sure: np.ndarray) -> np.ndarray:
        return np.asarray(gone & ~np.logical_or.reduce(sure))

    absent = elementwise(unknown, united(values, one.absent, other.absent), *sure)
    return Part(values, absent)


def chosen(choose: Callable[..., np.ndarray], test: Part, yes: Part, no: Part) -> Part:
    """`yes` or `no` by a test; only the one that is taken must be there."""
    values = elementwise(choose, test.values, yes.values, no.values)
    if test.absent is None and yes.absent is None and no.absent is None:
        return Part(values)
    sides = [np.array(False) if p.absent is None else p.absent for p in (yes, no)]

    def side(test: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
        return np.where(truth(test), yes, no)

    gone = elementwise(side, test.values, *sides)
    return Part(values, united(values, gone, test.absent))


def tested(function: Callable[..., np.ndarray], part: Part, *, blank: bool) -> Part:
    """A test of numbers that has an answer (`blank`) where there is none."""
    values = elementwise(function, part.values)
    if part.absent is not None:
        values = elementwise(lambda v, gone: np.where(gone, blank, v), values, part.absent)
    return Part(values)


def within(level: int, function: Callable[[Part], Part], part: Part) -> Part:
    """A function of lists, applied to those that are so many levels inside."""
    if level == 0:
        return function(part)
    frame: Any = part.frame
    below = part.each(lambda v: v.content, None if part.absent is None else part.absent.content)  # type: ignore[union-attr]
    with _rows_of(frame):
        result = within(level - 1, function, below)
    absent = None if result.absent is None else Lists(frame.offsets, result.absent)
    return result.each(lambda v: Lists(frame.offsets, v), absent)


def listed(*parts: Part) -> Part:
    """A list for each row, which has one element from each of these, in this order.

    An element is absent where a value is, or is NaN: of flat columns that is how an object is
    written that is not there.

    Args:
        parts: One value for each row, or (some of them) one for all; or four-momenta.

    Raises:
        Beyond: All of them are constants, or integers do not fit each other.
    """
    if isinstance(parts[0].values, Momenta):
        columns = zip(*(part.values.components for part in parts), strict=True)
        components = [_side_by_side(each) for each in columns]
        values: Any = Momenta(*components)
        blank = np.isnan(np.stack([np.asarray(each.content) for each in components])).any(axis=0)
        frame = components[0]
    else:
        values = frame = _side_by_side([part.values for part in parts])
        content = np.asarray(frame.content)
        blank = np.isnan(content) if content.dtype.kind == "f" else np.zeros(len(content), bool)
    if any(part.absent is not None for part in parts):
        gone = [np.array(False) if part.absent is None else part.absent for part in parts]
        blank = blank | np.stack(_of_rows(gone, len(frame)), axis=-1).ravel()
    return Part(values, Lists(frame.offsets, blank) if blank.any() else None)


def _side_by_side(columns: Sequence[Any]) -> Lists:
    """The values of a row as its list."""
    shape = np.broadcast_shapes(*(np.shape(each) for each in columns))
    if not shape:
        raise Beyond("has no column in a list: brackets make a list of columns")
    rows = shape[0]
    plain = all(each.dtype.kind == "b" for each in columns)
    numbers = columns if plain else arithmetic.alike(*(number(each) for each in columns))
    content = np.stack(_of_rows(numbers, rows), axis=-1).ravel()
    return of_length(np.full(rows, len(columns)), content)


def _of_rows(values: Sequence[np.ndarray], rows: int) -> list[np.ndarray]:
    return [np.broadcast_to(each, (rows,)) for each in values]


def element(part: Part, place: int) -> Part:
    """The element in one place of each list, counted from the end where negative."""
    lists: Any = part.frame
    places = lists.counts + place if place < 0 else np.full(len(lists), place)
    return _picked(part, np.arange(len(lists)), places)


def taken(part: Part, index: Part) -> Part:
    """Elements in the places that numbers say: one for each row, or as many as there are numbers.

    A negative number says that there is none, as in branches that point to other collections, and
    so does NaN.

    Raises:
        Beyond: They are not whole, or are conditions that are written as numbers.
    """
    lists: Any = part.frame
    places: Any = index.values.content if isinstance(index.values, Lists) else index.values
    gone: Any = index.absent.content if isinstance(index.absent, Lists) else index.absent
    places = number(places)
    if places.dtype.kind == "f":
        nowhere = np.isnan(places) if gone is None else np.isnan(places) | gone
        places = np.where(nowhere, -1, places)
        if (places != np.floor(places)).any():
            raise Beyond("takes elements in places that are no whole numbers")
        places = np.clip(places, -FARTHEST, FARTHEST)
    places = np.minimum(places, places.dtype.type(FARTHEST)).astype(np.int64)
    if gone is not None:
        places = np.where(gone, -1, places)
    if isinstance(index.values, Lists) and _are_flags(lists, index.values, places):
        raise Beyond(
            "has one number for each element of a list in brackets, and all of them are 0 or 1: "
            "numbers are places. Write `x[flag == 1]` for the elements whose flag is set"
        )
    if not isinstance(index.values, Lists):
        return _picked(part, np.arange(len(lists)), np.broadcast_to(places, len(lists)))
    result = _picked(part, index.values.rows, places)
    offsets = index.values.offsets
    absent = None if result.absent is None else Lists(offsets, result.absent)
    return result.each(lambda v: Lists(offsets, v), absent)


def _are_flags(lists: Lists, index: Lists, places: np.ndarray) -> bool:
    """Whether places look like conditions: a 0 or 1 for each of many elements."""
    return (
        len(places) >= 20
        and int(lists.counts.max()) > 2
        and np.array_equal(lists.offsets, index.offsets)
        and bool(((places == 0) | (places == 1)).all())
    )


def _picked(part: Part, rows: np.ndarray, places: np.ndarray) -> Part:
    lists: Any = part.frame
    there = (places >= 0) & (places < lists.counts[rows])
    where = (lists.offsets[rows] + np.where(there, places, 0))[there]

    def pick(values: Any) -> Any:
        found = gathered(values.content, where)
        if isinstance(found, Lists):
            # A list that is not there is one without elements.
            counts = np.zeros(len(rows), np.int64)
            counts[there] = found.counts
            return of_length(counts, found.content)
        result = np.zeros(len(rows), found.dtype)
        result[there] = found
        return result

    result = part.each(pick)
    if isinstance(result.frame, Lists):
        return Part(result.values, None if part.absent is None else pick(part.absent))
    absent = ~there
    if part.absent is not None:
        absent |= pick(part.absent)
    return Part(result.values, absent if absent.any() else None)


def kept(part: Part, mask: Part) -> Part:
    """The elements for which a condition is known to hold.

    Raises:
        Unequal: Lists of elements and of conditions differ in length.
    """
    lists: Any = part.frame
    _check_lengths(lists, mask.values)
    if isinstance(mask.values.content, Lists):
        gone = None if mask.absent is None else mask.absent.content
        return within(1, lambda inner: kept(inner, Part(mask.values.content, gone)), part)
    keep = truth(mask.values.content)
    if mask.absent is not None:
        keep = keep & ~mask.absent.content
    return _where(part, keep)


def sliced(part: Part, begin: int | None, end: int | None) -> Part:
    """The elements in places from `begin` to before `end`, as slices of Python say."""
    lists: Any = part.frame
    counts = np.repeat(lists.counts, lists.counts)
    keep = np.ones(len(counts), bool)
    for bound, inside in ((begin, np.greater_equal), (end, np.less)):
        if bound is not None:
            keep &= inside(lists.places, counts + bound if bound < 0 else bound)
    return _where(part, keep)


def _where(part: Part, keep: np.ndarray) -> Part:
    lists: Any = part.frame
    offsets = _kept_before(keep)[lists.offsets]
    where = np.flatnonzero(keep)

    def left(values: Any) -> Lists:
        return Lists(offsets, gathered(values.content, where))

    return part.each(left, None if part.absent is None else left(part.absent))


def _kept_before(keep: np.ndarray) -> np.ndarray:
    """How many are kept before each place, and in all [elements + 1]."""
    count = np.zeros(len(keep) + 1, np.int64)
    np.cumsum(keep, out=count[1:])
    return count


def ordered(part: Part, key: Part) -> Part:
    """Each list in the order in which the key grows; what has none comes last.

    Raises:
        Unequal: Lists and keys differ in length.
    """
    lists: Any = part.frame
    _check_lengths(lists, key.values)
    keys = number(key.values.content)
    gone = np.zeros(len(keys), bool) if key.absent is None else key.absent.content
    order = np.lexsort((keys, gone, lists.rows))

    def sort(values: Any) -> Lists:
        return Lists(lists.offsets, gathered(values.content, order))

    return part.each(sort, None if part.absent is None else sort(part.absent))


def _there(part: Part) -> Part:
    """Without the elements that are absent."""
    if part.absent is None:
        return part
    return _where(Part(part.values), ~part.absent.content)


def _reduced(lists: Lists, reduce: np.ufunc, blank: Any) -> np.ndarray:
    """What the elements of each list come to; `blank` where it has none."""
    content: Any = lists.content
    result = np.full(len(lists), blank, content.dtype)
    some = lists.counts > 0
    if some.any():
        result[some] = reduce.reduceat(content, lists.offsets[:-1][some])
    return result


def total(part: Part) -> Part:
    """The sum of each list, 0 of none.

    Raises:
        Beyond: An integer does not fit.
    """

    def add(values: Any) -> np.ndarray:
        content = number(values.content)
        near = _reduced(Lists(values.offsets, content.astype(np.float64)), np.add, 0.0)
        if content.dtype.kind == "f":
            return near
        if np.abs(near).max(initial=0) >= 2.0**62:
            return arithmetic.narrowed(
                _reduced(Lists(values.offsets, content.astype(object)), np.add, 0)
            )
        return _reduced(Lists(values.offsets, content.astype(np.int64)), np.add, 0)

    return _there(part).each(add)


def product(part: Part) -> Part:
    """The product of each list in double precision, 1 of none."""

    def multiply(values: Any) -> np.ndarray:
        content = number(values.content).astype(np.float64)
        return _reduced(Lists(values.offsets, content), np.multiply, 1.0)

    return _there(part).each(multiply)


def count(part: Part) -> Part:
    """How many elements there are, or fulfil a condition."""
    left: Any = _there(part).frame
    content = left.content
    if isinstance(content, np.ndarray) and content.dtype.kind == "b":
        return Part(np.diff(_kept_before(content)[left.offsets]))
    return Part(left.counts)


def extreme(reduce: np.ufunc, part: Part) -> Part:
    """The largest or the smallest element of each list; absent where there is none."""
    left: Any = _there(part).values
    numbers = Lists(left.offsets, number(left.content))
    empty = numbers.counts == 0
    return Part(_reduced(numbers, reduce, 0), empty if empty.any() else None)


def place_of(reduce: np.ufunc, part: Part) -> Part:
    """The place of the largest or the smallest element of each list: the first of equal ones."""
    best = extreme(reduce, part)
    lists: Any = part.values
    content, wanted = number(lists.content), np.repeat(best.values, lists.counts)
    hit = (content == wanted) | ((content != content) & (wanted != wanted))
    if part.absent is not None:
        hit &= ~part.absent.content
    # No element is in a place beyond all of them.
    beyond = len(content)
    places = _reduced(Lists(lists.offsets, np.where(hit, lists.places, beyond)), np.minimum, 0)
    return Part(places, best.absent)


def mean(part: Part) -> Part:
    """The mean of each list; absent where there is nothing in it."""
    left: Any = _there(part).values
    doubles = Lists(left.offsets, number(left.content).astype(np.float64))
    empty = left.counts == 0
    values = _reduced(doubles, np.add, 0.0) / np.maximum(left.counts, 1)
    return Part(values, empty if empty.any() else None)


def holds(reduce: np.ufunc, part: Part) -> Part:
    """Whether a condition holds for any or for all elements; for none of nothing, and for all."""
    left: Any = _there(part).values
    return Part(_reduced(Lists(left.offsets, truth(left.content)), reduce, reduce.identity))
