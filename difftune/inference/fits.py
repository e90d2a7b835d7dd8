"""Maximum likelihood fits."""

import logging
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError, nearest
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model, Structure
from difftune.histfactory import arrays as xp
from difftune.histfactory import rates as likelihood
from difftune.inference.curvature import Blocks, Matrix, dense
from difftune.inference.given import asks
from difftune.inference.minima import best_fit
from difftune.inference.problems import (
    Bounds,
    Fixed,
    Limits,
    check_steps,
    limits,
    make_problem,
    over,
    report,
)
from difftune.inference.solver import Problem, Status, expand
from difftune.precision import compiled_if_many, in_numpy, traced

logger = logging.getLogger("difftune")

# Least eigenvalue of a Hessian of unit diagonal with which the data determine all parameters.
_LEAST = 1e-11

Numbers = Float[Array, "..."] | Float[np.ndarray, "..."]


class FitResult(NamedTuple):
    """A maximum likelihood fit; for a batch of data every array has its axis in front.

    Attributes:
        names: Names of the parameters in pyhf's order.
        values: Their best fit; NaN where the fit failed. One of many where the data do not
            determine all parameters, which a warning and the status say; then there are no
            uncertainties.
        uncertainties: Their uncertainties from the inverse Hessian; 0 for fixed ones. For a
            parameter at a bound the bound is ignored.
        covariance: Inverse of the second derivatives of -ln L, exact.
        correlation: Correlation matrix; rows and columns of fixed parameters are 0.
        twice_nll: -2 ln L at the best fit.
        poi: Name of the parameter of interest; None without one.
        centers: Values before the fit, those of the auxiliary measurements.
        widths: Uncertainties before the fit; NaN for a parameter without constraint.
        at_bound: Free parameters that ended at a bound.
        status: `Status.CONVERGED`, 0, or why it is not.
        steps: How many steps it took.
    """

    names: tuple[str, ...]
    values: Numbers
    uncertainties: Numbers
    covariance: Numbers
    correlation: Numbers
    twice_nll: Numbers
    poi: str | None
    centers: Numbers
    widths: Numbers
    at_bound: Any
    status: Any
    steps: Any

    def parameter(self, name: str) -> tuple[float, float]:
        """Best fit and uncertainty of one parameter.

        Args:
            name: `"x"`, or `"x[0]"` of one per bin; where there is one bin `"x"` is `"x[0]"`.

        Raises:
            InputError: There is none of that name, or it stands for several.
        """
        several = [known for known in self.names if known.startswith(f"{name}[")]
        if name not in self.names and len(several) == 1:
            name = several[0]
        if name not in self.names:
            hint = f" There are {several[0]!r} to {several[-1]!r}." if several else ""
            raise InputError(f"No parameter {name!r}.{hint or nearest(name, self.names)}")
        index = self.names.index(name)
        return float(self.values[index]), float(self.uncertainties[index])

    def pulled(self, sigmas: float = 2.0) -> dict[str, float]:
        """Parameters that the data moved far from their auxiliary measurements, and how far.

        Args:
            sigmas: Those that moved by more than this many of their uncertainties before the fit.

        Returns:
            Distances in units of these uncertainties, the largest first.
        """
        pulls = (np.asarray(self.values) - np.asarray(self.centers)) / np.asarray(self.widths)
        far = [index for index in np.argsort(-np.abs(pulls)) if abs(pulls[index]) > sigmas]
        return {self.names[index]: float(pulls[index]) for index in far}


class SignificanceTest(NamedTuple):
    """Discovery significance in standard deviations.

    Attributes:
        expected: On the Asimov data of nominal signal plus background.
        observed: On the data; None if the observations are those Asimov data.
    """

    expected: float
    observed: float | None


@asks
def fit(
    model: Model,
    data: Any = None,
    *,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
    steps: int | None = None,
) -> FitResult:
    """Fits all parameters.

    A leading axis of the data, or of the model's numbers, makes a batch of fits in one program.
    There nothing raises: a fit that fails has NaN for values, and its status.

    Args:
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        bounds: Other bounds, by name; `"x"` is all of one parameter per bin, `"x[0]"` one of them.
        fixed: Values of parameters that stay, or the names of those that stay where they start.
        start: Start values, by name or of all parameters.
        steps: So many steps, neither less nor more, for use in the training of a network: a
            population's members do not wait for the slowest fit. The numbers are then those of the
            last step whatever the status; 4 are enough near the start, as on Asimov data.

    Returns:
        Best fit, uncertainties and correlations; differentiable with respect to numbers and data.

    Raises:
        InputError: Data or names are wrong.
        FitError: The fit does not converge.
    """
    given = limits(model.structure, bounds=bounds, fixed=fixed, start=start)
    check_steps(steps)
    return fitted(model, model.data(data), given, steps=steps)


def fitted(
    model: Model,
    values: Float[Array, "*batch data"] | Float[np.ndarray, "*batch data"],
    given: Limits,
    *,
    steps: int | None = None,
    free_poi: bool = False,
) -> FitResult:
    """Fits all parameters, given what the user may ask for.

    Args:
        model: The model.
        values: Main and auxiliary data.
        given: Start values, bounds, fixed parameters.
        steps: As in `fit`.
        free_poi: Whether the parameter of interest is free though the measurement fixes it.

    Raises:
        FitError: The fit does not converge.
    """
    arrays = _fit(model, values, given, steps=steps, free_poi=free_poi)
    poi = model.structure.poi_index
    status = arrays["status"]
    if not traced(status) and np.ndim(status) == 0 and status == Status.UNDETERMINED:
        logger.warning(
            "The second derivatives of the likelihood are not positive at the best fit, most of "
            "all along %r: the data do not determine it. There are no uncertainties; fix it, "
            "constrain it, or remove it.",
            model.structure.names[int(_along(model, values, given, arrays["values"]))],
        )
    elif steps is None:
        report("The fit", status)
    names = model.structure.names
    return FitResult(names=names, poi=None if poi is None else names[poi], **arrays)


