"""The space of hyperparameters: the calls that say what one may be, and all that may be tried."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from difftune.arguments import is_number, number, said, takes, whole
from difftune.errors import InputError, nearest
from difftune.search.dimensions import (
    Category,
    Choice,
    Conditional,
    Dimension,
    Integer,
    LogUniform,
    Uniform,
    Values,
)


@takes()
def uniform(low: Any, high: Any) -> Uniform:
    """Uniform on [low, high].

    Raises:
        InputError: For bounds that are no finite numbers in ascending order.
    """
    return Uniform(*_bounds("uniform", low, high))


@takes()
def log_uniform(low: Any, high: Any) -> LogUniform:
    """Uniform in the logarithm on [low, high], for rates and penalties.

    Raises:
        InputError: For bounds that are no finite positive numbers in ascending order.
    """
    return LogUniform(*_bounds("log_uniform", low, high))


@takes()
def integer(low: Any, high: Any) -> Integer:
    """A whole number from low to high, both included, all equally probable.

    Raises:
        InputError: For bounds that are no whole numbers in ascending order.
    """
    return Integer(*_whole_bounds("integer", low, high))


@takes()
def log_integer(low: Any, high: Any) -> Integer:
    """A whole number from low to high, both included, uniform in the logarithm.

    For numbers of units and the like, of which 16 and 32 differ as much as 256 and 512.

    Raises:
        InputError: For bounds that are no whole numbers from 1 on in ascending order.
    """
    return Integer(*_whole_bounds("log_integer", low, high), log=True)


def choice(*options: Any) -> Choice:
    """One of several numbers, in ascending or any other meaningful order.

    Args:
        options: Numbers, or one list of them. Names have no order: of them it is a `category`.

    Raises:
        InputError: Without options, for one that is given twice or is no finite number.
    """
    options = _options(options)
    if options and all(isinstance(option, str) for option in options):
        return category(*options)
    return Choice(_numbers("choice", options))


def category(*options: Any) -> Category:
    """One of several without an order: numbers, or names that stand for 0, 1, 2, ...

    Names are what reports show. `category("adam", "sgd")` goes with
    `difftune.training.optimizer("adam", "sgd")`, and `category("relu", "tanh")` with
    `MLP(activation=("relu", "tanh"))`.

    Args:
        options: Names or numbers, or one list of them.

    Raises:
        InputError: Without options, for names mixed with numbers, one that is given twice, or a
            number that is not finite.
    """
    options = _options(options)
    names = [option for option in options if isinstance(option, str)]
    if names and len(names) < len(options):
        raise InputError(f"category{options}: give names or numbers, not both.")
    if not names:
        plain = _numbers("category", options)
        if not plain or len(set(plain)) < len(plain):
            raise InputError(f"category{options}: give different ones, at least one.")
        return Category(plain)
    if len(set(names)) < len(names):
        raise InputError(f"category{options}: one is given twice.")
    return Category(tuple(range(len(names))), tuple(names))


@takes()
def when(name: Any, *values: Any, then: Any = None) -> Conditional:
    """A hyperparameter that counts only where another has one of some values.

    Where it does not count it has the middle of its range, so that what nothing reads is no
    difference between members.

    Args:
        name: The other hyperparameter, of the same space.
        values: Its values: numbers, or names where it is a `category` of names (which also stand
            for 0, 1, 2, ...).
        then: What this one may be then; it may also be the last of the values.

    Raises:
        InputError: Without values, without `then`, or for a condition upon a condition.
    """
    if then is None and values and isinstance(values[-1], Dimension):
        values, then = values[:-1], values[-1]
    example = f"when({name!r}, 1, then=uniform(0.5, 0.99))"
    if not isinstance(name, str):
        raise InputError(f"when({said(name)}, ...): give the name of a hyperparameter first.")
    values = _options(values)
    if not values:
        raise InputError(
            f"when({name!r}): give the values of {name!r} for which it counts, as in {example}."
        )
    if isinstance(then, Conditional):
        raise InputError(f"when({name!r}, ...): a dimension has one condition, not two.")
    if not isinstance(then, Dimension):
        given = "" if then is None else f"then={said(then)} is none; "
        raise InputError(f"when({name!r}, ...): {given}say what it may be then, as in {example}.")
    plain = tuple(
        value if isinstance(value, str) else number(value, f"when({name!r}, {said(value)})")
        for value in values
    )
    return Conditional(then, name, plain)


KINDS: dict[str, Callable[..., Dimension]] = {
    "uniform": uniform,
    "log_uniform": log_uniform,
    "integer": integer,
    "log_integer": log_integer,
    "choice": choice,
    "category": category,
}
"""What a dimension can be made with, by name."""


def _options(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Options one by one, where they came as one list."""
    if len(given) == 1 and isinstance(given[0], Iterable) and not isinstance(given[0], str):
        return tuple(given[0])
    return given


def _numbers(kind: str, options: tuple[Any, ...]) -> tuple[float, ...]:
    where = f"{kind}({', '.join(map(said, options))})"
    remedy = "give numbers, or names alone" if kind == "choice" else "give numbers or names"
    plain = [float(option) if isinstance(option, bool) else option for option in options]
    return tuple(number(option, where, remedy) for option in plain)


