"""Which values stand for a missing one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from difftune.errors import InputError

Sentinels = int | float | Sequence[int | float]


@dataclass(frozen=True)
class Missing:
    """The values that mean "missing", for all columns or by column.

    Attributes:
        default: For every column that has none of its own.
        special: By name of the column.
    """

    default: tuple[float, ...] = ()
    special: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, missing: Sentinels | Mapping[str, Sentinels] | None) -> "Missing":
        """From what the user gives to `read`; in a mapping, "*" stands for all other columns."""
        if missing is None:
            return cls()
        if isinstance(missing, Mapping):
            special = {name: _numbers(value, name) for name, value in missing.items()}
            return cls(special.pop("*", ()), special)
        return cls(_numbers(missing, ""))

    def sentinels(self, features: Sequence[str]) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """By name of a feature the values that mean "missing", besides NaN."""
        by_name = ((name, self.special.get(name, self.default)) for name in features)
        return tuple(
            (name, tuple(v for v in values if v == v)) for name, values in by_name if values
        )

    def shares(self, name: str, values: np.ndarray) -> dict[float, np.ndarray]:
        """How much of a column the values take away that are missing in *every* column.

        Returns:
            For each of them the number of values [3] that are equal to it, that are there, and that
            are there and at least as large in magnitude. None where the user spoke of the column.
        """
        if name in self.special or values.dtype.kind not in "iuf":
            return {}
        there = ~np.isnan(values)
        for sentinel in self.default:
            there &= values != sentinel
        size = np.abs(values[there].astype(float))
        counts = {}
        for sentinel in self.default:
            if sentinel == sentinel:
                hits = int((values == sentinel).sum())
                counts[sentinel] = np.array([hits, len(size), (size >= abs(sentinel)).sum()])
        return counts

    def mask(self, name: str, values: np.ndarray) -> np.ndarray | None:
        """Where `values` [events] of this column are missing; None if nowhere."""
        if values.dtype.kind not in "iuf":
            return None
        mask: np.ndarray | None = None
        for sentinel in self.special.get(name, self.default):
            # A Python float is compared in the precision of the column: -99.9 is found in float32.
            found = np.isnan(values) if sentinel != sentinel else values == sentinel
            if found.any():
                mask = found if mask is None else mask | found
        return mask


def _numbers(value: Sentinels, name: str) -> tuple[float, ...]:
    values = [value] if isinstance(value, int | float) else list(value)
    for number in values:
        if isinstance(number, bool) or not isinstance(number, int | float):
            of = f" of {name!r}" if name else ""
            raise InputError(f"missing{of} = {number!r} is not a number (nan is one).")
        if isinstance(number, int) and abs(number) > 2**1000:
            raise InputError(f"missing: an integer of {number.bit_length()} bits is in no column.")
    return tuple(float(number) for number in values)
