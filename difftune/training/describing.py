"""Anything as plain values that can be kept and compared: settings, arrays, objects, and code.

Numbers, names and settings stand for themselves; arrays and the code of a user's functions and
classes by a digest. What comes of an installed package stands by its name, and the package by its
version.
"""

import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import os
import re
import sys
import sysconfig
import types
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

import difftune

Definition = dict[str, Any]
"""What `json` can hold; an object is a mapping whose `"is"` says of which kind it is."""

PACKAGES = ("difftune", "jax", "jaxlib", "flax", "optax", "numpy")
"""Those whose versions count for every result."""

_FEW = 16
_PLACES = ("site-packages", "dist-packages", sysconfig.get_path("stdlib"))
_OWN = os.path.join(os.path.dirname(difftune.__file__), "")


def describe(value: Any) -> Any:
    """Anything as plain values: equal for what gives equal numbers, as far as can be told.

    Dataclasses are described by their fields (but those with `compare=False`), other objects by
    their public attributes, functions by their code, what it refers to and what they enclose.

    Args:
        value: Settings, arrays, objects, functions, classes, and containers of them.
    """
    return json.loads(json.dumps(_Describer()(value)))


class _Describer:
    """Describes each function and class once, and refers to it by name from then on."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, str)):
            # A number that knows more (the inputs of a network their collections) is all of that.
            more = {} if isinstance(value, enum.Enum) else getattr(value, "__dict__", {})
            return {"is": _name(type(value)), "value": str(value), **self(more)} if more else value
        if isinstance(value, float):
            return value if np.isfinite(value) else str(value)
        if isinstance(value, (complex, bytes, os.PathLike)):
            return str(value)
        if isinstance(value, np.generic) and np.ndim(value) == 0:
            return self(value.item())
        if isinstance(value, (np.ndarray, jax.Array)):
            return self._array(value)
        if isinstance(value, Mapping) and not dataclasses.is_dataclass(value):
            return {str(key): self(each) for key, each in value.items()}
        if isinstance(value, (set, frozenset)):
            return sorted((self(each) for each in value), key=json.dumps)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return {
                "is": type(value).__name__,
                **self(dict(zip(value._fields, value, strict=True))),
            }
        if isinstance(value, (list, tuple)):
            return [self(each) for each in value]
        if isinstance(value, types.ModuleType):
            return {"is": value.__name__}
        if id(value) in self._known:
            return {"is": _name(value)}
        self._known[id(value)] = value
        if isinstance(value, functools.partial):
            parts = {"args": value.args, "keywords": value.keywords}
            return {"is": "partial", "of": self(value.func), **self(parts)}
        if isinstance(value, types.MethodType):
            return {"is": "method", "of": self(value.__self__), "function": self(value.__func__)}
        if isinstance(value, type):
            return {"is": _name(value), **self._class(value)}
        function = inspect.unwrap(value) if hasattr(value, "__wrapped__") else value
        if isinstance(function, types.FunctionType):
            return {"is": _name(function), **self._function(function)}
        return self._object(value)

    def _array(self, value: Any) -> Any:
        if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        array = np.asarray(value)
        if array.size <= _FEW and array.dtype.kind in "biuf":
            return self(array.tolist())
        content = array.tolist() if array.dtype.hasobject else None
        digest = hashlib.sha256(repr(content).encode() if content else array.tobytes())
        shape = " × ".join(map(str, array.shape))
        return {"is": f"{array.dtype}[{shape}]", "content": digest.hexdigest()}

    def _object(self, value: Any) -> Definition:
        kind = type(value)
        if dataclasses.is_dataclass(value):
            state = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.compare}
        else:
            # What is computed once and kept is no setting.
            state = {
                name: each
                for name, each in getattr(value, "__dict__", {}).items()
                if not isinstance(getattr(kind, name, None), functools.cached_property)
            }
        if not state and not isinstance(value, types.BuiltinFunctionType):
            # Without what is another number each time.
            state = {"value": re.sub(r" at 0x[0-9a-f]+", "", repr(value))}
        return {"is": _name(kind), **self._class(kind), **self(state)}

    def _class(self, kind: type) -> Definition:
        if _installed(kind):
            return _version(kind)
        found: Definition = {}
        for name, member in vars(kind).items():
            inner = getattr(member, "__func__", getattr(member, "fget", member))
            inner = getattr(inner, "func", inner)
            if isinstance(inner, types.FunctionType):
                if not _generated(inner):
                    found[name] = self(inner)
            elif not name.startswith("__") and _plain(member):
                found[name] = self(member)
        bases = [self(base) for base in kind.__bases__ if base is not object]
        return {"methods": {"is": _name(kind), **found}, "bases": bases}

    def _function(self, function: types.FunctionType) -> Definition:
        given = {
            name: self(each)
            for name, each in (
                ("defaults", function.__defaults__),
                ("keyword_defaults", function.__kwdefaults__),
            )
            if each
        }
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        enclosed = {name: self(_content(cell)) for name, cell in cells if name != "__class__"}
        if enclosed:
            given["encloses"] = enclosed
        if _installed(function):
            return {**_version(function), **given}
        referred = {}
        names = list(dict.fromkeys(_names(function.__code__)))
        for name in names:
            value = function.__globals__.get(name)
            if isinstance(value, types.ModuleType) and not _installed(value):
                inside = {n: getattr(value, n) for n in names if hasattr(value, n)}
                referred[name] = self({n: each for n, each in inside.items() if _plain(each)})
            elif value is not None and _plain(value):
                referred[name] = self(value)
        digest = hashlib.sha256("\n".join(_code(function.__code__, function.__doc__)).encode())
        return {"code": digest.hexdigest(), **given, "refers": referred}


def _name(value: Any) -> str:
    name = getattr(value, "__qualname__", type(value).__qualname__)
    root = _root(value)
    return name if root == "difftune" or not _installed(value) else f"{root}.{name}"


def _root(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__.partition(".")[0]
    return _module(value).partition(".")[0]


def _installed(value: Any) -> bool:
    """Whether its code is that of an installed package, or of difftune itself."""
    file = _file(value)
    if file is None:
        return _root(value) != "__main__"
    return any(part in file for part in _PLACES) or file.startswith(_OWN)


def _file(value: Any) -> str | None:
    """Where the code is; a file of the user may be called as a module of Python."""
    members = [value] if isinstance(value, types.FunctionType) else []
    if isinstance(value, type):
        members = [getattr(member, "__func__", member) for member in vars(value).values()]
    for member in members:
        if isinstance(member, types.FunctionType):
            # A decorator of somebody else is not where the code is.
            inner = inspect.unwrap(member)
            inner = inner if isinstance(inner, types.FunctionType) else member
            if inner is value or not _generated(inner):
                return inner.__code__.co_filename
    name = value.__name__ if isinstance(value, types.ModuleType) else _module(value)
    return getattr(sys.modules.get(name), "__file__", None)


def _generated(function: types.FunctionType) -> bool:
    """Whether a decorator wrote it, as those of dataclasses; it follows from the rest then."""
    return function.__code__.co_filename == "<string>"


def _module(value: Any) -> str:
    return str(getattr(value, "__module__", None) or "builtins")


def _version(value: Any) -> Definition:
    """Version of the package of a value, where it is not among those that count always."""
    root = _root(value)
    version = getattr(sys.modules.get(root), "__version__", None)
    ours = root in PACKAGES or root in sys.stdlib_module_names or version is None
    return {} if ours else {"version": str(version)}


def _plain(value: Any) -> bool:
    """What a function may refer to and is part of what it computes: no open file, no logger."""
    simple = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset)
    more = (np.ndarray, np.generic, jax.Array, functools.partial, types.FunctionType, type)
    return (
        isinstance(value, (*simple, *more))
        or dataclasses.is_dataclass(value)
        or hasattr(value, "__wrapped__")
    )


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _names(code: types.CodeType) -> Iterable[str]:
    """Names that code looks up, that of the functions within it as well."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _code(code: types.CodeType, doc: str | None) -> Iterable[str]:
    """What runs, without comments, the docstring, and the place in the file."""
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_freevars, code.co_argcount, code.co_kwonlyargcount))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant, None)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant)))
        elif doc is None or constant != doc:
            yield repr(constant)
