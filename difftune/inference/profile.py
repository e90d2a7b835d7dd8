"""Best fits of a model as differentiable functions, and the test statistics made of them."""

from collections.abc import Mapping
from functools import partial
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


def check_steps(steps: int | None) -> None:
    """Refuses a number of solver steps that is none.

    Raises:
        InputError: For a number below 1.
    """
    if steps is not None and steps < 1:
        raise InputError(f"steps={steps}: give at least 1, or None for as many as it takes.")


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


def make_problem(model: Model, data: Float[Array, "*batch data"], given: Limits) -> Problem:
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


def at_value(problem: Problem, index: int | Array, value: float | Array) -> Problem:
    """The problem with one parameter fixed to a value."""
    return problem._replace(
        start=problem.start.at[index].set(value), fixed=problem.fixed.at[index].set(True)
    )


def minima(structure: Structure, *problems: Problem, steps: int | None = None) -> list[Minimum]:
    """Fits of one model that differ in data, start values and fixed parameters alone.

    One solver for all of them, so that it is compiled once.
    """
    common = problems[0]

    def one(*changes: Array) -> Minimum:
        data, start, fixed = changes
        changed = common._replace(data=data, start=start, fixed=fixed)
        return minimise(structure, changed, steps=steps)

    each = [(problem.data, problem.start, problem.fixed) for problem in problems]
    found = in_batches(one, *(jnp.stack(parts) for parts in zip(*each, strict=True)))
    return [jax.tree.map(lambda part, i=i: part[i], found) for i in range(len(problems))]


def lower(one: Minimum, other: Minimum) -> Minimum:
    """The lower of two ends of a fit; the first where it is as low."""
    converged = other.status == Status.CONVERGED
    better = other.deviance < one.deviance - 1e-9
    takes_over = converged & (better | (one.status != Status.CONVERGED))
    return jax.tree.map(partial(jnp.where, takes_over), other, one)


def implicit(structure: Structure, problem: Problem, found: Minimum) -> Parameters:
    """The best fit, differentiable with respect to numbers, data and fixed values.

    At the minimum the slope in the free parameters vanishes whatever the numbers, so their change
    follows from the exact second derivatives: one more Newton step carries it.
    """
    point = _point(problem, found)
    here = expand(structure, problem, point)
    known = jax.lax.stop_gradient(here)
    # After too few steps the point need not be where the second derivatives are positive; Fisher's
    # information, damped, always is.
    usable = jnp.isfinite(solve_free(known.hessian, known.slope, ~found.held)).all()
    damped = known.fisher + 1e-2 * jnp.diag(jnp.diagonal(known.fisher))
    move = solve_free(jnp.where(usable, known.hessian, damped), here.slope, ~found.held)
    # A step that the fit would have refused carries the derivative, and is not taken.
    taken = here.slope @ move < 1e-5
    move = jnp.where(taken, move, move - jax.lax.stop_gradient(move))
    inside = jnp.clip(point - move, problem.lower, problem.upper)
    return jnp.where(problem.fixed, point, inside)


def best_fit(
    structure: Structure, problem: Problem, *, steps: int | None = None
) -> tuple[Parameters, Minimum]:
    """Finds it, and makes it differentiable."""
    found = minimise(structure, problem, steps=steps)
    return implicit(structure, problem, found), found


def envelope(structure: Structure, problem: Problem, found: Minimum) -> Float[Array, ""]:
    """Least deviance, with its first derivatives: those at fixed parameters."""
    return deviance(structure, problem, _point(problem, found))


def _point(problem: Problem, found: Minimum) -> Parameters:
    return jnp.where(problem.fixed, problem.start, jax.lax.stop_gradient(found.parameters))


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
    """Square root with slope 0 at 0, where that of the root is infinite; NaN stays NaN."""
    there = ~(q <= 0)
    return jnp.where(there, jnp.sqrt(jnp.where(there, q, 1.0)), 0.0)


def in_batches(function: Any, *arrays: Any) -> Any:
    """Maps over the leading axis of arrays: side by side on an accelerator.

    On a CPU one after the other: what a fit works on stays in the cache, its matrices are products
    that BLAS is good at, and none waits for the slowest.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda each: function(*each), arrays)


def over(function: Any, model: Model, data: Float[Array, "*batch data"], given: Limits) -> Any:
    """Applies a function of a problem over a leading axis of data, of the numbers, or of both."""
    numbers = jnp.asarray(model.numbers)
    if numbers.ndim == 1:
        # What follows from the numbers alone is computed once.
        problem = make_problem(model, data, given)
        if data.ndim == 1:
            return function(problem)
        return in_batches(lambda one: function(problem._replace(data=one)), data)
    data = jnp.broadcast_to(data, (len(numbers), data.shape[-1]))

    def one(values: Array, counts: Array) -> Any:
        return function(make_problem(model.replace(numbers=values, observed=None), counts, given))

    return in_batches(one, numbers, data)


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
