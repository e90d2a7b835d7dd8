"""Local search over hard edges, and what is done about constraints that are not met."""

import numpy as np
from jaxtyping import Int

from difftune.binning.cells import Cells
from difftune.binning.evaluate import Judge, best

_SWEEPS = 200


def polished(cells: Cells, edges: Int[np.ndarray, " edges"], judged: Judge) -> np.ndarray:
    """Moves edges, one or two neighbours at a time, until nothing gains.

    Steps are powers of two of cells, up to an eighth of all. A binning with less shortfall of the
    constraints is better whatever its figure.

    Args:
        cells: The cells.
        edges: Indices to begin with.
        judged: Figure and shortfall of binnings.
    """
    count = len(edges) - 2
    if count < 1:
        return edges
    reach = max(int(np.log2(max(len(cells) / 8, 1))), 0) + 1
    sizes = np.concatenate([2 ** np.arange(reach), -(2 ** np.arange(reach))])
    one = np.eye(count, dtype=np.int64)
    directions = np.concatenate([one, one[:-1] + one[1:]])
    moves = (directions[:, None, :] * sizes[:, None]).reshape(-1, count)
    moves = np.concatenate([np.zeros_like(moves[:1]), moves])
    for _ in range(_SWEEPS):
        tried = np.tile(edges, (len(moves), 1))
        tried[:, 1:-1] += moves
        ordered = (np.diff(tried, axis=1) > 0).all(axis=1)
        # What is no binning stays the present one, which gains nothing.
        tried[~ordered] = edges
        value, short = judged(tried)
        chosen = best(value, short)
        gain = value[chosen] - value[0]
        if short[chosen] >= short[0] - 1e-12 and not gain > 1e-10 * abs(value[0]):
            break
        edges = tried[chosen]
    return edges


def repaired(edges: Int[np.ndarray, " edges"], judged: Judge) -> Int[np.ndarray, " fewer_edges"]:
    """Takes edges away, the best choice each time, until the constraints are met or none is left.

    Args:
        edges: Indices of the edges.
        judged: Figure and shortfall of binnings.
    """
    short = judged(edges[None])[1][0]
    while short > 0 and len(edges) > 2:
        fewer = np.stack([np.delete(edges, index) for index in range(1, len(edges) - 1)])
        value, shorts = judged(fewer)
        chosen = best(value, shorts)
        edges, short = fewer[chosen], shorts[chosen]
    return edges
