"""Figure of merit and constraints of many hard binnings at once, for any figure of merit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from difftune.binning.cells import Cells
from difftune.binning.constraints import Constraints
from difftune.binning.figures import FigureOfMerit
from difftune.errors import InputError

Judge = Callable[
    [Int[np.ndarray, "binnings edges"]],
    tuple[Float[np.ndarray, " binnings"], Float[np.ndarray, " binnings"]],
]


def judge(cells: Cells, figure: FigureOfMerit, constraints: Constraints) -> Judge:
    """A function of edges (indices, one binning a row): figure and summed shortfall of each.

    A figure that is not a number counts as minus infinity. It is compiled for each shape that it
    is called with, and expects float64.

    Args:
        cells: The cells.
        figure: The figure of merit.
        constraints: What every bin must have.
    """

    def one(edges: Int[Array, " edges"]) -> tuple[Array, Array]:
        yields = cells.between(edges[:-1], edges[1:])
        value = jnp.asarray(figure(yields))
        if value.ndim:
            raise InputError(
                f"The figure of merit {figure!r} returned an array {list(value.shape)}; a figure "
                "of merit is one number for the bins of one binning: take a sum."
            )
        return jnp.where(jnp.isnan(value), -jnp.inf, value), constraints.shortfall(yields).sum()

    compiled = jax.jit(jax.vmap(one))

    def judged(edges: Int[np.ndarray, "binnings edges"]) -> tuple[np.ndarray, np.ndarray]:
        value, short = compiled(edges)
        return np.asarray(value), np.asarray(short)

    return judged


def best(value: Float[np.ndarray, " n"], short: Float[np.ndarray, " n"]) -> int:
    """Index of the largest figure among those with the least shortfall."""
    least = short <= short.min() + 1e-12
    return int(np.argmax(np.where(least, value, -np.inf)))
