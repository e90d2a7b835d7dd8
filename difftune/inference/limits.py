"""Upper limits on the parameter of interest."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import log_ndtr
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.histfactory.precision import in_float64, traced
from difftune.inference.fits import over
from difftune.inference.hypotest import SIGMAS, alternative, likelihood_ratio, log_p_values
from difftune.inference.profile import (
    Bounds,
    Limits,
    envelope,
    limits,
    make_problem,
    poi_index,
    report,
    root,
    worst,
)
from difftune.inference.solver import Status, deviance, expand, solve_free

_STEPS = 40


class UpperLimit(NamedTuple):
    """Upper limit on the parameter of interest; with a batch, arrays have its axis in front.

    Attributes:
        observed: On the data.
        expected: If there is no signal; median and bands in the order -2, -1, 0, 1, 2 standard
            deviations.
        status: 0, or why it failed.
    """

    observed: Any
    expected: Any
    status: Any


def upper_limit(
    model: Model, data: Any = None, *, level: float = 0.05, bounds: Bounds | None = None
) -> UpperLimit:
    """Upper limit by CLs with q̃, asymptotically (arXiv 1007.1727).

    The bounds of the parameter of interest limit its best fit, but not the search.

    Args:
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        level: CLs at the limit; 0.05 is 95 % confidence level.
        bounds: Other bounds, by name of the parameter.

    Returns:
        Observed and expected limits, differentiable with respect to numbers and data.

    Raises:
        InputError: There is no parameter of interest, or its best fit ends at its upper bound.
        FitError: A fit does not converge, or there is no limit.
    """
    index = poi_index(model, "upper_limit")
    if not 0 < level < 1:
        raise InputError(f"level={level} must lie between 0 and 1: 0.05 is 95 % confidence level.")
    given = limits(model.structure, bounds=bounds)
    values = model.data(data)
    found, best = _upper_limit(model, values, given, level)
    report("The upper limit", found.status)
    if not traced(best) and best.ndim == 0 and best >= given.upper[index]:
        raise InputError(
            f"The best fit of {model.structure.poi!r} ends at its upper bound "
            f"{given.upper[index]}: widen it, bounds={{{model.structure.poi!r}: "
            f"({given.lower[index]}, {10 * given.upper[index]})}}."
        )
    return found


@in_float64
@partial(jax.jit, static_argnames=("level",))
def _upper_limit(
    model: Model, data: Array, given: Limits, level: float
) -> tuple[UpperLimit, Array]:
    return over(partial(_one_limit, given=given, level=level), model, data)


def _one_limit(
    model: Model, data: Float[Array, " data"], given: Limits, level: float
) -> tuple[UpperLimit, Array]:
    structure, index = model.structure, model.structure.poi_index or 0
    problem = make_problem(model, data, given)
    asimov, reference, status = alternative(model, problem, 0.0)
    least = deviance(structure, asimov, reference)
    best, found = envelope(structure, problem)
    best_mu = found.parameters[index]

    def expected(mu: Float[Array, ""], sigmas: Float[Array, ""]) -> tuple[Array, Array]:
        here = likelihood_ratio(model, asimov, mu, least, jnp.zeros_like(mu), "qtilde")
        value = log_ndtr(sigmas - root(here.q)) - log_ndtr(sigmas)
        return value - jnp.log(level), here.status

    def observed(mu: Float[Array, ""], _: Float[Array, ""]) -> tuple[Array, Array]:
        on_data = likelihood_ratio(model, problem, mu, best, best_mu, "qtilde")
        on_asimov = likelihood_ratio(model, asimov, mu, least, jnp.zeros_like(mu), "qtilde")
        value = log_p_values(on_data.q, on_asimov.q, "qtilde")[0]
        return value - jnp.log(level), worst(on_data.status, on_asimov.status)

    # Where the Asimov data put the uncertainty of the strength, its limit is near.
    curvature = expand(structure, asimov, jax.lax.stop_gradient(reference)).fisher
    free = (~asimov.fixed).at[index].set(True)
    unit = jnp.zeros_like(reference).at[index].set(1.0)
    sigma = jnp.sqrt(jnp.maximum(solve_free(curvature, unit, free)[index], 0.0))
    sigma = jax.lax.stop_gradient(jnp.where(jnp.isfinite(sigma) & (sigma > 0), sigma, 1.0))
    sigmas = jnp.asarray(SIGMAS)
    target = sigmas + _quantile(level * jnp.exp(log_ndtr(sigmas)))
    bands, ended = jax.vmap(partial(_zero, expected))(sigma * target, sigmas)
    guess = jnp.maximum(best_mu, 0.0) + jax.lax.stop_gradient(bands[2])
    limit, ended_observed = _zero(observed, guess, sigmas[2])
    status = worst(status, found.status, *ended, ended_observed)
    good = status == Status.CONVERGED
    return (
        UpperLimit(
            observed=jnp.where(good, limit, jnp.nan),
            expected=jnp.where(good, bands, jnp.nan),
            status=status,
        ),
        best_mu,
    )


def _quantile(p: Float[Array, " n"]) -> Float[Array, " n"]:
    """Where the upper tail of the normal distribution is p."""
    return -jax.scipy.special.ndtri(p)


def _zero(
    function: Callable[[Array, Array], tuple[Array, Array]],
    guess: Float[Array, ""],
    argument: Float[Array, ""],
) -> tuple[Float[Array, ""], Array]:
    """Zero of a decreasing function of a positive number, differentiable; and a status.

    Newton's method on the logarithm of CLs, within the bracket that is known so far.
    """

    def value_and_slope(mu: Array) -> tuple[tuple[Array, Array], Array]:
        return jax.value_and_grad(function, has_aux=True)(mu, argument)

    def step(state: Any) -> Any:
        mu, low, high, _, count, _ = state
        (value, ended), slope = value_and_slope(mu)
        low, high = jnp.where(value > 0, mu, low), jnp.where(value > 0, high, mu)
        newton = mu - value / jnp.where(slope < 0, slope, -1.0)
        middle = jnp.where(jnp.isfinite(high), (low + high) / 2, 2 * mu)
        inside = (slope < 0) & (newton > low) & (newton < high) & (newton < 3 * mu)
        there = jnp.where(inside, newton, middle)
        return there, low, high, jnp.abs(there - mu) / mu, count + 1, ended

    def goes_on(state: Any) -> Array:
        return (state[3] > 1e-9) & (state[4] < _STEPS) & (state[5] == Status.CONVERGED)

    zero, one = jnp.zeros_like(guess), jnp.ones_like(guess)
    begin = (guess, zero, jnp.inf * one, one, jnp.zeros((), int), jnp.zeros((), int))
    mu, _, _, change, _, ended = jax.lax.stop_gradient(jax.lax.while_loop(goes_on, step, begin))
    (value, _), slope = value_and_slope(mu)
    status = jnp.where((ended == Status.CONVERGED) & ~(change <= 1e-6), Status.NO_LIMIT, ended)
    # The last step, of value next to nothing, carries the derivative.
    return mu - (value - jax.lax.stop_gradient(value)) / jax.lax.stop_gradient(slope), status
