"""Columns from elsewhere: friend trees, matched by entry or by event, and defaults."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import awkward as ak
import numpy as np

from difftune.arguments import is_number, mapping, said, several, takes, texts
from difftune.data import arithmetic
from difftune.data.jagged import blank
from difftune.data.keys import key_of
from difftune.data.kinds import Kind
from difftune.data.names import Chunk, DataTable
from difftune.data.sources import open_table, resolve
from difftune.data.variations import Files, as_files, as_tree
from difftune.errors import InputError

_FRIEND = 'Friend(tree="scores", key=["run", "event"])'
_ROWS = 1_000_000


def _as_key(given: Any) -> Any:
    if given is None:
        return None
    names = texts(given, "key", 'key=["run", "event"]')
    if not names:
        raise InputError(
            "key = []: name the columns that tell events apart, as in key=['run', 'event'], or "
            "leave it out where both have the same events in the same order."
        )
    return names


@takes(files=as_files, tree=as_tree, key=_as_key)
@dataclass(frozen=True, kw_only=True)
class Friend:
    """Further columns of the same events, in a tree or file of their own.

    Attributes:
        files: Where it is; `{name}` in it stands for the name of the file that it is a friend of,
            without its folder and ending. None for another tree of the same file.
        tree: Name of the tree, in which `{tree}` stands for that of the tree that it is a friend
            of; None if there is just one.
        key: Columns of whole numbers, in both, that tell events apart, such as
            `["run", "lumi", "event"]`: each event gets the columns of the friend's entry of the
            same key, and there may be others in it. None if both have the same entries in the same
            order.
    """

    files: Files | None = None
    tree: str | None = None
    key: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuses a friend that is the tree itself."""
        if self.files is None and self.tree is None:
            raise InputError(
                "a friend has neither files nor tree: give the tree of the same files, or files."
            )


def as_friends(given: Any) -> tuple[Friend, ...]:
    """One friend or several, also as tables of their fields.

    Raises:
        InputError: They are none.
    """
    if isinstance(given, Friend | Mapping):
        given = [given]
    if isinstance(given, Sequence) and not isinstance(given, str):
        given = [Friend(**one) if isinstance(one, Mapping) else one for one in given]
    return several(given or (), Friend, "friends", _FRIEND)


def as_defaults(given: Any) -> dict[str, Any]:
    """Values by name of a branch.

    Raises:
        InputError: One is neither number, bool nor string.
    """
    found = mapping(given or {}, "defaults", 'defaults={"btag": 0.0}')
    for name, value in found.items():
        if not (isinstance(value, bool | str) or is_number(value)):
            raise InputError(
                f"defaults: {name!r} = {said(value)}: give a number, true or false, or a string."
            )
        if isinstance(value, int):
            try:
                arithmetic.constant(value)
            except arithmetic.Beyond as error:
                raise InputError(f"defaults: {name!r} {error}.") from None
    return found


def with_defaults(table: DataTable, defaults: Mapping[str, Any]) -> DataTable:
    """The table with a constant column for each branch that it lacks."""
    absent = {name: value for name, value in defaults.items() if name not in table.kinds}
    if not absent:
        return table

    def kind(value: Any) -> Kind:
        return "bool" if isinstance(value, bool) else "string" if _is_text(value) else "number"

    def constant(value: Any) -> np.ndarray:
        if _is_text(value):
            return np.array(value.encode())
        plain = isinstance(value, int) and not isinstance(value, bool)
        return arithmetic.constant(value) if plain else np.asarray(value)

    def read(columns: Sequence[str], step: int) -> Iterator[Chunk]:
        # At least one column tells how many rows there are.
        own = [name for name in columns if name not in absent] or [_first(table)]
        for start, chunk in table.read(own, step):
            rows = len(chunk[own[0]])
            for name in columns:
                if name in absent:
                    chunk[name] = np.full(rows, constant(absent[name]))
            yield start, chunk

    kinds = {**table.kinds, **{name: kind(value) for name, value in absent.items()}}
    return replace(table, kinds=kinds, read=read)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _first(table: DataTable) -> str:
    plain = (name for name, kind in table.kinds.items() if kind in ("number", "bool"))
    return next(plain, next(iter(table.kinds)))


def with_friend(table: DataTable, friend: Friend, where: str) -> DataTable:
    """The table with the columns of a friend, where it has none of that name itself.

    Args:
        table: The table.
        friend: Its friend.
        where: The caller, for messages.

    Raises:
        InputError: The friend is not there, a column of the key is missing, or without a key the
            numbers of entries differ.
    """
    others = _others(table, friend, where)
    first = others[0]
    for column in friend.key or ():
        for each in (table, *others):
            if each.kinds.get(column) != "number":
                raise InputError(
                    f"{where}: the key of a friend has {column!r}, which is no column of whole "
                    f"numbers in {each.place}. Name columns that both have."
                )
    for each in others[1:]:
        if dict(each.kinds) != dict(first.kinds):
            raise InputError(
                f"{where}: the friends {first.place} and {each.place} have different branches."
            )
    if friend.key is None and table.rows is not None and None not in (e.rows for e in others):
        rows = sum(each.rows or 0 for each in others)
        if rows != table.rows:
            raise InputError(f"{where}: {_unequal(table, table.rows, first, rows)}")
    theirs = {name: kind for name, kind in first.kinds.items() if name not in table.kinds}
    read = partial(_read, table, others, friend, frozenset(theirs))
    return replace(table, kinds={**table.kinds, **theirs}, read=read)


