"""A field as it is known after measurements.

With n measurements the only matrix that is factorised is `J k Jᵀ + N` [n, n], with the kernel k of
the field, the errors N, and the derivatives J of the measurements by the field. Means, modes and
samples are functions: sums over the basis functions of the domains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Float

from difftune.arguments import is_number, said, whole
from difftune.errors import InputError
from difftune.fields.domains import Numbers
from difftune.fields.maps import FieldMap
from difftune.fields.prior import Prior, evaluated, inner_points
from difftune.precision import in_float64
from difftune.pytrees import register


def measured(slopes: Float[Numbers, "measurements nodes"], values: Any) -> Numbers:
    """What is measured, of values at all nodes [measurements × nodes, ...]."""
    values = values.reshape(*slopes.shape, *values.shape[1:])
    return jnp.einsum("nq,nq...->n...", slopes, values)


def spread(slopes: Float[Numbers, "measurements nodes"], values: Numbers) -> Numbers:
    """The transpose of `measured`: from measurements to all nodes."""
    return (slopes * values[:, None]).ravel()


@register()
@dataclass(frozen=True)
class Gaussian:
    """A Gaussian field given measurements, for one value of what is learned.

    Attributes:
        prior: The field beforehand.
        learned: Standard normal variables of the prior [unknowns].
        features: Basis functions at the nodes, by domain [measurements × nodes, modes].
        slopes: Derivatives of each measurement by the values at its nodes [measurements, nodes].
        noise: Lower Cholesky factor of the errors [measurements, measurements].
        factor: That of `J k Jᵀ + N`.
        weights: The mean is the offset and `Σ weights k(·, nodes)` [measurements × nodes].
    """

    prior: Prior
    learned: Numbers
    features: list[Numbers]
    slopes: Numbers
    noise: Numbers
    factor: Numbers
    weights: Numbers

    def given(self, residuals: Numbers) -> "Gaussian":
        """With other values: measured ones less those of the offset [measurements]."""
        return replace(self, weights=spread(self.slopes, cho_solve((self.factor, True), residuals)))

    def mean(self, features: Sequence[Numbers]) -> Numbers:
        """At points, of which the features are given."""
        constant, coefficients = self.centre()
        return evaluated(features, constant, coefficients)

    def centre(self) -> tuple[Numbers, Numbers]:
        """The mean as a function."""
        constant, coefficients = self.prior.section(self.learned, self.features, self.weights)
        return constant + self.prior.constant, coefficients

    def covariance(self, one: Sequence[Numbers], other: Sequence[Numbers]) -> Numbers:
        """Between points [one, other]."""
        before = self.prior.kernel(self.learned, one, other)
        return before - self._reduced(one).T @ self._reduced(other)

    def variance(self, features: Sequence[Numbers]) -> Numbers:
        """At points."""
        std, _ = self.prior.amplitudes(self.learned)
        before = std**2 + self.prior.constant_variance
        return jnp.maximum(before - (self._reduced(features) ** 2).sum(axis=0), 0.0)

    def across(self, points: Sequence[Numbers], weights: Numbers) -> tuple[Numbers, Numbers]:
        """`Σ weights Cov(·, points)`, as a function."""
        known = self._reduced(points) @ weights
        pull = spread(self.slopes, solve_triangular(self.factor, known, lower=True, trans=1))
        a, b = self.prior.section(self.learned, points, weights)
        c, d = self.prior.section(self.learned, self.features, pull)
        return a - c, b - d

    def sample(self, key: Numbers) -> tuple[Numbers, Numbers]:
        """A function around 0 with this covariance: Matheron's rule (arXiv 2011.04026)."""
        one, other = jax.random.split(key)
        constant, coefficients = self.prior.draw(self.learned, one)
        data = measured(self.slopes, evaluated(self.features, constant, coefficients))
        data = data + self.noise @ jax.random.normal(other, data.shape, data.dtype)
        pull = spread(self.slopes, cho_solve((self.factor, True), data))
        less, fewer = self.prior.section(self.learned, self.features, pull)
        return constant - less, coefficients - fewer

    def _reduced(self, features: Sequence[Numbers]) -> Numbers:
        """`L⁻¹ J k(nodes, points)` [measurements, points]."""
        known = measured(self.slopes, self.prior.kernel(self.learned, self.features, features))
        return solve_triangular(self.factor, known, lower=True)


