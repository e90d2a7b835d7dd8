"""Edges that look at no figure of merit: what analyses use, to compare with."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from difftune.binning.cells import Cells
from difftune.binning.constraints import Constraints
from difftune.errors import InputError
from difftune.histfactory.precision import in_float64

NONE = Constraints(min_background=0.0, max_mc_uncertainty=float("inf"))


def equidistant_edges(cells: Cells, bins: int) -> Float[np.ndarray, " edges"]:
    """Bins of equal width over the range of the cells.

    Args:
        cells: The cells.
        bins: Number of bins.
    """
    if bins < 1:
        raise InputError(f"bins={bins} must be at least 1.")
    return np.linspace(cells.edges[0], cells.edges[-1], bins + 1)


@in_float64
def transformation_d(
    cells: Cells,
    signal_bins: float,
    background_bins: float,
    constraints: Constraints = NONE,
) -> Float[np.ndarray, " edges"]:
    """The transformation D of ATLAS fits (`TransfoD` of TRExFitter).

    From the signal-like end, a bin is closed as soon as `z_s n_s / N_s + z_b n_b / N_b` of its
    signal and background (out of all) exceeds 1. There are about `z_s + z_b` bins; `z_s` makes the
    signal flat, `z_b` the background. A rest below 1/2 joins its neighbour.

    Args:
        cells: The cells; the edges are among theirs.
        signal_bins: `z_s`.
        background_bins: `z_b`.
        constraints: A bin is closed only if it meets these.

    Raises:
        InputError: A number that is negative, or both 0.
    """
    if min(signal_bins, background_bins) < 0 or signal_bins + background_bins <= 0:
        raise InputError(
            f"transformation_d(signal_bins={signal_bins}, background_bins={background_bins}): give "
            "two numbers of bins that are not negative, at least one positive; 5 and 5 are usual."
        )
    shares = np.array([signal_bins, background_bins]) / cells.sums[:2, -1]
    low = np.arange(len(cells))

    @jax.jit
    def below(top: Array) -> tuple[Array, Array]:
        """Of a bin from any edge up to this one: what it has reached, and whether it may close."""
        yields = cells.between(low, jnp.full_like(low, top))
        return shares @ jnp.stack([yields.signal, yields.background]), constraints.met(yields)

    chosen = [len(cells)]
    while chosen[-1] > 0:
        reached, met = (np.asarray(each)[: chosen[-1]] for each in below(chosen[-1]))
        closed = (reached > 1 - 1e-9) & met
        if not closed.any():
            if len(chosen) > 1 and not (reached[0] >= 0.5 and met[0]):
                chosen.pop()
            break
        chosen.append(int(np.flatnonzero(closed)[-1]))
    return cells.edges[np.unique([0, *chosen])]
