"""What figures and tables are made of, held against the kinds that their signatures name."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import numpy as np
from jaxtyping import AbstractArray

from difftune.arguments import said, takes
from difftune.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
# Those that `takes` looks at.
_NUMBERS = {int, float, NoneType, inspect.Parameter.empty}
_GROUPS = {Sequence: "a list", Collection: "a list", Mapping: "a mapping", dict: "a mapping"}


def checked(function: F) -> F:
    """Lets a public function refuse what is of another kind than its signature says.

    What is wrong is an `InputError` that names the argument, what was given and what is wanted.
    Arrays may be lists of numbers; a model, a result or templates are what other calls return.
    """
    who = function.__name__
    forms = {
        name: partial(_given, who, name, parameter.annotation)
        for name, parameter in inspect.signature(function).parameters.items()
        if not set(_options(parameter.annotation)) <= _NUMBERS
    }
    return takes(**forms)(function)


def _options(kind: Any) -> tuple[Any, ...]:
    """The kinds of a union; a kind that is none by itself."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _given(who: str, name: str, kind: Any, value: Any) -> Any:
    """What was given, as what is wanted."""
    try:
        return _as(kind, value)
    except _OtherKind as error:
        where = f"{who}({name}={said(value)})"
        raise InputError(f"{where}: give {error.args[0]}, not {said(error.args[1])}.") from None


class _OtherKind(Exception):
    """What was wanted, and what came."""


def _as(kind: Any, value: Any) -> Any:
    """A value of a kind; kinds that say too little are not looked at."""
    if kind is Any:
        return value
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(inside, value)
    if origin is tuple:
        return _tuple(inside, value)
    if origin in _GROUPS:
        return _group(origin, inside, value)
    if inspect.isclass(kind) and issubclass(kind, AbstractArray):
        return _array(kind, value)
    if kind in (int, float):
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        return value if number else _refuse("a number", value)
    if kind is bool:
        return value if isinstance(value, bool | np.bool_) else _refuse("True or False", value)
    if kind is str:
        return value if isinstance(value, str) else _refuse("a text", value)
    if inspect.isclass(kind) and not getattr(kind, "_is_protocol", False):
        return value if isinstance(value, kind) else _refuse(_named(kind), value)
    return value


def _one_of(kinds: Sequence[Any], value: Any) -> Any:
    wanted = []
    for kind in kinds:
        try:
            return _as(kind, value)
        except _OtherKind as error:
            if kind is not NoneType:
                wanted.append(error.args)
    # What is wrong within the only kind that it could be says more than all kinds do.
    if len(wanted) == 1:
        raise _OtherKind(*wanted[0])
    return _refuse(" or ".join(dict.fromkeys(each for each, _ in wanted)), value)


def _tuple(kinds: Sequence[Any], value: Any) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return _refuse("a tuple", value)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_as(kinds[0], each) for each in value)
    if len(value) != len(kinds):
        return _refuse(f"{len(kinds)} values", value)
    return tuple(_as(kind, each) for kind, each in zip(kinds, value, strict=True))


def _group(origin: Any, inside: Sequence[Any], value: Any) -> Any:
    """A list or a mapping whose members are of a kind."""
    is_mapping = isinstance(value, Mapping)
    lists = not isinstance(value, str | bytes) and isinstance(value, Collection | np.ndarray)
    if is_mapping != (origin in (Mapping, dict)) or not lists:
        return _refuse(f"{_GROUPS[origin]} of {_named(inside[-1])}", value)
    if inside[-1] is Any:
        return value
    if is_mapping:
        return {key: _as(inside[1], each) for key, each in value.items()}
    members = [_as(inside[0], each) for each in value]
    return value if isinstance(value, tuple | set | frozenset) else members


def _array(kind: Any, value: Any) -> np.ndarray:
    """Numbers of the shape that is wanted."""
    dims = kind.dim_str.split()
    wanted = None if any(dim.startswith(("*", "...")) for dim in dims) else len(dims)
    said_so = "an array of numbers" if wanted is None else f"numbers [{', '.join(dims)}]"
    try:
        found = np.asarray(value)
    except ValueError:
        return _refuse(said_so, value)
    if found.dtype.kind not in "biuf" or (wanted is not None and found.ndim != wanted):
        return _refuse(said_so, value)
    floats = all("float" in str(each) for each in kind.dtypes)
    return found.astype(float) if floats and found.dtype.kind != "f" else found


def _named(kind: Any) -> str:
    """What a kind is called in a message."""
    plain = {str: "texts", float: "numbers", int: "numbers", Any: "anything"}
    if kind in plain:
        return plain[kind]
    if inspect.isclass(kind) and issubclass(kind, AbstractArray):
        return "arrays of numbers"
    names = [getattr(one, "__name__", str(one)) for one in _options(kind) if one is not NoneType]
    return " or ".join(f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}" for name in names)


def _refuse(wanted: str, value: Any) -> Any:
    raise _OtherKind(wanted, value)
