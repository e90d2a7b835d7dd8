"""Edges that look at no figure of merit: equal signal, quantiles, and what analyses use."""

import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from difftune.arguments import takes
from difftune.binning.cells import Cells, separating_edges, with_ends
from difftune.binning.figures import Constraints
from difftune.errors import InputError
from difftune.precision import in_float64

logger = logging.getLogger("difftune")


def as_signal(given: Any) -> Bool[np.ndarray, " events"]:
    """Which events are signal, as truth values; labels of 0 and 1 are taken.

    Raises:
        InputError: For other numbers, such as indices of events.
    """
    signal = np.asarray(given)
    if signal.dtype == bool:
        return signal
    if signal.dtype.kind not in "iuf" or not np.isin(signal, (0, 1)).all():
        raise InputError(
            "signal: give for each event whether it is signal, True or False (or 1 and 0), such as "
            "events.label == 1."
        )
    return signal == 1


def quantile_edges(
    x: Float[np.ndarray | Array, " events"],
    weight: Float[np.ndarray | Array, " events"],
    bins: int,
) -> Float[np.ndarray, " edges"]:
    """Edges of bins with about equal sums of weights.

    Negative weights make the running sum go down at places; an edge stands where the sum first
    reaches its share. Where many events share one value, there are fewer bins than asked for.

    Args:
        x: What is to be histogrammed.
        weight: Weights of the events, of positive sum.
        bins: Number of bins wanted.

    Returns:
        Strictly increasing edges; the outer ones are at most 0 and at least 1, and span `x`.

    Raises:
        InputError: No events, a total weight that is not positive, or fewer than one bin.
    """
    values, weights = checked(x, weight, bins)
    if not weights.sum() > 0:
        raise InputError(f"quantile_edges: total weight {weights.sum():g} is not positive.")
    borders, last = separating_edges(values)
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])[last]
    wanted = np.arange(1, bins) / bins * weights.sum()
    first = np.searchsorted(np.maximum.accumulate(below), wanted)
    return with_ends(np.unique(borders[first[first < len(borders)]]), values)


@takes(signal=as_signal)
def choose_edges(
    score: Float[np.ndarray | Array, " events"],
    weight: Float[np.ndarray | Array, " events"],
    signal: Bool[np.ndarray | Array, " events"],
    *,
    bins: int = 15,
    min_background: float = 10.0,
    max_mc_uncertainty: float = 0.15,
) -> Float[np.ndarray, " edges"]:
    """Edges for a fit of the score: about equal signal per bin, and enough background in each.

    Bins are made from the signal-like end. Each takes an equal share of the signal that is left,
    and goes on until it holds the wanted background, known to the wanted precision; a rest at the
    lower end that does not, joins its neighbour. With equal signal in each bin the ratio of signal
    to background is resolved where it is largest.

    Args:
        score: Larger is more signal-like.
        weight: Physics weights, scaled to the full expected yield; may be negative.
        signal: Whether an event is signal; the others are background.
        bins: Largest number of bins.
        min_background: Least expected background of a bin, in events. Asymptotic formulae and
            Gaussian constraints want some.
        max_mc_uncertainty: Largest relative statistical uncertainty of a bin's simulated
            background, `sqrt(Σw²) / Σw`.

    Returns:
        Strictly increasing edges, at most `bins + 1`; the outer ones are at most 0 and at least 1
        and span the scores.

    Raises:
        InputError: No events, no net signal, or no net background.
    """
    values, weights = checked(score, weight, bins)
    is_signal = np.asarray(signal)
    if not len(values) == len(weights) == len(is_signal):
        raise InputError(
            f"choose_edges: score, weight and signal have {len(values)}, {len(weights)} and "
            f"{len(is_signal)} entries; give one per event."
        )
    for name, total in (("signal", weights[is_signal]), ("background", weights[~is_signal])):
        if not total.sum() > 0:
            raise InputError(
                f"choose_edges: the total weight of the {name} is {total.sum():g}, not positive. "
                "Give events of signal and background with their physics weights."
            )
    borders, last = separating_edges(values)
    order = np.argsort(values, kind="stable")

    def below(column: np.ndarray) -> np.ndarray:
        """Running sums at each possible edge and, last, over everything."""
        return np.cumsum(column[order])[np.append(last, len(order) - 1)]

    s = below(np.where(is_signal, weights, 0.0))
    b = below(np.where(is_signal, 0.0, weights))
    b2 = below(np.where(is_signal, 0.0, weights**2))

    def good(b: np.ndarray, b2: np.ndarray) -> np.ndarray:
        return (b >= max(min_background, 0)) & (b2 <= (max_mc_uncertainty * b) ** 2) & (b > 0)

    chosen: list[int] = []
    top = len(borders)
    while len(chosen) < bins - 1 and s[top] > 0:
        share = s[top] / (bins - len(chosen))
        enough = (s[top] - s[:top] >= share) & good(b[top] - b[:top], b2[top] - b2[:top])
        if not enough.any():
            break
        top = int(np.flatnonzero(enough)[-1])
        chosen.append(top)
    rest = good(b, b2)
    while chosen and not rest[chosen[-1]]:
        chosen.pop()
    if len(chosen) + 1 < bins:
        _say_why(
            len(chosen) + 1, bins, b[-1], b2[-1], min_background, max_mc_uncertainty, len(borders)
        )
    return with_ends(borders[chosen[::-1]], values)


def _say_why(
    found: int,
    bins: int,
    background: Any,
    squares: Any,
    min_background: int | float,
    max_mc_uncertainty: int | float,
    borders: int,
) -> None:
    """Tells why there are fewer bins than were asked for, and what to do about it."""
    if borders + 1 < bins:
        why = f"the scores have only {borders + 1} different values; look at the network"
    elif background < min_background * bins:
        why = (
            f"the expected background is {background:.3g} events, and each bin needs "
            f"min_background={min_background:g}; lower that, or loosen the selection"
        )
    elif squares > 0 and background**2 / squares < bins / max_mc_uncertainty**2:
        why = (
            f"the simulated background is worth {background**2 / squares:.3g} events of equal "
            f"weight, and each bin needs {1 / max_mc_uncertainty**2:.3g} for a statistical "
            f"uncertainty below max_mc_uncertainty={max_mc_uncertainty:g}; simulate more, or raise "
            "that"
        )
    else:
        why = (
            f"where the signal is, the background does not fill more bins with "
            f"min_background={min_background:g} and max_mc_uncertainty={max_mc_uncertainty:g}; "
            "change these for more"
        )
    logger.info("choose_edges: %d bins of the %d asked for: %s.", found, bins, why)


def checked(
    x: Float[np.ndarray | Array, " events"], weight: Float[np.ndarray | Array, " events"], bins: int
) -> tuple[Float[np.ndarray, " events"], Float[np.ndarray, " events"]]:
    """Both in float64; refuses what no edges can come from."""
    values, weights = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    if bins < 1:
        raise InputError(f"bins={bins} must be at least 1.")
    if not len(values):
        raise InputError("Bin edges cannot be chosen from 0 events.")
    if not np.isfinite(values).all():
        raise InputError("Bin edges cannot be chosen from values that are infinite or NaN.")
    return values, weights


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
