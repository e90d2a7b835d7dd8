"""Fits, significance, CLs and limits of a pyhf workspace, through pyhf.

Everything follows the asymptotic formulae of arXiv 1007.1727. The numbers are those of pyhf's
command line with `--optimizer minuit`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyhf
from jaxtyping import Float

from difftune.errors import InputError
from difftune.inference.backend import fitted, pyhf_backend

Workspace = Mapping[str, Any]


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


class HypoTest(NamedTuple):
    """CLs of one signal strength.

    Attributes:
        cls_observed: On the observations.
        cls_expected: If there is no signal; median and bands in the order -2, -1, 0, 1, 2 standard
            deviations, as pyhf prints them.
    """

    cls_observed: float
    cls_expected: tuple[float, float, float, float, float]


class UpperLimit(NamedTuple):
    """Upper limit on the signal strength at a confidence level.

    Attributes:
        observed: On the observations.
        expected: If there is no signal; median and bands in the order -2, -1, 0, 1, 2 standard
            deviations.
    """

    observed: float
    expected: tuple[float, float, float, float, float]


class _Problem(NamedTuple):
    """A model with its observations and its nominal expectation, both with auxiliary data."""

    model: pyhf.Model
    observed: list[float]
    nominal: list[float]
    asimov: list[float]

    @property
    def blind(self) -> bool:
        """Whether the observations are the expectation."""
        return np.allclose(self.observed, self.asimov, rtol=1e-9, atol=0)


def fit(workspace: Workspace, *, asimov: bool = False) -> FitResult:
    """Fits all parameters.

    Args:
        workspace: pyhf workspace.
        asimov: To the nominal signal plus background in place of the observations.

    Returns:
        Best fit, uncertainties and correlations.

    Raises:
        FitError: The fit does not converge.
    """
    problem = _problem(workspace)
    model, data = problem.model, problem.asimov if asimov else problem.observed

    def action() -> tuple[Any, ...]:
        return pyhf.infer.mle.fit(
            data,
            model,
            return_uncertainties=True,
            return_correlations=True,
            return_fitted_val=True,
        )

    parameters, correlation, twice_nll = fitted("The fit of all parameters", action)
    return FitResult(
        names=tuple(model.config.par_names),
        values=np.array(parameters[:, 0]),
        uncertainties=np.array(parameters[:, 1]),
        correlation=np.array(correlation),
        twice_nll=float(twice_nll),
        poi=model.config.poi_name,
        centers=np.array(problem.nominal),
        widths=_widths(model),
    )


def expected_significance(workspace: Workspace) -> Significance:
    """Discovery significance of the signal at its nominal strength, and of the data.

    The best fit to the Asimov data of nominal signal plus background is known, it is the nominal
    point; so only the background hypothesis is fitted to them.

    Args:
        workspace: pyhf workspace.

    Returns:
        Expected significance; observed, where there are data.

    Raises:
        FitError: A fit does not converge.
    """
    problem = _problem(workspace)
    model = problem.model
    with pyhf_backend():
        best = float(pyhf.infer.mle.twice_nll(problem.nominal, problem.asimov, model)[0])

    def background_only() -> Any:
        return pyhf.infer.mle.fixed_poi_fit(0.0, problem.asimov, model, return_fitted_val=True)[1]

    q0 = float(fitted("The fit of the background to nominal signal plus background", background_only))
    observed = None
    if not problem.blind:

        def discovery() -> Any:
            return pyhf.infer.test_statistics.q0(
                0.0,
                problem.observed,
                model,
                model.config.suggested_init(),
                model.config.suggested_bounds(),
                model.config.suggested_fixed(),
            )

        observed = float(np.sqrt(fitted("The fit of the background to the data", discovery)))
    return Significance(expected=float(np.sqrt(max(q0 - best, 0.0))), observed=observed)


def hypotest(workspace: Workspace, mu: float = 1.0) -> HypoTest:
    """CLs of a signal strength, with the test statistic q̃(μ).

    Args:
        workspace: pyhf workspace.
        mu: Tested value of the parameter of interest.

    Returns:
        Observed and expected CLs; below 0.05 the strength is excluded at 95 % confidence level.

    Raises:
        FitError: A fit does not converge.
    """
    problem = _problem(workspace)

    def action() -> tuple[Any, ...]:
        return pyhf.infer.hypotest(
            mu, problem.observed, problem.model, test_stat="qtilde", return_expected_set=True
        )

    observed, expected = fitted(f"The test of {problem.model.config.poi_name} = {mu:g}", action)
    return HypoTest(float(observed), _five(expected))


def upper_limit(workspace: Workspace, *, level: float = 0.05, rtol: float = 1e-3) -> UpperLimit:
    """Upper limit on the signal strength by the CLs method.

    Args:
        workspace: pyhf workspace.
        level: CLs at the limit; 0.05 is 95 % confidence level.
        rtol: Relative precision.

    Returns:
        Observed and expected limits.

    Raises:
        FitError: A fit does not converge.
    """
    problem = _problem(workspace)
    model = problem.model
    lower, upper = model.config.suggested_bounds()[model.config.poi_index]

    def action() -> tuple[Any, ...]:
        return pyhf.infer.intervals.upper_limits.toms748_scan(
            problem.observed, model, max(lower, 1e-3 * upper), upper, level=level, rtol=rtol
        )

    observed, expected = fitted("The search for the upper limit", action)
    return UpperLimit(float(observed), _five(expected))


def _problem(workspace: Workspace) -> _Problem:
    """Model and data of a workspace's first measurement."""
    with pyhf_backend():
        parsed = pyhf.Workspace(dict(workspace))
        model = parsed.model()
        if model.config.poi_name is None:
            raise InputError(
                "The workspace has no parameter of interest: name one in "
                "measurements[0]['config']['poi']."
            )
        nominal = list(model.config.suggested_init())
        nominal[model.config.poi_index] = 1.0
        return _Problem(
            model, list(parsed.data(model)), nominal, list(model.expected_data(nominal))
        )


def _widths(model: pyhf.Model) -> Float[np.ndarray, "parameters"]:
    """Uncertainties before the fit; NaN for a parameter without constraint."""
    widths = []
    for name in model.config.par_order:
        paramset = model.config.param_set(name)
        widths += paramset.width() if paramset.constrained else [np.nan] * paramset.n_parameters
    return np.where(model.config.suggested_fixed(), np.nan, np.array(widths, float))


def _five(values: Any) -> tuple[float, float, float, float, float]:
    low, lower, middle, higher, high = (float(value) for value in values)
    return low, lower, middle, higher, high
