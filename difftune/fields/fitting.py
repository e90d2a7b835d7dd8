"""From measurements to the posterior of a field.

Where the field is Gaussian the posterior is exact. Where it is positive, the exponential of a
Gaussian one, metric Gaussian variational inference (arXiv 1901.11033) approximates it: samples are
drawn for the derivatives of the measurements at the mean, and the mean is moved to where the
energy, averaged over mean and samples, is least; and so on. What is learned of the prior is what
makes the measurements likeliest (arXiv 0711.1166 has the fields).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from difftune.arguments import said, takes, whole
from difftune.errors import InputError
from difftune.fields.domains import Domain, Numbers
from difftune.fields.measured import Measurements
from difftune.fields.posterior import Gaussian, Posterior, conditioned, measured, spread
from difftune.fields.prior import Prior, evaluated
from difftune.precision import in_float64

_ROUNDS = 4
"""How often derivatives, what is learned, and mean follow one another."""
_NEWTON = 12
_FAR = 5.0
"""Standard deviations of their priors within which parameters are learned."""


def as_prior(given: Any) -> Prior:
    """A prior; or the domains of one."""
    return given if isinstance(given, Prior) else Prior(domains=given)


@takes(prior=as_prior)
def fit(
    measurements: Measurements,
    prior: Prior | Domain | tuple[Domain, ...],
    *,
    positive: bool = False,
    learn: Literal["evidence", "posterior"] | None = "evidence",
    order: int = 3,
    components: int = 12,
    seed: int = 0,
) -> Posterior:
    """The posterior of a field.

    Args:
        measurements: What was measured, where, with its errors.
        prior: The field beforehand, or its domain, or the domains whose product it lives on.
        positive: Whether it is the exponential of a Gaussian field: never below 0, with relative
            fluctuations. `std` and `offset` of the prior are those of the logarithm.
        learn: What becomes of standard deviation, correlation lengths and smoothness. "evidence"
            takes the values that make the measurements likeliest, with their priors; "posterior"
            averages over `components` values, drawn from the Gaussian around those and weighted by
            their probability, so that errors count what is not known of them; None leaves the
            medians of their priors.
        order: Points per coordinate that stand for a bin, those of Gauss and Legendre.
        components: How many values "posterior" draws.
        seed: Of the random numbers of "posterior" and of a positive field.

    Returns:
        The posterior: mean, standard deviation, covariance, samples and modes.

    Raises:
        InputError: The measurements do not lie on the domains, or cannot be used.
    """
    assert isinstance(prior, Prior)
    if not isinstance(measurements, Measurements):
        raise InputError(f"fit: {said(measurements)} are no difftune.fields.Measurements.")
    if learn not in ("evidence", "posterior", None):
        raise InputError(f'fit(learn={learn!r}): give "evidence", "posterior" or None.')
    order = whole(order, f"fit(order={said(order)})", least=1)
    components = whole(components, f"fit(components={said(components)})", least=2)
    values, errors = measurements.values, np.asarray(measurements.errors)
    if positive and (values + errors <= 0).any():
        row = int(np.argmin(values + errors))
        raise InputError(
            f"fit(positive=True): the value {values[row]:g} of row {row} is below 0 by more than "
            "its error; take positive=False."
        )
    inside = (np.log(np.maximum(values, errors)), errors / np.maximum(values, errors))
    fitted = prior.fitted(measurements.edges, *(inside if positive else (values, errors)))
    nodes, shares = measurements.nodes(fitted, order)
    problem = _Problem(fitted, nodes, shares, values, measurements.covariance)
    start = np.zeros(fitted.unknowns)
    mean: Callable[[np.ndarray], Any] | None = None
    if positive:
        slopes, residuals, start, mean = _positive(problem, start, learn is not None, seed)
    else:
        slopes = np.broadcast_to(shares, nodes.shape[:2])
        residuals = values - fitted.constant
        if learn is not None:
            start = problem.learned(slopes, residuals, start)
    found, weights = [start], np.ones(1)
    if learn == "posterior":
        found, weights = problem.spread_out(slopes, residuals, start, components, seed)
    parts = [problem.component(each, slopes, residuals) for each in found]
    if mean is not None:
        parts = [replace(part, weights=mean(each)) for part, each in zip(parts, found, strict=True)]
    evidence = -float(problem.energy(start, slopes, residuals)) + float(start @ start) / 2
    return Posterior(
        components=tuple(parts),
        shares=tuple(weights.tolist()),
        positive=positive,
        evidence=evidence,
    )


class _Problem:
    """Measurements of a field, as arrays."""

    def __init__(self, prior: Prior, nodes: Any, shares: Any, values: Any, covariance: Any) -> None:
        self.prior, self.shares, self.values = prior, shares, values
        self.features = _features(prior, nodes.reshape(-1, prior.width))
        # What is fully correlated leaves a matrix that is singular but for rounding.
        jitter = 1e-12 * np.trace(covariance) / len(values)
        self.noise = np.linalg.cholesky(covariance + jitter * np.eye(len(values)))

    def energy(self, learned: Any, slopes: Any, residuals: Any) -> Any:
        """-ln of evidence and prior."""
        return _energy(self.prior, learned, self.features, slopes, self.noise, residuals)

    def component(self, learned: Any, slopes: Any, residuals: Any) -> Gaussian:
        """The field for one value of what is learned."""
        found: Gaussian = _component(
            self.prior, learned, self.features, slopes, self.noise, residuals
        )
        return found

    def learned(self, slopes: Any, residuals: Any, start: Any) -> np.ndarray:
        """What makes the measurements likeliest."""

        def energy(learned: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = _energy_and_slope(
                self.prior, learned, self.features, slopes, self.noise, residuals
            )
            if not np.isfinite(value):
                return 1e30, np.zeros_like(learned)
            return float(value), np.asarray(slope)

        bounds = [(-_FAR, _FAR)] * len(start)
        options = {"maxiter": 60, "ftol": 1e-7, "gtol": 2e-2}
        found = minimize(energy, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return np.asarray(found.x)

    def spread_out(
        self, slopes: Any, residuals: Any, best: np.ndarray, count: int, seed: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Values around the likeliest ones, with their probabilities; that one is the first."""
        curvature = _curvature(self.prior, best, self.features, slopes, self.noise, residuals)
        sizes, axes = np.linalg.eigh(np.asarray(curvature))
        # The prior alone has a curvature of 1; where the evidence is bent the other way it counts.
        steps = axes / np.sqrt(np.maximum(sizes, 0.25))
        drawn = np.random.default_rng(seed).normal(size=(count // 2, len(best)))
        drawn = np.concatenate([drawn, -drawn])
        values = [best, *(np.clip(best + steps @ each, -_FAR, _FAR) for each in drawn)]
        lengths = np.concatenate([[0.0], (drawn**2).sum(axis=1) / 2])
        energies = np.array([self.energy(each, slopes, residuals) for each in values])
        logs = lengths - energies
        logs[~np.isfinite(logs)] = -np.inf
        weights = np.exp(logs - logs.max())
        # The likeliest value was not drawn, and only stands for the others in what is said.
        weights[0] = 0.0
        # No single draw decides.
        weights = np.minimum(weights, 4 * weights.sum() / count)
        return values, weights / weights.sum()


def _positive(
    problem: _Problem, learned: np.ndarray, learn: bool, seed: int
) -> tuple[Any, Any, np.ndarray, Callable[[np.ndarray], Any]]:
    """Derivatives at the mean, residuals, what is learned, and the mean as a function of that."""
    prior, shares = problem.prior, problem.shares
    key = jax.random.key(seed)
    weights = np.zeros(len(problem.values) * len(shares))
    away = np.zeros((1, len(weights)))
    arguments = (problem.features, shares, problem.noise, problem.values)
    for number in range(2 * _ROUNDS):
        slopes, residuals = _linear(prior, learned, *arguments, weights)
        # First the most probable field, then samples around it.
        if learn and number <= _ROUNDS:
            learned = problem.learned(slopes, residuals, learned)
        if number >= _ROUNDS:
            away = _around(problem.component(learned, slopes, residuals), key)
        weights = _newton(prior, learned, *arguments, weights, away)
    slopes, residuals = _linear(prior, learned, *arguments, weights)

    def mean(learned: np.ndarray) -> Any:
        return _newton(prior, learned, *arguments, weights, away)

    return slopes, residuals, learned, mean


@in_float64
@jax.jit
def _features(prior: Prior, points: Any) -> list[Numbers]:
    return prior.features(points)


def _minus_log(
    prior: Prior, learned: Any, features: Any, slopes: Any, noise: Any, residuals: Any
) -> Numbers:
    field = conditioned(prior, learned, features, slopes, noise)
    reduced = solve_triangular(field.factor, residuals, lower=True)
    size = len(residuals) / 2 * jnp.log(2 * jnp.pi) + jnp.log(jnp.diag(field.factor)).sum()
    return reduced @ reduced / 2 + size + learned @ learned / 2


_energy = in_float64(jax.jit(_minus_log))
_energy_and_slope = in_float64(jax.jit(jax.value_and_grad(_minus_log, 1)))
_curvature = in_float64(jax.jit(jax.hessian(_minus_log, 1)))


@in_float64
@jax.jit
def _component(
    prior: Prior, learned: Any, features: Any, slopes: Any, noise: Any, residuals: Any
) -> Gaussian:
    return conditioned(prior, learned, features, slopes, noise).given(residuals)


@in_float64
@jax.jit
def _linear(
    prior: Prior, learned: Any, features: Any, shares: Any, noise: Any, values: Any, weights: Any
) -> tuple[Numbers, Numbers]:
    """Derivatives at the mean [measurements, nodes], and what is measured less its offset then."""
    kernel = prior.kernel(learned, features, features)
    away = (kernel @ weights).reshape(len(values), -1)
    slopes = shares * jnp.exp(prior.constant + away)
    return slopes, values - slopes.sum(axis=1) + (slopes * away).sum(axis=1)


@in_float64
@jax.jit
def _around(field: Gaussian, key: Numbers) -> Numbers:
    """Values at the nodes of samples around 0, each with its opposite [samples, nodes]."""

    def one(key: Numbers) -> Numbers:
        return evaluated(field.features, *field.sample(key))

    drawn = jax.vmap(one)(jax.random.split(key, 8))
    return jnp.concatenate([drawn, -drawn])


@in_float64
@jax.jit
def _newton(
    prior: Prior,
    learned: Any,
    features: Any,
    shares: Any,
    noise: Any,
    values: Any,
    weights: Any,
    away: Any,
) -> Numbers:
    """Weights of the mean for which the energy is least, averaged over samples around it."""
    kernel = prior.kernel(learned, features, features)
    shape = (len(values), len(shares))

    def step(weights: Numbers, _: None) -> tuple[Numbers, None]:
        mean = prior.constant + kernel @ weights
        size = jnp.exp(mean + away).reshape(-1, *shape) * shares
        misfit = cho_solve((noise, True), (size.sum(axis=2) - values).T).T
        slope = weights + (size * misfit[:, :, None]).mean(axis=0).ravel()
        field = conditioned(prior, learned, features, size.mean(axis=0), noise)
        known = cho_solve((field.factor, True), measured(field.slopes, kernel @ slope))
        change = spread(field.slopes, known) - slope
        # An exponential must not run away.
        far = abs(kernel @ change).max()
        return weights + change * jnp.minimum(1.0, 1.0 / jnp.maximum(far, 1e-30)), None

    weights, _ = jax.lax.scan(step, weights, None, length=_NEWTON)
    return weights
