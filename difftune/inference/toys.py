"""Limits and intervals from pseudo-experiments."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model
from difftune.histfactory import arrays as xp
from difftune.inference.given import asks
from difftune.inference.hypotest import hypotest, pseudo_data
from difftune.inference.limits import UpperLimit, upper_limit
from difftune.inference.minima import at_value, implicit, in_batches, minima, worst
from difftune.inference.problems import Bounds, FitError, Fixed, Limits, make_problem, poi_index
from difftune.inference.solver import MESSAGES, Minimum, Problem, Status
from difftune.inference.tested import TestStatistic, never_negative, tested_limits
from difftune.later import jax
from difftune.precision import compiled

logger = logging.getLogger("difftune")

# Of -2 ln of a likelihood ratio: what two fits of the same counts may differ by.
_SAME = 1e-7


@asks
def limit_from_toys(
    model: Model,
    data: Any = None,
    *,
    toys: int = 1000,
    values: Sequence[float] | Float[np.ndarray, " values"] | None = None,
    seed: int = 0,
    level: float = 0.05,
    test_stat: TestStatistic = "qtilde",
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> UpperLimit:
    """Upper limit by CLs with pseudo-experiments in place of the asymptotic formulae.

    CLs is computed at some strengths by `hypotest(toys=...)`; between them its logarithm is linear.

    Args:
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        toys: Pseudo-experiments of each hypothesis at each strength.
        values: Strengths; by default 12, around the asymptotic limits.
        seed: Of the pseudo-experiments, which are the same at all strengths but for their rates.
        level: CLs at the limit; 0.05 is 95 % confidence level.
        test_stat: "qtilde", or "q", whose best fit may be negative.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of nuisance parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Returns:
        Observed and expected limits; NaN, with a warning, for a band that does not reach the level
        at any of the strengths.

    Raises:
        InputError: There is no parameter of interest, or the observed limit is at none of the
            strengths.
        FitError: A fit does not converge.
    """
    asked: dict[str, Any] = {"bounds": bounds, "fixed": fixed, "start": start}
    if values is None:
        near = upper_limit(model, data, level=level, test_stat=test_stat, **asked)
        every = np.append(near.observed, near.expected)
        tested = np.geomspace(0.5 * every.min(), 2.0 * every.max(), 12)
    else:
        tested = np.sort(np.atleast_1d(np.asarray(values, float)))
    if len(tested) < 2 or not (np.isfinite(tested).all() and tested[0] >= 0):
        raise InputError(f"limit_from_toys(values={values!r}): give at least two, not negative.")
    rows = []
    for mu in tested.tolist():
        found = hypotest(mu, model, data, test_stat=test_stat, toys=toys, seed=seed, **asked)
        rows.append([float(found.observed), *np.asarray(found.expected).tolist()])
    limits = [_crossing(tested, cls, level) for cls in np.array(rows).T]
    if not np.isfinite(limits[0]):
        raise InputError(
            f"CLs is {rows[0][0]:.3g} at {tested[0]:.4g}, {rows[-1][0]:.3g} at {tested[-1]:.4g}: "
            "the observed limit is not between them. Give others with values=[...], or more toys."
        )
    if not np.isfinite(limits).all():
        logger.warning(
            "Not all expected limits are between %.4g and %.4g; these are NaN. Give other values.",
            tested[0],
            tested[-1],
        )
    return UpperLimit(np.float64(limits[0]), np.array(limits[1:]), np.int64(Status.CONVERGED))


def _crossing(x: Float[np.ndarray, " n"], cls: Float[np.ndarray, " n"], level: float) -> float:
    """Where CLs falls below a level; NaN where it does not."""
    below = np.flatnonzero(cls < level)
    if not below.size or below[0] == 0:
        return np.nan
    i = int(below[0])
    # No pseudo-experiment at all is less than one.
    high, low = np.log(cls[i - 1]), np.log(max(float(cls[i]), 1e-4))
    return float(x[i - 1] + (x[i] - x[i - 1]) * (high - np.log(level)) / (high - low))


class ToyInterval(NamedTuple):
    """An interval by inverting a test with pseudo-experiments.

    Attributes:
        low: Its lower end; the lower bound of the parameter where that is not excluded.
        high: Its upper end.
        level: Confidence level.
        values: Tested values of the parameter of interest.
        p_values: Of each.
        q: Observed test statistic of each.
    """

    low: float
    high: float
    level: float
    values: Float[np.ndarray, " values"]
    p_values: Float[np.ndarray, " values"]
    q: Float[np.ndarray, " values"]


@asks
def feldman_cousins(
    model: Model,
    data: Any = None,
    values: Sequence[float] | Float[np.ndarray, " values"] | None = None,
    *,
    level: float = 0.95,
    toys: int = 1000,
    seed: int = 0,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> ToyInterval:
    """The interval of Feldman and Cousins, which by itself has one side or two (physics/9711021).

    A value is inside if at least 1 - `level` of its pseudo-experiments have a likelihood ratio as
    large as the observed one, with a best fit within the parameter's lower bound. Nuisance
    parameters are those of the best fit to the data at the value (profile construction), and
    auxiliary measurements fluctuate.

    Args:
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        values: Tested values of the parameter of interest; by default 41 around the asymptotic
            interval.
        level: Confidence level.
        toys: Pseudo-experiments of each value.
        seed: Of the pseudo-experiments.
        bounds: Other bounds, by name of the parameter. The lower one of the parameter of interest
            is where it ends physically; the upper one does not count.
        fixed: Values of nuisance parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: There is no parameter of interest, or the interval does not end within the
            tested values.
        FitError: A fit to the data does not converge.
    """
    given = tested_limits(
        model, "feldman_cousins", bounds=bounds, fixed=fixed, start=start, test_stat="qtilde"
    )
    index, counts = poi_index(model, "feldman_cousins"), model.data(data)
    if counts.ndim > 1 or np.ndim(model.numbers) > 1:
        raise InputError("feldman_cousins takes one model and one row of data.")
    if not 0 < level < 1:
        raise InputError(f"level={level} must lie between 0 and 1: 0.95 is 95 % confidence level.")
    if toys < 1:
        raise InputError(f"feldman_cousins(toys={toys}): give at least 1.")
    bound = float(given.lower[index])
    given.upper[index] = np.inf
    if values is None:
        asked: dict[str, Any] = {"bounds": bounds, "fixed": fixed, "start": start}
        high = 1.6 * float(upper_limit(model, counts, level=1 - level, **asked).observed)
        tested = np.linspace(bound if np.isfinite(bound) else -high, high, 41)
    else:
        tested = np.sort(np.atleast_1d(np.asarray(values, float)))
    if tested.ndim > 1 or len(tested) < 2 or not np.isfinite(tested).all() or tested[0] < bound:
        raise InputError(
            f"feldman_cousins(values={values!r}): give at least two finite numbers from the lower "
            f"bound on, {bound:g}."
        )
    p, q, status, failed = _tested(tested, model, counts, given, np.uint32(seed), toys=toys)
    for value, ended in zip(tested.tolist(), status.tolist(), strict=True):
        if ended != Status.CONVERGED:
            raise FitError(f"The fit at {value:.4g} {MESSAGES[Status(int(ended))]}.")
    if failed.sum():
        logger.warning(
            "The fits of %d of %d pseudo-experiments failed; these are left out.",
            failed.sum(),
            toys * len(tested),
        )
    low, high = _ends(tested, p, 1 - level, bound)
    return ToyInterval(low, high, level, tested, p, q)


def _ends(
    values: Float[np.ndarray, " n"], p: Float[np.ndarray, " n"], alpha: float, bound: float
) -> tuple[float, float]:
    """The outermost values whose p-value is not below a level, with what is missing to it."""
    inside = np.flatnonzero(p >= alpha)
    if not inside.size:
        raise InputError(
            f"None of the {len(values)} values is inside: give more, closer to the best fit."
        )
    first, last = int(inside[0]), int(inside[-1])
    open_below = first == 0 and values[0] > bound
    if last == len(values) - 1 or open_below:
        end = values[0] if open_below else values[-1]
        raise InputError(
            f"The interval does not end at {end:.4g}, which is the outermost of the tested values: "
            "give values=[...] that reach further."
        )

    def between(inner: int, outer: int) -> float:
        part = (p[inner] - alpha) / (p[inner] - p[outer])
        return float(values[inner] + part * (values[outer] - values[inner]))

    return float(values[0]) if first == 0 else between(first, first - 1), between(last, last + 1)


@compiled("toys")
def _tested(
    values: Float[Array, " values"],
    model: Model,
    data: Array,
    given: Limits,
    seed: Array,
    toys: int,
) -> tuple[Array, Array, Array, Array]:
    """P-values, test statistics, status, and how many pseudo-experiments failed, of each value."""
    structure, index = model.structure, model.structure.poi_index or 0
    problem = make_problem(model, data, given)
    problem = problem._replace(fixed=xp.put(problem.fixed, index, False))
    key = jax.random.key(seed)

    def statistic(problem: Problem, tested: Problem) -> tuple[Array, Array, Minimum]:
        free, found = minima(structure, problem, tested)
        q, negative = never_negative(2 * (found.deviance - free.deviance), free.deviance)
        return q, worst(free.status, found.status, negative), found

    def one(value: Array) -> tuple[Array, Array, Array, Array]:
        tested = at_value(problem, index, value)
        observed, status, found = statistic(problem, tested)
        point = implicit(structure, tested, found)
        pseudo = pseudo_data(structure, problem, point, key, toys)

        def toy(counts: Array) -> Array:
            there = problem._replace(data=counts, start=point)
            q, ended, _ = statistic(there, at_value(there, index, value))
            return xp.where(ended == Status.CONVERGED, q, xp.nan)

        sample = in_batches(toy, pseudo)
        good = ~xp.isnan(sample)
        p = xp.sum(good & (sample >= observed - _SAME)) / xp.sum(good)
        return p, observed, status, xp.sum(~good)

    return in_batches(one, values)
