"""What fields live on: the line, the circle, the plane, the sphere. Products are tuples of them.

A domain has real basis functions, and the variance that each of them has in a field of a given
correlation length and smoothness: a Matérn spectrum. So a field, its covariance and its samples
are sums over basis functions, and on a product of domains over products of these. On the circle and
the sphere the basis has no edge. A line is a piece of a longer circle; nobody sees the other piece.
"""

import abc
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from difftune.arguments import Count, NotNegative, Positive, is_number, said, takes
from difftune.errors import InputError
from difftune.registry import Registry

Numbers = Array | np.ndarray
Points = Float[Numbers, "points width"]


@dataclass(frozen=True, kw_only=True)
class Domain(abc.ABC):
    """A domain, with what is known beforehand of how a field varies on it.

    Args:
        length: What the correlation length is about, in the coordinate of the domain (of its
            logarithm with `log`); by default 0.3 of the extent, and 0.5 rad on the sphere.
        length_factor: The factor by which it may well differ, at one standard deviation. 1 keeps
            the length as it is; what is above is learned.
        smoothness: What ν of the Matérn spectrum is about: 0.5 is as rough as a random walk, 2.5
            has two derivatives.
        smoothness_factor: The factor by which that may well differ; 1 keeps it as it is.
    """

    length: Positive | None = None
    length_factor: Positive = 3.0
    smoothness: Positive = 2.0
    smoothness_factor: Positive = 1.5

    width: ClassVar[int] = 1
    """How many coordinates it has."""

    def __post_init__(self) -> None:
        """Refuses what is no number, or below its bound."""
        for name in ("length", "smoothness"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and 0 < value < np.inf):
                raise self._wrong(name, "give a number above 0")
        for name in ("length_factor", "smoothness_factor"):
            value = getattr(self, name)
            if not (is_number(value) and 1 <= value < np.inf):
                raise self._wrong(name, "give a factor of 1 or more")

    def _wrong(self, name: str, remedy: str) -> InputError:
        what = type(self).__name__
        return InputError(f"{what}({name}={said(getattr(self, name))}): {remedy}.")

    @property
    @abc.abstractmethod
    def typical_length(self) -> float:
        """The median of the correlation length beforehand."""

    def fitted(self, points: np.ndarray) -> "Domain":
        """The same with the extent of these points, where it has none."""
        return self

    def inner(self, points: Any) -> Any:
        """Points [points, width] as the basis takes them: those beyond an edge are on it."""
        return points

    @abc.abstractmethod
    def features(self, points: Points) -> Float[Numbers, "points modes"]:
        """All basis functions at some points, which `inner` has seen."""

    @abc.abstractmethod
    def spectrum(self, length: Any, smoothness: Any) -> Float[Numbers, " modes"]:
        """The variance of each basis function; that of the field is 1 everywhere."""

    def nodes(self, lower: np.ndarray, upper: np.ndarray, order: int) -> np.ndarray:
        """Points over which a mean is the mean over boxes, but for their weights `weights(order)`.

        Args:
            lower: Lower edges [boxes, width].
            upper: Upper edges [boxes, width].
            order: How many per coordinate.

        Returns:
            Points [boxes, order ** width, width].
        """
        lower, upper = self.inner(lower), self.inner(upper)
        steps = np.polynomial.legendre.leggauss(order)[0]
        along = (lower + upper)[..., None] / 2 + (upper - lower)[..., None] / 2 * steps
        grids = [along[:, axis, :] for axis in range(self.width)]
        shape = (len(lower), *(order,) * self.width)
        spread = [
            np.broadcast_to(
                grid.reshape(len(lower), *(order if i == axis else 1 for i in range(self.width))),
                shape,
            )
            for axis, grid in enumerate(grids)
        ]
        return np.stack([each.reshape(len(lower), -1) for each in spread], axis=-1)

    def weights(self, order: int) -> np.ndarray:
        """Weights of the nodes of a box, of sum 1."""
        one = np.polynomial.legendre.leggauss(order)[1] / 2
        whole = one
        for _ in range(self.width - 1):
            whole = np.outer(whole, one).ravel()
        return whole

    @abc.abstractmethod
    def grid(self, count: int) -> np.ndarray:
        """About so many points [points, width], evenly over the domain; `inner` has seen them."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Where points may lie, for messages."""

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Which points [points, width] lie on it."""
        return np.isfinite(points).all(axis=1)


def _waves(positions: Any, period: float, waves: int) -> Float[Numbers, "points modes"]:
    """1, and cosine and sine of each wave, of mean square 1 over the period."""
    phases = positions[:, None] * (2 * jnp.pi / period * jnp.arange(1, waves + 1))
    pairs = (jnp.ones((len(positions), 1)), jnp.cos(phases), jnp.sin(phases))
    return jnp.concatenate([pairs[0], *(jnp.sqrt(2.0) * each for each in pairs[1:])], axis=1)


def _numbers(waves: int) -> np.ndarray:
    """The number of the wave of each function of `_waves`."""
    return np.concatenate([[0], np.arange(1, waves + 1), np.arange(1, waves + 1)])


def _matern(squares: Any, length: Any, smoothness: Any, dimension: int) -> Any:
    """A Matérn spectrum of squared wave numbers, up to a factor; equal to 1 where they are 0."""
    scaled = squares * length**2 / (2 * smoothness)
    return (1 + scaled) ** (-(smoothness + dimension / 2))


@takes()
@dataclass(frozen=True, kw_only=True)
class Circle(Domain):
    """An angle, or anything else that begins anew after a period.

    Args:
        period: After which it is where it was; 2π by default.
        waves: How many waves a field is made of: cosine and sine each.
    """

    period: Positive = 2 * np.pi
    waves: Count = 32

    def __post_init__(self) -> None:
        """Refuses a period or a number of waves that there cannot be."""
        super().__post_init__()
        if not 0 < self.period < np.inf:
            raise self._wrong("period", "give a number above 0")
        if self.waves < 1:
            raise self._wrong("waves", "give 1 or more")

    @property
    def typical_length(self) -> float:
        """0.15 of the period."""
        return self.length or 0.15 * self.period

    def features(self, points: Points) -> Float[Numbers, "points modes"]:
        """Waves around the circle."""
        return _waves(points[:, 0], self.period, self.waves)

    def spectrum(self, length: Any, smoothness: Any) -> Float[Numbers, " modes"]:
        """Matérn's, of the squared wave number."""
        numbers = 2 * np.pi / self.period * _numbers(self.waves)
        variance = _matern(numbers**2, length, smoothness, 1)
        return variance / variance.sum()

    def grid(self, count: int) -> np.ndarray:
        """Evenly around it."""
        return (np.arange(count)[:, None] + 0.5) / count * self.period

    def describe(self) -> str:
        """In words."""
        return "a finite number"