def refuse_at_bound(best: FitResult, given: Limits, index: int) -> None:
    """Refuses a best fit of a parameter at its bound, of which nothing varies to both sides.

    Raises:
        InputError: With wider bounds.
    """
    if best.at_bound[index]:
        poi = best.names[index]
        raise InputError(
            f"The best fit of {poi!r} is at its bound, {best.values[index]:.4g} in "
            f"({given.lower[index]}, {given.upper[index]}), where impacts mean nothing. Widen it: "
            f"bounds={{{poi!r}: (-10, 10)}}."
        )


@compiled_if_many("steps", "free_poi")
def _fit(
    model: Model,
    data: Float[Array, "*batch data"],
    given: Limits,
    steps: int | None,
    free_poi: bool,
) -> dict[str, Any]:
    def one(problem: Problem) -> dict[str, Any]:
        if free_poi:
            poi = model.structure.poi_index or 0
            problem = problem._replace(fixed=xp.put(problem.fixed, poi, False))
        return _one_fit(model.structure, steps, problem)

    return over(one, model, data, given)


def _one_fit(structure: Structure, steps: int | None, problem: Problem) -> dict[str, Any]:
    values, found = best_fit(structure, problem, steps=steps)
    free = ~problem.fixed
    covariance, positive = _inverse(expand(structure, problem, values).hessian, free)
    status = xp.where(
        (found.status == Status.CONVERGED) & ~positive, int(Status.UNDETERMINED), found.status
    )

    def shown(array: Array, *also: Status) -> Array:
        shows = [Status.CONVERGED, *also] if steps is None else [*Status]
        good = xp.isin(status, np.asarray(shows))
        return xp.where(good, array, xp.nan)

    variance = xp.diagonal(covariance)
    sigma = xp.where(variance > 0, xp.sqrt(xp.where(variance > 0, variance, 1.0)), 0.0)
    scale = xp.where(sigma > 0, sigma, 1.0)
    centers, widths = centers_and_widths(structure, problem)
    return {
        "values": shown(values, Status.UNDETERMINED),
        "uncertainties": shown(sigma),
        "covariance": shown(covariance),
        "correlation": shown(covariance / xp.outer(scale, scale)),
        "twice_nll": shown(
            -2 * likelihood.log_likelihood(structure, problem.terms, values, problem.data),
            Status.UNDETERMINED,
        ),
        "centers": centers,
        "widths": widths,
        "at_bound": found.held & free,
        "status": status,
        "steps": found.steps,
    }


def centers_and_widths(structure: Structure, problem: Problem) -> tuple[Array, Array]:
    """Values before the fit and their uncertainties, NaN where there is no constraint."""
    layout, terms = structure.layout, problem.terms
    center = xp.where(layout.poisson, terms.center / terms.scale, terms.center)
    width = xp.where(layout.poisson, 1 / xp.sqrt(terms.scale), terms.scale)
    widths = xp.put(xp.full_like(problem.start, xp.nan), layout.auxiliary, width)
    centers = xp.put(problem.start, layout.auxiliary, center)
    return centers, xp.where(problem.fixed, xp.nan, widths)


@in_numpy
def before_fit(model: Model) -> tuple[Array, Array]:
    """Parameters before any fit, and their uncertainties, NaN without a constraint.

    Args:
        model: The model.
    """
    data = model.data(np.zeros(model.structure.n_bins))
    return centers_and_widths(model.structure, make_problem(model, data, limits(model.structure)))


def _inverse(hessian: Matrix, free: Array) -> tuple[Float[Array, "parameters parameters"], Array]:
    """Inverse among free parameters, and whether the matrix is positive."""
    if isinstance(hessian, Blocks):
        return hessian.inverse(free, _LEAST)
    matrix, scale, pair = _scaled(hessian, free)
    eye = xp.eye(len(free), dtype=matrix.dtype)
    # Cholesky's factor exists if all eigenvalues are above the margin.
    positive = xp.is_positive(xp.stop_gradient(matrix) - _LEAST * eye)
    inverse = xp.solve_positive(xp.where(positive, matrix, eye), eye)
    return xp.where(pair, inverse * scale[:, None] * scale[None, :], 0.0), positive


def _scaled(
    hessian: Float[Array, "parameters parameters"], free: Array
) -> tuple[Float[Array, "parameters parameters"], Float[Array, " parameters"], Array]:
    """A matrix with ones on the diagonal, the scales, and where parameters are free."""
    diagonal = xp.diagonal(hessian)
    scale = 1 / xp.sqrt(xp.where(free & (diagonal > 0), diagonal, 1.0))
    pair = free[:, None] & free[None, :]
    matrix = xp.where(pair, hessian * scale[:, None] * scale[None, :], 0.0)
    return matrix + xp.diag(xp.where(free, 0.0, 1.0)), scale, pair


@in_numpy
def _along(model: Model, data: Float[Array, " data"], given: Limits, values: Array) -> Array:
    """The parameter that a direction without information points along most."""
    problem = make_problem(model, data, given)
    hessian = dense(expand(model.structure, problem, values).hessian)
    matrix = np.nan_to_num(_scaled(hessian, ~problem.fixed)[0])
    return np.argmax(np.abs(np.linalg.eigh(matrix)[1][:, 0]))
