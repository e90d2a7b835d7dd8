"""What a test makes of the bounds of the parameter of interest.

A test asks how far the best fit is from a value, so bounds that are made for a fit must not decide:

- q̃ takes a best fit below 0 for 0, whatever the lower bound (arXiv 1007.1727, eq. 16).
- q keeps the lower bound, below which nothing is tested; q0 asks from its tested value on.
- The upper bound does not count: a best fit above the tested value says nothing against it, and for
  q0 it is what is asked for.
- A parameter of interest that the measurement fixes is free.
"""

import logging
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from difftune.errors import InputError
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model, Structure
from difftune.histfactory import arrays as xp
from difftune.inference.problems import Bounds, Fixed, Limits, limits, poi_index
from difftune.inference.solver import Minimum, Problem, Status
from difftune.later import jnp
from difftune.precision import traced

logger = logging.getLogger("difftune")

TestStatistic = Literal["qtilde", "q", "q0"]

# Of -2 ln of a likelihood ratio: by so much a best fit may be above another one.
_TOLERANCE = 1e-6


def tested_limits(
    model: Model,
    what: str,
    *,
    bounds: Bounds | None,
    fixed: Fixed | None,
    start: Any,
    test_stat: TestStatistic,
) -> Limits:
    """Start values, bounds and fixed parameters where the parameter of interest is the question.

    Args:
        model: The model.
        what: Is asked, for the message.
        bounds: As in `limits`.
        fixed: As in `limits`.
        start: As in `limits`.
        test_stat: The test statistic.

    Raises:
        InputError: There is no parameter of interest, it is to be fixed, or its bounds do not suit
            the statistic.
    """
    index, structure = poi_index(model, what), model.structure
    poi = structure.names[index]
    given = limits(structure, bounds=bounds, fixed=fixed, start=start)
    if given.fixed[index] and not freed(structure, what, given, fixed):
        raise InputError(
            f"{what}(fixed=...) holds {poi!r}, which is what is asked for: leave it out."
        )
    if test_stat == "q" and given.lower[index] >= 0:
        raise InputError(
            f"test_stat='q' lets the signal be negative, but {poi!r} is bounded at "
            f"{given.lower[index]}: use 'qtilde', or bounds={{{poi!r}: (-10, 10)}}."
        )
    return given


def freed(structure: Structure, what: str, given: Limits, fixed: Fixed | None) -> bool:
    """Leaves the parameter of interest free if nothing but the measurement fixes it, and says so.

    Args:
        structure: Of the model.
        what: Is asked, for the message.
        given: Limits, which are changed.
        fixed: What the user wants fixed.
    """
    index = structure.poi_index
    if index is None or not given.fixed[index] or not structure.layout.fixed[index]:
        return False
    if _asked(structure, fixed, index):
        return False
    logger.warning(
        "The measurement fixes %r. %s leaves it free, since it is what is asked for.",
        structure.names[index],
        what,
    )
    given.fixed[index] = False
    return True


def _asked(structure: Structure, fixed: Any, index: int) -> bool:
    names = [fixed] if isinstance(fixed, str) else list(fixed or ())
    return any(index in structure.indices(name) for name in names)


def tested_values(mu: Any, name: str, given: Limits, index: int, test_stat: str) -> Any:
    """The tested values as an array, traced ones as they are.

    Raises:
        InputError: They are no finite numbers, or a single one is below what q may test.
    """
    if traced(mu):
        return jnp.asarray(mu)
    try:
        values = np.asarray(mu, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"The tested {name!r} is {mu!r}: give a number, or an array.") from error
    if values.ndim > 1 or not values.size:
        raise InputError(
            f"The tested values of {name!r} have the shape {values.shape}: give one, or a row."
        )
    if not np.isfinite(values).all():
        raise InputError(f"The tested {name!r} is {mu!r}, which is not finite.")
    low, high = given.lower[index], given.upper[index]
    if test_stat == "q" and values.ndim == 0 and values < low:
        raise InputError(
            f"hypotest tests {name!r} = {float(values):g}, below its lower bound {low:g}: widen "
            f"it, bounds={{{name!r}: ({float(values) * 10:g}, {high:g})}}."
        )
    if (values > high).any():
        logger.warning(
            "%r = %g is tested, beyond its bounds [%g, %g]. In tests the upper bound does not "
            "count.",
            name,
            values.max(),
            low,
            high,
        )
    return values


def for_test(
    problem: Problem,
    structure: Structure,
    test_stat: TestStatistic,
    mu: Float[Array, ""] | float = 0.0,
) -> Problem:
    """The problem with the bounds of a test.

    Args:
        problem: Numbers, data, start values, the bounds of a fit.
        structure: Of the model.
        test_stat: The test statistic.
        mu: The tested value.
    """
    index = structure.poi_index or 0
    low = problem.lower[index]
    low = {"qtilde": xp.zeros_like(low), "q": low, "q0": xp.minimum(low, mu)}[test_stat]
    return problem._replace(
        lower=xp.put(problem.lower, index, low),
        upper=xp.put(problem.upper, index, np.inf),
        fixed=xp.put(problem.fixed, index, False),
    )


def contains(free: Minimum, inner: Minimum) -> Minimum:
    """The best fit, which is no worse than one of which a parameter was fixed within its bounds.

    Args:
        free: The fit of all parameters.
        inner: With the parameter of interest fixed.
    """
    both = (free.status == Status.CONVERGED) & (inner.status == Status.CONVERGED)
    missed = both & (inner.deviance < free.deviance - 1e-9)
    return xp.select(missed, inner, free)


def never_negative(
    q: Float[Array, "*rows"], best: Float[Array, ""]
) -> tuple[Float[Array, "*rows"], Int[Array, "*rows"]]:
    """-2 ln of a likelihood ratio without what rounding leaves below 0, and a status.

    Args:
        q: -2 ln of the ratio of the likelihood at a tested value to the largest one.
        best: -ln of the largest one, for the size of rounding.
    """
    allowed = _TOLERANCE + 1e-10 * xp.abs(best)
    status = xp.where(q < -allowed, int(Status.NEGATIVE), int(Status.CONVERGED))
    return xp.maximum(q, 0.0), status


def outside(problem: Problem, structure: Structure, test_stat: str, mu: Array) -> Int[Array, ""]:
    """A status for values that q may not test."""
    below = (test_stat == "q") & (mu < problem.lower[structure.poi_index or 0])
    return xp.where(below, int(Status.OUTSIDE), int(Status.CONVERGED))


def warn_of_bounds(what: str, name: str, best: Any, given: Limits, index: int) -> None:
    """Says that a best fit lies beyond the bounds that a fit would have, or q at its lower one.

    Args:
        what: Was asked.
        name: Of the parameter of interest.
        best: Its best fit in the test, of one or of many data.
        given: The bounds of a fit.
        index: Of the parameter of interest.
    """
    if traced(best):
        return
    values, low, high = np.asarray(best), given.lower[index], given.upper[index]
    if (values > high).any():
        logger.warning(
            "The best fit of %r is %.4g, beyond its bounds [%g, %g]. The upper bound does "
            "not count in %s.",
            name,
            values.max(),
            low,
            high,
            what,
        )
    if low < 0 and (values <= low).any():
        logger.warning(
            "The best fit of %r ends at its lower bound %g in %s, so that q is less than without "
            "it: widen it with bounds=...",
            name,
            low,
            what,
        )
