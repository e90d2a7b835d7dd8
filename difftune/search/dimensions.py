"""One hyperparameter: what it may be, and what a neighbour of a value is."""

import abc
import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from difftune.arguments import number
from difftune.errors import InputError, nearest

Values = Float[np.ndarray, " members"]
MOST_WHOLE = 2**24
"""Whole numbers up to this one are exact in single precision."""


class Dimension(abc.ABC):
    """One hyperparameter's possible values, through a map onto the unit interval."""

    @abc.abstractmethod
    def from_unit(self, unit: Values) -> Values:
        """Values at places in [0, 1]: even places give samples of the distribution."""

    @abc.abstractmethod
    def to_unit(self, values: Values) -> Values:
        """The inverse of `from_unit`."""

    @abc.abstractmethod
    def contains(self, value: int | float) -> bool:
        """Whether the value may be proposed."""

    def sample(self, rng: np.random.Generator, count: int) -> Values:
        """Independent draws."""
        return self.from_unit(rng.random(count))

    def grid(self, count: int) -> Values:
        """`count` values, evenly over the range with both ends; the middle if it is one."""
        return self.from_unit(np.linspace(0.0, 1.0, count) if count > 1 else np.array([0.5]))

    def perturb(self, values: Values, scale: float, rng: np.random.Generator) -> Values:
        """Neighbours: a step of that size (in units of the whole range) up or down, reflected."""
        moved = self.to_unit(values) + scale * rng.choice([-1.0, 1.0], len(values))
        return self.from_unit(_reflected(moved, 0.0, 1.0))


def _reflected(values: np.ndarray, low: int | float, high: int | float) -> np.ndarray:
    """Values that went beyond a bound, back into the range.

    Reflection keeps them off the bounds, where clipping would pile them up.
    """
    span = high - low
    folded = np.mod(values - low, 2.0 * span) if span else np.zeros_like(values)
    return low + np.where(folded > span, 2.0 * span - folded, folded)


@dataclass(frozen=True)
class Uniform(Dimension):
    """Uniform on [low, high]."""

    low: int | float
    high: int | float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(f"uniform({self.low}, {self.high}): low must be below high.")
        # That of the largest numbers is no number of single precision any more.
        number(
            self.high - self.low, f"uniform({self.low:g}, {self.high:g})", "take a smaller range"
        )

    def from_unit(self, unit: Values) -> Values:
        """Values at places in [0, 1]."""
        return self.low + np.asarray(unit) * (self.high - self.low)

    def to_unit(self, values: Values) -> Values:
        """Places in [0, 1] of values."""
        return (np.asarray(values) - self.low) / (self.high - self.low)

    def contains(self, value: int | float) -> bool:
        """Whether the value lies within the bounds."""
        return bool(self.low <= value <= self.high)


@dataclass(frozen=True)
class LogUniform(Dimension):
    """Uniform in the logarithm on [low, high]."""

    low: int | float
    high: int | float

    def __post_init__(self) -> None:
        if not 0.0 < self.low < self.high:
            raise InputError(
                f"log_uniform({self.low}, {self.high}): low must be positive and below high."
            )
        if self.low < np.finfo(np.float32).tiny:
            raise InputError(
                f"log_uniform({self.low:g}, {self.high:g}): {self.low:g} is 0 in single precision; "
                "give a larger low."
            )

    def from_unit(self, unit: Values) -> Values:
        """Values at places in [0, 1]."""
        span = math.log(self.high / self.low)
        return np.clip(self.low * np.exp(np.asarray(unit) * span), self.low, self.high)

    def to_unit(self, values: Values) -> Values:
        """Places in [0, 1] of values."""
        return np.log(np.asarray(values) / self.low) / math.log(self.high / self.low)

    def contains(self, value: int | float) -> bool:
        """Whether the value lies within the bounds."""
        return bool(self.low <= value <= self.high)


