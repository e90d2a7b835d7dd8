"""One source for numpy and JAX: what is called with numpy arrays alone is computed in numpy.

A fit takes milliseconds, and its compiled program several seconds to make. So the likelihood and
the solver are written with the functions of this module, usually imported as `xp`: with plain
numbers they run as they stand, and nothing is compiled; as soon as an array of JAX takes part, as
it does inside `jit`, `grad` and `vmap`, they are JAX's.
"""

import functools
from collections.abc import Callable
from sys import modules
from typing import Any

import numpy as np
import scipy.linalg.lapack
import scipy.special

from difftune.later import AnyArray as AnyArray
from difftune.later import Later, is_loaded, jax, jnp
from difftune.pytrees import mapped

# Looked up first: `isinstance` of an array of JAX is slow, and asked some hundred times a step.
_PLAIN = {np.ndarray, np.float64, np.bool_, np.int64, float, int, bool, type(None)}

inf, nan, pi = np.inf, np.nan, np.pi


def in_jax(*trees: Any) -> bool:
    """Whether there is any array of JAX, traced or not, in nested tuples and lists."""
    if not is_loaded():
        return False
    for tree in trees:
        if type(tree) not in _PLAIN and (
            in_jax(*tree) if isinstance(tree, (tuple, list)) else isinstance(tree, jax.Array)
        ):
            return True
    return False


def _either(host: Callable[..., Any], device: str, *, module: Any = jnp) -> Callable[..., Any]:
    @functools.wraps(host, assigned=("__name__", "__doc__"), updated=())
    def chosen(*args: Any, **options: Any) -> Any:
        if "jax" not in modules:  # asked some hundred times a step
            return host(*args, **options)
        for argument in args:
            if type(argument) not in _PLAIN and in_jax(*args):
                return getattr(module, device)(*args, **options)
        return host(*args, **options)

    return chosen


abs = _either(np.abs, "abs")
append = _either(np.append, "append")
argmax = _either(np.argmax, "argmax")
argmin = _either(np.argmin, "argmin")
asarray = _either(np.asarray, "asarray")
atleast_1d = _either(np.atleast_1d, "atleast_1d")
broadcast_to = _either(np.broadcast_to, "broadcast_to")
clip = _either(np.clip, "clip")
concatenate = _either(np.concatenate, "concatenate")
diag = _either(np.diag, "diag")
diagonal = _either(np.diagonal, "diagonal")
einsum = _either(np.einsum, "einsum")
exp = _either(np.exp, "exp")
expm1 = _either(np.expm1, "expm1")
fmin = _either(np.fmin, "fmin")
full_like = _either(np.full_like, "full_like")
isfinite = _either(np.isfinite, "isfinite")
isin = _either(np.isin, "isin")
isnan = _either(np.isnan, "isnan")
log = _either(np.log, "log")
log1p = _either(np.log1p, "log1p")
maximum = _either(np.maximum, "maximum")
minimum = _either(np.minimum, "minimum")
moveaxis = _either(np.moveaxis, "moveaxis")
nanmedian = _either(np.nanmedian, "nanmedian")
nanpercentile = _either(np.nanpercentile, "nanpercentile")
ndim = _either(np.ndim, "ndim")
ones_like = _either(np.ones_like, "ones_like")
outer = _either(np.outer, "outer")
sign = _either(np.sign, "sign")
sqrt = _either(np.sqrt, "sqrt")
square = _either(np.square, "square")
stack = _either(np.stack, "stack")
sum = _either(np.sum, "sum")
take = _either(np.take, "take")
swapaxes = _either(np.swapaxes, "swapaxes")
transpose = _either(np.transpose, "transpose")
where = _either(np.where, "where")
zeros_like = _either(np.zeros_like, "zeros_like")

# Constants, which JAX takes from numpy.
eye, ones, zeros = np.eye, np.ones, np.zeros

_special = Later("jax.scipy.special")

gammaln = _either(scipy.special.gammaln, "gammaln", module=_special)
log_ndtr = _either(scipy.special.log_ndtr, "log_ndtr", module=_special)
ndtri = _either(scipy.special.ndtri, "ndtri", module=_special)
xlogy = _either(scipy.special.xlogy, "xlogy", module=_special)


def jvp(function: Callable[[Any], Any], point: Any, direction: Any) -> tuple[Any, Any]:
    """Value of a function of a real vector, and its derivative along a direction.

    In numpy by a complex step, without cancellation (Squire and Trapp, SIAM Rev. 40 (1998) 110).
    """
    if in_jax(point, direction):
        return jax.jvp(function, (point,), (direction,))
    return function(point), function(point + 1e-20j * direction).imag / 1e-20