def conditioned(
    prior: Prior, learned: Numbers, features: list[Numbers], slopes: Numbers, noise: Numbers
) -> Gaussian:
    """The field given measurements whose values are those of the offset.

    Args:
        prior: The field beforehand.
        learned: What is learned [unknowns].
        features: Basis functions at the nodes, by domain.
        slopes: Derivatives of the measurements by the values at their nodes.
        noise: Lower Cholesky factor of the errors.
    """
    nodes = measured(slopes, prior.kernel(learned, features, features))
    factor = jnp.linalg.cholesky(measured(slopes, nodes.T) + noise @ noise.T)
    weights = jnp.zeros(slopes.size)
    return Gaussian(prior, learned, features, slopes, noise, factor, weights)


_CHUNK = 4096
"""Points at once."""
_GRID = 900
"""Points that stand for the domain."""


@dataclass(frozen=True)
class Posterior:
    """What measurements say of a field. Points are [points, width], in the order of the domains.

    Attributes:
        components: The field for each value of what is learned: one, the likeliest, or several.
        shares: Their probabilities.
        positive: Whether the field is the exponential of a Gaussian one.
        evidence: Ln of the probability of the measurements, for the likeliest value.
    """

    components: tuple[Gaussian, ...]
    shares: tuple[float, ...]
    positive: bool
    evidence: float

    @property
    def prior(self) -> Prior:
        """The field beforehand."""
        return self.components[0].prior

    @property
    def learned(self) -> dict[str, Any]:
        """Standard deviation, and correlation length and smoothness by domain: the likeliest."""
        return self.prior.said(self.components[0].learned)

    def __repr__(self) -> str:
        said = {
            name: [f"{each:.3g}" for each in np.atleast_1d(value)]
            for name, value in self.learned.items()
        }
        parts = ", ".join(f"{name} {', '.join(values)}" for name, values in said.items())
        return f"Posterior(of {len(self.components[0].slopes)} measurements: {parts})"

    def given(self, values: Any) -> "Posterior":
        """With other values measured at the same places with the same errors [measurements].

        What was learned stays. The result is differentiable by the values.

        Raises:
            InputError: The field is positive, so that a measurement is not linear in it.
        """
        if self.positive:
            raise InputError("Posterior.given: the field is positive; fit the new values.")
        return replace(self, components=_given(self.components, values))

    def mean(self, points: Any) -> Float[Numbers, " points"]:
        """The mean of the field at points."""
        return self._by_chunk(_mean, points)

    def std(self, points: Any) -> Float[Numbers, " points"]:
        """The standard deviation of the field at points."""
        return self._by_chunk(_std, points)

    def covariance(self, points: Any, others: Any = None) -> Float[Numbers, "points others"]:
        """The covariance of the field between points, or between points and others."""
        one = self._points(points)
        other = one if others is None else self._points(others)
        return _covariance(self.components, self._shares, self.positive, one, other)

    def samples(self, points: Any, count: int, *, seed: int = 0) -> Float[Numbers, "count points"]:
        """Fields drawn from the posterior, at points.

        Args:
            points: Where.
            count: How many.
            seed: Of random numbers: the same fields for the same seed, wherever they are asked for.
        """
        count = whole(count, f"samples(count={said(count)})", least=1)
        inner = self._points(points)
        chosen = np.random.default_rng(seed).choice(len(self.components), count, p=self.shares)
        keys = jax.random.split(jax.random.key(seed), count)
        values = [
            _sample(self.components[number], self.positive, keys[i], inner)
            for i, number in enumerate(chosen)
        ]
        return np.stack(values) if isinstance(values[0], np.ndarray) else jnp.stack(values)

    def modes(
        self, count: int | None = None, *, share: float | None = None, at: Any = None
    ) -> FieldMap:
        """The mean with the leading modes of its uncertainty, each one standard deviation long.

        They are eigenfunctions (a Karhunen-Loève expansion) of the correlation over the whole
        domain: the variance of each place counts in units of its own, so that a few places of which
        little is known, and where there are few events, do not take all modes. With `at` they are
        those of the covariance at points, such as those of events. Of a field that is positive they
        are those of its logarithm.

        Args:
            count: How many modes.
            share: Or the share of the variance that they hold at least.
            at: Points [points, width] that stand for the domain, 2000 at most.
        """
        if (count is None) == (share is None):
            raise InputError("modes: give count, how many; or share, of the variance, as 0.95.")
        points = self.prior.grid(_GRID) if at is None else np.asarray(self._points(at))
        if len(points) > 2000:
            raise InputError(f"modes: at has {len(points)} points; 2000 of them are enough.")
        if share is not None and not (is_number(share) and 0 < share <= 1):
            raise InputError(f"modes(share={said(share)}): give a number from 0 to 1.")
        if count is not None:
            count = whole(count, f"modes(count={said(count)})", least=1)
            if count > len(points):
                raise InputError(f"modes(count={count}): a grid of {len(points)} points has fewer.")
        covariance = _covariance(self.components, self._shares, False, points, points)
        covariance = np.asarray(covariance)
        scale = np.ones(len(points)) if at is not None else np.diag(covariance) ** -0.5
        values, vectors = np.linalg.eigh(scale[:, None] * covariance * scale)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        held = np.cumsum(values) / values.sum()
        if share is not None:
            count = int(np.searchsorted(held, share - 1e-12) + 1)
        assert count is not None
        lengths = np.sqrt(np.maximum(values[:count], 1e-300))
        nominal, modes = _functions(
            self.components, self._shares, points, scale[:, None] * vectors[:, :count] / lengths
        )
        return FieldMap(
            domains=self.prior.factors,
            positive=self.positive,
            nominal=nominal,
            modes=tuple(modes),
            share=float(held[count - 1]),
        )

    @property
    def _shares(self) -> np.ndarray:
        return np.asarray(self.shares)

    def _points(self, points: Any) -> Any:
        """Points as the bases take them."""
        return inner_points(self.prior, points)

    def _by_chunk(self, function: Callable[..., Any], points: Any) -> Any:
        inner = self._points(points)
        found = [
            function(self.components, self._shares, self.positive, inner[i : i + _CHUNK])
            for i in range(0, max(len(inner), 1), _CHUNK)
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)


