"""Tables whose columns are read in chunks, and the names that expressions can use in one."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from difftune.data.compiling import Code
from difftune.data.expressions import Expression, parse
from difftune.data.kinds import Kind
from difftune.data.transform import Missing
from difftune.errors import InputError, nearest

Chunk = tuple[int, dict[str, Any]]
"""Number of the first row; columns as numpy arrays, lists of numbers as those of awkward."""


@dataclass(frozen=True)
class DataTable:
    """One tree or file: what its metadata tell, and how its columns are read.

    Attributes:
        file: Path or address.
        tree: Name of the tree; None for Parquet and CSV.
        kinds: Kind of each column, by name.
        rows: How many rows there are; None where only reading tells (CSV).
        read: Given names of columns and rows a chunk, yields chunks: the number of the first row,
            and the columns as arrays of numbers, bools, or bytes (strings in UTF-8); those of
            lists, as "number[]", as awkward arrays.
    """

    file: str
    tree: str | None
    kinds: Mapping[str, Kind]
    rows: int | None
    read: Callable[[Sequence[str], int], Iterator[Chunk]] = field(repr=False)

    @property
    def place(self) -> str:
        """How messages name it: `file` or `file:tree`."""
        return self.file if self.tree is None else f"{self.file}:{self.tree}"

    @property
    def noun(self) -> str:
        """What its columns are called."""
        return "column" if self.tree is None else "branch"


_DEEP = 100


def parse_derived(derived: Mapping[str, str]) -> dict[str, Expression]:
    """Reads the derived features, which may use each other.

    Raises:
        InputError: A bad expression, or one that needs itself.
    """
    parsed = {name: parse(text, f"derived {name!r}") for name, text in derived.items()}
    uses = {name: [n for n in e.columns if n in parsed] for name, e in parsed.items()}
    try:
        order = tuple(TopologicalSorter(uses).static_order())
    except CycleError as error:
        circle = error.args[1][::-1]
        raise InputError(
            f"derived {circle[0]!r} needs itself ({' -> '.join(circle)}): give it a name that no "
            "column has."
        ) from None
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = 1 + max((depth[used] for used in uses[name]), default=0)
        if depth[name] > _DEEP:
            raise InputError(
                f"derived {name!r} is made in more than {_DEEP} steps, each from the one before: "
                "join some of them."
            )
    return parsed


@dataclass(frozen=True)
class Names:
    """What names mean in one table.

    Attributes:
        table: The table.
        derived: Columns that are computed from others.
        replaced: Expressions, over the unreplaced names, that take the place of columns.
        missing: Which values are missing.
    """

    table: DataTable
    derived: Mapping[str, Expression]
    replaced: Mapping[str, Expression]
    missing: Missing
    _codes: dict[Expression, Code] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuses a derived name that hides a column."""
        for name in self.derived:
            if name in self.table.kinds:
                raise InputError(
                    f"derived {name!r} has the name of a {self.table.noun} of {self.table.place}: "
                    "give it another one."
                )

    @functools.cached_property
    def plain(self) -> "Names":
        """These names without replacements."""
        return Names(self.table, self.derived, {}, self.missing) if self.replaced else self

    def kind(self, name: str, user: Expression) -> Kind:
        """The kind of a column, for the expression that uses it.

        Raises:
            InputError: There is no such column.
        """
        if name in self.replaced:
            return self.plain.code(self.replaced[name]).kind
        if name in self.derived:
            self.code(self.derived[name])
            return "number"
        if name not in self.table.kinds:
            raise InputError(
                f"{user.where}: {self.table.place} has no {self.table.noun} {name!r}."
                + nearest(name, [*self.table.kinds, *self.derived])
            )
        return self.table.kinds[name]

    def code(self, expression: Expression) -> Code:
        """Code and kind of an expression (see `Expression.typed`).

        Raises:
            InputError: It does not fit the columns.
        """
        if expression not in self._codes:
            for name in expression.constants:
                if name in self.table.kinds or name in self.derived:
                    raise expression.error(
                        f"{name} is a constant, and a {self.table.noun} of {self.table.place} is "
                        f"called so too: write `{name}` in backquotes for that."
                    )
            self._codes[expression] = expression.typed(lambda name: self.kind(name, expression))
        return self._codes[expression]

    def needed(self, expression: Expression) -> set[str]:
        """The columns of the table that an expression needs."""
        columns: set[str] = set()
        todo, seen = list(expression.columns), set(expression.columns)
        while todo:
            name = todo.pop()
            if name in self.replaced:
                columns |= self.plain.needed(self.replaced[name])
            elif name in self.derived:
                used = set(self.derived[name].columns) - seen
                seen |= used
                todo += used
            else:
                columns.add(name)
        return columns


