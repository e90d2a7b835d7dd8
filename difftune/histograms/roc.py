"""Receiver operating characteristic of a score on weighted events."""

from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Num

from difftune.errors import InputError


class RocCurve(NamedTuple):
    """Efficiencies of the cuts `score >= threshold`, from the tightest to the loosest.

    Attributes:
        threshold: The cuts, falling; the first is infinite.
        signal: Efficiency of each for signal, from 0 to 1.
        background: Efficiency of each for background, from 0 to 1.
    """

    threshold: Float[np.ndarray, "cuts"]
    signal: Float[np.ndarray, "cuts"]
    background: Float[np.ndarray, "cuts"]


class Auc(NamedTuple):
    """Area under a ROC curve and its statistical uncertainty."""

    value: float
    uncertainty: float


def roc_curve(
    score: Num[np.ndarray | Array, "events"],
    weight: Num[np.ndarray | Array, "events"],
    signal: Bool[np.ndarray | Array, "events"],
) -> RocCurve:
    """ROC curve of weighted events.

    Negative weights are counted as they are, so that the efficiencies are unbiased estimates; a
    curve may then step back, and even leave [0, 1].

    Args:
        score: Score of each event, larger for signal.
        weight: Physics weights; may be negative.
        signal: True for signal, false for background.

    Returns:
        One point for each distinct score, and the origin.

    Raises:
        InputError: A class has no events or a sum of weights that is not positive.
    """
    s, w, is_signal = _checked(score, weight, signal)
    order = np.argsort(-s, kind="stable")
    s, w, is_signal = s[order], w[order], is_signal[order]
    last = np.append(np.flatnonzero(np.diff(s)), len(s) - 1)
    efficiency = [
        np.concatenate([[0.0], np.cumsum(np.where(mask, w, 0.0))[last]]) / np.sum(w[mask])
        for mask in (is_signal, ~is_signal)
    ]
    return RocCurve(np.concatenate([[np.inf], s[last]]), *efficiency)


def auc(
    score: Num[np.ndarray | Array, "events"],
    weight: Num[np.ndarray | Array, "events"],
    signal: Bool[np.ndarray | Array, "events"],
) -> Auc:
    """Area under the ROC curve of weighted events.

    The area is the weighted fraction of (signal, background) pairs that the score orders rightly,
    ties counted half, which is well defined with negative weights too. The uncertainty is that of
    DeLong et al. (Biometrics 44 (1988) 837), with weights.

    Args:
        score: Score of each event, larger for signal.
        weight: Physics weights; may be negative.
        signal: True for signal, false for background.

    Raises:
        InputError: A class has no events or a sum of weights that is not positive.
    """
    s, w, is_signal = _checked(score, weight, signal)
    background = ~is_signal
    below = _fraction_below(s[is_signal], s[background], w[background])
    above = 1 - _fraction_below(s[background], s[is_signal], w[is_signal])
    w_s, w_b = w[is_signal] / np.sum(w[is_signal]), w[background] / np.sum(w[background])
    area = float(np.sum(w_s * below))
    variance = np.sum(w_s**2 * (below - area) ** 2) + np.sum(w_b**2 * (above - area) ** 2)
    return Auc(area, float(np.sqrt(variance)))


def _fraction_below(
    at: Float[np.ndarray, "points"], x: Float[np.ndarray, "events"], w: Float[np.ndarray, "events"]
) -> Float[np.ndarray, "points"]:
    """Weighted fraction of `x` that lies below each point; equal values count half."""
    order = np.argsort(x, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(w[order])]) / np.sum(w)
    left, right = (np.searchsorted(x[order], at, side=side) for side in ("left", "right"))
    return (sums[left] + sums[right]) / 2


def _checked(
    score: Num[np.ndarray | Array, "events"],
    weight: Num[np.ndarray | Array, "events"],
    signal: Bool[np.ndarray | Array, "events"],
) -> tuple[Float[np.ndarray, "events"], Float[np.ndarray, "events"], Bool[np.ndarray, "events"]]:
    """The three columns as numpy arrays, checked."""
    s, w = np.asarray(score, np.float64), np.asarray(weight, np.float64)
    is_signal = np.asarray(signal, bool)
    if np.isnan(s).any():
        raise InputError(f"{np.isnan(s).sum()} of {len(s)} scores are NaN: they have no order.")
    for name, mask in (("signal", is_signal), ("background", ~is_signal)):
        total = float(np.sum(w[mask]))
        if not total > 0:
            raise InputError(
                f"A ROC curve needs {name} events with a positive sum of weights, got "
                f"{int(mask.sum())} events with {total:g}."
            )
    return s, w, is_signal
