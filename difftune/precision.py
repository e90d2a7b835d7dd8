"""How statistics are computed: in float64, whatever JAX is set to for the networks.

A few fits at once run in numpy, and many in a compiled program. Numpy needs a few times as long for
a fit as the program that JAX makes of the same source, which takes some ten seconds to compile. So
what is asked once is computed at once, and what is asked again and again is compiled. Both do the
same steps, and agree but for rounding.
"""

import contextlib
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from difftune.errors import InputError
from difftune.forks import refuse_fork
from difftune.later import Array, is_loaded, jax, jnp
from difftune.pytrees import mapped

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr

_P = ParamSpec("_P")
_R = TypeVar("_R")


@contextlib.contextmanager
def numbers_as_they_come() -> Iterator[None]:
    """Turns off JAX's searches for NaN and infinities (`jax_debug_nans`, `jax_debug_infs`).

    A member or a fit whose numbers are not finite is no error: it is out, with the reason in its
    status. And there are such numbers where nothing is wrong, as the score of a member that has not
    been scored yet.
    """
    with jax.debug_nans(False), jax.debug_infs(False):
        yield


def in_float64(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Runs a function in float64.

    Called with plain numbers it switches JAX to float64 for its own time, and returns numpy arrays,
    which any other code can use. Inside somebody's `jit`, `grad` or `vmap` the switch must enclose
    these too, because what is differentiated or batched afterwards is made of float64 as well.

    Args:
        function: Arrays and pytrees in and out.

    Raises:
        InputError: It is traced while JAX is set to float32, or called in a process that was forked
            after JAX had started.
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
        refuse_fork()
        # Inside somebody's jit even plain numbers would be staged; they are computed at once.
        at_once = jax.ensure_compile_time_eval() if _staging() else contextlib.nullcontext()
        with jax.enable_x64(True), numbers_as_they_come(), at_once:
            return jax.tree.map(_to_numpy, function(*args, **kwargs))

    return wrapped


def in_numpy(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Runs a function of `difftune.histfactory.arrays` in numpy, so that nothing is compiled.

    Inside somebody's `jit`, `grad` or `vmap` it is what `in_float64` makes of it.

    Args:
        function: Arrays and pytrees in and out.

    Raises:
        InputError: It is traced while JAX is set to float32.
    """
    inside = in_float64(function)

    @functools.wraps(function)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if traced(args, kwargs):
            return inside(*args, **kwargs)
        if is_loaded():
            args, kwargs = mapped(_to_numpy, (args, kwargs))
        with np.errstate(all="ignore"):  # as in JAX, what is not finite is asked for, not warned of
            return mapped(np.asarray, function(*args, **kwargs))

    return wrapped


def compiled(*static: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Compiles a function of float64, when it is called first.

    Args:
        *static: Names of the arguments that are part of the program.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.cache
        def program() -> Callable[_P, _R]:
            return in_float64(jax.jit(function, static_argnames=static))

        @functools.wraps(function)
        def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            return program()(*args, **kwargs)

        return wrapped

    return decorate


def float64_region(function: Callable[..., Array]) -> Callable[..., Array]:
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

    inside = jax.custom_jvp(functools.partial(_in_one_piece, value))

    @inside.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
        found, slopes = _in_one_piece(value_and_slopes, *primals)
        products = jax.tree.map(jnp.vdot, slopes, tangents[0])
        return found, jax.tree.reduce(jnp.add, products)

    @functools.wraps(function)
    def wrapped(*trees: Any) -> Array:
        if not float64_enabled():
            return inside(trees)
        found = function(*_float64(trees))
        return found.astype(jnp.result_type(*jax.tree.leaves(trees)))

    return wrapped


def _in_one_piece(function: Callable[..., Any], *trees: Any) -> Any:
    """Calls a function in float64, and keeps it there where `vmap` makes a batch of it afterwards.

    A batch of a loop is made of the loop's program, outside of the switch, where operations of
    float64 would become float32. So the batch is made here.
    """
    with jax.enable_x64(True):
        program, shapes = jax.make_jaxpr(function, return_shape=True)(*trees)
    found = _piece(program)(program.consts, jax.tree.leaves(trees))
    return jax.tree.unflatten(jax.tree.structure(shapes), found)


def _piece(program: "ClosedJaxpr") -> Callable[[list[Any], list[Any]], list[Any]]:
    """A program as a function of its constants and arguments that makes its own batches.

    JAX allows such a function no constants, but it may hand them in; a batch of them is many times
    the same.
    """
    import jax.custom_batching
    from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

    @jax.custom_batching.custom_vmap
    def run(constants: list[Any], leaves: list[Any]) -> list[Any]:
        with jax.enable_x64(True):
            return jaxpr_as_fun(ClosedJaxpr(program.jaxpr, constants))(*leaves)

    @run.def_vmap
    def _(size: int, batched: Any, _: Any, leaves: list[Any]) -> tuple[list[Any], list[bool]]:
        axes = [0 if each else None for each in batched[1]]
        with jax.enable_x64(True):
            many = jax.vmap(jaxpr_as_fun(program), in_axes=axes, axis_size=size)
            whole = jax.make_jaxpr(many)(*leaves)
        found = _piece(whole)(whole.consts, leaves)
        return found, [True] * len(found)

    return run


def _float64(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, np.float64), tree)


def _float32(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, np.float32), tree)


def traced(*trees: Any) -> bool:
    """Whether any array in the trees is being traced by a transformation of JAX."""
    if not is_loaded():
        return False
    tracer = jax.core.Tracer
    return any(isinstance(leaf, tracer) for leaf in jax.tree.leaves(trees))


def float64_enabled() -> bool:
    """Whether JAX makes float64 arrays at this point."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64


def _staging() -> bool:
    """Whether JAX is tracing, so that operations on plain numbers give tracers, too."""
    return traced(jnp.zeros(()))


def _to_numpy(leaf: Any) -> Any:
    return np.asarray(leaf) if isinstance(leaf, jax.Array) else leaf


# So many tests or limits of one model take about as long in numpy as their program to compile.
FEW = 64


def compiled_if_many(
    *static: str, rows: str = "mu", few: int = FEW
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Compiles a function where that pays, and otherwise runs it as it stands, in numpy.

    The function is written with `difftune.histfactory.arrays`, and has arguments `model` and
    `data`, with or without a leading axis. Inside a transformation of JAX it is always compiled;
    for plain numbers once a structure has been asked for more than a few rows, of this call and
    those before, unless `model.has_blocks`.

    Args:
        *static: Names of the arguments that are part of the program.
        rows: Name of a further argument with an axis of rows, where the function has it.
        few: How many rows are not worth a compiled program.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        at_once = in_numpy(function)
        program = compiled(*static)(function)
        signature = inspect.signature(function)
        asked: Counter[Hashable] = Counter()

        @functools.wraps(function)
        def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            given = signature.bind(*args, **kwargs).arguments
            if traced(args, kwargs):
                return program(*args, **kwargs)
            kind = given["model"].structure, *(given[name] for name in static)
            wanted = _rows(given["model"].numbers, given["data"], given.get(rows, 0.0))
            if not wanted or (asked[kind] + wanted > few and not given["model"].has_blocks):
                return program(*args, **kwargs)
            asked[kind] += wanted
            return at_once(*args, **kwargs)

        return wrapped

    return decorate


def _rows(numbers: Any, data: Any, more: Any) -> int:
    """How many fits of one kind there are."""
    batch = np.broadcast_shapes(np.shape(numbers)[:-1], np.shape(data)[:-1])
    return int(np.prod((*batch, *np.shape(more)), dtype=int))
