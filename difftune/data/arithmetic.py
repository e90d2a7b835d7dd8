"""Arithmetic on columns: integers exactly or not at all, everything else in double precision.

numpy lets integers wrap around, and turns 64-bit ones into doubles where signed and unsigned meet.
Here an integer result is the right one, or `Beyond` is raised. A number is an array of float64, of
int64, or of uint64 where int64 does not reach.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

_EXACT = 2.0**53  # Up to here a double holds every integer.
_INT64 = np.iinfo(np.int64)


class Beyond(ArithmeticError):
    """A result that cannot be given exactly, or an operation that needs whole numbers."""


def number(values: np.ndarray) -> np.ndarray:
    """The same values as float64, int64, or (only where they need it) uint64."""
    if values.dtype.kind == "f":
        return values.astype(np.float64, copy=False)
    if values.dtype == np.uint64 and values.size and values.max() > _INT64.max:
        return values
    return values.astype(np.int64, copy=False)


def truth(values: np.ndarray) -> np.ndarray:
    """True where a condition holds or a number is not 0."""
    return values if values.dtype.kind == "b" else values != 0


def constant(value: int | float) -> np.ndarray:
    """A number of an expression.

    Raises:
        Beyond: It is too large even for a double.
    """
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return np.array(value, np.uint64 if value > _INT64.max else np.int64)
    try:
        double = float(value)
    except OverflowError:
        double = np.inf
    if not np.isfinite(double):
        raise Beyond("has a number that is larger than 1.8e308")
    return np.array(double)


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sum."""
    return _exactly(np.add, a, b)


def subtract(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The difference."""
    return _exactly(np.subtract, a, b)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product."""
    return _exactly(np.multiply, a, b)


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quotient in double precision, of integers too."""
    return np.asarray(np.true_divide(_double(a), _double(b)))


def floor_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quotient, rounded down as in Python; ±inf or NaN where b is 0."""
    return _with_divisor(np.floor_divide, a, b)


def remainder(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The remainder, with the sign of b as in Python; NaN where b is 0."""
    return _with_divisor(np.remainder, a, b)


def power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The power; a fraction where an exponent is a negative integer."""
    if _whole(a, b) and (b < 0).any():
        a = _double(a)
    return _exactly(np.power, a, b)


def negative(a: np.ndarray) -> np.ndarray:
    """The negative."""
    return np.asarray(-a) if a.dtype.kind == "f" else subtract(np.array(0), a)


def absolute(a: np.ndarray) -> np.ndarray:
    """The magnitude; that of -2^63 needs uint64."""
    if a.dtype.kind == "i" and (a == _INT64.min).any():
        return narrowed(np.abs(a.astype(object)))
    return np.asarray(np.abs(a))


def alike(*values: np.ndarray) -> list[np.ndarray]:
    """Numbers of one type.

    Raises:
        Beyond: Integers beyond 2^63 meet negative ones.
    """
    if any(v.dtype.kind == "f" for v in values):
        return [_double(v) for v in values]
    if all(v.dtype.kind == "i" for v in values):
        return list(values)
    if any(v.dtype.kind == "i" and (v < 0).any() for v in values):
        raise Beyond("brings together integers beyond 2^63 and negative ones")
    return [v.astype(np.uint64) for v in values]


def compare(operation: Callable[..., Any], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`operation` of the module operator, for strings or for numbers, compared exactly."""
    if a.dtype.kind in "SU":
        return np.asarray(operation(a, b))
    if _fits_single(a, b) or _fits_single(b, a):
        single = (v.astype(np.float32, copy=False) for v in (a, b))
        return np.asarray(operation(*single))
    a, b = number(a), number(b)
    result = np.asarray(operation(a, b))
    if a.dtype.kind == b.dtype.kind:
        return result
    # As doubles, large integers would be rounded first.
    large = np.zeros(result.shape, bool)
    for v in (a, b):
        if v.dtype.kind != "f":
            large |= np.abs(_double(v)) >= _EXACT
    if large.any():
        one, other = (np.broadcast_to(v, result.shape)[large].astype(object) for v in (a, b))
        result[large] = operation(one, other).astype(bool)
    return result


def _fits_single(values: np.ndarray, one: np.ndarray) -> bool:
    """Whether single precision is enough to compare values with a number: it holds both."""
    if values.dtype != np.float32 or one.ndim or one.dtype.kind not in "if":
        return False
    return bool(abs(one) < 2**24 and np.float32(one) == one)


def bitwise(operation: Callable[..., Any], *values: np.ndarray) -> np.ndarray:
    """`&`, `|` or `~` on the bits of integers."""
    return np.asarray(operation(*alike(*(_bits(v) for v in values))))


def shift(operation: Callable[..., Any], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`<<` or `>>` on integers.

    Raises:
        Beyond: Bits get lost on the left, or the shift is not from 0 to 63.
    """
    a, b = _bits(a), _bits(b)
    if ((b < 0) | (b > 63)).any():
        raise Beyond("shifts bits by less than 0 or more than 63 places")
    b = b.astype(a.dtype)
    result = np.asarray(operation(a, b))
    if operation is operator.lshift and (result >> b != a).any():
        raise Beyond("has an integer that is beyond 64 bits")
    return result


def _double(a: np.ndarray) -> np.ndarray:
    return a.astype(np.float64, copy=False)


def _whole(*values: np.ndarray) -> bool:
    return all(v.dtype.kind in "iu" for v in values)


def _exactly(operation: np.ufunc, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    near = np.asarray(operation(_double(a), _double(b)))
    if not _whole(a, b):
        return near
    if a.dtype == b.dtype == np.int64:
        result = np.asarray(operation(a, b))
        # What has wrapped around is wrong by a multiple of 2^64, the double by far less.
        if not (np.abs(near - result) > 2.0**62).any():
            return result
    if (np.abs(near) > 2.0**65).any():
        raise Beyond(_TOO_LARGE)
    return narrowed(operation(a.astype(object), b.astype(object)))


_TOO_LARGE = (
    "has an integer that is beyond 64 bits; if its last digits do not matter, calculate with "
    "doubles, as in `1.0 * a * b` or `10.0**20`"
)


def narrowed(values: object) -> np.ndarray:
    """Python's integers as int64 or uint64."""
    exact = np.asarray(values, object)
    for kind in (np.int64, np.uint64):
        try:
            return exact.astype(kind)
        except OverflowError:
            continue
    raise Beyond(_TOO_LARGE)


def _with_divisor(operation: np.ufunc, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    zero = b == 0
    if not (_whole(a, b) and zero.any()):
        return _exactly(operation, a, b)
    # numpy's integers would say 0.
    with np.errstate(all="ignore"):
        infinite = operation(_double(a), _double(b))
    return np.where(zero, infinite, _exactly(operation, a, np.where(zero, 1, b).astype(b.dtype)))


def _bits(a: np.ndarray) -> np.ndarray:
    if a.dtype.kind != "f":
        return a
    if not (np.isfinite(a) & (np.abs(a) <= _EXACT) & (a == np.floor(a))).all():
        raise Beyond("uses the bits of numbers that are not whole")
    return a.astype(np.int64)
