"""How much each nuisance parameter moves the parameter of interest."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from difftune.errors import InputError
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model
from difftune.histfactory import arrays as xp
from difftune.inference.fits import FitResult, fitted, refuse_at_bound
from difftune.inference.given import asks
from difftune.inference.minima import at_value, in_batches
from difftune.inference.problems import Bounds, FitError, Fixed, Limits, make_problem, poi_index
from difftune.inference.side_by_side import fits_side_by_side, minimise_each
from difftune.inference.solver import MESSAGES, Status, minimise
from difftune.inference.tested import tested_limits
from difftune.precision import compiled_if_many

logger = logging.getLogger("difftune")

Column = Float[np.ndarray, " nuisances"]


class Impacts(NamedTuple):
    """Pulls, constraints and impacts of the nuisance parameters, the largest impact first.

    Attributes:
        names: Their names.
        up: Change of the POI when a parameter is fixed at its best fit plus its uncertainty; NaN,
            as the next three, where the likelihood is not finite there.
        down: The same at minus.
        prefit_up: Change when it is fixed at plus its uncertainty before the fit; NaN for a
            parameter without constraint.
        prefit_down: The same at minus.
        pulls: (best fit - center) / width before the fit; NaN without constraint.
        constraints: Uncertainty after the fit over that before; NaN without constraint.
        clipped: Which of the four shifts (in the order of the attributes above) end at a bound of
            the parameter and so are smaller, one column per parameter.
        fit: The fit that they refer to.
    """

    names: tuple[str, ...]
    up: Column
    down: Column
    prefit_up: Column
    prefit_down: Column
    pulls: Column
    constraints: Column
    clipped: Bool[np.ndarray, "4 nuisances"]
    fit: FitResult


@asks
def impacts(
    model: Model,
    data: Any = None,
    *,
    parameters: Sequence[str] | str | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> Impacts:
    """Ranks the nuisance parameters.

    The best fit must not end at a bound of the parameter of interest. With a nuisance parameter
    shifted it may go beyond them: the impact would be smaller than it is. A shift that a bound of
    the nuisance parameter cuts short is said in a warning, and in the result. A parameter of
    interest that the measurement fixes is left free.

    Args:
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        parameters: Names of those to rank; `"x"` is all of one parameter per bin. By default all
            that are free.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of parameters that stay, or their names; they are not ranked.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: There is no parameter of interest, or it ends at a bound; a name is unknown,
            or of none that is free.
        FitError: A fit does not converge.
    """
    asked = [i for name in parameters or () for i in model.structure.indices(name)]
    given = tested_limits(
        model, "impacts", bounds=bounds, fixed=fixed, start=start, test_stat="qtilde"
    )
    index = poi_index(model, "impacts")
    values = model.data(data)
    best = fitted(model, values, given, free_poi=True)
    if np.ndim(best.status):
        raise InputError("impacts ranks one fit: give one model and one row of data.")
    if best.status != Status.CONVERGED:
        raise FitError(f"The fit {MESSAGES[Status(int(best.status))]}, so there are no impacts.")
    refuse_at_bound(best, given, index)
    ranked = (best.uncertainties > 0) & (np.arange(len(best.names)) != index)
    nuisance = np.array(asked, int) if asked else np.flatnonzero(ranked)
    for each in nuisance[~ranked[nuisance]].tolist():
        raise InputError(
            f"impacts(parameters=...): {best.names[each]!r} is fixed, or what is asked for: it has "
            "no impact. Leave it out."
        )
    sigma = np.asarray(best.uncertainties)[nuisance]
    width = np.asarray(best.widths)[nuisance]
    width = np.where(np.isnan(width), sigma, width)
    shifts = np.stack([sigma, -sigma, width, -width])
    wanted = np.asarray(best.values)[nuisance] + shifts
    targets = np.clip(wanted, given.lower[nuisance], given.upper[nuisance])
    clipped = targets != wanted
    given.lower[index], given.upper[index] = -np.inf, np.inf
    rows, ends = np.broadcast_to(nuisance, targets.shape).ravel(), targets.ravel()
    # To where the covariance says that the others follow it is not far.
    covariance = np.asarray(best.covariance)[rows]
    follow = covariance / np.square(np.asarray(best.uncertainties)[rows])[:, None]
    starts = best.values + follow * (ends - best.values[rows])[:, None]
    moved, status = map(np.array, _moved(model, values, given, rows, ends, starts))
    # Where the covariance leads, a yield may be negative that is not at the best fit.
    lost = status == Status.NOT_FINITE
    if lost.any():
        again = np.tile(best.values, (int(lost.sum()), 1))
        moved[lost], status[lost] = _moved(model, values, given, rows[lost], ends[lost], again)
        lost = status == Status.NOT_FINITE
        moved[lost] = np.nan
        _warn_of_lost(sorted({best.names[i] for i in rows[lost]}))
    if ((status != Status.CONVERGED) & ~lost).any():
        first = int(np.flatnonzero((status != Status.CONVERGED) & ~lost)[0])
        name = best.names[rows[first]]
        reason = MESSAGES[Status(int(status[first]))]
        raise FitError(f"The fit with {name!r} fixed at {ends[first]:.4g} {reason}.")
    change = moved.reshape(targets.shape) - best.values[index]
    free = np.isnan(np.asarray(best.widths)[nuisance])
    change[2:, free] = np.nan
    order = np.argsort(-np.nan_to_num(np.abs(change[:2])).max(axis=0), kind="stable")
    pulls = (np.asarray(best.values)[nuisance] - best.centers[nuisance]) / width
    clipped[2:, free] = False
    _warn_of_clipped([best.names[i] for i in nuisance], clipped)
    columns = [*change, np.where(free, np.nan, pulls), np.where(free, np.nan, sigma / width)]
    names = tuple(best.names[i] for i in nuisance[order])
    up, down, prefit_up, prefit_down, pulls, constraints = (c[order] for c in columns)
    shown = (up, down, prefit_up, prefit_down, pulls, constraints)
    return Impacts(names, *shown, clipped[:, order], best)


def _warn_of_lost(names: Sequence[str]) -> None:
    if names:
        logger.warning(
            "Shifts of one standard deviation make a yield negative, or leave data where nothing "
            "is expected, so these parameters lack impacts: %s.",
            ", ".join(names),
        )


def _warn_of_clipped(names: Sequence[str], clipped: Bool[np.ndarray, "4 nuisances"]) -> None:
    sides = ("up", "down", "prefit_up", "prefit_down")
    said = [
        f"{name!r} ({', '.join(side for side, cut in zip(sides, cuts, strict=True) if cut)})"
        for name, cuts in zip(names, clipped.T, strict=True)
        if cuts.any()
    ]
    if said:
        logger.warning(
            "Bounds cut these shifts short, so that the impacts are less than those of one "
            "standard deviation: %s. Widen them with bounds=...",
            ", ".join(said),
        )


# A fit with one parameter fixed takes a fraction of a test.
@compiled_if_many(rows="where", few=500)
def _moved(
    model: Model, data: Array, given: Limits, where: Array, value: Array, starts: Array
) -> tuple[Array, Array]:
    """Best fit of the POI with one parameter at a time fixed."""
    problem = make_problem(model, data, given)
    poi = model.structure.poi_index or 0
    problem = problem._replace(fixed=xp.put(problem.fixed, poi, False))

    def one(index: Array, target: Array, start: Array) -> tuple[Array, Array]:
        begin = problem._replace(start=xp.where(problem.fixed, problem.start, start))
        found = minimise(model.structure, at_value(begin, index, target))
        return found.parameters[poi], found.status

    if fits_side_by_side(problem) and not xp.in_jax(where, value, starts):
        rows = np.arange(len(where))
        fixed: Any = np.repeat(problem.fixed[None], len(where), axis=0)
        begin: Any = np.where(fixed, problem.start, starts)
        fixed[rows, where], begin[rows, where] = True, value
        counts = np.broadcast_to(data, (len(where), len(data)))
        found = minimise_each(model.structure, problem, counts, begin, fixed)
        return found.parameters[:, poi], found.status
    return in_batches(one, where, value, starts)
