"""Intervals from the profile likelihood: asymmetric errors, scans, and contours of two parameters.

All of them ask where -2 ln of the profile likelihood ratio crosses a value on a line from the best
fit. Its root is nearly linear along such a line, so Newton's method needs a few fits, of which each
starts where the last one and the covariance of the parameters say.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from difftune.errors import InputError
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model
from difftune.histfactory import arrays as xp
from difftune.inference.fits import FitResult, fitted
from difftune.inference.given import asks, numbers_in_a_row
from difftune.inference.hypotest import root
from difftune.inference.minima import in_batches, minimum, minimum_each
from difftune.inference.problems import Bounds, FitError, Fixed, Limits, limits, make_problem
from difftune.inference.side_by_side import fits_side_by_side
from difftune.inference.solver import MESSAGES, Minimum, Problem, Status, deviance, minimise
from difftune.inference.tested import freed, never_negative
from difftune.precision import compiled_if_many

logger = logging.getLogger("difftune")

_STEPS = 60
# Of the root of -2 ln of the likelihood ratio, in standard deviations.
_CLOSE = 1e-6
# -2 ln of the likelihood ratio where yields are negative: beyond any interval.
_IMPOSSIBLE = 1e6


class MinosErrors(NamedTuple):
    """Best fits with errors from the profile likelihood.

    Attributes:
        names: Of the parameters.
        values: Their best fit.
        up: Upper error, positive.
        down: Lower error, negative.
        at_bound: Whether the upper (first row) or lower error ends at a bound of the parameter,
            and so is less than it would be without.
        fit: The fit.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, " parameters"]
    up: Float[np.ndarray, " parameters"]
    down: Float[np.ndarray, " parameters"]
    at_bound: Bool[np.ndarray, "2 parameters"]
    fit: FitResult


class ProfileScan(NamedTuple):
    """The profile likelihood of one parameter.

    Attributes:
        name: Of the parameter.
        values: At which it was fixed.
        q: -2 ln of the likelihood there, all other parameters fitted, over the largest one.
        parameters: Best fit of all parameters there.
        fit: The fit of all parameters.
    """

    name: str
    values: Float[np.ndarray, " values"]
    q: Float[np.ndarray, " values"]
    parameters: Float[np.ndarray, "values parameters"]
    fit: FitResult


class Contours(NamedTuple):
    """Where the profile likelihood of two parameters falls to that of a confidence level.

    Attributes:
        names: Of the two.
        best: Their best fit.
        levels: Confidence levels, of both together.
        points: Of each contour, counter-clockwise or clockwise; the first follows the last.
        at_bound: Points that lie at a bound of a parameter, inside the contour without bounds.
        fit: The fit.
    """

    names: tuple[str, str]
    best: Float[np.ndarray, "2"]
    levels: tuple[float, ...]
    points: Float[np.ndarray, "levels points 2"]
    at_bound: Bool[np.ndarray, "levels points"]
    fit: FitResult


