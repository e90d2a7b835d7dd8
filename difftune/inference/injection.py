"""Signals of known strength put into pseudo-experiments, and what fits make of them."""

import logging
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model, Structure
from difftune.histfactory import arrays as xp
from difftune.inference.fits import FitResult, before_fit
from difftune.inference.given import asks
from difftune.inference.hypotest import pseudo_data
from difftune.inference.minima import at_value, in_batches, minima
from difftune.inference.prediction import carried_over
from difftune.inference.problems import Bounds, Fixed, Limits, make_problem, poi_index
from difftune.inference.solver import Problem, Status, expand, solve_free
from difftune.inference.tested import tested_limits
from difftune.later import jax
from difftune.precision import compiled

logger = logging.getLogger("difftune")

Nuisances = Literal["measured", "drawn"]


class Injection(NamedTuple):
    """Fits of pseudo-experiments with signals of known strength; NaN where a fit failed.

    Attributes:
        poi: Name of the parameter of interest.
        values: Injected strengths.
        strengths: Best fits.
        uncertainties: Of the best fits, from the inverse Hessian.
        q: -2 ln of the likelihood ratio of the injected strength to the best fit.
    """

    poi: str
    values: Float[np.ndarray, " values"]
    strengths: Float[np.ndarray, "values toys"]
    uncertainties: Float[np.ndarray, "values toys"]
    q: Float[np.ndarray, "values toys"]

    @property
    def mean(self) -> Float[np.ndarray, " values"]:
        """Mean best fit of each injected strength."""
        return np.nanmean(self.strengths, axis=1)

    @property
    def spread(self) -> Float[np.ndarray, " values"]:
        """Standard deviation of the best fits."""
        return np.nanstd(self.strengths, axis=1, ddof=1)

    @property
    def mean_error(self) -> Float[np.ndarray, " values"]:
        """Statistical uncertainty of the mean."""
        return self.spread / np.sqrt((~np.isnan(self.strengths)).sum(axis=1))

    @property
    def pulls(self) -> Float[np.ndarray, "values toys"]:
        """(Best fit - injected) / uncertainty."""
        return (self.strengths - self.values[:, None]) / self.uncertainties

    def coverage(self, sigmas: float = 1.0) -> Float[np.ndarray, " values"]:
        """How often the interval of the profile likelihood holds the injected strength.

        Args:
            sigmas: Size of the interval: where -2 ln of the ratio is its square.
        """
        good = ~np.isnan(self.q)
        return ((self.q <= sigmas**2) & good).sum(axis=1) / good.sum(axis=1)

    def line(self) -> tuple[float, float]:
        """Slope and offset of the mean best fit against what is injected, by least squares.

        Raises:
            InputError: There is one value only.
        """
        if len(np.unique(self.values)) < 2:
            raise InputError("A line needs two injected values: injection(model, values=[0, 1]).")
        slope, offset = np.polyfit(self.values, self.mean, 1, w=1 / self.mean_error)
        return float(slope), float(offset)


