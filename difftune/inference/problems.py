"""What a user may ask of a fit, and what the solver is given."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from difftune.errors import DifftuneError, InputError
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model, Structure
from difftune.histfactory import arrays as xp
from difftune.histfactory import rates as likelihood
from difftune.histfactory.kernel import prepared
from difftune.inference.minima import in_batches
from difftune.inference.solver import MESSAGES, Problem, Status
from difftune.later import jax, jnp
from difftune.precision import traced

# Not narrower: what is wrong is an InputError, whatever it is.
Bounds = Any
"""Lower and upper bound by name of the parameter: a mapping."""
Fixed = Any
"""Values by name of the parameter, or names: a mapping, or an iterable."""


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
    fixed: Fixed | None = None,
    start: Any = None,
) -> Limits:
    """The model's suggestions with the user's changes.

    A name with one parameter per bin stands for all of them, `"x[0]"` for one.

    Args:
        structure: Of the model.
        bounds: Lower and upper bound by name; for several parameters one pair, or one for each.
        fixed: Values by name of parameters that the fit must not change, or names alone: then they
            stay where they start.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: A name is unknown, or a value is outside its bounds.
    """
    layout = structure.layout
    result = Limits(
        *(np.array(a) for a in (layout.start, layout.lower, layout.upper, layout.fixed))
    )
    for name, pairs in _mapping("bounds", bounds).items():
        where = structure.indices(name)
        table = _numbers(f"bounds[{name!r}]", pairs, "(lower, upper)", finite=False)
        if table.shape not in ((2,), (len(where), 2)):
            raise InputError(f"bounds[{name!r}] is {pairs!r}: give (lower, upper).")
        table = np.broadcast_to(table, (len(where), 2))
        for low, high in table:
            if not low < high:
                raise InputError(f"bounds of {name!r}: {low} is not below {high}.")
        result.lower[where], result.upper[where] = table.T
        result.start[where] = np.clip(result.start[where], *table.T)
    if isinstance(start, Mapping):
        for name, value in start.items():
            result.start[structure.indices(name)] = _values(structure, "start", name, value)
    elif start is not None:
        given = _numbers("start", start, "the values of all parameters, or {name: value}")
        if given.shape != result.start.shape:
            raise InputError(
                f"start has the shape {given.shape}, and the model {len(result.start)} parameters: "
                "give one value for each of model.config.par_names, or {name: value}."
            )
        result = result._replace(start=given.copy())
    for name, value in _named_values(structure, fixed).items():
        where = structure.indices(name)
        if value is not None:
            result.start[where] = _values(structure, "fixed", name, value)
        result.fixed[where] = True
    outside = (result.start < result.lower) | (result.start > result.upper)
    for index in np.flatnonzero(outside & ~result.fixed).tolist():
        raise InputError(
            f"Parameter {structure.names[index]!r} starts at {result.start[index]}, outside its "
            f"bounds {result.lower[index]} to {result.upper[index]}: change one of them."
        )
    return result


def _mapping(what: str, given: Any) -> Mapping[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"{what}={given!r}: give a dict by name of the parameter.")
    return given or {}


def _named_values(structure: Structure, fixed: Any) -> Mapping[str, Any]:
    """What is fixed by name; None where a parameter stays at its start value."""
    if fixed is None or isinstance(fixed, Mapping):
        return fixed or {}
    names = [fixed] if isinstance(fixed, str) else fixed
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"fixed={fixed!r}: give {{name: value}}, or names of parameters that stay where they "
            f"start, such as {{{structure.names[0]!r}}}."
        )
    return dict.fromkeys(names)


def _values(structure: Structure, what: str, name: str, value: Any) -> Float[np.ndarray, "..."]:
    """A value for each parameter that a name stands for."""
    where, place = structure.indices(name), f"{what}[{name!r}]"
    array = _numbers(place, value, "a number")
    if array.shape not in ((), (len(where),)):
        first = structure.names[where[0]]
        raise InputError(
            f"{place} has the shape {array.shape}: give one number, or {len(where)} of them; "
            f"{first!r} is the first."
        )
    return array


def _numbers(what: str, value: Any, wanted: str, *, finite: bool = True) -> np.ndarray:
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what} is {value!r}: give {wanted}.") from error
    if np.isnan(array).any() or (finite and not np.isfinite(array).all()):
        raise InputError(f"{what} is {value!r}: give {wanted} that is finite.")
    return array


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
    kernel = None
    if xp.in_jax(model.numbers, data):
        numbers, given = jax.tree.map(jnp.asarray, (model.numbers, given))
        terms = likelihood.terms(model.structure, numbers)
    else:
        terms, kernel = prepared(model.structure, model.numbers)
    return Problem(
        terms=terms,
        data=data,
        start=given.start,
        lower=given.lower,
        upper=given.upper,
        fixed=terms.fixed | given.fixed,
        kernel=kernel,
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