def put(array: Any, index: Any, values: Any) -> Any:
    """A copy with other values in some places."""
    if in_jax(array, index, values):
        return jnp.asarray(array).at[index].set(values)
    changed = np.array(array)
    changed[index] = values
    return changed


def add_at(array: Any, index: Any, values: Any, *, unique: bool = False) -> Any:
    """A copy with values added in some places.

    Args:
        array: To which.
        index: Where; places may repeat unless `unique`.
        values: What.
        unique: Whether no place is named twice.
    """
    if in_jax(array, index, values):
        return jnp.asarray(array).at[index].add(values, unique_indices=unique)
    changed = np.array(array)
    if unique:
        changed[index] += values
    else:
        np.add.at(changed, index, values)
    return changed


def largest(values: Any, count: int) -> Any:
    """Indices of the largest values, in descending order."""
    if in_jax(values):
        return jax.lax.top_k(values, count)[1]
    return np.argsort(-values, kind="stable")[:count]


def solve_positive(matrix: Any, right: Any) -> Any:
    """Solves with a positive symmetric matrix, by its lower triangle; NaN where it is none."""
    if in_jax(matrix, right):
        factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
        return jax.scipy.linalg.cho_solve(factor, right)
    _, solved, failed = scipy.linalg.lapack.dposv(matrix, right, lower=1)
    return np.full_like(right, np.nan) if failed else solved


def is_positive(matrix: Any) -> Any:
    """Whether a symmetric matrix has positive eigenvalues only."""
    if in_jax(matrix):
        return jnp.isfinite(jnp.linalg.cholesky(matrix)).all()
    factor, failed = scipy.linalg.lapack.dpotrf(matrix, lower=1)
    return np.bool_(not failed and np.isfinite(factor).all())


def stop_gradient(tree: Any) -> Any:
    """The same numbers, which derivatives take for constants."""
    if not is_loaded():
        return tree
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if in_jax(leaf) else leaf, tree)


def select(condition: Any, one: Any, other: Any) -> Any:
    """One pytree or the other, as `where` does for arrays."""
    if not in_jax(condition):
        return one if condition else other
    return jax.tree.map(functools.partial(jnp.where, condition), one, other)


def cond(condition: Any, one: Callable[..., Any], other: Callable[..., Any], *args: Any) -> Any:
    """What one of two functions gives."""
    if in_jax(condition):
        return jax.lax.cond(condition, one, other, *args)
    return (one if condition else other)(*args)


def while_loop(goes_on: Callable[[Any], Any], step: Callable[[Any], Any], state: Any) -> Any:
    """Repeats a step as long as a condition holds."""
    if in_jax(state):
        return jax.lax.while_loop(goes_on, step, state)
    while goes_on(state):
        state = step(state)
    return state


def repeat(count: int, step: Callable[[Any], Any], state: Any) -> Any:
    """Repeats a step so many times."""
    if in_jax(state):
        return jax.lax.fori_loop(0, count, lambda _, at: step(at), state)
    for _ in range(count):
        state = step(state)
    return state


def each(function: Callable[..., Any], *arrays: Any) -> Any:
    """Maps over the leading axis of arrays, in JAX side by side."""
    if in_jax(arrays):
        return jax.vmap(function)(*arrays)
    return one_by_one(function, *arrays)


def one_by_one(function: Callable[..., Any], *arrays: Any) -> Any:
    """Maps over the leading axis of pytrees, one row after the other."""
    if in_jax(arrays):
        return jax.lax.map(lambda row: function(*row), arrays)
    first: Any = arrays
    while isinstance(first, tuple):
        first = first[0]
    return stacked([function(*row(arrays, i)) for i in range(len(first))])


def row(trees: Any, index: int) -> Any:
    """One row of all arrays in a tree."""
    return mapped(lambda leaf: leaf[index], trees)


def stacked(trees: Any) -> Any:
    """A tree of arrays whose rows are those of trees of one kind."""
    first = trees[0]
    if first is None:
        return None
    if isinstance(first, dict):
        return {name: stacked([tree[name] for tree in trees]) for name in first}
    if isinstance(first, tuple):
        leaves = [stacked(each) for each in zip(*trees, strict=True)]
        return type(first)(*leaves) if hasattr(first, "_fields") else tuple(leaves)
    return stack(trees)
