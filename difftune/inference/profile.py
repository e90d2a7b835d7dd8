"""The test statistic q̃(μ) and CLs in the asymptotic formulae of arXiv 1007.1727."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from difftune.inference.problem import (
    Point,
    Problem,
    at,
    best_point,
    conditional_point,
    expected_data,
)

Root = Callable[[float], float]
SIGMAS = (-2.0, -1.0, 0.0, 1.0, 2.0)


class Profiles(NamedTuple):
    """What CLs at any signal strength follow from.

    Attributes:
        observed: sqrt(q̃(μ)) on the observations.
        asimov: The same on the Asimov data of the background, fitted to the observations.
        best: The best-fit signal strength.
    """

    observed: Root
    asimov: Root
    best: float


def profiles(problem: Problem) -> Profiles:
    """Fits signal and background, and background alone; the rest when it is asked for.

    As in pyhf the Asimov data belong to the background hypothesis fitted to the observations. Their
    best fit is known, so each strength needs two fits, where pyhf makes five.
    """
    best = best_point(problem, problem.observed, "The fit of all parameters")
    background = conditional_point(problem, problem.observed, 0.0, "The fit of the background")
    asimov = expected_data(problem, background.parameters)
    perfect = at(problem, background.parameters, asimov, "The Asimov data of the background")
    return Profiles(
        observed=_root(problem, problem.observed, best),
        asimov=_root(problem, asimov, perfect),
        best=best.parameters[problem.poi],
    )


def log_cls(root: float, root_asimov: float) -> float:
    """Logarithm of CLs from sqrt(q̃) on the data and on the Asimov data (eq. 65 and 66)."""
    if root > root_asimov > 0:
        root = (root**2 + root_asimov**2) / (2 * root_asimov)
    return float(norm.logsf(root) - norm.logsf(root - root_asimov))


def expected_log_cls(root_asimov: float, sigmas: float) -> float:
    """Logarithm of CLs for a background that fluctuates by so many standard deviations."""
    return float(norm.logsf(root_asimov - sigmas) - norm.logsf(-sigmas))


def _root(problem: Problem, data: list[float], best: Point) -> Root:
    """sqrt(q̃(μ)) on data, remembered, each fit starting from the nearest one before."""
    best_mu = best.parameters[problem.poi]
    known = {best_mu: (0.0, best.parameters)}

    def root(mu: float) -> float:
        if mu < best_mu:
            return 0.0
        if mu not in known:
            start = known[min(known, key=lambda other: abs(other - mu))][1]
            what = f"The fit at {problem.model.config.poi_name} = {mu:.4g}"
            point = conditional_point(problem, data, mu, what, start)
            value = np.sqrt(max(point.twice_nll - best.twice_nll, 0.0))
            known[mu] = (float(value), point.parameters)
        return known[mu][0]

    return root