@takes()
@dataclass(frozen=True, kw_only=True)
class Line(Domain):
    """An interval. A point beyond it has the value of the field at its end.

    Args:
        lower: Where it begins; by default at the first of the measurements.
        upper: Where it ends.
        log: Whether the field is one of the logarithm of the coordinate, as of a momentum.
        waves: How many waves a field is made of; the shortest is that many times shorter than the
            interval with its padding.
        padding: How much longer than the interval the circle is that it is cut out of, in lengths
            of the interval. What is learned of one end must not reach the other the other way
            round: a correlation length should be shorter than the padding.
    """

    lower: float | None = None
    upper: float | None = None
    log: bool = False
    waves: Count = 32
    padding: NotNegative = 2.0

    def __post_init__(self) -> None:
        """Refuses an interval that there cannot be."""
        super().__post_init__()
        if self.waves < 1:
            raise self._wrong("waves", "give 1 or more")
        if not 0 <= self.padding < np.inf:
            raise self._wrong("padding", "give 0 or more")
        for name in ("lower", "upper"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and (value > 0 or not self.log)):
                raise self._wrong(
                    name, "give a finite number" + " above 0, which has a logarithm" * self.log
                )
        if None not in (self.lower, self.upper) and not self.lower < self.upper:  # type: ignore[operator]
            raise self._wrong("upper", f"give one above lower = {self.lower}")

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends, as the basis takes them."""
        if self.lower is None or self.upper is None:
            raise InputError("Line(): give lower and upper, which no measurements tell here.")
        lower, upper = float(self.lower), float(self.upper)
        return (math.log(lower), math.log(upper)) if self.log else (lower, upper)

    @property
    def typical_length(self) -> float:
        """0.3 of its own."""
        return self.length or 0.3 * (self.ends[1] - self.ends[0])

    def fitted(self, points: np.ndarray) -> "Line":
        """From the first to the last of some points [points, 1]."""
        lower = float(points.min()) if self.lower is None else self.lower
        upper = float(points.max()) if self.upper is None else self.upper
        return replace(self, lower=lower, upper=upper)

    def inner(self, points: Any) -> Any:
        """Within the ends, and as logarithms with `log`."""
        xp = np if isinstance(points, np.ndarray) else jnp
        held = xp.clip(points, self.lower, self.upper)
        return xp.log(held) if self.log else held

    def features(self, points: Points) -> Float[Numbers, "points modes"]:
        """Waves on the longer circle."""
        lower, upper = self.ends
        return _waves(points[:, 0] - lower, (1 + self.padding) * (upper - lower), self.waves)

    def spectrum(self, length: Any, smoothness: Any) -> Float[Numbers, " modes"]:
        """Matérn's, of the squared wave number."""
        lower, upper = self.ends
        numbers = 2 * np.pi / ((1 + self.padding) * (upper - lower)) * _numbers(self.waves)
        variance = _matern(numbers**2, length, smoothness, 1)
        return variance / variance.sum()

    def grid(self, count: int) -> np.ndarray:
        """Evenly along it."""
        lower, upper = self.ends
        return lower + (np.arange(count)[:, None] + 0.5) / count * (upper - lower)

    def describe(self) -> str:
        """In words."""
        return f"a number from {self.lower:g} to {self.upper:g}"

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Which are within the ends."""
        near = 1e-9 * (abs(self.lower) + abs(self.upper))  # type: ignore[arg-type]
        inside = (points >= self.lower - near) & (points <= self.upper + near)  # type: ignore[operator]
        return inside.all(axis=1)


@takes()
@dataclass(frozen=True, kw_only=True)
class Plane(Domain):
    """A rectangle with one correlation length in all directions, as of two lengths in cm.

    Quantities of two kinds, as momentum and pseudorapidity, are two lines.

    Args:
        lower: Where both coordinates begin; by default at the first of the measurements.
        upper: Where they end.
        waves: How many waves there are in each direction.
        padding: As of a line.
    """

    lower: tuple[float, float] | None = None
    upper: tuple[float, float] | None = None
    waves: Count = 12
    padding: NotNegative = 1.0

    width: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuses a rectangle that there cannot be."""
        super().__post_init__()
        for name in ("lower", "upper"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, tuple | list) or len(value) != 2 or not all(
                is_number(each) and np.isfinite(each) for each in value
            ):  # fmt: skip
                raise self._wrong(name, "give two numbers, as (0.0, 10.0)")
            object.__setattr__(self, name, tuple(map(float, value)))
        if self.waves < 1:
            raise self._wrong("waves", "give 1 or more")
        if not 0 <= self.padding < np.inf:
            raise self._wrong("padding", "give 0 or more")
        if self.lower and self.upper and not all(map(np.less, self.lower, self.upper)):
            raise self._wrong("upper", f"give two numbers above lower = {self.lower}")

    @property
    def sides(self) -> tuple[Line, Line]:
        """Its two sides."""
        if self.lower is None or self.upper is None:
            raise InputError("Plane(): give lower and upper, which no measurements tell here.")
        one, other = (
            Line(lower=a, upper=b, waves=self.waves, padding=self.padding)
            for a, b in zip(self.lower, self.upper, strict=True)
        )
        return one, other

    @property
    def typical_length(self) -> float:
        """0.3 of the longer side."""
        return self.length or max(side.typical_length for side in self.sides)

    def fitted(self, points: np.ndarray) -> "Plane":
        """The rectangle around some points [points, 2]."""
        lower = self.lower or tuple(points.min(axis=0).tolist())
        upper = self.upper or tuple(points.max(axis=0).tolist())
        return replace(self, lower=lower, upper=upper)

    def inner(self, points: Any) -> Any:
        """Within the rectangle."""
        xp = np if isinstance(points, np.ndarray) else jnp
        return xp.clip(points, xp.asarray(self.lower), xp.asarray(self.upper))

    def features(self, points: Points) -> Float[Numbers, "points modes"]:
        """Products of the waves of both sides."""
        one, other = (side.features(points[:, i : i + 1]) for i, side in enumerate(self.sides))
        return (one[:, :, None] * other[:, None, :]).reshape(len(points), -1)

    def spectrum(self, length: Any, smoothness: Any) -> Float[Numbers, " modes"]:
        """Matérn's, of the sum of both squared wave numbers."""
        one, other = (
            (2 * np.pi / ((1 + self.padding) * (b - a)) * _numbers(self.waves)) ** 2
            for a, b in (side.ends for side in self.sides)
        )
        squares = (one[:, None] + other[None, :]).ravel()
        variance = _matern(squares, length, smoothness, 2)
        return variance / variance.sum()

    def grid(self, count: int) -> np.ndarray:
        """As evenly in both directions."""
        one, other = (side.grid(round(count**0.5))[:, 0] for side in self.sides)
        return np.stack(np.meshgrid(one, other, indexing="ij"), axis=-1).reshape(-1, 2)

    def describe(self) -> str:
        """In words."""
        return f"in the rectangle from {self.lower} to {self.upper}"

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Which are in the rectangle."""
        return np.all(
            [side.holds(points[:, i : i + 1]) for i, side in enumerate(self.sides)], axis=0
        )


@takes()
@dataclass(frozen=True, kw_only=True)
class Sphere(Domain):
    """Directions: colatitude θ from 0 to π, and azimuth φ, both in radians.

    Args:
        degree: The highest degree ℓ of the spherical harmonics that a field is made of.
    """

    degree: Count = 32

    width: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Refuses a degree that there cannot be."""
        super().__post_init__()
        if self.degree < 1:
            raise self._wrong("degree", "give 1 or more")

    @property
    def typical_length(self) -> float:
        """Half a radian."""
        return self.length or 0.5

    @property
    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Degree ℓ and order m of each basis function."""
        degrees = np.repeat(np.arange(self.degree + 1), 2 * np.arange(self.degree + 1) + 1)
        return degrees, np.arange(len(degrees)) - degrees**2 - degrees

    def features(self, points: Points) -> Float[Numbers, "points modes"]:
        """Real spherical harmonics; 4π times the mean of their squares is 1 each."""
        degrees, orders = self.numbers
        each, among = np.unique(np.stack([degrees, abs(orders)]), axis=1, return_inverse=True)
        # At the poles themselves JAX's derivatives are 0/0, though the functions are smooth there.
        theta = points[:, 0]
        theta = jnp.where(theta < 1e-7, theta + 1e-7, theta)
        theta = jnp.where(theta > jnp.pi - 1e-7, theta - 1e-7, theta)

        def at(colatitude: Array, azimuth: Array) -> Array:
            values = jax.scipy.special.sph_harm_y(
                jnp.asarray(each[0]),
                jnp.asarray(each[1]),
                colatitude[None],
                azimuth[None],
                n_max=self.degree,
            )[among]
            part = jnp.where(orders < 0, values.imag, values.real)
            return jnp.where(orders == 0, 1.0, jnp.sqrt(2.0)) * part

        return jax.vmap(at)(theta, jnp.asarray(points[:, 1]))

    def spectrum(self, length: Any, smoothness: Any) -> Float[Numbers, " modes"]:
        """Matérn's on the sphere, (1 + ℓ(ℓ+1) length² / 2ν)^-(ν+1) (Lindgren, Rue, Lindström)."""
        degrees, _ = self.numbers
        variance = _matern(degrees * (degrees + 1.0), length, smoothness, 2)
        return variance / variance.sum() * 4 * jnp.pi

    def nodes(self, lower: np.ndarray, upper: np.ndarray, order: int) -> np.ndarray:
        """Of boxes in θ and φ; a mean over a box is one over its solid angle."""
        turned = [np.stack([-np.cos(x[:, 0]), x[:, 1]], axis=1) for x in (lower, upper)]
        points = super().nodes(turned[0], turned[1], order)
        return np.stack([np.arccos(np.clip(-points[..., 0], -1, 1)), points[..., 1]], axis=-1)

    def grid(self, count: int) -> np.ndarray:
        """A spiral from pole to pole in golden steps, as evenly as one can."""
        steps = np.arange(count) + 0.5
        azimuth = np.mod(steps * np.pi * (3 - 5**0.5), 2 * np.pi)
        return np.stack([np.arccos(1 - 2 * steps / count), azimuth], axis=1)

    def describe(self) -> str:
        """In words."""
        return "a colatitude from 0 to pi and an azimuth, in radians"

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Which have a colatitude."""
        theta = points[:, 0]
        return (theta >= -1e-9) & (theta <= np.pi + 1e-9) & np.isfinite(points[:, 1])


DOMAINS = Registry(
    "domain",
    "a domain of difftune.fields",
    {"line": Line, "circle": Circle, "plane": Plane, "sphere": Sphere},
)
"""By the name that the analysis file has for them."""
