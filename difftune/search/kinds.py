"""The calls that say what one hyperparameter may be."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from difftune.arguments import is_number, number, said, takes, whole
from difftune.errors import InputError
from difftune.search.dimensions import (
    Category,
    Choice,
    Conditional,
    Dimension,
    Integer,
    LogUniform,
    Uniform,
)


@takes()
def uniform(low: Any, high: Any) -> Uniform:
    """Even on [low, high].

    Raises:
        InputError: For bounds that are no finite numbers in ascending order.
    """
    return Uniform(*_bounds("uniform", low, high))


@takes()
def log_uniform(low: Any, high: Any) -> LogUniform:
    """Even in the logarithm on [low, high], for rates and penalties.

    Raises:
        InputError: For bounds that are no finite positive numbers in ascending order.
    """
    return LogUniform(*_bounds("log_uniform", low, high))


@takes()
def integer(low: Any, high: Any) -> Integer:
    """A whole number from low to high, both included, each as probable.

    Raises:
        InputError: For bounds that are no whole numbers in ascending order.
    """
    return Integer(*_whole_bounds("integer", low, high))


@takes()
def log_integer(low: Any, high: Any) -> Integer:
    """A whole number from low to high, both included, evenly in the logarithm.

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
