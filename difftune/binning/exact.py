"""The best edges there are, for figures of merit that are sums over bins."""

import numpy as np
from jaxtyping import Float, Int

from difftune.binning.cells import Cells
from difftune.binning.constraints import Constraints
from difftune.binning.figures import FigureOfMerit
from difftune.binning.segments import additive, segments


def exact_edges(
    cells: Cells, bins: int, figure: FigureOfMerit, constraints: Constraints
) -> dict[int, Int[np.ndarray, " edges"]]:
    """Optimal bins for every number of bins up to a largest, by dynamic programming.

    The best `k` bins up to an edge are the best `k - 1` bins up to some lower edge and one bin
    more, so all numbers of bins together cost `bins * cells²` additions (R. Bellman, Comm. ACM 4
    (1961) 284; for histograms arXiv math/0111127). The constraints concern bins one by one, so
    the optimum under them is as exact.

    Args:
        cells: The cells.
        bins: Largest number of bins.
        figure: What is maximised; `Additive`.
        constraints: What every bin must have.

    Returns:
        Indices of the edges for each number of bins that the constraints allow.

    Raises:
        InputError: The figure is not `Additive`.
    """
    worth, allowed = segments(cells, additive(figure, "The exact search"), constraints)
    worth = np.where(allowed, worth, -np.inf)
    best: Float[np.ndarray, " edges"] = worth[0]
    origins: list[np.ndarray] = []
    found = {}
    for count in range(1, min(bins, len(cells)) + 1):
        if count > 1:
            gained = best[:, None] + worth
            origins.append(np.argmax(gained, axis=0))
            best = np.max(gained, axis=0)
        if np.isfinite(best[-1]):
            chosen = [len(cells)]
            for origin in reversed(origins):
                chosen.append(int(origin[chosen[-1]]))
            found[count] = np.array([0, *chosen[::-1]])
    return found
