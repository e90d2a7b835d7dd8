"""Conditions that a member must meet to be copied or chosen."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from difftune.errors import InputError


@runtime_checkable
class OvertrainingCondition(Protocol):
    """Compares a member on training and on validation events; must be traceable."""

    def __call__(
        self, train_score: Float[Array, ""], validation_score: Float[Array, ""]
    ) -> Bool[Array, ""]:
        """Whether the member is acceptable."""
        ...


@dataclass(frozen=True, kw_only=True)
class ScoreGap:
    """The score may be better on training than on validation events by this fraction at most.

    Args:
        limit: Largest `train_score / validation_score - 1`; infinity switches the condition off.

    Raises:
        InputError: For a limit that is not positive.
    """

    limit: int | float = 0.1

    def __post_init__(self):
        if not self.limit > 0.0:
            raise InputError(
                f"ScoreGap(limit={self.limit}): must be positive; 0.1 allows a score 10 % better "
                "on training events, infinity any."
            )

    def __call__(self, train_score, validation_score):
        """Whether the gap is within the limit."""
        gap = train_score - validation_score
        if math.isinf(self.limit):
            return jnp.isfinite(gap)
        return gap <= self.limit * jnp.abs(validation_score)
