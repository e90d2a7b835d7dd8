"""Edges by merging neighbours, a common baseline."""

import numpy as np
from jaxtyping import Int

from difftune.binning.cells import Cells
from difftune.binning.constraints import Constraints
from difftune.binning.figures import FigureOfMerit
from difftune.binning.segments import additive, segments


def greedy_edges(
    cells: Cells, bins: int, figure: FigureOfMerit, constraints: Constraints
) -> Int[np.ndarray, " edges"]:
    """Merges the two neighbours that lose least, until there are few enough bins.

    As long as there are bins that do not meet the constraints, one of them takes part. Fewer bins
    than asked for are left where the constraints want it; at the worst a single one, which may
    still not meet them.

    Args:
        cells: The cells to begin with.
        bins: Largest number of bins.
        figure: What is maximised; `Additive`.
        constraints: What every bin must have.

    Returns:
        Indices of the edges.
    """
    worth, allowed = segments(cells, additive(figure, "Greedy merging"), constraints)
    edges = np.arange(len(cells) + 1)
    while len(edges) > 2:
        low, middle, high = edges[:-2], edges[1:-1], edges[2:]
        bad = ~allowed[edges[:-1], edges[1:]]
        if len(edges) - 1 <= bins and not bad.any():
            break
        loss = worth[low, middle] + worth[middle, high] - worth[low, high]
        if bad.any():
            loss = np.where(bad[:-1] | bad[1:], loss, np.inf)
        edges = np.delete(edges, np.argmin(loss) + 1)
    return edges
