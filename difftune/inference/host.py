"""Where a computation runs: a few fits at once in numpy, many in a compiled program."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from difftune.histfactory.precision import in_float64, in_numpy, traced

_P = ParamSpec("_P")
_R = TypeVar("_R")

# So many rows of a batch take about as long in numpy as their program takes to compile.
FEW = 100


def compiled_if_many(*static: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Compiles a function where that pays, and otherwise runs it as it stands, in numpy.

    The function is written with `difftune.histfactory.arrays`, and has arguments `model` and
    `data`, and perhaps `mu`, with or without a leading axis. Inside a transformation of JAX, and
    for long axes, it is compiled in float64, once for each structure of a model; for plain numbers
    and short axes there is nothing to compile.

    Args:
        *static: Names of the arguments that are part of the program.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        at_once = in_numpy(function)
        compiled = in_float64(jax.jit(function, static_argnames=static))
        signature = inspect.signature(function)

        @functools.wraps(function)
        def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            given = signature.bind(*args, **kwargs).arguments
            many = _rows(given["model"].numbers, given["data"], given.get("mu", 0.0)) > FEW
            chosen = compiled if many or traced(args, kwargs) else at_once
            return chosen(*args, **kwargs)

        return wrapped

    return decorate


def _rows(numbers: Any, data: Any, mu: Any) -> int:
    """How many fits of one kind there are."""
    batch = np.broadcast_shapes(np.shape(numbers)[:-1], np.shape(data)[:-1])
    return int(np.prod((*batch, *np.shape(mu)), dtype=int))