def _bounds(kind: str, low: Any, high: Any) -> tuple[int | float, int | float]:
    where = f"{kind}({said(low)}, {said(high)})"
    for bound in (low, high):
        if is_number(bound) and math.isnan(bound):
            raise InputError(f"{where}: low must be below high, and neither NaN.")
        number(bound, where, f"give two finite bounds, as in {kind}(0.001, 0.1)")
    # As given: whole numbers stay what they are in messages.
    return (low.item() if isinstance(low, np.generic) else low), (
        high.item() if isinstance(high, np.generic) else high
    )


def _whole_bounds(kind: str, low: Any, high: Any) -> tuple[int, int]:
    where = f"{kind}({said(low)}, {said(high)})"
    other = "uniform" if kind == "integer" else "log_uniform"
    remedy = f"give whole numbers, or take {other} for all numbers between"
    return whole(low, where, remedy=remedy), whole(high, where, remedy=remedy)


class Space(Mapping[str, Dimension]):
    """Named hyperparameters and what they may be.

    Example:
        >>> space = Space(learning_rate=log_uniform(1e-4, 1e-2), dropout=uniform(0.0, 0.5))
        >>> sorted(space)
        ['dropout', 'learning_rate']

    Args:
        given: The same as a mapping by name.
        dimensions: What each hyperparameter may be; also as in the analysis file,
            `{"uniform": [0.0, 0.5]}`.

    Raises:
        InputError: When a value is not a dimension, or a condition is upon a hyperparameter that
            is not there, has a condition itself, or cannot have the value.
    """

    def __init__(self, given: Any = None, /, **dimensions: Any):
        if given is not None and not isinstance(given, Mapping):
            raise InputError(
                f"Space({said(given)}): name what is searched, as in "
                "Space(learning_rate=log_uniform(1e-4, 1e-2))."
            )
        every = {**(given or {}), **dimensions}
        self._dimensions = {name: _dimension(name, value) for name, value in every.items()}
        for name, dimension in self._dimensions.items():
            if isinstance(dimension, Conditional):
                self._dimensions[name] = self._bound(name, dimension)

    @classmethod
    def of(cls, given: Any) -> "Space":
        """The space itself, that of a mapping, or an empty one of None.

        Raises:
            InputError: For anything else.
        """
        return given if isinstance(given, Space) else cls(given)

    def _bound(self, name: str, conditional: Conditional) -> Conditional:
        other = self.get(conditional.on)
        if other is None or isinstance(other, Conditional):
            what = "is not in the space" if other is None else "has a condition itself"
            raise InputError(
                f"Space({name}=when({conditional.on!r}, ...)): {conditional.on!r} {what}."
                f"{nearest(conditional.on, self) if other is None else ''}"
            )
        values = ", ".join(map(repr, conditional.values))
        return conditional.upon(other, f"Space({name}=when({conditional.on!r}, {values}))")

    def __getitem__(self, name: str) -> Dimension:
        return self._dimensions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={dimension}" for name, dimension in self.items())
        return f"Space({inside})"

    @property
    def logarithmic(self) -> tuple[str, ...]:
        """Names of those that are searched uniformly in the logarithm, as pictures draw them."""

        def is_log(dimension: Dimension) -> bool:
            match dimension:
                case Conditional():
                    return is_log(dimension.dimension)
                case Choice(options) if len(options) > 2 and min(options) > 0:
                    steps = np.diff(np.log(sorted(options)))
                    return bool(np.ptp(steps) < 1e-6)
                case Integer():
                    return dimension.log
            return isinstance(dimension, LogUniform)

        return tuple(name for name, dimension in self.items() if is_log(dimension))

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


def _dimension(name: Any, value: Any) -> Dimension:
    """What a user gave as a dimension.

    Raises:
        InputError: With what to write instead.
    """
    if not isinstance(name, str):
        raise InputError(f"Space({{{said(name)}: ...}}): names of hyperparameters are texts.")
    if isinstance(value, Dimension):
        return value
    where = f"Space({name}={said(value)})"
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, options),) = value.items()
        if kind in KINDS:
            return KINDS[kind](*(options if isinstance(options, Sequence) else (options,)))
        raise InputError(
            f"{where}: there is no {kind!r}.{nearest(str(kind), KINDS)} Choose one of "
            f"{', '.join(KINDS)}."
        )
    if is_number(value):
        raise InputError(
            f"{where}: one number is not searched; give it as "
            f"hyperparameters={{{name!r}: {value}}}, or a range such as uniform(low, high)."
        )
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) and len(value):
        inside = ", ".join(map(said, value))
        if all(isinstance(option, str) for option in value):
            raise InputError(f"{where}: write category({inside}) for one of these.")
        between = f", or uniform({inside}) for all between" if len(value) == 2 else ""
        raise InputError(f"{where}: write choice({inside}) for one of these{between}.")
    brackets = (
        " It is a function: write its numbers in brackets." if inspect.isroutine(value) else ""
    )
    raise InputError(
        f"{where}: give a dimension such as uniform(low, high), log_uniform(low, high), "
        f"integer(low, high) or choice(a, b, ...).{brackets}"
    )


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
    for depth in range(2, layers + 1):
        deep = range(depth, layers + 1)
        widths[f"width_{depth}"] = when("depth", *deep, then=widths["width_1"])
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
