"""What is kept or left out: variables, and groups of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from difftune.data import Collection
from difftune.errors import InputError, nearest
from difftune.histograms import weighted_correlation


def single_variables(
    feature_names: Sequence[str], collections: Sequence[Collection]
) -> dict[str, tuple[str, ...]]:
    """Names of variables, and the columns of each: a feature of objects has one for each object.

    Args:
        feature_names: All columns.
        collections: Which of them are those of objects.
    """
    of_objects = {
        f"{each.name}.{feature}": tuple(feature_names[i] for i in each.of_feature(number))
        for each in collections
        for number, feature in enumerate(each.features)
    }
    taken = {column for columns in of_objects.values() for column in columns}
    return {name: (name,) for name in feature_names if name not in taken} | of_objects


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """What is kept or left out as one: a variable, a feature of all objects, or a group of them.

    Attributes:
        names: Of the units: groups first, then the variables that are in none.
        members: Names of the variables of each.
        inputs: Network inputs that each has, `[units, inputs]`: those of its variables, and of
            the indicators of their missing values; those that say where there is an object are of
            the unit that has all features of the object, if there is one.
        objects: For each of the last inputs, which say where there is an object, the numbers of
            the inputs that this object has.
    """

    names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    inputs: Bool[np.ndarray, "units inputs"]
    objects: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(
        cls,
        feature_names: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        indicators: Sequence[int] = (),
        collections: Sequence[Collection] = (),
    ) -> "Units":
        """Groups of variables, and the other variables by themselves.

        A feature that the objects of a collection have is one variable, `"jets.pt"`. A group can
        also name all features of a collection by the collection, `"jets"`.

        Args:
            feature_names: All variables.
            groups: Variables of each group.
            indicators: Numbers of the variables of which a further network input says whether
                they are missing, in the order of these inputs.
            collections: Which of the variables are those of objects.

        Raises:
            InputError: For a group that is empty, names an unknown variable, one that is in
                another group too, or is called like a variable; and for less than two units.
        """
        single = single_variables(feature_names, collections)
        whole = {each.name: [f"{each.name}.{f}" for f in each.features] for each in collections}
        groups = {
            group: names
            if isinstance(names, str)
            else [n for name in names for n in whole.get(name, [name])]
            for group, names in groups.items()
        }
        where: dict[str, str] = {}
        for group, names in groups.items():
            if isinstance(names, str) or not names:
                raise InputError(f"groups={{{group!r}: {names!r}}}: give a list of variables.")
            if group in single:
                raise InputError(f"group {group!r} is called like a variable; choose another name.")
            for name in names:
                if name not in single:
                    raise InputError(
                        f"group {group!r} names {name!r}, which is no variable."
                        f"{nearest(name, single)} There are: {', '.join(single)}."
                    )
                if name in where:
                    raise InputError(
                        f"variable {name!r} is in {where[name]!r} and again in {group!r}: a "
                        "variable is in one group, once."
                    )
                where[name] = group
        units = {
            group: tuple(column for name in names for column in single[name])
            for group, names in groups.items()
        }
        units |= {name: columns for name, columns in single.items() if name not in where}
        if len(units) < 2:
            raise InputError(
                f"a selection among {list(units)} leaves nothing to choose: give two variables "
                "or groups at least."
            )
        columns = [*feature_names, *(feature_names[i] for i in indicators)]
        objects = tuple(slot for each in collections for slot in each.slots)
        slots = [{feature_names[i] for i in slot} for slot in objects]
        inputs = [
            [column in members for column in columns] + [slot.issubset(members) for slot in slots]
            for members in units.values()
        ]
        return cls(
            names=tuple(units),
            members=tuple(units.values()),
            inputs=np.asarray(inputs),
            objects=objects,
        )

    def __len__(self) -> int:
        return len(self.names)

    def mask(self, kept: Bool[np.ndarray, "*masks units"]) -> Bool[np.ndarray, "*masks inputs"]:
        """Inputs that are left where some units are kept."""
        left = (np.asarray(kept)[..., :, None] & self.inputs).any(axis=-2)
        for number, slot in enumerate(self.objects):
            left[..., number - len(self.objects)] = left[..., list(slot)].any(axis=-1)
        return left

    def holding(self, name: str) -> int:
        """Place of the unit that is, or holds, a variable or group.

        Raises:
            InputError: When there is none of this name.
        """
        for number, members in enumerate(self.members):
            if name in members:
                return number
        return self.number(name)

    def number(self, name: str) -> int:
        """Place of a unit.

        Raises:
            InputError: When there is none of this name.
        """
        if name not in self.names:
            raise InputError(
                f"{name!r} is neither a variable nor a group here.{nearest(name, self.names)} "
                f"There are: {', '.join(self.names)}."
            )
        return self.names.index(name)


@dataclass(frozen=True)
class DataIssues:
    """Variables that cannot matter as they are.

    Attributes:
        constant: Have one value in all events.
        duplicates: Pairs of variables, the second a multiple of the first plus a constant.
    """

    constant: tuple[str, ...]
    duplicates: tuple[tuple[str, str], ...]

    @classmethod
    def of(
        cls, standardised: Float[np.ndarray, "events variables"], names: Sequence[str]
    ) -> "DataIssues":
        """Looks at standardised variables, each with missing values filled."""
        x = np.asarray(standardised, np.float64)
        constant = np.std(x, axis=0) < 1e-6
        correlation = weighted_correlation(x, np.ones(len(x)))
        # float32 rounds a copy in other units of measurement to about this.
        same = np.triu(np.abs(correlation) > 1 - 1e-9, 1)
        pairs = [(names[i], names[j]) for i, j in zip(*np.nonzero(same), strict=True)]
        return cls(tuple(n for n, c in zip(names, constant, strict=True) if c), tuple(pairs))
