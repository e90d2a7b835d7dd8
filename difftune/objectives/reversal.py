"""Gradient reversal."""

from typing import TypeVar

import jax
from jaxtyping import Array, PyTree

T = TypeVar("T", bound=PyTree)


def reversed_gradient(values: T, strength: float | Array) -> T:
    """The values themselves, whose gradient is turned round and scaled (arXiv 1409.7495).

    What is minimised behind them is then maximised before them.

    Args:
        values: Arrays.
        strength: Factor, the λ of the loss `L_f - λ L_r`.
    """

    def each(x: Array) -> Array:
        # The bracket is 0: the value is exactly x.
        return jax.lax.stop_gradient(x) - strength * (x - jax.lax.stop_gradient(x))

    return jax.tree.map(each, values)
