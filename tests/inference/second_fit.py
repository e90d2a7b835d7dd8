"""A fit that shares nothing with ours but pyhf's expectation: nonlinear least squares.

-2 ln L, less its value for a perfect description, is the sum of squared deviance residuals of the
Poisson counts and of the pulls of the Gaussian auxiliary measurements.
"""

import numpy as np
import pyhf
from scipy.optimize import least_squares


def minimum(
    model: pyhf.Model,
    data: list[float],
    mu: float | None = None,
    *,
    spread: float = 0,
    seed: int = 0,
) -> tuple[np.ndarray, float]:
    """Parameters and -2 ln L of the best fit, at a value of the POI or with the POI free.

    `spread` draws the starting values, in units of the widths before the fit.
    """
    data = np.array(data, float)
    widths, gaussian = [np.nan] * model.config.nmaindata, np.zeros(len(data), bool)
    for name in model.config.auxdata_order:
        paramset = model.config.param_set(name)
        assert paramset.pdf_type == "normal"
        widths += paramset.width()
    gaussian[model.config.nmaindata :] = True
    widths = np.where(gaussian, widths, 1.0)
    lower, upper = np.array(model.config.suggested_bounds(), float).T
    start = np.array(model.config.suggested_init(), float)
    for name in model.config.par_order:
        paramset, where = model.config.param_set(name), model.config.par_slice(name)
        width = np.array(paramset.width()) if paramset.constrained else 0.1
        noise = np.random.default_rng([seed, where.start]).normal(size=paramset.n_parameters)
        start[where] += spread * width * noise
    start = np.clip(start, lower + 1e-3, upper - 1e-3)
    free = ~np.array(model.config.suggested_fixed())
    if mu is not None:
        start[model.config.poi_index], free[model.config.poi_index] = mu, False

    def full(values: np.ndarray) -> np.ndarray:
        point = start.copy()
        point[free] = values
        return point

    def residuals(values: np.ndarray) -> np.ndarray:
        rate = np.asarray(model.expected_data(list(full(values))))
        count = np.where(gaussian, 1.0, data)
        rate_ = np.where(gaussian, 1.0, np.maximum(rate, 1e-9))
        x = (rate_ - count) / count
        near = np.where(np.abs(x) < 1e-3, x, 0.0)
        far = np.where(np.abs(x) < 1e-3, 1.0, x)
        root = np.where(
            np.abs(x) < 1e-3,
            near * np.sqrt(1 - 2 * near / 3 + near**2 / 2 - 2 * near**3 / 5),
            np.sign(far) * np.sqrt(2 * (far - np.log1p(far))),
        )
        return np.where(gaussian, (data - rate) / widths, np.sqrt(count) * root)

    found = least_squares(
        residuals,
        start[free],
        jac="3-point",
        bounds=(lower[free], upper[free]),
        x_scale="jac",
        ftol=1e-11,
        xtol=1e-11,
        gtol=1e-11,
    )
    assert found.success
    point = full(found.x)
    return point, float(-2 * model.logpdf(list(point), list(data))[0])
