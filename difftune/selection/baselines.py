"""What a variable tells by itself: separation, mutual information, correlation."""

import numpy as np
from jaxtyping import Float, Int

Column = Float[np.ndarray, " events"]


def shares(
    values: Column, weight: Column, label: Int[np.ndarray, " events"], *, bins: int
) -> Float[np.ndarray, "2 bins"]:
    """Histograms of background and signal, in bins of equal shares of the events.

    Args:
        values: A variable.
        weight: Weights; a bin with a negative sum counts as empty.
        label: 1 for signal, 0 for background.
        bins: How many, at most: a discrete variable has no more than values.

    Returns:
        Shares of each class; they sum to 1 each.
    """
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, values, side="right")
    found = np.stack(
        [
            np.bincount(place[label == c], weight[label == c], minlength=len(edges) + 1)
            for c in (0, 1)
        ]
    )
    found = np.maximum(found, 0.0)
    return found / np.maximum(found.sum(axis=1, keepdims=True), 1e-300)


def separation(
    values: Column, weight: Column, label: Int[np.ndarray, " events"], *, bins: int = 20
) -> float:
    """Separation power, `1/2 sum_i (s_i - b_i)^2 / (s_i + b_i)`, from 0 to 1."""
    background, signal = shares(values, weight, label, bins=bins)
    both = signal + background
    return float(0.5 * np.sum((signal - background) ** 2 / np.where(both > 0, both, 1.0)))


def mutual_information(
    values: Column, weight: Column, label: Int[np.ndarray, " events"], *, bins: int = 20
) -> float:
    """Mutual information of a variable in bins with the class, both equally likely, in nats.

    0 for a variable that tells nothing (and the bins' fluctuations above it), ln 2 for one that
    tells everything.
    """
    joint = shares(values, weight, label, bins=bins) / 2
    expected = joint.sum(axis=0) / 2
    ratio = np.where(joint > 0, joint / np.where(expected > 0, expected, 1.0), 1.0)
    return float(np.sum(joint * np.log(ratio)))


def correlation(
    features: Float[np.ndarray, "events inputs"], weight: Column
) -> Float[np.ndarray, "inputs inputs"]:
    """Linear correlations of weighted columns; 0 for a column that is constant."""
    weight = np.abs(np.asarray(weight, np.float64))
    weight = weight / weight.sum()
    x = np.asarray(features, np.float64)
    x = x - weight @ x
    covariance = x.T @ (weight[:, None] * x)
    sigma = np.sqrt(np.diag(covariance))
    constant = sigma < 1e-6
    scale = np.where(constant, np.inf, sigma)
    found = covariance / np.outer(scale, scale)
    np.fill_diagonal(found, 1.0)
    return found
