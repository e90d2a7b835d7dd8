"""Figures of merit: what the edges are to maximise.

A figure of merit is any function of the `Yields` of one binning that JAX can trace. One that is a
sum over the bins, up to an increasing function, says so by being `Additive`, and gets the exact
optimum; one that is not (a fit in which systematics are correlated between the bins) is optimised
by gradient descent.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.binning.yields import Yields
from difftune.errors import InputError
from difftune.inference.asimov import asimov_llr

FigureOfMerit = Callable[[Yields], Array]


class Additive(abc.ABC):
    """A figure of merit that is an increasing function of a sum over bins."""

    @abc.abstractmethod
    def terms(self, yields: Yields) -> Float[Array, "*bins"]:
        """What each bin contributes, by its own yields alone."""

    def total(self, summed: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """The figure of a sum of terms; the sum itself by default."""
        return summed

    def __call__(self, yields: Yields) -> Float[Array, "*batch"]:
        """The figure of the binning on the last axis."""
        return self.total(jnp.sum(self.terms(yields), axis=-1))


@takes()
@dataclass(frozen=True)
class Asimov(Additive):
    """Expected discovery significance of the bins (arXiv 1007.1727, eq. 97).

    Args:
        background_uncertainty: Relative uncertainty of each bin's background, uncorrelated.
        mc_statistics: Count the statistical uncertainty of the simulated background as well. Bins
            with few simulated events then gain less, which is what the fit will find.

    Raises:
        InputError: The uncertainty is negative.
    """

    background_uncertainty: float = 0.0
    mc_statistics: bool = False

    def __post_init__(self) -> None:
        if not self.background_uncertainty >= 0:
            raise InputError(
                f"Asimov(background_uncertainty={self.background_uncertainty}) must not be "
                "negative: 0.1 is 10 % of each bin's background."
            )

    def terms(self, yields: Yields) -> Float[Array, "*bins"]:
        """q0 of each bin."""
        columns = [yields.signal, yields.background]
        variance = jnp.square(self.background_uncertainty * yields.background)
        if self.mc_statistics:
            variance = variance + yields.background_variance
        if self.mc_statistics or self.background_uncertainty:
            # The root has no derivative at 0; an empty bin has no term anyway.
            columns.append(jnp.sqrt(jnp.where(variance > 0, variance, 1e-30)))
        return asimov_llr(*(jnp.asarray(column)[..., None] for column in columns))

    def total(self, summed: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Z, the root."""
        return jnp.sqrt(jnp.maximum(summed, 1e-30))


@takes()
@dataclass(frozen=True)
class Profiled:
    """Signal strength over its uncertainty, `1 / σ(μ)`, with a nuisance parameter a variation.

    The uncertainty is that of a fit in Gaussian approximation: the inverse of the Fisher
    information of μ and all nuisance parameters, each with a unit Gaussian constraint, whose
    templates move by the difference of the variation to the nominal. Variations are common to all
    bins, so this is no sum over bins.

    Args:
        strength: Signal strength of the data, 0 for background only, 1 for signal plus background.
        mc_statistics: Add the statistical uncertainty of the simulation to each bin's variance.
    """

    strength: float = 0.0
    mc_statistics: bool = True

    def __call__(self, yields: Yields) -> Float[Array, ""]:
        """`1 / σ(μ)` of one binning."""
        signal, background = jnp.asarray(yields.signal), jnp.asarray(yields.background)
        variance = background + self.strength * signal
        if self.mc_statistics:
            variance = variance + yields.background_variance
            variance = variance + self.strength**2 * yields.signal_variance
        filled = (background > 0) & (variance > 0)
        inverse = jnp.where(filled, 1 / jnp.where(filled, variance, 1.0), 0.0)
        moved = yields.varied_background - background
        moved = moved + self.strength * (yields.varied_signal - signal)
        information = jnp.sum(signal**2 * inverse)
        cross = moved @ (signal * inverse)
        nuisances = jnp.eye(len(moved)) + (moved * inverse) @ moved.T
        if len(moved):
            information = information - cross @ jnp.linalg.solve(nuisances, cross)
        return jnp.sqrt(jnp.maximum(information, 1e-30))
