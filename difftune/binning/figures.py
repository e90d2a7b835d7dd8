"""Figures of merit: what the edges are to maximise.

A figure of merit is any function of the `Yields` of one binning that JAX can trace. One that is a
sum over the bins, up to an increasing function, says so by being `Additive`, and gets the exact
optimum; one that is not (a fit in which systematics are correlated between the bins) is optimised
by gradient descent.
"""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.histograms import histogram
from difftune.inference import asimov_llr

Column = Array | np.ndarray


class Yields(NamedTuple):
    """Sums over the events of each bin; leading axes are other binnings.

    Attributes:
        signal: Expected signal, `Σw`.
        background: Expected background, `Σw`.
        signal_variance: Variance of the simulated signal, `Σw²`.
        background_variance: Variance of the simulated background, `Σw²`.
        varied_signal: Expected signal under each systematic variation, in their order.
        varied_background: Expected background, likewise.
    """

    signal: Float[Column, "*batch bins"]
    background: Float[Column, "*batch bins"]
    signal_variance: Float[Column, "*batch bins"]
    background_variance: Float[Column, "*batch bins"]
    varied_signal: Float[Column, "variations *batch bins"]
    varied_background: Float[Column, "variations *batch bins"]

    @classmethod
    def of_rows(cls, rows: Float[Column, "rows *batch bins"]) -> "Yields":
        """From one array: the four nominal rows, then signal and background of each variation."""
        return cls(rows[0], rows[1], rows[2], rows[3], rows[4::2], rows[5::2])


@dataclass(frozen=True, eq=False)
class Scored:
    """Events with a score of any origin.

    Args:
        score: Whatever is binned; larger is more signal-like, in any range.
        weight: Physics weights, scaled to the full expected yield; may be negative.
        signal: Whether an event is signal; the others are background.

    Raises:
        InputError: The columns differ in length, hold NaN or infinities, or have no events.
    """

    score: Float[np.ndarray, " _"]
    weight: Float[np.ndarray, " _"]
    signal: Bool[np.ndarray, " _"]

    def __post_init__(self) -> None:
        """In float64, checked."""
        for name, kind in (("score", np.float64), ("weight", np.float64), ("signal", np.bool_)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        lengths = {name: len(getattr(self, name)) for name in ("score", "weight", "signal")}
        if len(set(lengths.values())) > 1:
            raise InputError(f"The columns differ in length: {lengths}. Give one entry per event.")
        if not len(self.score):
            raise InputError("A binning cannot be chosen from 0 events: loosen the selection.")
        for name in ("score", "weight"):
            bad = ~np.isfinite(getattr(self, name))
            if bad.any():
                raise InputError(
                    f"{name} is infinite or NaN for {bad.sum()} of {len(bad)} events: remove these "
                    "events or repair their input."
                )

    def __getitem__(self, chosen: np.ndarray) -> "Scored":
        """Some of the events, by a mask or by indices."""
        return Scored(self.score[chosen], self.weight[chosen], self.signal[chosen])


def binned(
    edges: Float[Column, " edges"],
    nominal: Scored,
    variations: Mapping[str, Scored] | None = None,
) -> Yields:
    """Yields of the events in hard bins, in float64.

    Args:
        edges: Bin edges; what lies outside is counted in the outer bins.
        nominal: The events.
        variations: Events of each systematic variation, by its name.
    """
    rows = []
    for events in (nominal, *(variations or {}).values()):
        split = (events.signal, ~events.signal)
        filled = [histogram(events.score[m], events.weight[m], edges) for m in split]
        rows += [each.sumw for each in filled]
        if events is nominal:
            rows += [each.sumw2 for each in filled]
    return Yields.of_rows(np.stack(rows))


@takes()
@dataclass(frozen=True)
class Constraints:
    """Conditions on the background of each bin, nominal and under every variation.

    The background is always positive, in the nominal and in each variation: a template with an
    empty bin has no logarithm.

    Args:
        min_background: Least expected background, in events; also under each variation if
            `of_variations`. Asymptotic formulae want some.
        max_mc_uncertainty: Largest relative statistical uncertainty of the simulated background,
            `sqrt(Σw²) / Σw`; infinite for none.
        of_variations: Whether the variations must reach `min_background` too.

    Raises:
        InputError: A bound that nothing or everything meets.
    """

    min_background: float = 10.0
    max_mc_uncertainty: float = 0.15
    of_variations: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_background < float("inf"):
            raise InputError(
                f"Constraints(min_background={self.min_background}) is a number of events from 0."
            )
        if not self.max_mc_uncertainty > 0:
            raise InputError(
                f"Constraints(max_mc_uncertainty={self.max_mc_uncertainty}) must be positive: 0.15 "
                "is 15 %, infinity is no condition."
            )

    def shortfall(self, yields: Yields) -> Float[Array, "*bins"]:
        """How far each bin is from meeting the conditions: 0 where it does, differentiable.

        Each condition contributes its relative shortfall.
        """
        background = jnp.asarray(yields.background)
        # Where nothing is asked for, anything above rounding counts as filled.
        least = max(self.min_background, 1e-9)
        short = jnp.maximum(1 - background / least, 0.0)
        if self.max_mc_uncertainty < float("inf"):
            allowed = jnp.square(self.max_mc_uncertainty * jnp.maximum(background, 0.0))
            variance = jnp.asarray(yields.background_variance)
            # Between 0 and 1, with a slope wherever it is not 0.
            filled = variance + allowed > 0
            excess = jnp.maximum(variance - allowed, 0.0) / jnp.where(filled, variance + allowed, 1)
            short = short + excess
        least = least if self.of_variations else 1e-9
        varied = jnp.maximum(1 - jnp.asarray(yields.varied_background) / least, 0.0)
        # An empty bin of a tiny floor must not outweigh all else.
        return short + jnp.sum(jnp.minimum(varied, 1.0), axis=0)

    def met(self, yields: Yields) -> Bool[Array, "*bins"]:
        """Whether each bin meets all conditions."""
        return self.shortfall(yields) <= 0


FigureOfMerit = Callable[[Yields], Array]
"""What a binning is evaluated by: a function of its yields; larger is better."""


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
    """Signal strength over its uncertainty, `1 / σ(μ)`, with a nuisance parameter per variation.

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
