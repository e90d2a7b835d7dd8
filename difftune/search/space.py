"""The space of hyperparameters: what may be tried, and what a neighbour of a value is."""

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError

Values = Float[np.ndarray, " members"]
T = TypeVar("T", bound="Dimension")


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

    def perturb(self, values: Values, scale: float, rng: np.random.Generator) -> Values:
        """Neighbours: a step of that size (in units of the whole range) up or down, reflected."""
        moved = self.to_unit(values) + scale * rng.choice([-1.0, 1.0], len(values))
        # Reflection keeps the values off the bounds, where clipping would pile them up.
        folded = np.mod(moved, 2.0)
        return self.from_unit(np.where(folded > 1.0, 2.0 - folded, folded))


@dataclass(frozen=True)
class Uniform(Dimension):
    """Even on [low, high]."""

    low: int | float
    high: int | float

    def __post_init__(self):
        if not self.low < self.high:
            raise InputError(f"uniform({self.low}, {self.high}): low must be below high.")

    def from_unit(self, unit):
        """Values at places in [0, 1]."""
        return self.low + np.asarray(unit) * (self.high - self.low)

    def to_unit(self, values):
        """Places in [0, 1] of values."""
        return (np.asarray(values) - self.low) / (self.high - self.low)

    def contains(self, value):
        """Whether the value lies within the bounds."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class LogUniform(Dimension):
    """Even in the logarithm on [low, high]."""

    low: int | float
    high: int | float

    def __post_init__(self):
        if not 0.0 < self.low < self.high:
            raise InputError(
                f"log_uniform({self.low}, {self.high}): low must be positive and below high."
            )

    def from_unit(self, unit):
        """Values at places in [0, 1]."""
        span = math.log(self.high / self.low)
        return np.clip(self.low * np.exp(np.asarray(unit) * span), self.low, self.high)

    def to_unit(self, values):
        """Places in [0, 1] of values."""
        return np.log(np.asarray(values) / self.low) / math.log(self.high / self.low)

    def contains(self, value):
        """Whether the value lies within the bounds."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Choice(Dimension):
    """One of several numbers in an order; neighbours are next to each other."""

    options: tuple[int | float, ...]

    def __post_init__(self):
        object.__setattr__(self, "options", tuple(float(option) for option in self.options))
        if not self.options or len(set(self.options)) < len(self.options):
            raise InputError(f"choice({list(self.options)}): give different numbers, at least one.")

    def from_unit(self, unit):
        """Values at places in [0, 1]."""
        index = np.minimum(np.asarray(unit) * len(self.options), len(self.options) - 1)
        return np.asarray(self.options)[index.astype(int)]

    def to_unit(self, values):
        """Places in [0, 1] of values: the middles of their intervals."""
        index = [self.options.index(value) for value in np.asarray(values).tolist()]
        return (np.asarray(index) + 0.5) / len(self.options)

    def contains(self, value):
        """Whether the value is one of the options."""
        return float(value) in self.options

    def perturb(self, values, scale, rng):
        """The option before or after, reflected at the ends (the scale plays no role)."""
        return super().perturb(values, 1.0 / len(self.options), rng)


def uniform(low: int | float, high: int | float) -> Uniform:
    """Even on [low, high]."""
    return Uniform(low, high)


def log_uniform(low: int | float, high: int | float) -> LogUniform:
    """Even in the logarithm on [low, high], for rates and penalties."""
    return LogUniform(low, high)


def choice(*options: int | float) -> Choice:
    """One of several numbers, in ascending or any other meaningful order."""
    return Choice(options)


def integer(low: int, high: int) -> Choice:
    """An integer from low to high, both included."""
    if low > high:
        raise InputError(f"integer({low}, {high}): low must not be above high.")
    return Choice(tuple(range(low, high + 1)))


class Space(Mapping[str, Dimension]):
    """Named hyperparameters and what they may be.

    Example:
        >>> space = Space(learning_rate=log_uniform(1e-4, 1e-2), dropout=uniform(0.0, 0.5))
        >>> sorted(space)
        ['dropout', 'learning_rate']

    Raises:
        InputError: When a value is not a dimension.
    """

    def __init__(self, **dimensions: Dimension):
        for name, dimension in dimensions.items():
            if not isinstance(dimension, Dimension):
                raise InputError(
                    f"Space({name}={dimension!r}): give a dimension such as uniform(low, high), "
                    "log_uniform(low, high), integer(low, high) or choice(a, b, ...)."
                )
        self._dimensions = dict(dimensions)

    def __getitem__(self, name: str) -> Dimension:
        return self._dimensions[name]

    def __iter__(self):
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={dimension}" for name, dimension in self.items())
        return f"Space({inside})"

    def sample(self, rng: np.random.Generator, count: int) -> dict[str, Values]:
        """Independent draws of all hyperparameters, `[count]` each."""
        return {name: dimension.sample(rng, count) for name, dimension in self.items()}
