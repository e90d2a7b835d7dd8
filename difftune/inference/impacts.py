"""How much each nuisance parameter moves the parameter of interest."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.histfactory.arrays import AnyArray as Array
from difftune.inference.fits import FitResult, fit
from difftune.inference.host import compiled_if_many
from difftune.inference.minima import at_value, in_batches
from difftune.inference.problems import Bounds, FitError, Limits, limits, make_problem, poi_index
from difftune.inference.solver import MESSAGES, Status, minimise

Column = Float[np.ndarray, " nuisances"]


class Impacts(NamedTuple):
    """Pulls, constraints and impacts of the nuisance parameters, the largest impact first.

    Attributes:
        names: Their names.
        up: Change of the POI when a parameter is fixed at its best fit plus its uncertainty.
        down: The same at minus.
        prefit_up: Change when it is fixed at plus its uncertainty before the fit; NaN for a
            parameter without constraint.
        prefit_down: The same at minus.
        pulls: (best fit - center) / width before the fit; NaN without constraint.
        constraints: Uncertainty after the fit over that before; NaN without constraint.
        fit: The fit that they refer to.
    """

    names: tuple[str, ...]
    up: Column
    down: Column
    prefit_up: Column
    prefit_down: Column
    pulls: Column
    constraints: Column
    fit: FitResult


def impacts(model: Model, data: Any = None, *, bounds: Bounds | None = None) -> Impacts:
    """Ranks the nuisance parameters.

    Args:
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        bounds: Other bounds, by name of the parameter.

    Raises:
        InputError: There is no parameter of interest, or it ends at a bound.
        FitError: A fit does not converge.
    """
    index, poi = poi_index(model, "impacts"), model.structure.poi
    values = model.data(data)
    best = fit(model, values, bounds=bounds)
    if best.status != Status.CONVERGED:
        raise FitError(f"The fit {MESSAGES[Status(int(best.status))]}, so there are no impacts.")
    if best.at_bound[index]:
        low, high = limits(model.structure, bounds=bounds)[1:3]
        raise InputError(
            f"The best fit of {poi!r} is at its bound, {best.values[index]:.4g} in "
            f"({low[index]}, {high[index]}), where impacts mean nothing. Widen it: "
            f"bounds={{{poi!r}: (-10, 10)}}."
        )
    nuisance = np.flatnonzero((best.uncertainties > 0) & (np.arange(len(best.names)) != index))
    sigma = np.asarray(best.uncertainties)[nuisance]
    width = np.asarray(best.widths)[nuisance]
    width = np.where(np.isnan(width), sigma, width)
    shifts = np.stack([sigma, -sigma, width, -width])
    given = limits(model.structure, bounds=bounds)
    targets = np.asarray(best.values)[nuisance] + shifts
    targets = np.clip(targets, given.lower[nuisance], given.upper[nuisance])
    given = given._replace(start=np.asarray(best.values))
    where = np.broadcast_to(nuisance, targets.shape)
    moved, status = _moved(model, values, given, where.ravel(), targets.ravel())
    if (status != Status.CONVERGED).any():
        first = int(np.flatnonzero(status)[0])
        name = best.names[where.ravel()[first]]
        reason = MESSAGES[Status(int(status[first]))]
        raise FitError(f"The fit with {name!r} fixed at {targets.ravel()[first]:.4g} {reason}.")
    change = moved.reshape(targets.shape) - best.values[index]
    free = np.isnan(np.asarray(best.widths)[nuisance])
    change[2:, free] = np.nan
    order = np.argsort(-np.abs(change[:2]).max(axis=0), kind="stable")
    pulls = (np.asarray(best.values)[nuisance] - best.centers[nuisance]) / width
    columns = [*change, np.where(free, np.nan, pulls), np.where(free, np.nan, sigma / width)]
    names = tuple(best.names[i] for i in nuisance[order])
    up, down, prefit_up, prefit_down, pulls, constraints = (c[order] for c in columns)
    return Impacts(names, up, down, prefit_up, prefit_down, pulls, constraints, best)


# A fit with one parameter fixed takes a fraction of a test.
@compiled_if_many(rows="where", few=500)
def _moved(
    model: Model, data: Array, given: Limits, where: Array, value: Array
) -> tuple[Array, Array]:
    """Best fit of the POI with one parameter at a time fixed."""
    problem = make_problem(model, data, given)

    def one(index: Array, target: Array) -> tuple[Array, Array]:
        found = minimise(model.structure, at_value(problem, index, target))
        return found.parameters[model.structure.poi_index or 0], found.status

    return in_batches(one, where, value)