def _unequal(table: DataTable, own: int, friend: DataTable, rows: int) -> str:
    return (
        f"{table.place} has {own} entries, and its friend {friend.place} {rows}. Without a key "
        "both have the same events in the same order: give the key that tells events apart, as in "
        "key = ['run', 'event']."
    )


def _others(table: DataTable, friend: Friend, where: str) -> list[DataTable]:
    if friend.files is None:
        files = [table.file]
    else:
        several = [friend.files] if isinstance(friend.files, str | os.PathLike) else friend.files
        name = os.path.splitext(os.path.basename(table.file))[0]
        files = resolve([os.fspath(f).replace("{name}", name) for f in several], f"{where}: friend")
    tree = friend.tree
    if tree is not None and "{tree}" in tree:
        if table.tree is None:
            raise InputError(
                f"{where}: the friend has tree = {tree!r}, but {table.file!r} has no trees: give "
                "the tree of the friend by its name."
            )
        tree = tree.replace("{tree}", table.tree.split(";")[0])
    return [open_table(file, tree, f"{where}: friend") for file in files]


def _read(
    table: DataTable,
    others: Sequence[DataTable],
    friend: Friend,
    theirs: frozenset[str],
    columns: Sequence[str],
    step: int,
) -> Iterator[Chunk]:
    wanted = [name for name in columns if name in theirs]
    if not wanted:
        yield from table.read(columns, step)
        return
    key = list(friend.key or ())
    found = _whole(others, [*wanted, *key])
    match = _Match(found, key, others[0].place) if key else None
    asked = [name for name in columns if name not in theirs]
    own = list(dict.fromkeys([*asked, *key])) or [_first(table)]
    there, total = len(found[wanted[0]]), 0
    for start, chunk in table.read(own, step):
        total = start + len(chunk[own[0]])
        rows = np.arange(start, total)
        if match is None and total > there:
            break
        place = rows if match is None else match.places(chunk, rows, table.place)
        yield (
            start,
            {name: chunk[name] for name in asked} | {name: found[name][place] for name in wanted},
        )
    # Of a text file only reading tells how many entries there are.
    if match is None and total != there:
        raise InputError(_unequal(table, table.rows or total, others[0], there))


def _whole(tables: Sequence[DataTable], columns: Sequence[str]) -> dict[str, Any]:
    """Columns of several tables, one after the other."""
    parts = [chunk for each in tables for _, chunk in each.read(columns, _ROWS)]

    def joined(name: str) -> Any:
        found = [part[name] for part in parts] or [blank(tables[0].kinds[name])]
        return np.concatenate(found) if isinstance(found[0], np.ndarray) else ak.concatenate(found)

    return {name: joined(name) for name in columns}


def _whole_numbers(values: Any, name: str, place: str) -> np.ndarray:
    """A column of a key; doubles that are whole numbers as integers."""
    column = np.asarray(values)
    if column.dtype.kind != "f":
        return column
    bad = ~(np.abs(column) <= 2.0**53) | (column != np.floor(column))
    if bad.any():
        raise InputError(
            f"{place}: {name!r} of the key of a friend is {column[int(np.argmax(bad))]} in one of "
            f"{int(bad.sum())} entries, which is no whole number that a double holds exactly. Name "
            "columns of integers."
        )
    return column.astype(np.int64)


class _Match:
    """Finds the entries of a friend by their key."""

    def __init__(self, columns: Mapping[str, Any], key: Sequence[str], place: str) -> None:
        self._names, self._place = key, place
        self._parts = [_whole_numbers(columns[name], name, place) for name in key]
        numbers = key_of(self._parts)
        self._order = np.argsort(numbers, kind="stable")
        self._sorted = numbers[self._order]
        again = self._sorted[1:] == self._sorted[:-1]
        if again.any():
            row = int(self._order[1:][again].min())
            raise InputError(
                f"friend {place}: it has the event {self._said(self._parts, row)} more than once. "
                "Add the columns to its key that tell events apart."
            )

    def places(self, columns: Mapping[str, Any], rows: np.ndarray, place: str) -> np.ndarray:
        """The entry of the friend for each row.

        Raises:
            InputError: It has none for one of them.
        """
        parts = [_whole_numbers(columns[name], name, place) for name in self._names]
        numbers = key_of(parts)
        at = np.minimum(np.searchsorted(self._sorted, numbers), max(0, len(self._sorted) - 1))
        if len(self._sorted):
            found = self._order[at]
            same = [mine == other[found] for mine, other in zip(parts, self._parts, strict=True)]
            missing = ~np.logical_and.reduce(same)
        else:
            found, missing = at, np.ones(len(rows), bool)
        if missing.any():
            first = int(np.argmax(missing))
            raise InputError(
                f"{place}: {int(missing.sum())} of the entries {rows[0]} to {rows[-1]} are not in "
                f"its friend {self._place}, the first one with {self._said(parts, first)} (entry "
                f"{rows[first]}). Make the friend of all events."
            )
        return np.asarray(found)

    def _said(self, parts: Sequence[np.ndarray], row: int) -> str:
        pairs = zip(self._names, parts, strict=True)
        return ", ".join(f"{name} = {part[row]}" for name, part in pairs)