@asks
def minos(
    model: Model,
    data: Any = None,
    *,
    parameters: Sequence[str] | str | None = None,
    sigmas: float = 1.0,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> MinosErrors:
    """Asymmetric errors: where -2 ln of the profile likelihood ratio is 1, as MINOS has them.

    Args:
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        parameters: Names; `"x"` is all of one parameter per bin. By default all that are free.
        sigmas: Size of the interval in standard deviations: the ratio is its square.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: A name is unknown or of a fixed parameter, or there are several rows of data.
        FitError: A fit does not converge.
    """
    if not 0 < sigmas < np.inf:
        raise InputError(f"sigmas={sigmas}: give a positive number of standard deviations.")
    asked = [i for name in parameters or () for i in model.structure.indices(name)]
    best, values, given = _start("minos", model, data, bounds, fixed, start, asked)
    where = np.asarray(asked or np.flatnonzero(np.asarray(best.uncertainties) > 0), int)
    for index in where.tolist():
        _refuse_fixed("minos", best, index)
    both = np.repeat(where[None, :], 2, axis=0).ravel()
    signs = np.repeat([1.0, -1.0], len(where))
    along = _directions(best, both[:, None], (signs * best.uncertainties[both])[:, None])
    found, stopped = _crossed(model, values, given, best, along, np.full(len(both), sigmas))
    up, down = (found[np.arange(len(both)), both] - best.values[both]).reshape(2, -1)
    at_bound = stopped.reshape(2, -1)
    names = tuple(best.names[i] for i in where)
    if at_bound.any():
        logger.warning(
            "Bounds cut these errors short: %s. Widen them with bounds=...",
            ", ".join(
                f"{name!r} ({side})"
                for side, row in zip(("up", "down"), at_bound, strict=True)
                for name, cut in zip(names, row, strict=True)
                if cut
            ),
        )
    return MinosErrors(names, np.asarray(best.values)[where], up, down, at_bound, best)


@asks
def profile(
    model: Model,
    name: str,
    values: Any = None,
    *,
    data: Any = None,
    points: int = 31,
    sigmas: float = 3.0,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> ProfileScan:
    """The profile likelihood of any parameter.

    Args:
        model: The model.
        name: Of the parameter.
        values: At which it is fixed; by default `points` within `sigmas` uncertainties of the best
            fit and the parameter's bounds.
        data: Main data, or main and auxiliary data; by default the observations.
        points: How many values there are by default.
        sigmas: How far they go.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: A name is unknown or of a fixed parameter, or there are several rows of data.
        FitError: A fit does not converge.
    """
    index = model.structure.index(name)
    best, counts, given = _start("profile", model, data, bounds, fixed, start, [index])
    _refuse_fixed("profile", best, index)
    center, sigma = float(best.values[index]), float(best.uncertainties[index])
    if values is None:
        if points < 2:
            raise InputError(f"profile(points={points}): give at least 2.")
        if not 0 < sigmas < np.inf:
            raise InputError(f"sigmas={sigmas}: give a positive number of standard deviations.")
        low, high = (
            float(np.clip(center + side * sigma, given.lower[index], given.upper[index]))
            for side in (-sigmas, sigmas)
        )
        values = np.linspace(low, high, points)
    tested = numbers_in_a_row(values, "profile: values", "give finite numbers in a row")
    along = _directions(best, np.full((len(tested), 1), index), (tested - center)[:, None])
    free = _is_freed(model, given)
    at = np.asarray(best.values)
    q, ended, status = _profiled(model, counts, given, at, along, tested, free_poi=free)
    low, high = float(given.lower[index]), float(given.upper[index])
    for value in tested[(status == Status.NEGATIVE) & ((tested < low) | (tested > high))]:
        raise FitError(
            f"At {name} = {value:.4g}, beyond its bounds [{low:g}, {high:g}], the likelihood is "
            f"larger than anywhere within them. Widen them: bounds={{{name!r}: (..., ...)}}."
        )
    _refuse_failed(status, [f"{name} = {value:.4g}" for value in tested])
    return ProfileScan(model.structure.names[index], tested, q, ended, best)


@asks
def contours(
    model: Model,
    first: str,
    second: str,
    data: Any = None,
    *,
    levels: Sequence[float] = (0.6827, 0.95),
    points: int = 48,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> Contours:
    """Contours of any two parameters, all others profiled.

    A level is the probability that the true values of both are inside, by the χ² distribution of
    two degrees of freedom. Points are looked for on rays from the best fit, so a contour that a ray
    crosses more than once is not found in full.

    Args:
        model: The model.
        first: Name of the parameter on the horizontal axis.
        second: Of that on the vertical one.
        data: Main data, or main and auxiliary data; by default the observations.
        levels: Confidence levels.
        points: Of each contour.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: A name is unknown or of a fixed parameter, or there are several rows of data.
        FitError: A fit does not converge.
    """
    wanted = np.asarray(levels)
    if not ((wanted > 0) & (wanted < 1)).all() or points < 3:
        raise InputError(
            f"contours(levels={levels!r}, points={points}): give levels between 0 and 1, and at "
            "least 3 points."
        )
    pair = np.array([model.structure.index(first), model.structure.index(second)])
    if pair[0] == pair[1]:
        raise InputError(f"contours takes two parameters: {first!r} is given twice.")
    best, values, given = _start("contours", model, data, bounds, fixed, start, pair.tolist())
    for index in pair.tolist():
        _refuse_fixed("contours", best, index)
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    block = np.asarray(best.covariance)[np.ix_(pair, pair)]
    rays = np.tile(circle @ np.linalg.cholesky(block).T, (len(wanted), 1))
    along = _directions(best, np.tile(pair, (len(rays), 1)), rays)
    sizes = np.repeat(np.sqrt(scipy.special.chdtri(2, 1 - wanted)), points)
    found, stopped = _crossed(model, values, given, best, along, sizes)
    if stopped.any():
        logger.warning(
            "%d of %d points of the contours of %r and %r lie at bounds. Widen them with "
            "bounds=...",
            stopped.sum(),
            stopped.size,
            first,
            second,
        )
    return Contours(
        names=(best.names[pair[0]], best.names[pair[1]]),
        best=np.asarray(best.values)[pair],
        levels=tuple(wanted.tolist()),
        points=found[:, pair].reshape(len(wanted), points, 2),
        at_bound=stopped.reshape(len(wanted), points),
        fit=best,
    )


def _start(
    what: str,
    model: Model,
    data: Any,
    bounds: Bounds | None,
    fixed: Fixed | None,
    start: Any,
    asked: Sequence[int],
) -> tuple[FitResult, Float[np.ndarray, " data"], Limits]:
    """The fit of all parameters, the data, and where parameters may go."""
    given = limits(model.structure, bounds=bounds, fixed=fixed, start=start)
    if model.structure.poi_index in asked:
        freed(model.structure, what, given, fixed)
    values = model.data(data)
    best = fitted(model, values, given, free_poi=_is_freed(model, given))
    if np.ndim(best.status):
        raise InputError(f"{what} takes one fit: give one model and one row of data.")
    if best.status != Status.CONVERGED:
        raise FitError(f"The fit {MESSAGES[Status(int(best.status))]}, so there is no interval.")
    return best, values, given


def _is_freed(model: Model, given: Limits) -> bool:
    """Whether the parameter of interest is free though the measurement fixes it."""
    index = model.structure.poi_index
    return index is not None and bool(model.structure.layout.fixed[index] > given.fixed[index])


def _problem(model: Model, data: Array, given: Limits, free_poi: bool) -> Problem:
    problem = make_problem(model, data, given)
    if not free_poi:
        return problem
    return problem._replace(fixed=xp.put(problem.fixed, model.structure.poi_index or 0, False))


def _refuse_fixed(what: str, best: FitResult, index: int) -> None:
    if not best.uncertainties[index] > 0:
        raise InputError(f"{what}: {best.names[index]!r} is fixed; there is nothing to profile.")


def _refuse_failed(status: Int[np.ndarray, " rows"], places: Sequence[str]) -> None:
    for ended, place in zip(status.tolist(), places, strict=True):
        if ended == Status.NEGATIVE:
            raise FitError(
                f"At {place} the likelihood is larger than at the best fit, which so is not the "
                "minimum: give another start=..."
            )
        if ended != Status.CONVERGED:
            raise FitError(f"The fit at {place} {MESSAGES[Status(int(ended))]}.")


class _Lines(NamedTuple):
    """Lines from the best fit.

    Attributes:
        direction: Of all parameters: those that are not held follow as the covariance says.
        held: Those whose place on the line is given.
    """

    direction: Float[np.ndarray, "rows parameters"]
    held: Bool[np.ndarray, "rows parameters"]


def _directions(
    best: FitResult,
    where: Int[np.ndarray, "rows held"],
    shifts: Float[np.ndarray, "rows held"],
) -> _Lines:
    covariance = np.asarray(best.covariance)
    # Of the same few parameters in most rows.
    pairs, number = np.unique(where, axis=0, return_inverse=True)
    weights = [np.linalg.solve(covariance[np.ix_(p, p)], covariance[p]) for p in pairs]
    direction = np.stack([s @ weights[n] for s, n in zip(shifts, number.ravel(), strict=True)])
    held = np.zeros(direction.shape, bool)
    np.put_along_axis(direction, where, shifts, axis=1)
    np.put_along_axis(held, where, True, axis=1)
    return _Lines(direction, held)


def _crossed(
    model: Model,
    data: Float[np.ndarray, " data"],
    given: Limits,
    best: FitResult,
    along: _Lines,
    sizes: Float[np.ndarray, " rows"],
) -> tuple[Float[np.ndarray, "rows parameters"], Bool[np.ndarray, " rows"]]:
    """Where the lines cross a root of -2 ln of the likelihood ratio, and which end at a bound."""
    values = np.asarray(best.values)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.where(along.direction > 0, given.upper - values, given.lower - values)
        far = np.where(along.held & (along.direction != 0), ends / along.direction, np.inf)
    reach = np.maximum(far.min(axis=1), 0.0)
    free = _is_freed(model, given)
    point, stopped, status = _crossings(
        model, data, given, values, along, sizes, reach, free_poi=free
    )
    names = [
        ", ".join(f"{best.names[i]} = {row[i]:.4g}" for i in np.flatnonzero(held))
        for row, held in zip(point, along.held, strict=True)
    ]
    _refuse_failed(status, names)
    return point, stopped


class _Search(NamedTuple):
    """On the way along a line."""

    at: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    point: Float[Array, " parameters"]
    status: Int[Array, ""]
    steps: Int[Array, ""]
    done: Bool[Array, ""]
    stopped: Bool[Array, ""]


# A crossing takes a handful of fits.
@compiled_if_many("free_poi", rows="sizes", few=150)
def _crossings(
    model: Model,
    data: Array,
    given: Limits,
    best: Float[Array, " parameters"],
    along: _Lines,
    sizes: Float[Array, " rows"],
    reach: Float[Array, " rows"],
    free_poi: bool,
) -> tuple[Array, Array, Array]:
    structure, problem = model.structure, _problem(model, data, given, free_poi)
    least = deviance(structure, problem, best)

    def one(line: _Lines, size: Array, far: Array) -> tuple[Array, Array, Array]:
        onwards = xp.where(line.held, line.direction, 0.0)

        def step(state: _Search) -> _Search:
            begin = xp.where(line.held, best + state.at * line.direction, state.point)
            held = problem._replace(start=begin, fixed=problem.fixed | line.held)
            found = minimise(structure, held)
            never = found.status == Status.NOT_FINITE
            q = xp.where(never, _IMPOSSIBLE, 2 * (found.deviance - least))
            q, negative = never_negative(q, least)
            miss = root(q) - size
            slope = found.slope @ onwards / xp.where(q > 0, root(q), 1.0)
            low, high = xp.where(miss < 0, state.at, state.low), state.high
            high = xp.where(miss < 0, high, state.at)
            newton = state.at - miss / xp.where(slope > 0, slope, 1.0)
            inside = (slope > 0) & ~never & (newton > low) & (newton < high)
            twice = xp.where(xp.isfinite(high), (low + high) / 2, 2 * state.at)
            there = xp.clip(xp.where(inside, newton, twice), 0.0, far)
            stopped = (miss < -_CLOSE) & (state.at >= far)
            close = (xp.abs(miss) <= _CLOSE) | (high - low <= 1e-12 * low)
            status = xp.where(never, int(Status.CONVERGED), found.status)
            status = xp.where(status == Status.CONVERGED, negative, status)
            done = stopped | close | (status != Status.CONVERGED)
            after = found.parameters + (there - state.at) * line.direction
            point = xp.where(never, state.point, found.parameters)
            return _Search(
                at=xp.where(done, state.at, there),
                low=low,
                high=high,
                point=xp.where(done | never, point, after),
                status=status,
                steps=state.steps + 1,
                done=done,
                stopped=stopped,
            )

        first = xp.clip(size, 0.0, far)
        begin = _Search(
            at=first,
            low=xp.zeros_like(first),
            high=xp.full_like(first, xp.inf),
            point=best + first * line.direction,
            status=np.int64(Status.CONVERGED),
            steps=np.int64(0),
            done=np.bool_(False),
            stopped=np.bool_(False),
        )
        end = xp.while_loop(lambda at: ~at.done & (at.steps < _STEPS), step, begin)
        status = xp.where(end.done, end.status, int(Status.TOO_MANY_STEPS))
        return end.point, end.stopped, status

    return in_batches(one, along, sizes, reach)


@compiled_if_many("free_poi", rows="tested", few=500)
def _profiled(
    model: Model,
    data: Array,
    given: Limits,
    best: Float[Array, " parameters"],
    along: _Lines,
    tested: Float[Array, " rows"],
    free_poi: bool,
) -> tuple[Array, Array, Array]:
    """-2 ln of the likelihood ratio at the ends of lines, with the best fit there."""
    structure, problem = model.structure, _problem(model, data, given, free_poi)
    least = deviance(structure, problem, best)

    def ended(found: Minimum) -> tuple[Array, Array, Array]:
        q, negative = never_negative(2 * (found.deviance - least), least)
        status = xp.where(found.status == Status.CONVERGED, negative, found.status)
        return q, found.parameters, status

    def one(line: _Lines, _: Array) -> tuple[Array, Array, Array]:
        held = problem._replace(start=best + line.direction, fixed=problem.fixed | line.held)
        return ended(minimum(structure, held))

    if fits_side_by_side(problem) and not xp.in_jax(best, along):
        counts = np.broadcast_to(data, (len(tested), len(data)))
        starts, fixed = best + along.direction, problem.fixed | along.held
        return ended(minimum_each(structure, problem, counts, starts, fixed))
    return in_batches(one, along, tested)
