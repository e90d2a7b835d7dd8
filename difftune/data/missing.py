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
        """From what the user gives to `read`."""
        if missing is None:
            return cls()
        if isinstance(missing, Mapping):
            return cls((), {name: _numbers(value, name) for name, value in missing.items()})
        return cls(_numbers(missing, ""))

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
    return tuple(float(number) for number in values)