class Values:
    """Some rows of a table, by any name; each is computed once."""

    def __init__(self, names: Names, columns: Mapping[str, np.ndarray], entry: np.ndarray) -> None:
        """Takes columns of the table [rows] and the numbers [rows] that they have in it."""
        self.names = names
        self.columns = columns
        self.entry = entry
        self._cache: dict[tuple[str, bool], np.ndarray] = {}
        self._missing: dict[str, np.ndarray | None] = {}

    def __len__(self) -> int:
        """How many rows."""
        return len(self.entry)

    def where(self, mask: np.ndarray) -> "Values":
        """Only the rows where the mask is true."""
        if mask.all():
            return self
        # Places are looked up faster than a mask, and there are many columns.
        rows = np.flatnonzero(mask)
        kept = {name: values[rows] for name, values in self.columns.items()}
        return Values(self.names, kept, self.entry[rows])

    @functools.cached_property
    def plain(self) -> "Values":
        """These rows without replacements."""
        return Values(self.names.plain, self.columns, self.entry) if self.names.replaced else self

    def evaluate(self, expression: Expression, *, clean: bool = False) -> np.ndarray:
        """Values of an expression [rows]: bool, number or bytes.

        Args:
            expression: What to evaluate.
            clean: Take missing values for NaN; otherwise for what they are in the table.
        """
        code = self.names.code(expression)
        if len(code.steps) == 1 and isinstance(code.steps[0], str):
            return self.value(code.steps[0], clean=clean)
        return expression.values(code, lambda name: self.value(name, clean=clean), len(self))

    def value(self, name: str, *, clean: bool = False) -> np.ndarray:
        """Values of a column [rows], cleaned ones with NaN where they are missing."""
        if (name, clean) not in self._cache:
            values = self._raw(name)
            missing = self.missing(name) if clean else None
            if missing is not None:
                # Doubles for integers, which have no NaN.
                values = np.where(missing, np.array(np.nan, np.result_type(values, 0.0)), values)
            self._cache[name, clean] = values
        return self._cache[name, clean]

    def shares(self) -> dict[tuple[str, float], np.ndarray]:
        """What is missing of the columns of the table so far: see `Missing.shares`."""
        return {
            (name, sentinel): counts
            for name in self._missing
            if name in self.columns and name not in self.names.replaced
            for sentinel, counts in self.names.missing.shares(name, self.columns[name]).items()
        }

    def missing(self, name: str) -> np.ndarray | None:
        """Where a column is missing: by its own value, or that of a column it is made from."""
        if name not in self._missing:
            mask = self.names.missing.mask(name, self._raw(name))
            inputs: list[np.ndarray | None] = []
            if name in self.names.replaced:
                used = self.names.replaced[name].columns
                inputs = [self.plain.missing(column) for column in used]
            elif name in self.names.derived:
                # A derived value that does not mind a missing input is a value.
                blank = np.isnan(self._raw(name))
                inputs = [self.missing(column) for column in self.names.derived[name].columns]
                inputs = [blank & m for m in inputs if m is not None] if blank.any() else []
            for other in inputs:
                if other is not None:
                    mask = other if mask is None else mask | other
            self._missing[name] = mask
        return self._missing[name]

    def _raw(self, name: str) -> np.ndarray:
        if (name, False) in self._cache:
            return self._cache[name, False]
        if name in self.names.replaced:
            values = self._replaced(name)
        elif name in self.names.derived:
            values = self.evaluate(self.names.derived[name], clean=True)
            values = values.astype(float) if values.dtype.kind == "b" else values
        else:
            values = self.columns[name]
        self._cache[name, False] = values
        return values

    def _replaced(self, name: str) -> np.ndarray:
        expression = self.names.replaced[name]
        values = self.plain.evaluate(expression, clean=True)
        for column in expression.columns:
            mask = self.plain.missing(column)
            if mask is not None:
                # A selection such as `x != -999` must work on the varied column too.
                values = np.where(mask, self.plain.value(column), values)
        return values
