"""What is known of a field before it is measured, and what measurements tell of that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from difftune.arguments import Positive, several, takes
from difftune.errors import InputError
from difftune.fields.domains import Domain, Numbers
from difftune.precision import in_float64
from difftune.pytrees import register

Nodes = Float[Numbers, "points width"]


def as_domains(given: Any) -> tuple[Domain, ...]:
    """One domain, or several whose product it is."""
    return several(given, Domain, "domains", "Line(lower=0.0, upper=1.0)")


@register(static=("domains", "std_factor"))
@takes(domains=as_domains)
@dataclass(frozen=True, kw_only=True)
class Prior:
    """A correlated field: a constant, and Matérn fluctuations around it.

    Its covariance is `offset_std² + std² Π k(x, x')`, with a Matérn kernel for each domain. The
    standard deviation, and each correlation length and smoothness, are learned, with log-normal
    priors.

    Args:
        domains: The domain, or those whose product the field lives on.
        std: What the standard deviation of the fluctuations is about; by default that of the
            measured values.
        std_factor: The factor by which it may well differ; 1 keeps it as it is.
        offset: The value around which the field fluctuates; by default the mean of the
            measurements.
        offset_std: Its uncertainty; by default the standard deviation of the measured values.
    """

    domains: Domain | Sequence[Domain]
    std: Positive | None = None
    std_factor: Positive = 3.0
    offset: float | None = None
    offset_std: Positive | None = None

    def __post_init__(self) -> None:
        """Refuses what is not above 0."""
        for name in ("std", "offset_std"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"Prior({name}={value}): give a number above 0.")
        if not 1 <= self.std_factor < math.inf:
            raise InputError(f"Prior(std_factor={self.std_factor}): give a factor of 1 or more.")

    @property
    def width(self) -> int:
        """How many coordinates a point has."""
        return sum(domain.width for domain in self.factors)

    @property
    def factors(self) -> tuple[Domain, ...]:
        """The domains."""
        return tuple(self.domains)  # type: ignore[arg-type]

    def fitted(self, points: np.ndarray, values: np.ndarray, errors: np.ndarray) -> "Prior":
        """The same with what it leaves to the measurements.

        Args:
            points: Where is measured [points, width].
            values: What is measured [measurements], as values of the field.
            errors: Their errors [measurements].
        """
        domains = tuple(
            domain.fitted(part)
            for domain, part in zip(self.factors, self.split(points), strict=True)
        )
        spread = float(max(np.std(values), np.mean(errors)))
        return replace(
            self,
            domains=domains,
            std=spread if self.std is None else self.std,
            offset=float(np.mean(values)) if self.offset is None else self.offset,
            offset_std=spread if self.offset_std is None else self.offset_std,
        )

    def samples(
        self, points: Any, count: int, *, seed: int = 0, vary: bool = False
    ) -> Float[Numbers, "count points"]:
        """Fields drawn from the prior, at points [points, width].

        Args:
            points: Where.
            count: How many.
            seed: Of random numbers.
            vary: Whether standard deviation, lengths and smoothness are those of each field, drawn
                from their own priors; False takes the medians of these.
        """
        keys = jax.random.split(jax.random.key(seed), count)
        learned = np.zeros((count, self.unknowns))
        if vary:
            learned = np.random.default_rng(seed).normal(size=learned.shape)
        return _drawn(self, learned, keys, inner_points(self, points))

    def split(self, points: Any) -> list[Any]:
        """The coordinates of points [points, width] by domain."""
        ends = np.cumsum([domain.width for domain in self.factors])[:-1]
        return np.split(points, ends, axis=1) if isinstance(points, np.ndarray) else jnp.split(
            points, ends, axis=1
        )  # fmt: skip

    def inner(self, points: Any) -> Any:
        """Points as the bases take them."""
        xp = np if isinstance(points, np.ndarray) else jnp
        parts = zip(self.factors, self.split(points), strict=True)
        return xp.concatenate([domain.inner(part) for domain, part in parts], axis=1)

    def grid(self, count: int) -> np.ndarray:
        """About so many points [points, width] all over the domain, as the bases take them."""
        each = count ** (1 / self.width)
        grids = [domain.grid(max(2, round(each**domain.width))) for domain in self.factors]
        places = np.meshgrid(*(np.arange(len(grid)) for grid in grids), indexing="ij")
        return np.concatenate(
            [grid[place.ravel()] for grid, place in zip(grids, places, strict=True)], axis=1
        )

    @property
    def constant(self) -> Any:
        """The value around which the field fluctuates, once it is known."""
        return _known(self.offset)

    @property
    def constant_variance(self) -> Any:
        """Its variance."""
        return _known(self.offset_std) ** 2

    # What is learned is a vector of standard normal variables: [std, length and ν of each domain].

    @property
    def unknowns(self) -> int:
        """How many numbers are learned."""
        return 1 + 2 * len(self.factors)

    def amplitudes(self, learned: Float[Numbers, " unknowns"]) -> tuple[Any, list[Numbers]]:
        """The standard deviation, and the spectrum of each domain [modes]."""
        std = _known(self.std) * self.std_factor ** learned[0]
        spectra = []
        for number, domain in enumerate(self.factors):
            length, smoothness = learned[1 + 2 * number], learned[2 + 2 * number]
            spectra.append(
                domain.spectrum(
                    domain.typical_length * domain.length_factor**length,
                    domain.smoothness * domain.smoothness_factor**smoothness,
                )
            )
        return std, spectra

    def said(self, learned: Any) -> dict[str, Any]:
        """What was learned by name: `std`, `length` and `smoothness`, the latter per domain."""
        z = np.asarray(learned)
        pairs = list(enumerate(self.factors))
        return {
            "std": float(_known(self.std) * self.std_factor ** z[0]),
            "length": [d.typical_length * float(d.length_factor ** z[1 + 2 * i]) for i, d in pairs],
            "smoothness": [
                d.smoothness * float(d.smoothness_factor ** z[2 + 2 * i]) for i, d in pairs
            ],
        }

    def features(self, points: Nodes) -> list[Numbers]:
        """The basis functions of each domain at points [points, modes]."""
        parts = zip(self.factors, self.split(points), strict=True)
        return [domain.features(part) for domain, part in parts]

    def kernel(
        self, learned: Numbers, one: Sequence[Numbers], other: Sequence[Numbers]
    ) -> Float[Numbers, "one other"]:
        """The covariance of the field between points, of which the features are given."""
        std, spectra = self.amplitudes(learned)
        product = std**2
        for left, spectrum, right in zip(one, spectra, other, strict=True):
            product = product * ((left * spectrum) @ right.T)
        return product + self.constant_variance

    def section(
        self, learned: Numbers, features: Sequence[Numbers], weights: Float[Numbers, " points"]
    ) -> tuple[Numbers, Numbers]:
        """The function `Σ weights k(·, points)`: its constant, and coefficients [modes, ...]."""
        std, spectra = self.amplitudes(learned)
        parts = [f * s for f, s in zip(features, spectra, strict=True)]
        coefficients = jnp.einsum(_letters(len(parts), "z,"), weights, *parts)
        return self.constant_variance * weights.sum(), std**2 * coefficients

    def draw(self, learned: Numbers, key: Numbers) -> tuple[Numbers, Numbers]:
        """A field of the prior without its offset: its constant, and coefficients [modes, ...]."""
        std, spectra = self.amplitudes(learned)
        one, other = jax.random.split(key)
        coefficients = std * jax.random.normal(one, [len(s) for s in spectra])
        for axis, spectrum in enumerate(spectra):
            shape = [-1 if axis == i else 1 for i in range(len(spectra))]
            coefficients = coefficients * jnp.sqrt(spectrum).reshape(shape)
        return self.constant_variance**0.5 * jax.random.normal(other), coefficients


@in_float64
@jax.jit
def _drawn(prior: Prior, learned: Any, keys: Any, points: Any) -> Numbers:
    features = prior.features(points)

    def one(which: tuple[Numbers, Numbers]) -> Numbers:
        return prior.constant + evaluated(features, *prior.draw(*which))

    return jax.lax.map(one, (learned, keys))


def _known(value: Any) -> Any:
    """What measurements have told."""
    if value is None:
        raise InputError("Prior: std, offset and offset_std are not given, and nothing measured.")
    return value


def _letters(count: int, first: str = "") -> str:
    """The sum of `jnp.einsum` that makes coefficients of the features of points."""
    names = "abcdefgh"[:count]
    return f"{first}{','.join(f'z{name}' for name in names)}->{names}"


def evaluated(
    features: Sequence[Numbers], constant: Any, coefficients: Any
) -> Float[Numbers, " points"]:
    """Values of a function at points, of which the features are given."""
    first, *others = features
    # From here on [points, modes of the next domain, ...].
    values = (first @ coefficients.reshape(first.shape[1], -1)).reshape(
        len(first), *coefficients.shape[1:]
    )
    for each in others:
        values = jnp.einsum("za,za...->z...", each, values)
    return constant + values


def inner_points(prior: Prior, points: Any) -> Any:
    """Points as the bases take them; those of one coordinate may be without an axis for it.

    Raises:
        InputError: They have another number of coordinates.
    """
    array = points if isinstance(points, jax.Array) else np.asarray(points, np.float64)
    if array.ndim == 1 and prior.width == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != prior.width:
        raise InputError(
            f"points of shape {array.shape}: give an array [points, {prior.width}], with the "
            "coordinates of all domains in their order."
        )
    return prior.inner(array)
