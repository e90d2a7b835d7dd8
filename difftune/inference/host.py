"""Where a computation runs: a few fits at once, in numpy, and many in a compiled program.

Numpy needs a few times as long for a fit as the program that JAX makes of the same source, which
takes some ten seconds to compile. So what is asked once is computed at once, and what is asked
again and again is compiled. Both do the same steps, and agree but for rounding.
"""

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from difftune.histfactory.precision import in_float64, in_numpy, traced

_P = ParamSpec("_P")
_R = TypeVar("_R")

# So many tests or limits of one model take about as long in numpy as their program to compile.
FEW = 64


def compiled_if_many(
    *static: str, rows: str = "mu", few: int = FEW
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Compiles a function where that pays, and otherwise runs it as it stands, in numpy.

    The function is written with `difftune.histfactory.arrays`, and has arguments `model` and
    `data`, with or without a leading axis. Inside a transformation of JAX it is always compiled;
    for plain numbers once a structure has been asked for more than a few rows, of this call and
    those before.

    Args:
        *static: Names of the arguments that are part of the program.
        rows: Name of a further argument with an axis of rows, where the function has it.
        few: How many rows are not worth a compiled program.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        at_once = in_numpy(function)
        compiled = in_float64(jax.jit(function, static_argnames=static))
        signature = inspect.signature(function)
        asked: Counter[Hashable] = Counter()

        @functools.wraps(function)
        def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            given = signature.bind(*args, **kwargs).arguments
            if traced(args, kwargs):
                return compiled(*args, **kwargs)
            kind = given["model"].structure, *(given[name] for name in static)
            wanted = _rows(given["model"].numbers, given["data"], given.get(rows, 0.0))
            if not wanted or asked[kind] + wanted > few:
                return compiled(*args, **kwargs)
            asked[kind] += wanted
            return at_once(*args, **kwargs)

        return wrapped

    return decorate


def _rows(numbers: Any, data: Any, more: Any) -> int:
    """How many fits of one kind there are."""
    batch = np.broadcast_shapes(np.shape(numbers)[:-1], np.shape(data)[:-1])
    return int(np.prod((*batch, *np.shape(more)), dtype=int))