@dataclass(frozen=True)
class Integer(Dimension):
    """A whole number from low to high, each as probable, or evenly in the logarithm.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether k has the probability ln((k + 1) / k), up to a factor.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        kind = "log_integer" if self.log else "integer"
        if self.low > self.high:
            raise InputError(f"{kind}({self.low}, {self.high}): low must not be above high.")
        if self.log and self.low < 1:
            raise InputError(
                f"{kind}({self.low}, {self.high}): low must be at least 1; or take integer."
            )
        if max(abs(self.low), abs(self.high)) > MOST_WHOLE:
            raise InputError(
                f"{kind}({self.low}, {self.high}): in single precision whole numbers are exact up "
                f"to {MOST_WHOLE}; take smaller ones, or log_uniform."
            )

    def _ends(self) -> tuple[float, float]:
        """Between which all numbers have an interval each: k that from k to k + 1."""
        low, high = float(self.low), float(self.high + 1)
        return (math.log(low), math.log(high)) if self.log else (low, high)

    def from_unit(self, unit: Values) -> Values:
        """Values at places in [0, 1]."""
        low, high = self._ends()
        place = low + np.asarray(unit) * (high - low)
        found = np.floor(np.exp(place) if self.log else place)
        return np.clip(found, self.low, self.high)

    def to_unit(self, values: Values) -> Values:
        """Places in [0, 1] of values: the middles of their intervals."""
        low, high = self._ends()
        values = np.asarray(values, float)
        middle = 0.5 * (np.log(values) + np.log(values + 1)) if self.log else values + 0.5
        return (middle - low) / (high - low)

    def contains(self, value: int | float) -> bool:
        """Whether the value is a whole number within the bounds."""
        return bool(self.low <= value <= self.high and value == math.floor(value))

    def grid(self, count: int) -> Values:
        """`count` numbers, evenly over the range with both ends; all if there are no more."""
        if count >= self.high - self.low + 1:
            return np.arange(self.low, self.high + 1.0)
        if count == 1:
            middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
            return np.array([float(round(middle))])
        spaced = np.geomspace if self.log else np.linspace
        return np.unique(np.round(spaced(self.low, self.high, count)))

    def perturb(self, values: Values, scale: float, rng: np.random.Generator) -> Values:
        """Neighbours: a step up or down, of at least 1, reflected at the ends.

        The step is `scale` times the value, as what is counted is compared by its ratio; of a range
        with numbers below 1, `scale` times the range, which is also the most that it is. With `log`
        it is `scale` times the range of the logarithm.
        """
        values = np.asarray(values, float)
        sign = rng.choice([-1.0, 1.0], len(values))
        span = float(self.high - self.low)
        if span == 0.0:
            return values
        if self.log:
            moved = self.from_unit(_reflected(self.to_unit(values) + sign * scale, 0.0, 1.0))
        else:
            size = np.minimum(values, span) if self.low >= 1 else span
            step = np.maximum(np.round(scale * size), 1.0)
            moved = np.round(_reflected(values + sign * step, self.low, self.high))
        # A short step in the logarithm, or one that is reflected onto itself.
        by_one = _reflected(values + sign, self.low, self.high)
        return np.where(moved == values, by_one, moved)


@dataclass(frozen=True)
class Choice(Dimension):
    """One of several numbers in an order; neighbours are next to each other."""

    options: tuple[int | float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(float(option) for option in self.options))
        if not self.options or len(set(self.options)) < len(self.options):
            raise InputError(f"choice({list(self.options)}): give different numbers, at least one.")

    def from_unit(self, unit: Values) -> Values:
        """Values at places in [0, 1]."""
        index = np.minimum(np.asarray(unit) * len(self.options), len(self.options) - 1)
        return np.asarray(self.options)[index.astype(int)]

    def to_unit(self, values: Values) -> Values:
        """Places in [0, 1] of values: the middles of their intervals."""
        index = [self.options.index(value) for value in np.asarray(values).tolist()]
        return (np.asarray(index) + 0.5) / len(self.options)

    def contains(self, value: int | float) -> bool:
        """Whether the value is one of the options."""
        return float(value) in self.options

    def grid(self, count: int) -> Values:
        """`count` options, spread over the list; all of them if there are no more."""
        last = len(self.options) - 1
        index = np.linspace(0, last, count) if count > 1 else np.array([last / 2])
        return np.asarray(self.options)[np.unique(index.round().astype(int))]

    def perturb(self, values: Values, scale: float, rng: np.random.Generator) -> Values:
        """The option before or after, reflected at the ends (the scale plays no role)."""
        return super().perturb(values, 1.0 / len(self.options), rng)


@dataclass(frozen=True)
class Category(Choice):
    """One of several numbers without an order; every other one is a neighbour."""

    names: tuple[str, ...] = ()

    def grid(self, count: int) -> Values:
        """All options: none stands for another."""
        return np.asarray(self.options)

    def perturb(self, values: Values, scale: float, rng: np.random.Generator) -> Values:
        """Any other option (the scale plays no role)."""
        number, options = len(self.options), np.asarray(self.options)
        index = (self.to_unit(values) * number).astype(int)
        if number == 1:
            return options[index]
        return options[(index + rng.integers(1, number, len(index))) % number]


@dataclass(frozen=True)
class Conditional(Dimension):
    """A dimension that counts only where another hyperparameter has certain values.

    Names among the values are those of a category, which the space puts numbers in the place of.
    """

    dimension: Dimension
    on: str
    values: tuple[int | float | str, ...]

    def from_unit(self, unit: Values) -> Values:
        """Values at places in [0, 1], as if they counted."""
        return self.dimension.from_unit(unit)

    def to_unit(self, values: Values) -> Values:
        """Places in [0, 1] of values."""
        return self.dimension.to_unit(values)

    def contains(self, value: int | float) -> bool:
        """Whether the value may be proposed."""
        return self.dimension.contains(value)

    def grid(self, count: int) -> Values:
        """Evenly spread values of the dimension."""
        return self.dimension.grid(count)

    def perturb(self, values: Values, scale: float, rng: np.random.Generator) -> Values:
        """Neighbours of values in the dimension."""
        return self.dimension.perturb(values, scale, rng)

    @property
    def middle(self) -> float:
        """Its value where it does not count."""
        return float(self.dimension.from_unit(np.array([0.5]))[0])

    def counts(self, other: Values) -> np.ndarray:
        """Where it counts, by the values of the other hyperparameter."""
        return np.isin(other, self.values)

    def settled(self, values: Values, other: Values) -> Values:
        """The values where they count, and elsewhere the middle of the range."""
        return np.where(self.counts(other), values, self.middle)

    def upon(self, other: Dimension, where: str) -> "Conditional":
        """The condition with numbers in the place of names.

        Args:
            other: What the condition is upon.
            where: The call, for messages.

        Raises:
            InputError: For a name or value that the other one does not have.
        """
        names = other.names if isinstance(other, Category) else ()
        values = []
        for value in self.values:
            if isinstance(value, str) and value not in names:
                known = f"it has {', '.join(map(repr, names))}" if names else "it has numbers alone"
                raise InputError(
                    f"{where}: {self.on!r} can never be {value!r}, {known}.{nearest(value, names)}"
                )
            plain = float(names.index(value)) if isinstance(value, str) else value
            if not other.contains(plain):
                raise InputError(f"{where}: {self.on!r} can never be {plain:g}.")
            values.append(plain)
        return replace(self, values=tuple(values))


def inner(dimension: Dimension) -> Dimension:
    """What a hyperparameter may be where it counts."""
    return dimension.dimension if isinstance(dimension, Conditional) else dimension
