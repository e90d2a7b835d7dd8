"""CLs of a signal strength, and upper limits on it."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import toms748
from scipy.stats import norm

from difftune.inference.backend import FitError
from difftune.inference.problem import Workspace, read_problem
from difftune.inference.profile import SIGMAS, expected_log_cls, log_cls, profiles

Band = tuple[float, float, float, float, float]


class HypoTest(NamedTuple):
    """CLs of one signal strength.

    Attributes:
        cls_observed: On the observations.
        cls_expected: If there is no signal; median and bands in the order -2, -1, 0, 1, 2 standard
            deviations, as pyhf prints them.
    """

    cls_observed: float
    cls_expected: Band


class UpperLimit(NamedTuple):
    """Upper limit on the signal strength at a confidence level.

    Attributes:
        observed: On the observations.
        expected: If there is no signal; median and bands in the order -2, -1, 0, 1, 2 standard
            deviations.
    """

    observed: float
    expected: Band


def hypotest(workspace: Workspace, mu: float = 1.0) -> HypoTest:
    """CLs of a signal strength, with the test statistic q̃(μ): what `pyhf cls` prints.

    Args:
        workspace: pyhf workspace.
        mu: Tested value of the parameter of interest.

    Returns:
        Observed and expected CLs; below 0.05 the strength is excluded at 95 % confidence level.

    Raises:
        FitError: A fit does not converge.
    """
    found = profiles(read_problem(workspace))
    root = found.asimov(mu)
    return HypoTest(
        cls_observed=float(np.exp(log_cls(found.observed(mu), root))),
        cls_expected=_band(lambda sigmas: float(np.exp(expected_log_cls(root, sigmas)))),
    )


def upper_limit(workspace: Workspace, *, level: float = 0.05, rtol: float = 1e-3) -> UpperLimit:
    """Upper limit on the signal strength with the test statistic q̃(μ).

    It is that of `pyhf.infer.intervals.upper_limits.upper_limit`, with fewer fits: the expected
    limits solve `sqrt(q̃_A(μ)) = n + Φ⁻¹(1 - level Φ(n))`, which needs no fit to data. The bounds of
    the parameter of interest do not limit the search.

    Args:
        workspace: pyhf workspace.
        level: CLs at the limit; 0.05 is 95 % confidence level.
        rtol: Relative precision.

    Returns:
        Observed and expected limits.

    Raises:
        FitError: A fit does not converge, or there is no limit.
    """
    found = profiles(read_problem(workspace))
    unit = 1 / max(found.asimov(1.0), 1e-3)

    def expected(sigmas: float) -> float:
        target = sigmas + norm.isf(level * norm.cdf(sigmas))
        return _zero(lambda mu: found.asimov(mu) - target, unit * target, rtol)

    def excess(mu: float) -> float:
        return np.log(level) - log_cls(found.observed(mu), found.asimov(mu))

    band = _band(expected)
    return UpperLimit(observed=_zero(excess, found.best + band[2], rtol), expected=band)


def _band(function: Callable[[float], float]) -> Band:
    low, lower, median, higher, high = (function(sigmas) for sigmas in SIGMAS)
    return low, lower, median, higher, high


def _zero(function: Callable[[float], float], guess: float, rtol: float) -> float:
    """The zero of an increasing function of a positive number."""
    low = high = guess
    for _ in range(60):
        if function(low) < 0:
            break
        high, low = low, low / 1.3
    for _ in range(60):
        if function(high) > 0:
            return float(toms748(function, low, high, xtol=rtol * high, rtol=rtol))
        low, high = high, high * 1.3
    raise FitError(
        f"No upper limit found up to a signal strength of {high:.3g}: the data hardly depend on it."
    )
