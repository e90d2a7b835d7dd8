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

    alone, with_slopes = _Piece(value), _Piece(value_and_slopes)
    inside = jax.custom_jvp(alone)

    @inside.defjvp
    def _(primals: Any, tangents: Any) -> tuple[Array, Array]:
        found, slopes = with_slopes(*primals)
        products = jax.tree.map(jnp.vdot, slopes, tangents[0])
        return found, jax.tree.reduce(jnp.add, products)

    @functools.wraps(function)
    def wrapped(*trees: Any) -> Array:
        if not float64_enabled():
            return inside(trees)
        found = function(*_float64(trees))
        return found.astype(jnp.result_type(*jax.tree.leaves(trees)))

    return wrapped


class _Piece:
    """A function of float64 in one piece, traced once for each form of its arguments.

    It stays in float64 where `vmap` makes a batch of it afterwards. A batch of a loop is made of
    the loop's program, outside of the switch, where operations of float64 would become float32. So
    the batch is made here.

    Args:
        function: Pytrees of arrays in and out.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        # Tracing a fit takes as long as compiling many a network.
        self._known: dict[Hashable, tuple[_Program, Any]] = {}

    def __call__(self, *trees: Any) -> Any:
        leaves, form = jax.tree.flatten(trees)
        kind = form, tuple(map(jax.typeof, leaves))
        if kind not in self._known:
            with jax.enable_x64(True):
                traced, shapes = jax.make_jaxpr(self._function, return_shape=True)(*trees)
            self._known[kind] = _Program(traced), jax.tree.structure(shapes)
        program, result = self._known[kind]
        return jax.tree.unflatten(result, program(leaves))


class _Program:
    """A traced function of leaves that makes its own batches."""

    def __init__(self, traced: "ClosedJaxpr") -> None:
        import jax.custom_batching
        from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

        self._traced = traced
        self._batches: dict[Hashable, _Program] = {}

        # Compiled, so that where it stands in a larger program it is one operation.
        @jax.jit
        def in_one(constants: list[Any], leaves: list[Any]) -> list[Any]:
            return jaxpr_as_fun(ClosedJaxpr(traced.jaxpr, constants))(*leaves)

        @jax.custom_batching.custom_vmap
        def run(constants: list[Any], leaves: list[Any]) -> list[Any]:
            with jax.enable_x64(True):
                return in_one(constants, leaves)

        @run.def_vmap
        def _(size: int, batched: Any, _: Any, leaves: list[Any]) -> tuple[list[Any], list[bool]]:
            found = self._batch(size, tuple(batched[1]), leaves)(leaves)
            return found, [True] * len(found)

        self._run = run

    def __call__(self, leaves: list[Any]) -> list[Any]:
        # JAX allows it no constants, but it may be handed them; a batch of them is many times the
        # same.
        return self._run(self._traced.consts, leaves)

    def _batch(self, size: int, batched: tuple[bool, ...], leaves: list[Any]) -> "_Program":
        """The program of so many at once, of which some arguments are the same."""
        from jax.extend.core import jaxpr_as_fun

        kind = size, batched, tuple(map(jax.typeof, leaves))
        if kind not in self._batches:
            axes = [0 if each else None for each in batched]
            with jax.enable_x64(True):
                many = jax.vmap(jaxpr_as_fun(self._traced), in_axes=axes, axis_size=size)
                self._batches[kind] = _Program(jax.make_jaxpr(many)(*leaves))
        return self._batches[kind]


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
