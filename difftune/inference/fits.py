"""Fits of a pyhf workspace and its discovery significance, through pyhf."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.inference.covariance import covariance, widths
from difftune.inference.problem import (
    Workspace,
    best_point,
    conditional_point,
    read_problem,
)


class FitResult(NamedTuple):
    """A maximum likelihood fit.

    Attributes:
        names: Names of the parameters in pyhf's order.
        values: Their best fit.
        uncertainties: Their uncertainties from the inverse Hessian; 0 for fixed ones.
        correlation: Correlation matrix; rows and columns of fixed parameters are 0.
        twice_nll: -2 ln L at the best fit.
        poi: Name of the parameter of interest.
        centers: Values before the fit, those of the auxiliary measurements.
        widths: Uncertainties before the fit; NaN for a parameter without constraint.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "parameters"]
    uncertainties: Float[np.ndarray, "parameters"]
    correlation: Float[np.ndarray, "parameters parameters"]
    twice_nll: float
    poi: str
    centers: Float[np.ndarray, "parameters"]
    widths: Float[np.ndarray, "parameters"]

    def parameter(self, name: str) -> tuple[float, float]:
        """Best fit and uncertainty of one parameter."""
        index = self.names.index(name)
        return float(self.values[index]), float(self.uncertainties[index])


class Significance(NamedTuple):
    """Discovery significance in standard deviations.

    Attributes:
        expected: On the Asimov data of nominal signal plus background.
        observed: On the data; None if the observations are those Asimov data.
    """

    expected: float
    observed: float | None


def fit(workspace: Workspace, *, asimov: bool = False) -> FitResult:
    """Fits all parameters.

    Args:
        workspace: pyhf workspace.
        asimov: To the nominal signal plus background in place of the observations.

    Returns:
        Best fit, uncertainties and correlations.

    Raises:
        FitError: The fit does not converge, or the data do not determine a parameter.
    """
    problem = read_problem(workspace)
    data = problem.asimov if asimov else problem.observed
    best = best_point(problem, data, "The fit of all parameters")
    matrix = covariance(problem, best.parameters, data)
    uncertainties = np.sqrt(np.diag(matrix))
    scale = np.where(uncertainties > 0, uncertainties, 1.0)
    return FitResult(
        names=tuple(problem.model.config.par_names),
        values=np.array(best.parameters),
        uncertainties=uncertainties,
        correlation=matrix / np.outer(scale, scale),
        twice_nll=best.twice_nll,
        poi=problem.model.config.poi_name,
        centers=np.array(problem.nominal),
        widths=widths(problem.model),
    )


def expected_significance(workspace: Workspace) -> Significance:
    """Discovery significance of the signal at its nominal strength, and of the data.

    Args:
        workspace: pyhf workspace.

    Returns:
        Expected significance; observed, where there are data.

    Raises:
        FitError: A fit does not converge.
    """
    problem = read_problem(workspace)
    what = "The fit of the background to nominal signal plus background"
    best = best_point(problem, problem.asimov, what)
    background = conditional_point(problem, problem.asimov, 0.0, what)
    expected = float(np.sqrt(max(background.twice_nll - best.twice_nll, 0.0)))
    if problem.blind:
        return Significance(expected=expected, observed=None)
    best = best_point(problem, problem.observed, "The fit of all parameters")
    background = conditional_point(
        problem, problem.observed, 0.0, "The fit of the background to the data"
    )
    q0 = background.twice_nll - best.twice_nll if best.parameters[problem.poi] > 0 else 0.0
    return Significance(expected=expected, observed=float(np.sqrt(max(q0, 0.0))))
