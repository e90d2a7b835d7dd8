"""Statistics run in float64, whatever JAX is set to for the networks."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.custom_batching
import jax.numpy as jnp
import numpy as np
from jax import Array

from difftune.errors import InputError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def in_float64(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Runs a function in float64.

    Called with plain numbers it switches JAX to float64 for its own time, and returns numpy arrays,
    which any other code can use. Inside somebody's `jit`, `grad` or `vmap` the switch must enclose
    these too, because what is differentiated or batched afterwards is made of float64 as well.

    Args:
        function: Arrays and pytrees in and out.

    Raises:
        InputError: It is traced while JAX is set to float32.
    """

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if traced(args, kwargs):
            if not float64_enabled():
                raise InputError(
                    f"{function.__qualname__} needs float64 inside jit, grad and vmap (float32 "
                    "costs 1e-3 in a log-likelihood). Put `with jax.enable_x64(True):` around the "
                    "outermost of them; arrays that are float32, as those of networks, stay so."
                )
            return function(*args, **kwargs)
        # Inside somebody's jit even plain numbers would be staged; they are computed at once.
        at_once = jax.ensure_compile_time_eval() if _staging() else contextlib.nullcontext()
        with jax.enable_x64(True), at_once:
            return jax.tree.map(_to_numpy, function(*args, **kwargs))

    return wrapped


def island(function: Callable[..., Array]) -> Callable[..., Array]:
    """A float64 computation inside a program of float32.

    What comes in is made float64, and the scalar that comes out float32 again, whatever JAX is set
    to around it: a network trains in float32 through a fit in float64. Only first derivatives cross
    the border, and forward mode takes them as reverse mode does. Where JAX is set to float64 the
    function is called as it is, so there second derivatives go through.

    Args:
        function: Pytrees of floating point arrays in, a scalar out; closes over plain numbers
            only.

    Returns:
        The same, of which value and derivatives have the precision of the arguments.
    """

    def value(trees: Any) -> Array:
        return _float32(function(*_float64(trees)))

    def value_and_slopes(trees: Any) -> tuple[Array, Any]:
        every = tuple(range(len(trees)))
        return _float32(jax.value_and_grad(function, every)(*_float64(trees)))

    inside = jax.custom_jvp(_batched_within(value))

    @inside.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
        found, slopes = _batched_within(value_and_slopes)(*primals)
        products = jax.tree.map(jnp.vdot, slopes, tangents[0])
        return found, jax.tree.reduce(jnp.add, products)

    @functools.wraps(function)
    def wrapped(*trees: Any) -> Array:
        if not float64_enabled():
            return inside(trees)
        found = function(*_float64(trees))
        return found.astype(jnp.result_type(*jax.tree.leaves(trees)))

    return wrapped


def _batched_within(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Runs a function of one tree in float64, also where `vmap` makes a batch of it afterwards.

    A batch of a loop is made of the loop's program, outside of the switch, where operations of
    float64 would become float32.
    """

    @jax.custom_batching.custom_vmap
    def inside(tree: Any) -> Any:
        with jax.enable_x64(True):
            return function(tree)

    @inside.def_vmap
    def _(size: int, batched: Any, tree: Any) -> tuple[Any, Any]:
        (mapped,) = batched
        axes = jax.tree.map(lambda each: 0 if each else None, mapped)
        found = _batched_within(
            lambda one: jax.vmap(function, in_axes=(axes,), axis_size=size)(one)
        )(tree)
        return found, jax.tree.map(lambda _: True, found)

    return inside


def _float64(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, np.float64), tree)


def _float32(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, np.float32), tree)


def traced(*trees: Any) -> bool:
    """Whether any array in the trees is being traced by a transformation of JAX."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def float64_enabled() -> bool:
    """Whether JAX makes float64 arrays at this point."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64


def _staging() -> bool:
    """Whether JAX is tracing, so that operations on plain numbers give tracers, too."""
    return traced(jnp.zeros(()))


def _to_numpy(leaf: Any) -> Any:
    return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf
