"""Upper limits on the parameter of interest."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from difftune.errors import InputError
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model, Structure
from difftune.histfactory import arrays as xp
from difftune.inference.given import asks
from difftune.inference.hypotest import SIGMAS, asimov_problem, log_p_values, root
from difftune.inference.minima import at_value, envelope, minima, worst
from difftune.inference.problems import Bounds, Fixed, Limits, over, poi_index, report
from difftune.inference.solver import Minimum, Problem, Status, deviance, expand, solve_free
from difftune.inference.tested import (
    TestStatistic,
    contains,
    for_test,
    never_negative,
    tested_limits,
    warn_of_bounds,
)
from difftune.precision import compiled_if_many

_STEPS = 40


class UpperLimit(NamedTuple):
    """Upper limit on the parameter of interest; with a batch, arrays have its axis in front.

    Attributes:
        observed: On the data.
        expected: If there is no signal; median and bands in the order -2, -1, 0, 1, 2 standard
            deviations.
        status: 0, or why it failed.
    """

    observed: Any
    expected: Any
    status: Any


@asks
def upper_limit(
    model: Model,
    data: Any = None,
    *,
    level: float = 0.05,
    test_stat: TestStatistic = "qtilde",
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> UpperLimit:
    """Upper limit by CLs, asymptotically (arXiv 1007.1727).

    The bounds of the parameter of interest limit neither the search nor its best fit, which q̃ takes
    for 0 where it is below; only q has it stop at its lower bound. A parameter of interest that the
    measurement fixes is left free.

    Args:
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        level: CLs at the limit; 0.05 is 95 % confidence level.
        test_stat: "qtilde", or "q", whose best fit may be negative.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of nuisance parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Returns:
        Observed and expected limits, differentiable with respect to numbers and data.

    Raises:
        InputError: There is no parameter of interest, or its bounds do not suit the statistic.
        FitError: A fit does not converge, or there is no limit.
    """
    if test_stat not in ("qtilde", "q"):
        raise InputError(f"upper_limit(test_stat={test_stat!r}): there are 'qtilde' and 'q'.")
    given = tested_limits(
        model, "upper_limit", bounds=bounds, fixed=fixed, start=start, test_stat=test_stat
    )
    index = poi_index(model, "upper_limit")
    if not 0 < level < 1:
        raise InputError(f"level={level} must lie between 0 and 1: 0.05 is 95 % confidence level.")
    values = model.data(data)
    found, best = _upper_limit(model, values, given, level=level, test_stat=test_stat)
    report("The upper limit", found.status)
    warn_of_bounds("upper_limit", model.structure.names[index], best, given, index)
    return found


@compiled_if_many("level", "test_stat")
def _upper_limit(
    model: Model, data: Array, given: Limits, level: float, test_stat: TestStatistic
) -> tuple[UpperLimit, Array]:
    return over(partial(_one_limit, model.structure, level, test_stat), model, data, given)


class _Search(NamedTuple):
    """Six limits on the way: the expected ones, and the observed one last.

    Attributes:
        mu: Where they are.
        low: Below each of them.
        high: Above.
        change: Relative, in the last step.
        slope: Derivative of ln CLs.
        points: Where the fits for them ended: six on the Asimov data, and one on the data.
        status: Of the fits.
        steps: Their number.
        done: Nothing changes any more, and points and slope are those at mu.
    """

    mu: Float[Array, "6"]
    low: Float[Array, "6"]
    high: Float[Array, "6"]
    change: Float[Array, "6"]
    slope: Float[Array, "6"]
    points: Float[Array, "7 parameters"]
    status: Int[Array, ""]
    steps: Int[Array, ""]
    done: Bool[Array, ""]


# -ln of the likelihood of what cannot be: far beyond any limit.
_IMPOSSIBLE = 1e6


def _excluded(found: Minimum) -> Minimum:
    """A strength that makes yields negative, as interference can, is one that is excluded."""
    never = found.status == Status.NOT_FINITE
    return found._replace(
        deviance=xp.where(never, _IMPOSSIBLE, found.deviance),
        slope=xp.where(never, 0.0, found.slope),
        status=xp.where(never, Status.CONVERGED, found.status),
    )


def _one_limit(
    structure: Structure, level: float, test_stat: TestStatistic, problem: Problem
) -> tuple[UpperLimit, Array]:
    index = structure.poi_index or 0
    problem = for_test(problem, structure, test_stat)
    none = at_value(problem, index, 0.0)
    on_none, free = minima(structure, none, problem)
    free = contains(free, on_none)
    asimov = asimov_problem(structure, none, on_none)
    best, best_mu = envelope(structure, problem, free), free.parameters[index]
    sigmas, nominal = SIGMAS, problem.start

    def tests(mu: Float[Array, "6"], points: Float[Array, "7 parameters"]) -> list[Problem]:
        values = [*mu, mu[5]]
        return [
            at_value((asimov if i < 6 else problem)._replace(start=points[i]), index, values[i])
            for i in range(7)
        ]

    def ratios(mu: Float[Array, "6"], deviances: list[Array]) -> tuple[Float[Array, "7"], Array]:
        on_data, negative = never_negative(2 * (deviances[6] - best), best)
        on_data = xp.where(best_mu > mu[5], 0.0, on_data)
        q = xp.stack([*(2 * each for each in deviances[:6]), on_data])
        return xp.maximum(q, 0.0), negative

    def excess(q: Array) -> Array:
        """Ln CLs less that of the level, from -2 ln of the likelihood ratios."""
        bands = xp.log_ndtr(sigmas - root(q[:5])) - xp.log_ndtr(sigmas)
        observed = log_p_values(q[6], q[5], test_stat)[0]
        return xp.append(bands, observed) - xp.log(level)

    def step(state: _Search) -> _Search:
        mu, settled = state.mu, (state.change <= 1e-9).all()
        # Where variations bend yields back there are several minima: once settled in one, look
        # from the nominal whether there is a lower one, and if so search on from that.
        starts = xp.where(settled, nominal, state.points)
        found = [_excluded(one) for one in minima(structure, *tests(mu, starts), nearest=True)]

        def at_points() -> Array:
            there = tests(mu, state.points)
            return xp.stack([deviance(structure, one, one.start) for one in there])

        known = xp.cond(settled, at_points, lambda: xp.zeros_like(state.points[:, 0]))
        moves = xp.stack(
            [
                ~settled | ((one.status == Status.CONVERGED) & (one.deviance < old - 1e-9))
                for one, old in zip(found, known, strict=True)
            ]
        )
        done = settled & ~moves.any()
        again = settled & ~done
        q, negative = ratios(
            mu,
            [
                xp.where(m, one.deviance, old)
                for m, one, old in zip(moves, found, known, strict=True)
            ],
        )
        slopes = xp.where(q > 0, 2 * xp.stack([one.slope[index] for one in found]), 0.0)
        value, slope = xp.jvp(excess, q, slopes)
        low, high = xp.where(again, 0.0, state.low), xp.where(again, xp.inf, state.high)
        low, high = xp.where(value > 0, mu, low), xp.where(value > 0, high, mu)
        newton = mu - value / xp.where(slope < 0, slope, -1.0)
        middle = xp.where(xp.isfinite(high), (low + high) / 2, 2 * mu)
        inside = (slope < 0) & (newton > low) & (newton < high) & (newton < 3 * mu)
        there = xp.where(done, mu, xp.where(inside, newton, middle))
        return _Search(
            mu=there,
            low=low,
            high=high,
            change=xp.abs(there - mu) / mu,
            slope=xp.where(done, state.slope, slope),
            points=xp.where(
                moves[:, None], xp.stack([one.parameters for one in found]), state.points
            ),
            status=worst(
                state.status,
                *(xp.where(settled, state.status, one.status) for one in found),
                negative,
            ),
            steps=state.steps + 1,
            done=done,
        )

    def goes_on(state: _Search) -> Array:
        return ~state.done & (state.steps < _STEPS) & (state.status == Status.CONVERGED)

    # Where the Asimov data put the uncertainty of the strength, its limit is near.
    curvature = expand(structure, asimov, asimov.start).fisher
    unit = xp.put(xp.zeros_like(asimov.start), index, 1.0)
    variance = solve_free(curvature, unit, xp.put(~asimov.fixed, index, True))[index]
    sigma = xp.where(xp.isfinite(variance) & (variance > 0), xp.sqrt(variance), 1.0)
    target = sigma * (sigmas - xp.ndtri(level * xp.exp(xp.log_ndtr(sigmas))))
    guess = xp.append(target, xp.maximum(best_mu, 0.0) + target[2])
    begin = _Search(
        mu=guess,
        low=xp.zeros_like(guess),
        high=xp.full_like(guess, xp.inf),
        change=xp.full_like(guess, xp.inf),
        slope=-xp.ones_like(guess),
        points=xp.stack([*[asimov.start] * 6, free.parameters]),
        status=worst(on_none.status, free.status),
        steps=np.int64(0),
        done=np.bool_(False),
    )
    end = xp.stop_gradient(xp.while_loop(goes_on, step, xp.stop_gradient(begin)))
    status = xp.where(
        (end.status == Status.CONVERGED) & ~(end.change <= 1e-6).all(),
        int(Status.NO_LIMIT),
        end.status,
    )
    # One more step, of value 0, carries the derivatives.
    at_end = tests(end.mu, end.points)
    deviances = [deviance(structure, one, one.start) for one in at_end]
    value = excess(ratios(end.mu, deviances)[0])
    found = end.mu - (value - xp.stop_gradient(value)) / end.slope
    # The search ended where yields become negative, and not at a level.
    lost = (status == Status.CONVERGED) & ~xp.isfinite(found).all()
    status = xp.where(lost, Status.NOT_FINITE, status)
    found = xp.where(status == Status.CONVERGED, found, xp.nan)
    return UpperLimit(observed=found[5], expected=found[:5], status=status), best_mu
