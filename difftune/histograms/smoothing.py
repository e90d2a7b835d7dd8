"""The effect of a variation on yield and shape, and polynomials in place of a noisy shape."""

import numpy as np
from jaxtyping import Float

ROUNDING = 1e-9
"""Relative to the yield of the process: what is smaller is rounding."""
HIGHEST_DEGREE = 3


def parts(
    nominal: Float[np.ndarray, "*replicas bins"],
    up: Float[np.ndarray, "*replicas bins"],
    down: Float[np.ndarray, "*replicas bins"],
) -> tuple[Float[np.ndarray, "*replicas 2 1"], Float[np.ndarray, "*replicas 2 bins"]]:
    """Relative effects on the yield, and on the share of each bin in it.

    Of each first half the difference of up and down, then their mean.

    Args:
        nominal: The expectation.
        up: At plus one standard deviation.
        down: At minus one.
    """
    total = nominal.sum(axis=-1, keepdims=True)
    factors, shares = [], []
    for varied in (up, down):
        own = varied.sum(axis=-1, keepdims=True)
        usable = (total > 0) & (own > 0)
        factors.append(np.divide(own, total, out=np.ones_like(total), where=usable) - 1.0)
        share = np.divide(varied, own, out=np.zeros_like(varied), where=usable)
        before = np.divide(nominal, total, out=np.zeros_like(nominal), where=usable)
        shares.append(share - before)
    found = []
    for high, low in (factors, shares):
        found.append(np.stack([(high - low) / 2, (high + low) / 2], axis=-2))
    return found[0], found[1]


def smoothed(
    effect: Float[np.ndarray, " bins"],
    share: Float[np.ndarray, " bins"],
    errors: Float[np.ndarray, " bins"],
    degree: int,
) -> Float[np.ndarray, " bins"]:
    """A polynomial times the share of the bins, of which the sum over the bins is none.

    Args:
        effect: On the share of each bin in the yield.
        share: Of each bin.
        errors: Statistical errors of the effect.
        degree: Of the polynomial in the number of the bin.
    """
    if degree == 0:
        return np.zeros_like(effect)
    there = errors > ROUNDING
    basis = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, len(share)), degree)[:, 1:]
    design = share[:, None] * (basis - share @ basis)
    scale = errors[there]
    found = np.linalg.lstsq(design[there] / scale[:, None], effect[there] / scale, rcond=None)[0]
    return design @ found


def best_degree(
    effect: Float[np.ndarray, " bins"],
    share: Float[np.ndarray, " bins"],
    errors: Float[np.ndarray, " bins"],
    highest: int,
) -> int | None:
    """The degree with the least χ² of what is left and two per coefficient; None for all bins.

    Args:
        effect: On the share of each bin in the yield.
        share: Of each bin.
        errors: Statistical errors of the effect.
        highest: The highest degree that is tried.
    """
    there = errors > ROUNDING
    numbers = int(there.sum())
    best: tuple[float, int | None] = (2.0 * numbers, None)
    for degree in range(min(highest, numbers - 1), -1, -1):
        left = (effect - smoothed(effect, share, errors, degree))[there] / errors[there]
        cost = float(np.sum(left**2)) + 2.0 * degree
        if cost < best[0]:
            best = cost, degree
    return best[1]
