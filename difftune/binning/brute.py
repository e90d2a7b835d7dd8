"""All choices of edges, one by one: the truth where it can be afforded."""

import itertools
import math

import numpy as np
from jaxtyping import Int

from difftune.binning.cells import Cells
from difftune.binning.constraints import Constraints
from difftune.binning.evaluate import best, judge
from difftune.binning.figures import FigureOfMerit
from difftune.errors import InputError
from difftune.histfactory.precision import in_float64

_BATCH = 1 << 14


@in_float64
def brute_force_edges(
    cells: Cells,
    bins: int,
    figure: FigureOfMerit,
    constraints: Constraints,
    *,
    limit: int = 3_000_000,
) -> Int[np.ndarray, " edges"] | None:
    """The best of all choices of `bins - 1` inner edges among those of the cells.

    Args:
        cells: The cells; some 50 to 200 are affordable for three to four bins.
        bins: Number of bins.
        figure: What is maximised; any figure of merit.
        constraints: What every bin must have.
        limit: Largest number of choices that is tried.

    Returns:
        Indices of the edges; None where no choice meets the constraints.

    Raises:
        InputError: There are more choices than `limit`, or fewer cells than bins.
    """
    choices = math.comb(len(cells) - 1, bins - 1)
    if not 0 < choices <= limit:
        raise InputError(
            f"{bins} bins of {len(cells)} cells can be chosen in {choices} ways (limit={limit}): "
            "change the number of bins, `candidates` of the cells, or `limit`."
        )
    judged = judge(cells, figure, constraints)
    found, record = None, -np.inf
    batch = min(_BATCH, choices)
    every = itertools.combinations(range(1, len(cells)), bins - 1)
    while chunk := list(itertools.islice(every, batch)):
        inner = np.array(chunk, np.int64).reshape(len(chunk), bins - 1)
        # All chunks have one length, so there is one program.
        inner = np.resize(inner, (batch, bins - 1))
        edges = np.pad(inner, ((0, 0), (1, 1)), constant_values=((0, 0), (0, len(cells))))
        value, short = judged(edges)
        here = best(value, short)
        if short[here] <= 0 and value[here] > record:
            found, record = edges[here], value[here]
    return found
