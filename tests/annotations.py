"""What functions of difftune are given, and give, is checked against their annotations: each once.

jaxtyping and beartype check every call, which takes eight times as long as the likelihoods fitted
by NumPy do. What they find depends on no more than types, shapes and dtypes, so where these were
found right, they are not looked at again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial, update_wrapper, wraps
from types import CodeType, FunctionType, NoneType
from typing import Any

import jaxtyping
import numpy as np

from difftune.later import Later

_jaxtyped = jaxtyping.jaxtyped
_GENERATOR = 0x20 | 0x200  # inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


@dataclass(frozen=True)
class _Checks:
    """What is known of the code of a function."""

    kind: Callable[[Any], Any]
    # Kinds of arguments that were right, with those of the results they had.
    right: dict[tuple, set]


_known: dict[CodeType, _Checks] = {}
# Types of which there is nothing more to ask; the others have items, or a shape and a dtype.
# What is imported later would be imported by the question.
_plain: set[type] = {int, float, bool, str, NoneType, Later}


def _kind(value: Any) -> Any:
    """All that an annotation can ask of the value, but for a literal."""
    form = type(value)
    if form in _plain:
        return form
    if form is np.ndarray:
        return value.shape, value.dtype
    if form is tuple or form is list:
        return form, *[_kind(item) for item in value]
    if form is dict:
        return form, *[(_kind(key), _kind(item)) for key, item in value.items()]
    if isinstance(value, type):
        return value
    if hasattr(value, "dtype"):
        return form, getattr(value, "shape", None), value.dtype
    _plain.add(form)
    return form


def _kind_or_value(value: Any) -> Any:
    if isinstance(value, str | int):
        return type(value), value
    if type(value) in (tuple, list):
        return type(value), *[_kind_or_value(item) for item in value]
    return _kind(value)


def once_each(function: Any = None, *, typechecker: Any = None) -> Any:
    """As `jaxtyping.jaxtyped`, of which it takes the place."""
    if function is None:
        return partial(once_each, typechecker=typechecker)
    # What `takes` makes of `__init__` is checked behind the forms of its arguments.
    if isinstance(function, type) and _is_wrapped(function.__init__):
        return function
    strict = partial(_jaxtyped, typechecker=typechecker)
    # Of a generator there is nothing to look at but its type.
    if not isinstance(function, FunctionType) or function.__code__.co_flags & _GENERATOR:
        return strict(function)
    checks = _known.get(function.__code__)
    if checks is None:
        literal = "Literal" in str(function.__annotations__)
        checks = _Checks(_kind_or_value if literal else _kind, {})
        _known[function.__code__] = checks
    kind, right = checks.kind, checks.right
    # Made only when it is first called, if ever: to make it takes longer than most calls.
    checked = cache(lambda: strict(function))

    @wraps(function)
    def wrapper(*args, **kwargs):
        __tracebackhide__ = True
        given = *[kind(value) for value in args], *[(k, kind(v)) for k, v in kwargs.items()]
        results = right.get(given)
        if results is None:
            result = checked()(*args, **kwargs)
            right[given] = {kind(result)}
            return result
        result = function(*args, **kwargs)
        found = kind(result)
        if found not in results:
            strict(_giving(result, function))(*args, **kwargs)
            results.add(found)
        return result

    return wrapper


def _is_wrapped(function: Any) -> bool:
    """Whether the function is a wrapper of ours; jaxtyping knows its own in the same way."""
    return getattr(function, "__globals__", {}).get("__name__") == __name__


def _giving(result: Any, function: FunctionType) -> Callable:
    """A function with the annotations of another, whose result is there already."""

    def known(*args, **kwargs):
        return result

    made = FunctionType(
        known.__code__, function.__globals__, function.__name__, None, known.__closure__
    )
    return update_wrapper(made, function)
