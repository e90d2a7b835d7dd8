"""What epochs and members are compared by: of a score, what can be relied on."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.errors import InputError


class Trend(NamedTuple):
    """The fading sum over a member's epochs, and its weight."""

    total: Float[Array, "*members"]
    weight: Float[Array, "*members"]


@takes()
@dataclass(frozen=True, kw_only=True)
class SelectionRule:
    """Makes a selection score of the scores of a member's epochs.

    The best of thousands of scores is the luckiest. Where few events decide, as in the last bin of
    a significance, luck is large, and its size is known: the selection score is the score less some
    of its statistical errors, a lower bound, averaged over the last epochs of the member, since a
    network that is good for one epoch alone is lucky, too.

    Args:
        n_sigma: How many standard errors, from the finite number of events
            (`difftune.training.jackknife`), are taken off.
        ema_decay: What an epoch counts relative to the next one, from 0 (only the last one counts)
            to below 1: 0.7 averages over about three.

    Raises:
        InputError: For a negative n_sigma, or an ema_decay outside of [0, 1).
    """

    n_sigma: int | float = 2.0
    ema_decay: int | float = 0.7

    def __post_init__(self) -> None:
        if not (self.n_sigma >= 0.0 and math.isfinite(self.n_sigma)):
            raise InputError(
                f"SelectionRule(n_sigma={self.n_sigma}): must be 0 or a positive number; 2 "
                "compares members by their score less two standard errors."
            )
        if not 0.0 <= self.ema_decay < 1.0:
            raise InputError(
                f"SelectionRule(ema_decay={self.ema_decay}): must be at least 0 and below 1; 0 "
                "compares each epoch by itself."
            )

    @property
    def wants_errors(self) -> bool:
        """Whether errors matter."""
        return self.n_sigma > 0.0

    @property
    def start(self) -> Trend:
        """Before the first epoch."""
        return Trend(jnp.float32(0.0), jnp.float32(0.0))

    def after(
        self, trend: Trend, score: Float[Array, ""], error: Float[Array, ""] | None
    ) -> tuple[Float[Array, ""], Trend]:
        """Merit at the end of an epoch, and what is remembered.

        Args:
            trend: Of the epochs before.
            score: Of this one.
            error: Its standard error; None if none is wanted.
        """
        worth = score
        if self.wants_errors:
            assert error is not None, "it wants errors"
            # A score of empty bins has no error that is a number.
            worth = score - self.n_sigma * jnp.where(jnp.isfinite(error), error, 0.0)
        if self.ema_decay == 0.0:
            return worth, trend
        trend = Trend(
            self.ema_decay * trend.total + (1.0 - self.ema_decay) * worth,
            self.ema_decay * trend.weight + (1.0 - self.ema_decay),
        )
        return trend.total / trend.weight, trend


AS_SCORED = SelectionRule(n_sigma=0, ema_decay=0)
"""Each epoch counts by itself, and as it was scored."""
