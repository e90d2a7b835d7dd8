"""What an analysis is expected to give: a counting experiment in closed form, and Asimov data.

The best fit to Asimov data is where they were made, so that at most one fit is needed: that with
the strength of the signal at the tested value. All functions are differentiable in the model's
numbers, and meant for the inside of a training, in float64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.histfactory import Model, Structure
from difftune.histfactory import rates as likelihood
from difftune.inference.hypotest import root
from difftune.inference.minima import at_value, envelope
from difftune.inference.problems import limits, make_problem, poi_index
from difftune.inference.solver import Problem, deviance, expand, minimise, solve_free
from difftune.later import Array, jax, jnp

# Below this |x| the closed form of `_chi` loses digits to cancellation and the series, cut after
# twelve terms, has none to lose even in float64.
_SERIES_BELOW = 0.05
_SERIES_TERMS = 12


def _chi(x: Float[Array, "*bins"]) -> Float[Array, "*bins"]:
    """((1 + x) ln(1 + x) - x) / x = x/2 - x²/6 + x³/12 - ... for x >= 0, accurate near 0."""
    small = x < _SERIES_BELOW
    near = jnp.where(small, x, 0.0)
    series = jnp.zeros_like(near)
    for k in range(_SERIES_TERMS + 1, 1, -1):
        series = near * ((-1) ** k / (k * (k - 1)) + series)
    far = jnp.where(small, 1.0, x)
    return jnp.where(small, series, (1 + 1 / far) * jnp.log1p(far) - 1)


def asimov_llr(
    signal: Float[Array | np.ndarray, "*batch bins"],
    background: Float[Array | np.ndarray, "*batch bins"],
    uncertainty: Float[Array | np.ndarray, "*batch bins"] | None = None,
) -> Float[Array, "*batch"]:
    """Discovery test statistic q0 on the Asimov data of signal plus background.

    Without uncertainty `2 Σ [(s + b) ln(1 + s/b) - s]` (arXiv 1007.1727, eq. 97). With an
    independent Gaussian-like uncertainty σ of each bin's background it is the profiled form

        2 Σ [(s + b) ln((s + b)(b + σ²) / (b² + (s + b)σ²)) - b²/σ² ln(1 + σ² s / (b (b + σ²)))]

    (Li and Ma, ApJ 272 (1983) 317; G. Cowan, "Discovery sensitivity for a counting experiment with
    background uncertainty", 2012), where σ = 0 is the form without. Both are evaluated as
    `2 Σ s [χ(s/b) - χ(w)]`, `w = (s/b) v / (1 + v)`, `v = σ²/b`, with the χ of this module: equal,
    and without cancellation in bins of small s/b, so good in float32.

    A bin whose signal or background is not positive (or below 1e-15) contributes 0, in value and
    gradient: the closed form is infinite or undefined there, and such yields come from a lack of
    events. To have a slope there, raise the background to a floor first. NaN stays NaN.

    Args:
        signal: Expected signal in each bin.
        background: Expected background in each bin.
        uncertainty: Absolute uncertainty of the background in each bin, uncorrelated.

    Returns:
        q0, summed over the bins.
    """
    # Counts may be integers.
    signal, background = 1.0 * jnp.asarray(signal), 1.0 * jnp.asarray(background)
    # The derivative of s / b has an intermediate 1 / b², which must not overflow.
    least = jnp.finfo(jnp.result_type(signal, background)).tiny ** 0.4
    # Not "s > 0 and b > least": a NaN must not count as an empty bin, and so pass unseen.
    filled = ~((signal <= 0) | (background <= least))
    s, b = jnp.where(filled, signal, 0.0), jnp.where(filled, background, 1.0)
    ratio = s / b
    term = _chi(ratio)
    if uncertainty is not None:
        # Not σ²/b: its derivative overflows where both are tiny.
        relative = jnp.square(jnp.where(filled, uncertainty, 0.0) / b) * b
        term = term - _chi(ratio * relative / (1 + relative))
    return 2 * jnp.sum(s * term, axis=-1)


def asimov_significance(
    signal: Float[Array | np.ndarray, "*batch bins"],
    background: Float[Array | np.ndarray, "*batch bins"],
    uncertainty: Float[Array | np.ndarray, "*batch bins"] | None = None,
) -> Float[Array, "*batch"]:
    """Expected discovery significance Z = sqrt(q0), in standard deviations.

    Args:
        signal: Expected signal in each bin.
        background: Expected background in each bin.
        uncertainty: Absolute uncertainty of the background in each bin, uncorrelated.

    Returns:
        The root of `asimov_llr`; 0 with gradient 0 where that is 0.
    """
    q0 = asimov_llr(signal, background, uncertainty)
    zero = q0 <= 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, q0)))


class AsimovProblem(NamedTuple):
    """A likelihood with the Asimov data of a strength of the signal.

    Attributes:
        structure: Of the model.
        poi: Index of the parameter of interest.
        problem: Numbers and data; starts where the data were made.
    """

    structure: Structure
    poi: int
    problem: Problem


def asimov_at(model: Model, strength: float) -> AsimovProblem:
    """Asimov data of the nominal nuisance parameters.

    Args:
        model: The model; its numbers may be traced.
        strength: The parameter of interest.

    Raises:
        InputError: There is no parameter of interest.
    """
    structure, index = model.structure, poi_index(model, "An expected result")
    given = limits(structure)
    given.start[:] = structure.layout.init
    given.start[index] = strength
    problem = make_problem(model, jnp.zeros(0), given)
    # What is asked for is free, also where the measurement fixes it.
    problem = problem._replace(fixed=problem.fixed.at[index].set(False))
    main = likelihood.rates(structure, problem.terms, problem.start)
    auxiliary = likelihood.expected_auxiliary(structure, problem.terms, problem.start)
    return AsimovProblem(
        structure, index, problem._replace(data=jnp.concatenate([main, auxiliary]))
    )


def likelihood_ratio_at(
    asimov: AsimovProblem, tested: float | Float[Array, ""], *, steps: int | None = None
) -> Float[Array, ""]:
    """-2 ln of the likelihood ratio of a tested strength and the true one (arXiv 1007.1727).

    Args:
        asimov: Model and data.
        tested: The strength.
        steps: Of the fit of the nuisance parameters; None: as many as it takes.
    """
    problem = at_value(asimov.problem, asimov.poi, tested)
    found = minimise(asimov.structure, problem, steps=steps)
    return 2 * envelope(asimov.structure, problem, found)


def covariance(asimov: AsimovProblem, indices: Sequence[int]) -> Float[Array, "chosen chosen"]:
    """Covariance of some parameters, all others profiled.

    The inverse of the second derivatives of -ln L, which on Asimov data are Fisher's information;
    bounds are ignored.

    Args:
        asimov: Model and data.
        indices: Of the parameters.
    """
    problem, chosen = asimov.problem, jnp.asarray(indices)
    information = expand(asimov.structure, problem, problem.start).hessian
    unit = jnp.eye(len(problem.start), dtype=problem.start.dtype)[chosen]
    rows = jax.vmap(lambda right: solve_free(information, right, ~problem.fixed))(unit)
    return rows[:, chosen]


def variance_where_known(
    asimov: AsimovProblem, indices: Sequence[int] | None = None
) -> Float[Array, ""]:
    """Variance of the parameter of interest if some others were known.

    Args:
        asimov: Model and data.
        indices: Of what is known, all others being profiled; None: everything is.
    """
    problem, poi = asimov.problem, asimov.poi
    information = expand(asimov.structure, problem, problem.start).hessian
    if indices is None:
        return 1.0 / information[poi, poi]
    known = jnp.zeros(len(problem.start), bool).at[jnp.asarray(indices)].set(True)
    unit = jnp.eye(len(problem.start), dtype=problem.start.dtype)[poi]
    return solve_free(information, unit, ~(problem.fixed | known))[poi]


def median_limit(
    asimov: AsimovProblem,
    *,
    deviation: float | Float[Array, ""],
    rounds: int,
    steps: int | None = None,
) -> Float[Array, ""]:
    """The strength that Asimov data without signal exclude by so many standard deviations.

    The root of q̃ grows almost in proportion to the strength, so Newton's method on it, from the
    strength at which Fisher's information puts it, needs few rounds. The derivatives are those of
    the implicit function at the last one.

    Args:
        asimov: Model and data at a strength of 0.
        deviation: The wanted root of q̃; 1.96 for a median CLs of 5 %.
        rounds: Of Newton's method.
        steps: Of the fit in each of them; None: as many as it takes.
    """
    structure, index = asimov.structure, asimov.poi
    fixed_point = asimov._replace(problem=jax.lax.stop_gradient(asimov.problem))

    def at(problem: Problem, mu: Array, point: Array) -> tuple[Array, Array]:
        """The likelihood ratio, and its slope in the strength."""

        def ratio(strength: Array) -> Array:
            return 2 * deviance(structure, problem, point.at[index].set(strength))

        return jax.jvp(ratio, (mu,), (jnp.ones_like(mu),))

    def fitted(mu: Array, start: Array) -> Array:
        problem = at_value(fixed_point.problem._replace(start=start), index, mu)
        return minimise(structure, problem, steps=steps).parameters

    def newton(state: tuple[Array, Array], last: Array) -> tuple[tuple[Array, Array], None]:
        mu, start = state
        point = fitted(mu, start)
        q, slope = at(fixed_point.problem, mu, point)
        distance = root(q)
        step = (distance - deviation) * 2 * distance / jnp.where(slope > 0, slope, 1.0)
        # A step that changes it many times over comes from a signal that is not there.
        new = jnp.clip(mu - jnp.where(slope > 0, step, 0.0), mu / 3, mu * 3)
        return (jnp.where(last, mu, new), point), None

    variance = covariance(fixed_point, [index])[0, 0]
    begin = deviation * root(variance), fixed_point.problem.start
    # The last round is the fit at the limit.
    (mu, point), _ = jax.lax.scan(newton, begin, np.arange(rounds + 1) == rounds)
    mu, point = jax.lax.stop_gradient((mu, point))
    q, slope = at(asimov.problem, mu, point)
    slope = jax.lax.stop_gradient(jnp.where(slope > 0, slope, 1.0))
    return jnp.clip(mu - (q - deviation**2) / slope, mu / 3, mu * 3)
