"""Joining bins that are given until each meets the constraints, within a compiled program."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from difftune.binning.figures import Constraints, Yields


def joined(yields: Yields, constraints: Constraints) -> Int[Array, " bins"]:
    """The bin that each bin goes into, so that all that are not left empty meet the constraints.

    From the signal-like end, as `choose_edges`: a bin takes in its lower neighbours until it meets
    the constraints, and a rest at the lower end that does not joins the bin above it. Where all
    bins together do not meet them, they are one.

    Args:
        yields: Of the bins, of one binning; traced ones are fine, and get no derivative.
        constraints: What a bin must have.

    Returns:
        The index of the uppermost of those that a bin is joined with, itself included.
    """
    columns = jax.tree.map(lambda row: jnp.moveaxis(jnp.asarray(row), -1, 0), yields)
    columns = jax.lax.stop_gradient(columns)
    bins = columns.signal.shape[0]

    def take(
        state: tuple[Array, Array, Yields], index: Array
    ) -> tuple[tuple[Array, Array, Yields], Array]:
        top, above, held = state
        held = jax.tree.map(lambda sum_, row: sum_ + row[index], held, columns)
        met = constraints.met(held)
        held = jax.tree.map(lambda sum_: jnp.where(met, 0.0, sum_), held)
        return (jnp.where(met, index - 1, top), jnp.where(met, top, above), held), top

    last = jnp.asarray(bins - 1)
    nothing = jax.tree.map(lambda row: jnp.zeros_like(row[0]), columns)
    (rest, above, _), tops = jax.lax.scan(take, (last, last, nothing), jnp.arange(bins)[::-1])
    # Bins at the lower end that did not become one of their own.
    return jnp.where(tops == rest, above, tops)[::-1]
