"""What a user may ask of a fit, and what the solver is given."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from difftune.errors import DifftuneError, InputError, nearest
from difftune.histfactory import Model
from difftune.histfactory import arrays as xp
from difftune.histfactory import rates as likelihood
from difftune.histfactory.arrays import AnyArray as Array
from difftune.histfactory.precision import traced
from difftune.histfactory.structure import Structure
from difftune.inference.minima import in_batches
from difftune.inference.solver import MESSAGES, Problem, Status

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
    if xp.in_jax(model.numbers, data):
        numbers, given = jax.tree.map(jnp.asarray, (model.numbers, given))
    else:
        numbers = model.numbers
    terms = likelihood.terms(model.structure, numbers)
    return Problem(
        terms=terms,
        data=data,
        start=given.start,
        lower=given.lower,
        upper=given.upper,
        fixed=terms.fixed | given.fixed,
    )


def over(function: Any, model: Model, data: Float[Array, "*batch data"], given: Limits) -> Any:
    """Applies a function of a problem over a leading axis of data, of the numbers, or of both."""
    numbers = model.numbers
    if numbers.ndim == 1:
        # What follows from the numbers alone is computed once.
        problem = make_problem(model, data, given)
        if data.ndim == 1:
            return function(problem)
        return in_batches(lambda one: function(problem._replace(data=one)), data)
    data = xp.broadcast_to(data, (len(numbers), data.shape[-1]))

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
