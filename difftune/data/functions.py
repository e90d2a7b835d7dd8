"""Functions and operators of expressions, by name or by the node of a syntax tree."""

import ast
import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from difftune.data import arithmetic, lists, momenta
from difftune.data.arithmetic import alike, number, truth
from difftune.data.kinds import Kind
from difftune.data.lists import Part

Function = Callable[..., np.ndarray]
CONSTANTS = {"pi": np.pi, "nan": np.nan, "inf": np.inf}
P4 = "p4"
"""The kind of a four-momentum, and the function that makes one."""


def _doubles(function: Function) -> Function:
    return lambda *v: np.asarray(function(*(number(a).astype(np.float64) for a in v)))


def _numbers(function: Function) -> Function:
    return lambda *v: np.asarray(function(*(number(a) for a in v)))


def _same_type(function: Function) -> Function:
    return lambda *v: np.asarray(function(*alike(*(number(a) for a in v))))


def _unless_integer(function: Function) -> Function:
    """For roundings, which leave integers as they are."""
    return lambda a: number(a) if a.dtype.kind != "f" else function(number(a))


def where(test: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """One or the other, as numbers of one type."""
    return np.where(truth(test), *alike(number(yes), number(no)))


def contains(text: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Whether a string has another one in it."""
    return np.asarray(np.char.find(text, part) >= 0)


def logic(operation: Function, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`&` or `|`: of conditions, or of the bits of integers."""
    if "b" in (a.dtype.kind, b.dtype.kind):
        return operation(truth(a), truth(b))
    return arithmetic.bitwise(operation, number(a), number(b))


def invert(a: np.ndarray) -> np.ndarray:
    """`~`: of a condition, or of the bits of integers."""
    return ~a if a.dtype.kind == "b" else arithmetic.bitwise(operator.invert, number(a))


_DOUBLES = ["exp", "expm1", "log", "log10", "log1p", "log2", "sqrt", "sin", "cos", "tan"]
_DOUBLES += ["arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"]
_TESTS = ("isnan", "isinf", "isfinite", "signbit")
FUNCTIONS: dict[str, tuple[int, Function, Kind]] = {
    **{name: (1, _doubles(getattr(np, name)), "number") for name in _DOUBLES},
    **{name: (1, _doubles(getattr(np, name)), "bool") for name in _TESTS},
    **{n: (2, _doubles(getattr(np, n)), "number") for n in ("arctan2", "copysign", "hypot")},
    **{n: (2, _same_type(getattr(np, n)), "number") for n in ("maximum", "minimum")},
    **{n: (1, _unless_integer(getattr(np, n)), "number") for n in ("ceil", "floor", "trunc")},
    "round": (1, _unless_integer(np.rint), "number"),
    "sign": (1, _numbers(np.sign), "number"),
    "abs": (1, _numbers(arithmetic.absolute), "number"),
    "fmod": (2, _doubles(np.fmod), "number"),
    "pow": (2, _numbers(arithmetic.power), "number"),
    "where": (3, where, "number"),
    "contains": (2, contains, "bool"),
}
"""By name: how many arguments, what is done, and the kind of the result."""

OF_PARTS: dict[str, Callable[..., Part]] = {
    "where": functools.partial(lists.chosen, where),
    "isnan": functools.partial(lists.tested, FUNCTIONS["isnan"][1], blank=True),
    "isfinite": functools.partial(lists.tested, FUNCTIONS["isfinite"][1], blank=False),
    "isinf": functools.partial(lists.tested, FUNCTIONS["isinf"][1], blank=False),
}
"""Functions that have a value where an argument has none."""

OF_LISTS: dict[str, tuple[Callable[[Part], Part], Kind]] = {
    "max": (functools.partial(lists.extreme, np.maximum), "number"),
    "min": (functools.partial(lists.extreme, np.minimum), "number"),
    "argmax": (functools.partial(lists.place_of, np.maximum), "number"),
    "argmin": (functools.partial(lists.place_of, np.minimum), "number"),
    "sum": (lists.total, "number"),
    "mean": (lists.mean, "number"),
    "prod": (lists.product, "number"),
    "count": (lists.count, "number"),
    "any": (functools.partial(lists.holds, np.logical_or), "bool"),
    "all": (functools.partial(lists.holds, np.logical_and), "bool"),
}
"""What reduces a list, by name: what is done, and the kind of the result."""
KEYWORDS = {"sort": ("by",), "p4": momenta.COORDINATES}
"""Functions that have keywords."""
ARITIES = {name: arity for name, (arity, _, _) in FUNCTIONS.items()}
ARITIES |= dict.fromkeys(OF_LISTS, 1) | {"sort": 1, "delta_phi": 2, "delta_r": 2}
"""How many arguments functions have; `p4` has one or none."""
BINARY: dict[type[ast.operator], Function] = {
    ast.Add: _numbers(arithmetic.add),
    ast.Sub: _numbers(arithmetic.subtract),
    ast.Mult: _numbers(arithmetic.multiply),
    ast.Div: _numbers(arithmetic.divide),
    ast.FloorDiv: _numbers(arithmetic.floor_divide),
    ast.Mod: _numbers(arithmetic.remainder),
    ast.Pow: _numbers(arithmetic.power),
    ast.LShift: _numbers(functools.partial(arithmetic.shift, operator.lshift)),
    ast.RShift: _numbers(functools.partial(arithmetic.shift, operator.rshift)),
    ast.BitAnd: functools.partial(logic, operator.and_),
    ast.BitOr: functools.partial(logic, operator.or_),
}
UNARY: dict[type[ast.unaryop], tuple[Function, Kind | None]] = {
    ast.Not: (lambda a: ~truth(a), "bool"),
    ast.Invert: (invert, None),
    ast.USub: (_numbers(arithmetic.negative), "number"),
    ast.UAdd: (number, "number"),
}
COMPARE: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
