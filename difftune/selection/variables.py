"""What is kept or left out: variables, and groups of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from difftune.errors import InputError, nearest
from difftune.histograms import weighted_correlation


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """What is kept or left out as one: a variable, or a group of variables.

    Attributes:
        names: Of the units: groups first, then the variables that are in none.
        members: Names of the variables of each.
        inputs: Network inputs that each has, `[units, inputs]`: those of its variables, and of
            the indicators of their missing values.
    """

    names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    inputs: Bool[np.ndarray, "units inputs"]

    @classmethod
    def of(
        cls,
        feature_names: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        indicators: Sequence[int] = (),
    ) -> "Units":
        """Groups of variables, and the other variables by themselves.

        Args:
            feature_names: All variables.
            groups: Variables of each group.
            indicators: Numbers of the variables of which a further network input says whether
                they are missing, in the order of these inputs.

        Raises:
            InputError: For a group that is empty, names an unknown variable, one that is in
                another group too, or is called like a variable; and for less than two units.
        """
        where: dict[str, str] = {}
        for group, names in groups.items():
            if isinstance(names, str) or not names:
                raise InputError(f"groups={{{group!r}: {names!r}}}: give a list of variables.")
            if group in feature_names:
                raise InputError(f"group {group!r} is called like a variable; choose another name.")
            for name in names:
                if name not in feature_names:
                    raise InputError(
                        f"group {group!r} names {name!r}, which is no variable."
                        f"{nearest(name, feature_names)} "
                        f"There are: {', '.join(feature_names)}."
                    )
                if name in where:
                    raise InputError(
                        f"variable {name!r} is in {where[name]!r} and again in {group!r}: a "
                        "variable is in one group, once."
                    )
                where[name] = group
        units = {group: tuple(names) for group, names in groups.items()}
        units |= {name: (name,) for name in feature_names if name not in where}
        if len(units) < 2:
            raise InputError(
                f"a selection among {list(units)} leaves nothing to choose: give two variables "
                "or groups at least."
            )
        columns = [*feature_names, *(feature_names[i] for i in indicators)]
        inputs = [[column in members for column in columns] for members in units.values()]
        return cls(names=tuple(units), members=tuple(units.values()), inputs=np.asarray(inputs))

    def __len__(self) -> int:
        return len(self.names)

    def mask(self, kept: Bool[np.ndarray, "*masks units"]) -> Bool[np.ndarray, "*masks inputs"]:
        """Inputs that are left where some units are kept."""
        return (np.asarray(kept)[..., :, None] & self.inputs).any(axis=-2)

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
