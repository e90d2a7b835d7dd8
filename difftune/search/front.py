"""Members that no other one beats in all scores, and how to rank the rest.

As in NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6 (2002) 182), whose ranking population-based
training with several objectives uses too (arXiv 2306.01436): first the members that no other one
dominates, then those that only these dominate, and so on; within a layer first those that stand
farthest from their neighbours.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def dominated(scores: Float[np.ndarray, "members scores"]) -> Bool[np.ndarray, " members"]:
    """Whether somebody is better in one score and worse in none.

    Args:
        scores: Larger is better.
    """
    return np.any(_dominates(scores), axis=0)


def places(scores: Float[np.ndarray, "members scores"]) -> Int[np.ndarray, " members"]:
    """The place of each member, from 0 for the first.

    Args:
        scores: Larger is better; finite.
    """
    layer = layers(scores)
    apart = np.zeros(len(scores))
    for number in range(layer.max(initial=-1) + 1):
        own = np.flatnonzero(layer == number)
        apart[own] = _apart(scores[own])
    place = np.empty(len(scores), int)
    place[np.lexsort((-apart, layer))] = np.arange(len(scores))
    return place


def layers(scores: Float[np.ndarray, "members scores"]) -> Int[np.ndarray, " members"]:
    """0 for those that no other one dominates, 1 for those that only layer 0 dominates, and so on.

    Args:
        scores: Larger is better; finite.
    """
    dominates = _dominates(scores)
    layer = np.full(len(scores), -1)
    number = 0
    while np.any(left := layer < 0):
        layer[left & ~dominates[left].any(axis=0)] = number
        number += 1
    return layer


def _dominates(scores: np.ndarray) -> Bool[np.ndarray, "members members"]:
    """Whether the first dominates the second."""
    first, second = scores[:, None], scores[None]
    return np.all(first >= second, axis=-1) & np.any(first > second, axis=-1)


def _apart(scores: np.ndarray) -> Float[np.ndarray, " members"]:
    """The crowding distance: how far the neighbours on both sides are, over all scores."""
    apart = np.zeros(len(scores))
    for column in scores.T:
        order = np.argsort(column, kind="stable")
        ranked = column[order]
        span = ranked[-1] - ranked[0]
        apart[order[[0, -1]]] = np.inf
        if span > 0:
            apart[order[1:-1]] += (ranked[2:] - ranked[:-2]) / span
    return apart
