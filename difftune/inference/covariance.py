"""Uncertainties of a fit: the inverse of the observed information.

Minuit's Hesse takes second differences of ln L itself, which lose their digits where yields are
large and parameters strongly correlated: with 1e6 events a bin and ten systematic uncertainties
its uncertainty of the signal strength changed by 20 % between two equal fits. Here only the
expectation is differentiated numerically; the sum over bins and the constraints are exact.
"""

import numpy as np
import pyhf
from jaxtyping import Float

from difftune.inference.backend import FitError, pyhf_backend
from difftune.inference.problem import Problem

_STEP = 1e-3


def covariance(
    problem: Problem, parameters: list[float], data: list[float]
) -> Float[np.ndarray, "parameters parameters"]:
    """Inverse of the second derivatives of -ln L at a point.

    Args:
        problem: The model.
        parameters: The best fit. For a parameter at one of its bounds the bound is ignored.
        data: Main and auxiliary data that were fitted.

    Returns:
        Covariance of all parameters; 0 for fixed ones.

    Raises:
        FitError: The data do not determine all parameters.
    """
    free = np.flatnonzero(~np.array(problem.model.config.suggested_fixed()))
    with pyhf_backend():
        information = _information(problem.model, np.array(parameters), np.array(data), free)
    if not np.isfinite(information).all():
        raise FitError(
            "The second derivatives of the likelihood are not finite at the best fit: a bin "
            "without expected events has data."
        )
    scale = np.sqrt(np.abs(np.diag(information)))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    if not values[0] > 1e-12:
        name = problem.model.config.par_names[free[np.argmax(np.abs(vectors[:, 0]))]]
        raise FitError(
            f"The second derivatives of the likelihood are not positive at the best fit, most of "
            f"all along {name!r}: the data do not determine it. Fix it, constrain it, or remove it."
        )
    inverse = np.linalg.inv(information / np.outer(scale, scale)) / np.outer(scale, scale)
    result = np.zeros((len(parameters), len(parameters)))
    result[np.ix_(free, free)] = inverse
    return result


def widths(model: pyhf.Model) -> Float[np.ndarray, "parameters"]:
    """Uncertainties before the fit; NaN for a parameter that has no constraint or is fixed."""
    found: list[float] = []
    for name in model.config.par_order:
        paramset = model.config.param_set(name)
        found += paramset.width() if paramset.constrained else [np.nan] * paramset.n_parameters
    return np.where(model.config.suggested_fixed(), np.nan, np.array(found, float))


def _information(
    model: pyhf.Model,
    point: Float[np.ndarray, "parameters"],
    data: Float[np.ndarray, "data"],
    free: np.ndarray,
) -> Float[np.ndarray, "free free"]:
    """Second derivatives of -ln L in the free parameters.

    For a Poisson term they are `n/λ² ∂λ∂λ + (1 - n/λ) ∂²λ`, for a Gaussian one
    `∂λ∂λ/σ²`, its λ being the parameter itself.
    """
    sigma = _gaussian_sigmas(model)
    gaussian = np.isfinite(sigma)
    prefit = widths(model)[free]
    # A parameter without constraint is a factor, of the size of its value.
    steps = _STEP * np.where(np.isfinite(prefit), prefit, np.maximum(np.abs(point[free]), 0.1))

    def expected(*moves: tuple[int, float]) -> Float[np.ndarray, "data"]:
        shifted = point.copy()
        for index, amount in moves:
            shifted[free[index]] += amount
        return np.asarray(model.expected_data(shifted.tolist()))

    center = expected()
    slopes = np.array(
        [(expected((i, h)) - expected((i, -h))) / (2 * h) for i, h in enumerate(steps)]
    )
    # Where nothing is expected (and nothing observed), the floor keeps 0 / 0 at 0.
    rate = np.where(gaussian, 1.0, np.maximum(center, 1e-100))
    first = np.where(gaussian, 1 / np.where(gaussian, sigma, 1.0) ** 2, data / rate**2)
    second = np.where(gaussian, 0.0, 1 - data / rate)
    result = (slopes * first) @ slopes.T
    if np.abs(second).max() < 1e-9:
        return result
    # Second differences need steps that are felt: a hundredth of what the data resolve.
    diagonal = np.diag(result)
    steps = np.where(diagonal > 0, 10 * _STEP / np.sqrt(np.where(diagonal > 0, diagonal, 1)), steps)
    up = [expected((i, h)) for i, h in enumerate(steps)]
    down = [expected((i, -h)) for i, h in enumerate(steps)]
    for i, h in enumerate(steps):
        result[i, i] += second @ (up[i] - 2 * center + down[i]) / h**2
        for j, k in enumerate(steps[:i]):
            mixed = expected((i, h), (j, k)) - up[i] - up[j] + center
            mixed += expected((i, -h), (j, -k)) - down[i] - down[j] + center
            result[i, j] += second @ mixed / (2 * h * k)
            result[j, i] = result[i, j]
    return result


def _gaussian_sigmas(model: pyhf.Model) -> Float[np.ndarray, "data"]:
    """Width of each Gaussian auxiliary measurement; NaN where data are Poisson distributed."""
    sigmas = [np.nan] * model.config.nmaindata
    for name in model.config.auxdata_order:
        paramset = model.config.param_set(name)
        normal = paramset.pdf_type == "normal"
        sigmas += paramset.width() if normal else [np.nan] * paramset.n_parameters
    return np.array(sigmas, float)