def _moments(components: Any, shares: Any, points: Any) -> tuple[Numbers, Numbers]:
    features = components[0].prior.features(points)
    means = jnp.stack([each.mean(features) for each in components])
    variances = jnp.stack([each.variance(features) for each in components])
    mean = shares @ means
    return mean, shares @ (variances + (means - mean) ** 2)


@in_float64
@jax.jit
def _given(components: Any, values: Any) -> Any:
    return tuple(
        each.given(jnp.asarray(values) - each.slopes.sum(axis=1) * each.prior.constant)
        for each in components
    )


@in_float64
@partial(jax.jit, static_argnums=2)
def _mean(components: Any, shares: Any, positive: bool, points: Any) -> Numbers:
    if not positive:
        features = components[0].prior.features(points)
        return shares @ jnp.stack([each.mean(features) for each in components])
    mean, variance = _moments(components, shares, points)
    return jnp.exp(mean + variance / 2)


@in_float64
@partial(jax.jit, static_argnums=2)
def _std(components: Any, shares: Any, positive: bool, points: Any) -> Numbers:
    mean, variance = _moments(components, shares, points)
    if not positive:
        return jnp.sqrt(variance)
    return jnp.exp(mean + variance / 2) * jnp.sqrt(jnp.expm1(variance))


@in_float64
@partial(jax.jit, static_argnums=2)
def _covariance(components: Any, shares: Any, positive: bool, one: Any, other: Any) -> Numbers:
    prior = components[0].prior
    left, right = prior.features(one), prior.features(other)
    means = [jnp.stack([each.mean(f) for each in components]) for f in (left, right)]
    centre = [shares @ each for each in means]
    away = [each - middle for each, middle in zip(means, centre, strict=True)]
    total = (shares * away[0].T) @ away[1]
    for each, share in zip(components, shares, strict=True):
        total = total + share * each.covariance(left, right)
    if not positive:
        return total
    sizes = [
        jnp.exp(middle + _moments(components, shares, points)[1] / 2)
        for middle, points in zip(centre, (one, other), strict=True)
    ]
    return sizes[0][:, None] * jnp.expm1(total) * sizes[1]


@in_float64
@partial(jax.jit, static_argnums=1)
def _sample(component: Gaussian, positive: bool, key: Numbers, points: Any) -> Numbers:
    features = component.prior.features(points)
    values = component.mean(features) + evaluated(features, *component.sample(key))
    return jnp.exp(values) if positive else values


@in_float64
@jax.jit
def _functions(components: Any, shares: Any, points: Any, vectors: Any) -> tuple[Any, Any]:
    """The mean, and `Cov(·, points) v` of each vector v [points, vectors]."""
    features = components[0].prior.features(points)
    centres = [each.centre() for each in components]
    nominal = _summed(shares, centres)
    modes = []
    for number in range(vectors.shape[1]):
        v = vectors[:, number]
        parts = []
        for each, centre in zip(components, centres, strict=True):
            away = jax.tree.map(jnp.subtract, centre, nominal)
            along = evaluated(features, *away) @ v
            parts.append(
                jax.tree.map(lambda a, b, x=along: a + x * b, each.across(features, v), away)
            )
        modes.append(_summed(shares, parts))
    return nominal, modes


def _summed(shares: Any, functions: Sequence[Any]) -> Any:
    return jax.tree.map(
        lambda *leaves: sum(share * leaf for share, leaf in zip(shares, leaves, strict=True)),
        *functions,
    )