@asks
def injection(
    model: Model,
    values: Sequence[float] | Float[np.ndarray, " values"] = (0.0, 1.0, 2.0),
    *,
    toys: int = 500,
    seed: int = 0,
    nuisances: Nuisances = "measured",
    at: FitResult | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> Injection:
    """Fits pseudo-experiments with injected signals: linearity, pulls and coverage, in one program.

    The best fit of the strength has no bounds, unless `bounds` gives it some: at a bound it would
    be neither unbiased nor Gaussian.

    Args:
        model: The model; its observations do not count.
        values: Injected strengths.
        toys: Pseudo-experiments of each.
        seed: Of the pseudo-experiments.
        nuisances: What fluctuates beside the counts. "measured": the auxiliary measurements, around
            nuisance parameters that are the same in all pseudo-experiments. "drawn": the true
            values of the nuisance parameters, by their constraints, and the auxiliary measurements
            stay.
        at: A fit whose nuisance parameters are the true ones; by default those before any fit.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of nuisance parameters that stay, in the pseudo-experiments too, or their
            names.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: There is no parameter of interest, or a value is no finite number.
    """
    given = tested_limits(
        model, "injection", bounds=bounds, fixed=fixed, start=start, test_stat="qtilde"
    )
    index = poi_index(model, "injection")
    poi = model.structure.names[index]
    injected = np.atleast_1d(np.asarray(values, float))
    if injected.ndim > 1 or not injected.size or not np.isfinite(injected).all():
        raise InputError(f"injection(values={values!r}): give finite numbers in a row.")
    if toys < 2:
        raise InputError(f"injection(toys={toys}): give at least 2.")
    if nuisances not in ("measured", "drawn"):
        raise InputError(f"nuisances={nuisances!r}: there are 'measured' and 'drawn'.")
    if np.ndim(model.numbers) > 1:
        raise InputError("injection takes one model: take one of the batch.")
    if poi not in (bounds or {}):
        given.lower[index], given.upper[index] = -np.inf, np.inf
    truth = before_fit(model)[0] if at is None else carried_over(model, at)
    truth = np.where(given.fixed, given.start, truth)
    data = model.data(np.zeros(model.structure.n_bins))
    strengths, sigmas, q = _injected(
        model, data, given, truth, injected, np.uint32(seed), toys=toys, drawn=nuisances == "drawn"
    )
    failed = int(np.isnan(strengths).sum())
    if failed:
        logger.warning(
            "The fits of %d of %d pseudo-experiments failed; these are left out.",
            failed,
            strengths.size,
        )
    return Injection(poi, injected, strengths, sigmas, q)


@compiled("toys", "drawn")
def _injected(
    model: Model,
    data: Array,
    given: Limits,
    truth: Float[Array, " parameters"],
    values: Float[Array, " values"],
    seed: Array,
    toys: int,
    drawn: bool,
) -> tuple[Array, Array, Array]:
    structure, index = model.structure, model.structure.poi_index or 0
    problem = make_problem(model, data, given)
    problem = problem._replace(fixed=xp.put(problem.fixed, index, False))

    def one(counts: Array, value: Array) -> tuple[Array, Array, Array]:
        here = problem._replace(data=counts, start=xp.put(problem.start, index, value))
        free, tested = minima(structure, here, at_value(here, index, value))
        hessian = expand(structure, here, free.parameters).hessian
        unit = xp.put(xp.zeros_like(here.start), index, 1.0)
        variance = solve_free(hessian, unit, ~here.fixed)[index]
        good = (free.status == Status.CONVERGED) & (tested.status == Status.CONVERGED)
        q = xp.maximum(2 * (tested.deviance - free.deviance), 0.0)
        sigma = xp.sqrt(xp.where(variance > 0, variance, xp.nan))
        return tuple(xp.where(good, x, xp.nan) for x in (free.parameters[index], sigma, q))

    def pseudo(key: Array, value: Array) -> Array:
        point = xp.put(truth, index, value)
        if not drawn:
            return pseudo_data(structure, problem, point, key, toys)

        def experiment(key: Array) -> Array:
            first, second = jax.random.split(key)
            there = _drawn(structure, problem, point, first)
            found = pseudo_data(structure, problem, there, second, 1)[0]
            return xp.concatenate([found[: structure.n_bins], problem.data[structure.n_bins :]])

        return jax.vmap(experiment)(jax.random.split(key, toys))

    keys = jax.random.split(jax.random.key(seed), len(values))
    every = jax.vmap(pseudo)(keys, values).reshape(-1, data.shape[-1])
    found = in_batches(one, every, xp.asarray(np.repeat(1.0, toys) * values[:, None]).ravel())
    return tuple(each.reshape(len(values), toys) for each in found)


def _drawn(
    structure: Structure, problem: Problem, point: Float[Array, " parameters"], key: Array
) -> Float[Array, " parameters"]:
    """Nuisance parameters of one pseudo-experiment, by their constraints, within their bounds.

    Those of a Poisson measurement follow a gamma distribution with its variance.
    """
    layout, scale = structure.layout, problem.terms.scale
    first, second = jax.random.split(key)
    here = point[layout.auxiliary]
    gauss = here + scale * jax.random.normal(first, here.shape, here.dtype)
    count = xp.where(layout.poisson, scale, 1.0)
    gamma = here * jax.random.gamma(second, count, dtype=here.dtype) / count
    values = xp.where(layout.poisson, gamma, gauss)
    values = xp.where(problem.fixed[layout.auxiliary], here, values)
    inside = xp.clip(values, problem.lower[layout.auxiliary], problem.upper[layout.auxiliary])
    return xp.put(point, layout.auxiliary, inside)
