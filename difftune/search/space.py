"""The space of hyperparameters: what may be tried, and what a neighbour of a value is."""

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError, nearest

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

    def grid(self, count: int) -> Values:
        """So many values, evenly over the range with both ends; the middle if it is one."""
        return self.from_unit(np.linspace(0.0, 1.0, count) if count > 1 else np.array([0.5]))

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

    def grid(self, count):
        """So many options, spread over the list; all of them if there are no more."""
        last = len(self.options) - 1
        index = np.linspace(0, last, count) if count > 1 else np.array([last / 2])
        return np.asarray(self.options)[np.unique(index.round().astype(int))]

    def perturb(self, values, scale, rng):
        """The option before or after, reflected at the ends (the scale plays no role)."""
        return super().perturb(values, 1.0 / len(self.options), rng)


@dataclass(frozen=True)
class Category(Choice):
    """One of several numbers without an order; every other one is a neighbour."""

    names: tuple[str, ...] = ()

    def grid(self, count):
        """All options: none stands for another."""
        return np.asarray(self.options)

    def perturb(self, values, scale, rng):
        """Any other option (the scale plays no role)."""
        number, options = len(self.options), np.asarray(self.options)
        index = (self.to_unit(values) * number).astype(int)
        if number == 1:
            return options[index]
        return options[(index + rng.integers(1, number, len(index))) % number]


@dataclass(frozen=True)
class Conditional(Dimension):
    """A dimension that counts only where another hyperparameter has certain values."""

    dimension: Dimension
    on: str
    values: tuple[float, ...]

    def from_unit(self, unit):
        """Values at places in [0, 1], as if they counted."""
        return self.dimension.from_unit(unit)

    def to_unit(self, values):
        """Places in [0, 1] of values."""
        return self.dimension.to_unit(values)

    def contains(self, value):
        """Whether the value may be proposed."""
        return self.dimension.contains(value)

    def grid(self, count):
        """Those of the dimension."""
        return self.dimension.grid(count)

    def perturb(self, values, scale, rng):
        """Those of the dimension."""
        return self.dimension.perturb(values, scale, rng)

    def settled(self, values: Values, other: Values) -> Values:
        """The values where they count, and elsewhere the middle of the range."""
        middle = self.dimension.from_unit(np.array([0.5]))[0]
        return np.where(np.isin(other, self.values), values, middle)


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


def category(*options: str | int | float) -> Category:
    """One of several without an order: numbers, or names that stand for 0, 1, 2, ...

    Names are what reports show. `category("adam", "sgd")` goes with
    `difftune.training.optimizer("adam", "sgd")`, and `category("relu", "tanh")` with
    `MLP(activation=("relu", "tanh"))`.

    Raises:
        InputError: For names mixed with numbers, or one given twice.
    """
    names = [option for option in options if isinstance(option, str)]
    if names and len(names) < len(options):
        raise InputError(f"category{options}: give names or numbers, not both.")
    if len(set(options)) < len(options):
        raise InputError(f"category{options}: one is given twice.")
    if names:
        return Category(tuple(range(len(names))), tuple(names))
    return Category(tuple(float(option) for option in options))


def when(name: str, *values: int | float, then: Dimension) -> Conditional:
    """A hyperparameter that counts only where another has one of some values.

    Where it does not count it has the middle of its range, so that what nothing reads is no
    difference between members.

    Args:
        name: The other hyperparameter, of the same space.
        values: Its values, those of a `category` of names as 0, 1, 2, ...
        then: What this one may be then.

    Raises:
        InputError: Without values, or for a condition upon a condition.
    """
    if not values:
        raise InputError(f"when({name!r}): give the values of {name!r} for which it counts.")
    if isinstance(then, Conditional):
        raise InputError(f"when({name!r}, ...): a dimension has one condition, not two.")
    return Conditional(then, name, tuple(float(value) for value in values))


class Space(Mapping[str, Dimension]):
    """Named hyperparameters and what they may be.

    Example:
        >>> space = Space(learning_rate=log_uniform(1e-4, 1e-2), dropout=uniform(0.0, 0.5))
        >>> sorted(space)
        ['dropout', 'learning_rate']

    Raises:
        InputError: When a value is not a dimension, or a condition is upon a hyperparameter that
            is not there, has a condition itself, or cannot have the value.
    """

    def __init__(self, **dimensions: Dimension):
        for name, dimension in dimensions.items():
            if not isinstance(dimension, Dimension):
                raise InputError(
                    f"Space({name}={dimension!r}): give a dimension such as uniform(low, high), "
                    "log_uniform(low, high), integer(low, high) or choice(a, b, ...)."
                )
        self._dimensions = dict(dimensions)
        for name, dimension in dimensions.items():
            if isinstance(dimension, Conditional):
                self._check(name, dimension)

    def _check(self, name: str, conditional: Conditional) -> None:
        other = self.get(conditional.on)
        if other is None or isinstance(other, Conditional):
            what = "is not in the space" if other is None else "has a condition itself"
            raise InputError(
                f"Space({name}=when({conditional.on!r}, ...)): {conditional.on!r} {what}."
                f"{nearest(conditional.on, self) if other is None else ''}"
            )
        for value in conditional.values:
            if not other.contains(value):
                raise InputError(
                    f"Space({name}=when({conditional.on!r}, {value:g})): it can never be that."
                )

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

    def settled(self, values: Mapping[str, Values]) -> dict[str, Values]:
        """The same with those that do not count at the middle of their ranges.

        Args:
            values: Hyperparameters, of which some may be in no space.
        """

        def settle(name: str, own: Values) -> Values:
            dimension = self.get(name)
            if not isinstance(dimension, Conditional):
                return own
            return dimension.settled(own, values[dimension.on])

        return {name: settle(name, own) for name, own in values.items()}


def dense_space(
    *, layers: int = 3, width: int = 64, batch_sizes: Sequence[int] = (256, 512, 1024)
) -> Space:
    """All that is commonly searched for a dense network trained with Adam, in one call.

    Number of layers, neurons of each layer, dropout, L1, L2, batch size, learning rate, both
    decays and epsilon of Adam, and the weight of signal events: the free parameters of the
    same-sign WW analysis that this library's search began with. It goes with
    `MLP(hidden=(width,) * layers)`.

    Args:
        layers: Largest number of hidden layers.
        width: Largest number of neurons of a layer.
        batch_sizes: Sizes of batches.
    """
    widths: dict[str, Dimension] = {"width_1": integer(max(1, width // 4), width)}
    for number in range(2, layers + 1):
        deep = range(number, layers + 1)
        widths[f"width_{number}"] = when("depth", *deep, then=widths["width_1"])
    return Space(
        **({"depth": integer(1, layers)} if layers > 1 else {}),
        **widths,
        dropout=uniform(0.0, 0.5),
        l1=log_uniform(1e-7, 1e-3),
        l2=log_uniform(1e-7, 1e-3),
        batch_size=choice(*batch_sizes),
        learning_rate=log_uniform(1e-4, 3e-2),
        beta1=uniform(0.8, 0.99),
        beta2=uniform(0.9, 0.9999),
        epsilon=log_uniform(1e-9, 1e-5),
        signal_weight=log_uniform(0.3, 3.0),
    )
