"""Best fits of a model as differentiable functions, and the test statistics made of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from difftune.errors import DifftuneError, InputError, nearest
from difftune.histfactory import Model
from difftune.histfactory import rates as likelihood
from difftune.histfactory.precision import traced
from difftune.histfactory.structure import Structure
from difftune.inference.solver import (
    MESSAGES,
    Minimum,
    Problem,
    Status,
    deviance,
    expand,
    minimise,
    solve_free,
)

Parameters = Float[Array, " parameters"]
Bounds = Mapping[str, tuple[float | int, float | int]]


class FitError(DifftuneError):
    """A fit that did not converge."""


class Limits(NamedTuple):
    """Start values, bounds and fixed parameters of a fit, after the user's changes."""

    start: Float[np.ndarray, " parameters"]
    lower: Float[np.ndarray, " parameters"]
    upper: Float[np.ndarray, " parameters"]
    fixed: Bool[np.ndarray, " parameters"]


def limits(
    structure: Structure,
    *,
    bounds: Bounds | None = None,
    fixed: Mapping[str, float] | None = None,
    start: Any = None,
) -> Limits:
    """The model's suggestions with the user's changes.

    Args:
        structure: Of the model.
        bounds: Lower and upper bound by parameter name.
        fixed: Values of parameters that the fit must not change.
        start: Start values of all parameters.

    Raises:
        InputError: A name is unknown, or a value is outside its bounds.
    """
    layout = structure.layout
    result = Limits(*(np.array(a) for a in (layout.init, layout.lower, layout.upper, layout.fixed)))
    if start is not None:
        result = result._replace(start=np.array(start, float))
    for name, (low, high) in (bounds or {}).items():
        index = parameter_index(structure, name)
        if not low < high:
            raise InputError(f"bounds of {name!r}: {low} is not below {high}.")
        result.lower[index], result.upper[index] = low, high
        result.start[index] = np.clip(result.start[index], low, high)
    for name, value in (fixed or {}).items():
        index = parameter_index(structure, name)
        result.start[index], result.fixed[index] = value, True
    outside = (result.start < result.lower) | (result.start > result.upper)
    for index in np.flatnonzero(outside & ~result.fixed).tolist():
        raise InputError(
            f"Parameter {structure.names[index]!r} starts at {result.start[index]}, outside its "
            f"bounds {result.lower[index]} to {result.upper[index]}: change one of them."
        )
    return result


def parameter_index(structure: Structure, name: str) -> int:
    """Index of a parameter.

    Raises:
        InputError: There is none of that name.
    """
    if name not in structure.names:
        raise InputError(f"No parameter {name!r}.{nearest(name, structure.names)}")
    return structure.names.index(name)


def poi_index(model: Model, what: str) -> int:
    """Index of the parameter of interest.

    Raises:
        InputError: The model has none.
    """
    if model.structure.poi_index is None:
        raise InputError(
            f"{what} needs a parameter of interest, and the model has none: name one with "
            "Model.from_spec(..., poi=...), or apply a signal patch with patches=[...]."
        )
    return model.structure.poi_index


def make_problem(model: Model, data: Float[Array, " data"], given: Limits) -> Problem:
    """What the solver needs of a model, data, and limits of the parameters."""
    terms = likelihood.terms(model.structure, jnp.asarray(model.numbers))
    return Problem(
        terms=terms,
        data=data,
        start=jnp.asarray(given.start),
        lower=jnp.asarray(given.lower),
        upper=jnp.asarray(given.upper),
        fixed=terms.fixed | jnp.asarray(given.fixed),
    )


def at_value(problem: Problem, index: int | Array, value: Float[Array, ""]) -> Problem:
    """The problem with one parameter fixed to a value."""
    return problem._replace(
        start=problem.start.at[index].set(value), fixed=problem.fixed.at[index].set(True)
    )


def best_fit(structure: Structure, problem: Problem) -> tuple[Parameters, Minimum]:
    """The best fit, differentiable with respect to numbers, data and fixed values.

    At the minimum the slope in the free parameters vanishes whatever the numbers, so their change
    follows from the exact second derivatives: one Newton step, of value 0, carries it.
    """
    found = minimise(structure, problem)
    stopped = jax.lax.stop_gradient(found.parameters)
    point = jnp.where(problem.fixed, problem.start, stopped)
    here = expand(structure, problem, point)
    move = solve_free(jax.lax.stop_gradient(here.hessian), here.slope, ~found.held)
    return point - (move - jax.lax.stop_gradient(move)), found


def envelope(structure: Structure, problem: Problem) -> tuple[Float[Array, ""], Minimum]:
    """Least deviance, with its first derivatives: those at fixed parameters."""
    found = minimise(structure, problem)
    stopped = jax.lax.stop_gradient(found.parameters)
    point = jnp.where(problem.fixed, problem.start, stopped)
    return deviance(structure, problem, point), found


class Statistic(NamedTuple):
    """A test statistic, and how its fits ended."""

    q: Float[Array, ""]
    status: Int[Array, ""]


def worst(*status: Int[Array, ""]) -> Int[Array, ""]:
    """The first that is not CONVERGED."""
    result = status[0]
    for other in status[1:]:
        result = jnp.where(result == Status.CONVERGED, other, result)
    return result


def root(q: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Square root with slope 0 at 0, where that of the root is infinite."""
    there = q > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, q, 1.0)), 0.0)


def in_batches(function: Any, *arrays: Any) -> Any:
    """Maps over the leading axis of arrays: side by side on an accelerator.

    On a CPU one after the other: what a fit works on stays in the cache, its matrices are products
    that BLAS is good at, and none waits for the slowest.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda each: function(*each), arrays)


def report(what: str, status: Any) -> None:
    """Raises for a fit that did not converge; inside a transformation the numbers are NaN.

    Raises:
        FitError: With the reason.
    """
    if traced(status) or np.ndim(status):
        return
    if int(status) != Status.CONVERGED:
        raise FitError(
            f"{what} {MESSAGES[Status(int(status))]}. Likely causes: bins without expected events, "
            "variations that make a yield negative, or bounds that are too narrow."
        )
