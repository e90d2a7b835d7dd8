"""Collections of objects of the rows of a table: checked against its columns, and read."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from difftune.data.expressions import Expression, parse
from difftune.data.lists import Lists
from difftune.data.names import Names, Values
from difftune.data.objects import Collection, Objects, collections_of, packed
from difftune.data.transform import Missing
from difftune.errors import InputError


@dataclass(frozen=True)
class CollectionRule:
    """A collection, and what its features are as expressions.

    Attributes:
        collection: Its columns.
        branches: A value for each object, one expression for each feature.
        order: What objects are sorted by.
        selection: Which objects are kept.
    """

    collection: Collection
    branches: tuple[Expression, ...]
    order: Expression | None = None
    selection: Expression | None = None

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """All of them."""
        return (*self.branches, *(e for e in (self.order, self.selection) if e is not None))

    def check(self, names: Names) -> None:
        """Refuses what does not have one number for each object.

        Raises:
            InputError: For such an expression, or a column that is not there.
        """
        for expression in self.expressions:
            kind = names.code(expression).kind
            if expression is self.selection:
                expression.check_condition(kind)
            if kind in ("number[]", "bool[]"):
                continue
            if kind in ("number", "bool"):
                other = next(
                    (e.text for e in self.branches if names.code(e).kind.endswith("[]")), None
                )
                raise expression.error(
                    f"has one value for each event of {names.table.place}, not one for each "
                    "object: give it as one of the `features`, and branches with a value for each "
                    "object here; brackets make a list of flat ones, `[jet1_pt, jet2_pt]`"
                    + (
                        f", and `{expression.text} + 0 * {other}` takes it for each object (as "
                        "for a default of `defaults`)."
                        if other
                        else "."
                    )
                )
            raise expression.error(
                f"is of the kind {kind} in {names.table.place}, and each object needs one number: "
                "write an expression that has it, such as `Jet_pt`, or `p4('Jet').mass` of "
                "four-momenta."
            )

    def block(self, values: Values, who: str) -> np.ndarray:
        """The columns of some rows [rows, columns]; NaN where there is no object or no value.

        Args:
            values: The rows.
            who: Whose they are, for messages.

        Raises:
            InputError: Branches differ in length, or a value is not finite and not missing.
        """
        counts: np.ndarray | None = None
        found = []
        nothing = np.array(True)
        for expression in self.expressions:
            # A selection sees the columns as they are in the file.
            part = values.part(expression, clean=expression is not self.selection)
            lists = part.values
            assert isinstance(lists, Lists), "checked before"
            counts = lists.counts if counts is None else counts
            differ = np.flatnonzero(lists.counts != counts)
            if len(differ):
                at = differ[0]
                raise expression.error(
                    f"{who}: at entry {values.entry[at]} of {values.names.table.place} there are "
                    f"{lists.counts[at]} values of it and {counts[at]} of "
                    f"`{self.branches[0].text}`, but a collection has one of each for every "
                    "object: put branches of other collections into collections of their own."
                )
            content = np.asarray(lists.content)
            gone = np.zeros(len(content), bool) if part.absent is None else part.absent.content
            if any(expression is each for each in self.branches):
                nothing = nothing & gone
            if expression is self.selection:
                found.append(content.astype(bool) & ~gone)
            elif expression is self.order:
                found.append(np.where(gone, np.nan, content.astype(np.float64)))
            else:
                found.append(self._numbers(expression, values, lists, gone, who))
        assert counts is not None, "there is a branch"
        rest = iter(found[len(self.branches) :])
        order = None if self.order is None else next(rest)
        # An object of which all values are missing takes no place.
        kept = ~nothing if self.selection is None else next(rest) & ~nothing
        return packed(
            counts,
            dict(zip(self.collection.features, found, strict=False)),
            max=self.collection.max,
            order=order,
            kept=kept,
            what=f"{who}: objects {self.collection.name!r}",
        )

    @staticmethod
    def _numbers(
        expression: Expression, values: Values, lists: Lists, gone: np.ndarray, who: str
    ) -> np.ndarray:
        with np.errstate(over="ignore"):
            numbers = np.asarray(lists.content).astype(np.float32)
        bad = ~np.isfinite(numbers) & ~gone
        if bad.any():
            first = int(np.argmax(bad))
            nan = bool(np.isnan(numbers[bad]).any())
            raise expression.error(
                f"{who}: {int(bad.sum())} of {len(bad)} values are NaN or infinite, the first one "
                f"({numbers[first]}) at entry {values.entry[lists.rows[first]]} of "
                f"{values.names.table.place}. If that is how a missing value is written, "
                + ("add nan to `missing`" if nan else "add it to `missing`")
                + "; otherwise select these objects away or mend the files."
            )
        return np.where(gone, np.float32(np.nan), numbers)


def collection_rules(objects: Mapping[str, Objects], start: int) -> tuple[CollectionRule, ...]:
    """Collections with their expressions read.

    Args:
        objects: By name.
        start: How many columns come before theirs.

    Raises:
        InputError: What should be an expression is none.
    """
    found = []
    for collection in collections_of(objects, start):
        given, where = objects[collection.name], f"objects[{collection.name!r}]"
        for feature, text in given.values.items():
            if not isinstance(text, str):
                raise InputError(
                    f"{where}: {feature!r} is a {type(text).__name__}: `read` takes expressions of "
                    "branches; arrays are for Events.from_arrays."
                )
        found.append(
            CollectionRule(
                collection,
                tuple(parse(text, f"{where}: branches") for text in given.values.values()),
                None if given.order is None else parse(given.order, f"{where}: order"),
                None if given.selection is None else parse(given.selection, f"{where}: selection"),
            )
        )
    return tuple(found)


def sentinels_of(
    missing: Missing, features: tuple[str, ...], objects: Mapping[str, Objects]
) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """`Missing.sentinels` of features and of the columns of collections, by their branches."""
    found = list(missing.sentinels(features))
    for collection in collections_of(objects, len(features)):
        texts = objects[collection.name].values
        for place in range(collection.max):
            found += [
                (f"{collection.name}[{place}].{name}", values)
                for name, text in texts.items()
                for _, values in missing.sentinels([text])
            ]
    return tuple(found)
