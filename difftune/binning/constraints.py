"""What every bin must have, whatever the figure of merit would gain without it."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from difftune.arguments import takes
from difftune.binning.yields import Yields
from difftune.errors import InputError


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
