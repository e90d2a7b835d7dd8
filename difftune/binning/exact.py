"""Searches over cells: the best edges for sums over bins, by merging, and by trying all."""

import functools
import itertools
import math

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from difftune.binning.cells import Cells, best, judge
from difftune.binning.figures import Additive, Constraints, FigureOfMerit
from difftune.errors import InputError
from difftune.precision import in_float64

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
    def evaluate(low: Array, high: Array) -> tuple[Array, Array]:
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
