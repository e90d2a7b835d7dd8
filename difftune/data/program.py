"""What is computed from the rows of a table for one process in one sample."""

import functools
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from difftune.data.expressions import Expression, column, quoted
from difftune.data.functions import P4
from difftune.data.jagged import blank
from difftune.data.keys import key_of
from difftune.data.kinds import Kind, depth, element
from difftune.data.names import Names, Values
from difftune.data.object_rules import CollectionRule
from difftune.data.regions import Region
from difftune.data.variations import Direction
from difftune.errors import InputError, nearest

WeightKey = tuple[str, Direction]
UNTOUCHED = "If it does not touch this process, list those that it does as its `processes`."


@dataclass(frozen=True)
class Piece:
    """The selected events of one process in one chunk.

    `region` and `observable` are None where there are no regions. `place` is the table that they
    are from, `shares` how much of it is missing (`Missing.shares`).
    """

    features: np.ndarray
    weight: np.ndarray
    fold: np.ndarray
    number: np.ndarray
    region: np.ndarray | None
    observable: np.ndarray | None
    weights: Mapping[WeightKey, np.ndarray]
    place: str
    shares: Mapping[tuple[str, float], np.ndarray]
    target: np.ndarray


class RegionRule(NamedTuple):
    """A region with what it says as expressions; no observable where it is the score or a count."""

    region: Region
    selection: Expression
    observable: Expression | None


