"""JAX and pyhf as soon as they are needed, and not before.

A fit in numpy takes milliseconds, to import JAX a third of a second, to import pyhf half of one. So
what lies below a fit takes them from here: `from difftune.later import jax, jnp, pyhf` imports
nothing until an attribute is asked for. What has to be told to JAX waits until somebody has
imported it, here or elsewhere.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = [
    "AnyArray",
    "Array",
    "Later",
    "is_loaded",
    "is_of_pyhf",
    "jax",
    "jnp",
    "once_loaded",
    "pyhf",
]


class Later:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


def is_loaded() -> bool:
    """Whether JAX is there; where it is not, no array is one of its."""
    return "jax" in sys.modules


class _OfJax(type):
    """Of a class of which arrays of JAX are instances."""

    def __instancecheck__(cls, value: Any) -> bool:
        return is_loaded() and isinstance(value, jax.Array)


if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    import pyhf
    from jax import Array

    AnyArray = Any  # no protocol describes both; the shapes in the signatures are for the reader
else:
    jax, jnp, pyhf = Later("jax"), Later("jax.numpy"), Later("pyhf")

    class Array(metaclass=_OfJax):
        """An array of JAX, traced or not, for signatures."""

    AnyArray = Array | np.ndarray | np.generic
    """For signatures: an array of JAX or numpy; a scalar of numpy has no dimensions."""


def is_of_pyhf(value: Any, *names: str) -> bool:
    """Whether something is an instance of a class of pyhf, which it is not before pyhf is there.

    Args:
        value: Anything.
        names: Of the classes, as from `pyhf` on.
    """
    module = sys.modules.get("pyhf")
    return module is not None and isinstance(value, tuple(attrgetter(n)(module) for n in names))


_waiting: list[Callable[[], None]] = []


class _Watch(MetaPathFinder):
    """Sees JAX being imported, once, and does behind it what waits for it."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "jax":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                for action in _waiting:
                    action()
                _waiting.clear()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def once_loaded(action: Callable[[], None]) -> None:
    """Does something as soon as JAX is there, whoever imports it.

    Args:
        action: What; it may use JAX.
    """
    if is_loaded():
        action()
        return
    if not _waiting:
        sys.meta_path.insert(0, _Watch())
    _waiting.append(action)
