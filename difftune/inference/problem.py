"""A workspace as what fits need: model, data, Asimov data."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyhf

from difftune.errors import InputError
from difftune.inference.backend import FitError, fitted, pyhf_backend

Workspace = Mapping[str, Any]


class Point(NamedTuple):
    """Parameters and -2 ln L there."""

    parameters: list[float]
    twice_nll: float


class Problem(NamedTuple):
    """A model with its observations and its nominal expectation, both with auxiliary data."""

    model: pyhf.Model
    observed: list[float]
    nominal: list[float]
    asimov: list[float]

    @property
    def blind(self) -> bool:
        """Whether the observations are the expectation."""
        return np.allclose(self.observed, self.asimov, rtol=1e-9, atol=0)

    @property
    def poi(self) -> int:
        """Index of the parameter of interest."""
        return self.model.config.poi_index


def read_problem(workspace: Workspace) -> Problem:
    """Model and data of a workspace's first measurement.

    Raises:
        InputError: There is no parameter of interest.
    """
    with pyhf_backend():
        parsed = pyhf.Workspace(dict(workspace))
        model = parsed.model()
        if model.config.poi_name is None:
            raise InputError(
                "The workspace has no parameter of interest: name one in "
                "measurements[0]['config']['poi']."
            )
        nominal = [float(value) for value in model.config.suggested_init()]
        nominal[model.config.poi_index] = 1.0
        observed = [float(value) for value in parsed.data(model)]
        asimov = [float(value) for value in model.expected_data(nominal)]
        return Problem(model, observed, nominal, asimov)


def best_point(problem: Problem, data: list[float], what: str) -> Point:
    """The best fit to data; without a fit to the nominal Asimov data, whose best fit is known.

    Args:
        problem: The model.
        data: Main and auxiliary data.
        what: What is fitted, for messages.

    Raises:
        FitError: The fit does not converge.
    """
    if np.allclose(data, problem.asimov, rtol=1e-9, atol=0):
        return at(problem, problem.nominal, data, what)

    def action() -> Any:
        return pyhf.infer.mle.fit(data, problem.model, return_fitted_val=True)

    parameters, twice_nll = fitted(what, action)
    return Point([float(p) for p in parameters], float(twice_nll))


def conditional_point(
    problem: Problem, data: list[float], mu: float, what: str, start: list[float] | None = None
) -> Point:
    """The best fit to data at a value of the parameter of interest.

    Args:
        problem: The model.
        data: Main and auxiliary data.
        mu: The value; it may lie outside the bounds.
        what: What is fitted, for messages.
        start: Where to start from; by default from the model's suggestion, as pyhf does.

    Raises:
        FitError: The fit does not converge.
    """
    config = problem.model.config
    parameters = list(start or config.suggested_init())
    parameters[problem.poi] = mu
    fixed = list(config.suggested_fixed())
    fixed[problem.poi] = True
    if all(fixed):
        # pyhf cannot fit nothing with Minuit.
        return at(problem, parameters, data, what)
    bounds = list(config.suggested_bounds())
    bounds[problem.poi] = (min(bounds[problem.poi][0], mu), max(bounds[problem.poi][1], mu))

    def action() -> Any:
        return pyhf.infer.mle.fixed_poi_fit(
            mu,
            data,
            problem.model,
            init_pars=parameters,
            par_bounds=bounds,
            return_fitted_val=True,
        )

    best, twice_nll = fitted(what, action)
    return Point([float(p) for p in best], float(twice_nll))


def at(problem: Problem, parameters: list[float], data: list[float], what: str) -> Point:
    """A point where no fit is needed.

    Raises:
        FitError: The likelihood is not finite there.
    """
    with pyhf_backend(), np.errstate(all="ignore"):
        twice_nll = float(pyhf.infer.mle.twice_nll(parameters, data, problem.model)[0])
    if not np.isfinite(twice_nll):
        raise FitError(
            f"{what}: the likelihood is not finite. A bin without expected events has data, or a "
            "yield is negative."
        )
    return Point(parameters, twice_nll)


def expected_data(problem: Problem, parameters: list[float]) -> list[float]:
    """Main and auxiliary data as expected at a point: the Asimov data of it."""
    with pyhf_backend():
        return [float(value) for value in problem.model.expected_data(parameters)]
