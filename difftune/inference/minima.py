"""Best fits of one model, as differentiable functions."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from difftune.histfactory.structure import Structure
from difftune.inference.solver import (
    Minimum,
    Problem,
    Status,
    deviance,
    expand,
    minimise,
    solve_free,
)

Parameters = Float[Array, " parameters"]


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


def worst(*status: Int[Array, ""]) -> Int[Array, ""]:
    """The first that is not CONVERGED."""
    result = status[0]
    for other in status[1:]:
        result = jnp.where(result == Status.CONVERGED, other, result)
    return result


def in_batches(function: Any, *arrays: Any) -> Any:
    """Maps over the leading axis of arrays: side by side on an accelerator.

    On a CPU one after the other: what a fit works on stays in the cache, its matrices are products
    that BLAS is good at, and none waits for the slowest.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda each: function(*each), arrays)
