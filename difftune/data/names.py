"""Tables whose columns are read in chunks, and the names that expressions can use in one."""

import functools
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeVar

import numpy as np

from difftune.data.expressions import Expression, is_name, parse
from difftune.data.kinds import Kind, depth
from difftune.data.lists import (
    Lists,
    Momenta,
    Part,
    Unequal,
    elementwise,
    gathered,
    of_awkward,
    rows_of,
    united,
)
from difftune.data.momenta import members_of
from difftune.data.steps import Code
from difftune.data.transform import Missing
from difftune.errors import InputError, nearest

Found = TypeVar("Found")
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
    uses = {name: _may_use(expression, parsed) for name, expression in parsed.items()}
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


def _may_use(expression: Expression, names: Mapping[str, Expression]) -> list[str]:
    """Those of the names that an expression uses, whatever a table has."""
    used = [name for name in expression.columns if name in names]
    for collection in expression.collections:
        used += members_of(collection, names).values()
    return used


def with_features(
    derived: Mapping[str, Expression], features: Sequence[str], table: DataTable
) -> dict[str, Expression]:
    """Derived columns, and features that are expressions themselves, such as `Jet_pt[0]`.

    Args:
        derived: From `parse_derived`.
        features: Names of columns, or expressions, which are the names of what they come to.
        table: A column of it takes precedence.

    Raises:
        InputError: A feature that is no sound expression.
    """
    found = dict(derived)
    for feature in features:
        if feature in table.kinds or feature in derived:
            continue
        if not is_name(feature) or feature.split(".")[0] in derived:
            found[feature] = parse(feature, f"feature {feature!r}")
    return found


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
            return self.code(self.derived[name]).kind
        if name not in self.table.kinds:
            raise InputError(
                f"{user.where}: {self.table.place} has no {self.table.noun} {name!r}."
                + nearest(name, [*self.table.kinds, *filter(is_name, self.derived)])
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
            known: ChainMap[str, Any] = ChainMap(self.replaced, self.derived, self.table.kinds)  # type: ignore[arg-type]
            self._codes[expression] = expression.typed(
                lambda name: self.kind(name, expression), known
            )
        return self._codes[expression]

    def needed(self, expression: Expression) -> set[str]:
        """The columns of the table that an expression needs.

        Raises:
            InputError: It does not fit the columns.
        """
        columns: set[str] = set()
        todo = list(self.code(expression).columns)
        seen: set[str] = set()
        while todo:
            name = todo.pop()
            if name in self.replaced:
                columns |= self.plain.needed(self.replaced[name])
                # What stands where an element of a varied list is missing.
                if depth(self.kind(name, expression)) and name in self.table.kinds:
                    columns.add(name)
            elif name in self.derived:
                used = set(self.code(self.derived[name]).columns) - seen
                seen |= used
                todo += used
            else:
                columns.add(name)
        return columns


class Values:
    """Some rows of a table, by any name; each name and expression is computed once.

    They are rows as a table hands them out, or some of other `Values`. Those can compute what is
    asked for of all of their rows, once for all that share them.

    Attributes:
        names: What names mean.
        entry: The numbers [rows] that the rows have in the table.
        undecided: By condition, in how many rows it is absent.
    """

    def __init__(self, names: Names, columns: Mapping[str, Any], entry: np.ndarray) -> None:
        """Takes columns as tables hand them out."""
        self.names = names
        self.entry = entry
        self.undecided: dict[str, int] = {}
        self._columns = columns
        self._taken: dict[str, Any] = {}
        self._source: tuple[Values, np.ndarray] | None = None
        self._shares = False
        self._cache: dict[tuple[str, bool], Part] = {}
        self._parts: dict[tuple[str, bool], Part] = {}
        self._matrices: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}
        self._missing: dict[str, np.ndarray | None] = {}

    def __len__(self) -> int:
        """How many rows."""
        return len(self.entry)

    def where(self, mask: np.ndarray, *, shared: bool = False) -> "Values":
        """Only the rows where the mask is true.

        Args:
            mask: Which rows.
            shared: Whether what is asked for is computed of all rows here, for others to use that
                ask for the same of other rows; else of these rows alone.
        """
        if mask.all():
            return self
        # Places are looked up faster than a mask, and there are many columns.
        rows = np.flatnonzero(mask)
        values = Values(self.names, self._columns, self.entry[rows])
        values._source, values._shares = (self, rows), shared
        return values

    def renamed(self, names: Names) -> "Values":
        """The same rows by other names of the same table."""
        if names is self.names:
            return self
        values = Values(names, self._columns, self.entry)
        values._taken = self._taken
        if self._source is not None:
            whole, rows = self._source
            values._source, values._shares = (whole.renamed(names), rows), self._shares
        return values

    @functools.cached_property
    def plain(self) -> "Values":
        """These rows without replacements."""
        if not self.names.replaced:
            return self
        if self._source is None:
            return self.renamed(self.names.plain)
        whole, rows = self._source
        values = Values(self.names.plain, self._columns, self.entry)
        values._taken, values._shares = self._taken, self._shares
        values._source = (whole.plain, rows)
        return values

    def _table(self, name: str) -> Any:
        """A column of the table as it is, lists as such."""
        if name not in self._taken:
            if self._source is not None:
                whole, rows = self._source
                self._taken[name] = gathered(whole._table(name), rows)
            elif depth(self.names.table.kinds[name]):
                self._taken[name] = of_awkward(self._columns[name])
            else:
                self._taken[name] = self._columns[name]
        return self._taken[name]

    def evaluate(self, expression: Expression, *, clean: bool = False) -> np.ndarray:
        """Values of an expression that has one for each row [rows]: bool, number or bytes.

        What is absent is NaN, or an empty string.

        Args:
            expression: What to evaluate.
            clean: Take missing values for NaN; otherwise for what they are in the table.

        Raises:
            InputError: An integer does not fit, or lists differ in length.
        """
        return _with_nan(self.part(expression, clean=clean))

    def holds(self, expression: Expression) -> np.ndarray:
        """Where a condition is known to hold [rows]: not where it is absent, which is counted.

        Raises:
            InputError: An integer does not fit, or lists differ in length.
        """
        part = self.part(expression)
        holds = np.asarray(part.values).astype(bool)
        if part.absent is not None:
            self.undecided[expression.text] = int(part.absent.sum())
            holds &= ~part.absent
        return holds

    def part(self, expression: Expression, *, clean: bool = False) -> Part:
        """What an expression comes to, also lists and momenta, and where it is absent.

        Args:
            expression: What to evaluate.
            clean: Take missing values for absent in lists, and for NaN elsewhere.

        Raises:
            InputError: An integer does not fit, or lists differ in length.
        """
        key = (expression.text, clean)
        if key not in self._parts:
            part = self._of_all(lambda whole: whole.part(expression, clean=clean), rows_of)
            self._parts[key] = self._evaluated(expression, clean) if part is None else part
        return self._parts[key]

    def _of_all(
        self, ask: Callable[["Values"], Found], take: Callable[[Found, np.ndarray], Found]
    ) -> Found | None:
        """These rows of what is computed for all; None if nothing is, or it is refused."""
        if self._source is None or not self._shares:
            return None
        whole, rows = self._source
        try:
            found = ask(whole)
        except InputError:
            return None  # because of a row that is none of these, maybe
        return take(found, rows)

    def _evaluated(self, expression: Expression, clean: bool) -> Part:
        code = self.names.code(expression)
        try:
            return expression.values(code, lambda n: self.column(n, clean=clean), len(self))
        except Unequal as error:
            one, other = error.lengths
            raise expression.error(
                f"lists that are brought together differ in length: {error.__notes__[0]} have "
                f"{one} and {other} elements at entry {self.entry[error.row]} of "
                f"{self.names.table.place}. Take branches of one collection, or bring each to one "
                "number per event first, as in `x[0]` or `max(x)`."
            ) from None

    def value(self, name: str, *, clean: bool = False) -> np.ndarray:
        """A column of one value for each row [rows], with NaN where it is absent.

        Args:
            name: Of the column.
            clean: Whether missing ones are NaN too.
        """
        return _with_nan(self.column(name, clean=clean))

    def matrix(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Clean columns of one value for each row, side by side.

        Returns:
            The columns as float32 [rows, columns], NaN where they are missing, and which are known
            to be finite everywhere [columns].
        """
        if names not in self._matrices:
            found = self._of_all(lambda whole: whole.matrix(names), _rows_of_matrix)
            if found is None:
                found = _side_by_side([self.value(name, clean=True) for name in names], len(self))
            self._matrices[names] = found
        return self._matrices[names]

    def column(self, name: str, *, clean: bool = False) -> Part:
        """A column, and where it is absent; cleaned, missing elements of lists are absent too."""
        if (name, clean) not in self._cache:
            part = self._of_all(lambda whole: whole.column(name, clean=clean), rows_of)
            if part is None:
                part = self._raw(name)
                part = self._cleaned(name, part) if clean else part
            self._cache[name, clean] = part
        return self._cache[name, clean]

    def _cleaned(self, name: str, part: Part) -> Part:
        if isinstance(part.values, Momenta):
            return part
        if isinstance(part.values, Lists):
            masks: list[np.ndarray | None] = []

            def mask_of(values: np.ndarray) -> np.ndarray:
                masks.append(self.names.missing.mask(name, values))
                return np.zeros(values.shape, bool) if masks[-1] is None else masks[-1]

            found = elementwise(mask_of, part.values)
            if masks[0] is None:
                return part
            return Part(part.values, united(part.values, part.absent, found))
        missing = self.missing(name)
        if missing is None:
            return part
        if part.values.dtype.kind == "b":
            return Part(part.values, missing)
        # Doubles for integers, which have no NaN.
        blank = np.array(np.nan, np.result_type(part.values, 0.0))
        return Part(np.where(missing, blank, part.values), part.absent)

    def shares(self) -> dict[tuple[str, float], np.ndarray]:
        """What is missing of the columns of the table so far: see `Missing.shares`."""
        if not self.names.missing.common:
            return {}
        looked_at = self._source[0]._missing if self._source and self._shares else self._missing
        return {
            (name, sentinel): counts
            for name in looked_at
            if name in self.names.table.kinds and name not in self.names.replaced
            for sentinel, counts in self.names.missing.shares(name, self._table(name)).items()
        }

    def missing(self, name: str) -> np.ndarray | None:
        """Where a column of one value for each row is missing [rows]; None if nowhere.

        By its own value, by that of a column it is made from, or because it is absent.
        """
        if name not in self._missing:
            part = self._raw(name)
            mask = self.names.missing.mask(name, part.values)
            inputs: list[np.ndarray | None] = [part.absent]
            if name in self.names.replaced:
                inputs += [self.plain.missing(n) for n in self._flat(self.names.replaced[name])]
            elif name in self.names.derived:
                # A derived value that does not mind a missing input is a value.
                blank = np.isnan(part.values)
                if blank.any():
                    used = [self.missing(n) for n in self._flat(self.names.derived[name])]
                    inputs += [blank & m for m in used if m is not None]
            for other in inputs:
                if other is not None:
                    mask = other if mask is None else mask | other
            self._missing[name] = mask
        return self._missing[name]

    def _flat(self, expression: Expression) -> list[str]:
        """The columns that an expression uses, without lists and momenta."""
        columns = self.names.code(expression).columns
        return [
            n for n in columns if self.names.kind(n, expression) in ("number", "bool", "string")
        ]

    def _raw(self, name: str) -> Part:
        if (name, False) in self._cache:
            return self._cache[name, False]
        if name in self.names.replaced:
            part = self._replaced(name)
        elif name in self.names.derived:
            part = self.part(self.names.derived[name], clean=True)
        else:
            part = Part(self._table(name))
        self._cache[name, False] = part
        return part

    def _replaced(self, name: str) -> Part:
        expression = self.names.replaced[name]
        part = self.plain.part(expression, clean=True)
        # A selection such as `x != -999` must work on the varied column too.
        if isinstance(part.values, Lists):
            if part.absent is None or name in self.names.derived:
                return part
            plain = self.plain.column(name).values
            return Part(elementwise(_unless, part.absent, plain, part.values))
        values = part.values
        for column in self._flat(expression):
            mask = self.plain.missing(column)
            if mask is not None and isinstance(values, np.ndarray):
                values = np.where(mask, self.plain.value(column), values)
        return Part(values, part.absent)


def _with_nan(part: Part) -> np.ndarray:
    """One value for each row; NaN also where a condition is absent."""
    if part.absent is not None and part.values.dtype.kind == "b":
        part = Part(part.values.astype(float), part.absent)
    return part.filled()


def _side_by_side(columns: Sequence[np.ndarray], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns as one array [rows, columns], and which of them are finite everywhere."""
    block = max(1024, 2**15 // max(1, len(columns)))  # what stays in a cache of the processor
    result = np.empty((rows, len(columns)), np.float32)
    finite = np.ones(len(columns), bool)
    with np.errstate(over="ignore"):
        for start in range(0, rows if columns else 0, block):
            part = result[start : start + block]
            of_part = [values[start : start + block] for values in columns]
            np.stack(of_part, axis=1, out=part, casting="unsafe")
            if not np.isfinite(part).all():
                finite &= np.isfinite(part).all(axis=0)
    return result, finite


def _rows_of_matrix(
    found: tuple[np.ndarray, np.ndarray], rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    matrix, finite = found
    return matrix.take(rows, axis=0), finite


def _unless(mask: np.ndarray, plain: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(mask, plain, values)
