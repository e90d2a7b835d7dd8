"""Worth of every possible bin, for figures of merit that are sums over bins."""

import functools

import jax
import numpy as np
from jaxtyping import Bool, Float

from difftune.binning.cells import Cells
from difftune.binning.constraints import Constraints
from difftune.binning.figures import Additive, FigureOfMerit
from difftune.errors import InputError
from difftune.histfactory.precision import in_float64

# Pairs at a time: some MB for each row of the yields.
_CHUNK = 1 << 16


@in_float64
def segments(
    cells: Cells, figure: Additive, constraints: Constraints
) -> tuple[Float[np.ndarray, "low high"], Bool[np.ndarray, "low high"]]:
    """Term of a bin between any two edges, and whether it meets the constraints.

    Args:
        cells: The cells.
        figure: The figure of merit.
        constraints: What a bin must have.

    Returns:
        Both by the indices of lower and upper edge; where upper is not above lower, the term is
        minus infinity.
    """
    size = len(cells.edges)
    low, high = np.triu_indices(size, 1)
    values, met = np.empty(len(low)), np.empty(len(low), bool)

    @jax.jit
    def evaluate(low, high):
        yields = cells.between(low, high)
        return figure.terms(yields), constraints.met(yields)

    for start in range(0, len(low), _CHUNK):
        here = slice(start, start + _CHUNK)
        wanted = min(_CHUNK, len(low))
        # The last chunk is as long as the others, so there is one program.
        pad = functools.partial(np.resize, new_shape=wanted)
        found = evaluate(pad(low[here]), pad(high[here]))
        count = len(low[here])
        values[here], met[here] = (np.asarray(each)[:count] for each in found)
    worth = np.full((size, size), -np.inf)
    allowed = np.zeros((size, size), bool)
    worth[low, high], allowed[low, high] = values, met
    return worth, allowed


def additive(figure: FigureOfMerit, what: str) -> Additive:
    """The figure, if it is a sum over bins.

    Raises:
        InputError: It is not.
    """
    if not isinstance(figure, Additive):
        raise InputError(
            f"{what} needs a figure of merit that is a sum over bins (`Additive`), and "
            f"{figure!r} is not known to be one: use method='gradient'."
        )
    return figure