@dataclass(frozen=True)
class Program:
    """Selection, features, weights and fold, in terms of the names of one table.

    Attributes:
        names: What names mean.
        process: Name of the process, and `sample` of the varied sample or "", for messages.
        selection: All of these hold.
        features: Names of the features.
        weight: The weight.
        weights: Varied weights.
        regions: What puts events into regions; without any, all are kept.
        number: Event number, or the columns of which it is made; none for the running number.
        folds: Number of folds.
        part: Name of the part of the process; "" where it has none.
        factor: What weights are multiplied by.
        factors: The same of varied weights; `factor` for those that are not here.
        collections: Collections of objects, whose columns are features behind the others.
        targets: What a regression learns, by name.
    """

    names: Names
    process: str
    sample: str
    selection: tuple[Expression, ...]
    features: tuple[str, ...]
    weight: Expression
    weights: Mapping[WeightKey, Expression]
    regions: tuple[RegionRule, ...]
    number: tuple[Expression, ...]
    folds: int
    part: str = ""
    factor: float = 1.0
    factors: Mapping[WeightKey, float] = field(default_factory=dict)
    collections: tuple[CollectionRule, ...] = ()
    targets: Mapping[str, Expression] = field(default_factory=dict)

    @property
    def who(self) -> str:
        """How messages name it."""
        varied = f" ({self.sample})" if self.sample else ""
        part = f", part {self.part!r}" if self.part else ""
        return f"process {self.process!r}{part}{varied}"

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that it needs.

        Raises:
            InputError: One of them is not there, or is of a kind that does not fit.
        """
        self._check_features()
        for condition in (*self.selection, *(rule.selection for rule in self.regions)):
            self._check_single(condition)
            condition.check_condition(self.names.code(condition).kind)
        self._check_single(self.weight)
        for weight in self.weights.values():
            try:
                self._check_single(weight)
            except InputError as error:
                raise InputError(f"{error} {UNTOUCHED}") from error
        for target in self.targets.values():
            self._check_single(target)
        of_regions = [e for rule in self.regions for e in rule[1:] if e is not None]
        for expression in of_regions:
            self._check_single(expression)
        expressions = [*self.selection, *of_regions, self.weight, *self.weights.values()]
        expressions += self.targets.values()
        expressions += [column(name, self.who) for name in self.features]
        for rule in self.collections:
            rule.check(self.names)
            expressions += rule.expressions
        for part in self.number:
            self._check_single(part)
            expressions.append(part)
        needed: set[str] = set().union(*(self.names.needed(e) for e in expressions))
        if not needed:
            raise InputError(f"{self.who}: no feature is made from a column of the file.")
        self._try(expressions, needed)
        return tuple(sorted(needed))

    def selected(self, values: Values) -> np.ndarray:
        """Which rows [rows] the selection keeps."""
        mask = np.ones(len(values), bool)
        for condition in self.selection:
            mask &= values.holds(condition)
        return mask & (self._region(values, mask) >= 0) if self.regions else mask

    def _region(self, values: Values, mask: np.ndarray | None = None) -> np.ndarray:
        """Number of the region that each row is in, -1 for none.

        Args:
            values: The rows.
            mask: Those that count, all by default; no other one is refused for being in two.
        """
        number = np.full(len(values), -1, np.int32)
        for i, rule in enumerate(self.regions):
            inside = values.holds(rule.selection)
            both = inside & (number >= 0)
            if mask is not None:
                both &= mask
            if both.any():
                first = int(np.argmax(both))
                other = self.regions[number[first]]
                raise InputError(
                    f"{self.who}: regions {other.region.name!r} and {rule.region.name!r} overlap: "
                    f"`{other.selection.text}` and `{rule.selection.text}` share {int(both.sum())} "
                    f"of the entries {values.entry[0]} to {values.entry[-1]} of "
                    f"{self.names.table.place}, the first one at entry {values.entry[first]}. Make "
                    "the selections exclude each other."
                )
            number[inside] = i
        return number

    def _observable(self, values: Values, region: np.ndarray) -> np.ndarray:
        """Value of the observable of the region that each row is in."""
        result = np.full(len(values), np.nan)
        for i, rule in enumerate(self.regions):
            mine = region == i
            if rule.observable is None:
                result[mine] = rule.region.constant
                continue
            result[mine] = np.asarray(values.evaluate(rule.observable, clean=True))[mine]
            bad = mine & ~np.isfinite(result)
            if bad.any():
                raise InputError(
                    f"{self.who}: region {rule.region.name!r}: observable "
                    f"`{rule.observable.text}`: {self._count(values, bad, result)}. Take one that "
                    "all events of the region have, or let its selection leave these out."
                )
        return result

    def run(self, values: Values, offset: int) -> Piece:
        """Computes features, weights and folds of selected rows.

        Args:
            values: The rows.
            offset: Added to the number of an entry to make its running number, which is used if
                there is no event number.

        Raises:
            InputError: A value is not finite and not declared missing.
        """
        features = self._features(values)
        if self.collections:
            blocks = [rule.block(values, self.who) for rule in self.collections]
            features = np.concatenate([features, *blocks], axis=1)
        weights = {
            key: self._weight(values, e, self.factors.get(key, self.factor))
            for key, e in self.weights.items()
        }
        numbers = self.numbers(values, offset)
        region = self._region(values) if self.regions else None
        return Piece(
            features=features,
            weight=self._weight(values, self.weight, self.factor),
            fold=(numbers % self.folds).astype(np.int32),
            number=numbers.astype(np.int64),
            region=region,
            observable=None if region is None else self._observable(values, region),
            weights=weights,
            place=self.names.table.place,
            shares={} if self.sample else values.shares(),
            target=self._targets(values),
        )

    def _targets(self, values: Values) -> np.ndarray:
        """The targets side by side [rows, targets], NaN where they are missing."""
        result = np.empty((len(values), len(self.targets)))
        for i, target in enumerate(self.targets.values()):
            found = np.asarray(values.evaluate(target, clean=True), np.float64)
            # One that is infinite is none.
            result[:, i] = np.where(np.isinf(found), np.nan, found)
        return result

    def numbers(self, values: Values, offset: int) -> np.ndarray:
        """Numbers of events [rows], which decide their folds; `offset` as in `run`."""
        parts = [self._number(values, part) for part in self.number]
        return parts[0] if len(parts) == 1 else key_of(parts) if parts else values.entry + offset

    def _check_features(self) -> None:
        names, table = self.names, self.names.table
        known = ChainMap[str, Any](names.replaced, names.derived, table.kinds)  # type: ignore[arg-type]
        absent = [name for name in self.features if name not in known]
        if absent:
            hints = [hint for n in absent if (hint := nearest(n, known))]
            listed = ", ".join(map(repr, absent))
            raise InputError(
                f"{self.who}: {table.place} has no {table.noun} for feature {listed}."
                + "".join(hints)
            )
        for name in self.features:
            what = f"{self.who}: feature {name!r}"
            kind = names.kind(name, column(name, what))
            if kind == "string":
                raise InputError(
                    f"{what} is a string in {table.place}; features are "
                    "numbers. Derive one, as in derived = {'is_muon': \"flavour == 'mu'\"}."
                )
            if element(kind) == "other" or kind.startswith("string"):
                names.code(column(name, what))  # which refuses it
            if kind not in ("number", "bool"):
                text = quoted(name) if name in table.kinds else name
                raise InputError(f"{what} of {table.place} {_remedy(kind, text)}")

    def _check_single(self, expression: Expression) -> None:
        """Refuses what is not one number or condition for each event."""
        kind = self.names.code(expression).kind
        if kind == "string":
            raise expression.error("is a string; compare it, as in `label == 's'`.")
        if kind not in ("number", "bool"):
            raise expression.error(_remedy(kind, expression.text))

    def _try(self, expressions: Sequence[Expression], needed: set[str]) -> None:
        """Evaluates on no rows, so that constants beyond all numbers are found before reading."""
        kinds = self.names.table.kinds
        none = {name: blank(kinds[name]) for name in needed}
        values = Values(self.names, none, np.zeros(0, np.int64))
        for expression in expressions:
            values.part(expression)

    def _features(self, values: Values) -> np.ndarray:
        """The features side by side [rows, features], NaN where they are missing."""
        features, finite = values.matrix(self.features)
        if finite.all():
            return features
        features = features.copy()
        for i in np.flatnonzero(~finite):
            features[:, i] = self._with_missing(values, self.features[i], features[:, i])
        return features

    def _with_missing(self, values: Values, name: str, feature: np.ndarray) -> np.ndarray:
        """A feature that is not finite everywhere, which it may be where it is missing."""
        bad = ~np.isfinite(feature)
        missing = values.missing(name)
        if missing is not None:
            bad &= ~missing
        if bad.any():
            nan = bool(np.isnan(feature[bad]).any())
            remedy = "add nan to `missing`, or " if nan else ""
            raise InputError(
                f"{self.who}: feature {name!r}: {self._count(values, bad, feature)}. If that is "
                f"how a missing value is written, {remedy}"
                + ("" if nan else "add it to `missing`; otherwise ")
                + "select these events away or mend the files."
            )
        return np.where(np.isfinite(feature), feature, np.float32(np.nan))

    def _weight(self, values: Values, expression: Expression, factor: float) -> np.ndarray:
        part = values.part(expression)
        with np.errstate(over="ignore"):
            weight = (np.asarray(part.filled()) * factor).astype(np.float32)
        bad = ~np.isfinite(weight)
        if bad.any():
            where = expression.where.removeprefix(f"{replace(self, sample='').who}: ")
            absent = part.absent is not None and bool(part.absent[np.argmax(bad)])
            remedy = (
                "What it asks for, such as a place in a list, is not there: say what it is then, "
                "as in `x[1] if count(x) > 1 else 1`, or select these events away."
                if absent
                else "Select these events away or mend the files."
            )
            raise InputError(
                f"{self.who}: {where}: `{expression.text}`: "
                f"{self._count(values, bad, weight)}. {remedy}"
            )
        return weight

    def _number(self, values: Values, part: Expression) -> np.ndarray:
        numbers = np.asarray(values.evaluate(part))
        if numbers.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                bad = ~np.isfinite(numbers) | (numbers != np.floor(numbers))
            bad |= np.abs(numbers) > 2**53
            if bad.any():
                raise InputError(
                    f"{self.who}: event number `{part.text}`: "
                    f"{self._count(values, bad, numbers, 'no whole numbers')}."
                )
            return numbers.astype(np.int64)
        return numbers.astype(np.int64) if numbers.dtype.kind == "b" else numbers

    def _count(
        self,
        values: Values,
        bad: np.ndarray,
        numbers: np.ndarray,
        what: str = "NaN or infinite",
    ) -> str:
        first = int(np.argmax(bad))
        return (
            f"{int(bad.sum())} of {len(values)} selected entries ({values.entry[0]} to "
            f"{values.entry[-1]}) of {self.names.table.place} are {what}, the first one "
            f"({numbers[first]}) at entry {values.entry[first]}"
        )


def _remedy(kind: Kind, text: str) -> str:
    """What is the matter with lists and momenta where one number per event is needed."""
    if element(kind) == P4:
        first = f"({text})" if " " in text else text
        return f"is a four-momentum: say what of it, as in `{first}{'[0]' * depth(kind)}.pt`."
    if element(kind) == "bool":
        return (
            "is a condition for each element of a list, not one per event: write "
            f"`any({text})`, `all({text})`, or `count({text}) >= 2`."
        )
    first = f"({text})" if " " in text else text
    deeper = "[0]" * (depth(kind) - 1)
    return (
        "has a list of numbers for each event, not one: write "
        f"`{first}{deeper}[0]` for the first, `max({text}{deeper})`, `sum({text}{deeper})`, or "
        f"`count({text}{deeper})`."
    )
