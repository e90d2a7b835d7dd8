"""Weights of events in the training: classes balanced, negative ones treated, hard ones raised."""

import logging
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from difftune.errors import InputError

NegativeWeights = Literal["keep", "absolute", "resample"]
"""What becomes of negative weights in the training (`treated_weights`)."""

logger = logging.getLogger("difftune")

_MANY = 3 * 10**9
"""Pairs of a negative event and another one whose distances take about half a minute."""

# Distances in memory at a time, and neighbours that most cells are smaller than.
_BLOCK, _FEW = 2**24, 64


def training_weights(
    weight: Float[np.ndarray, " events"],
    label: Int[np.ndarray, " events"] | None = None,
) -> Float[np.ndarray, " events"]:
    """Weights balanced between the classes, with mean one.

    Args:
        weight: Physics weights, or what `treated_weights` made of them.
        label: 1 for signal, 0 for background; None where classes play no role.

    Raises:
        InputError: When signal or background has no events, or no positive total weight.
    """
    weight = np.asarray(weight, np.float64)
    balanced = np.zeros_like(weight)
    if label is None:
        classes = {"sample": np.ones(len(weight), bool)}
    else:
        classes = {"background": np.asarray(label == 0), "signal": np.asarray(label == 1)}
    for name, chosen in classes.items():
        total = weight[chosen].sum()
        if not total > 0.0:
            raise InputError(
                f"the {name} to train on has {chosen.sum()} events with a total weight of "
                f"{total:g}: it needs a positive one. Give it more events, or take the magnitude "
                "of its weights with negative_weights='absolute'."
            )
        balanced[chosen] = weight[chosen] * (len(weight) / (len(classes) * total))
    return balanced.astype(np.float32)


def treated_weights(
    weight: Float[np.ndarray, " events"],
    features: Float[np.ndarray, "events inputs"],
    process: Int[np.ndarray, " events"],
    *,
    negative: str = "keep",
) -> Float[np.ndarray, " events"]:
    """Physics weights as the loss of a training sees them. Yields are always of the true ones.

    Args:
        weight: Physics weights.
        features: Network inputs, of comparable scale; only `"resample"` looks at them.
        process: Of each event.
        negative: `"keep"` leaves negative weights as they are, which is unbiased. `"absolute"`
            takes their magnitude, which changes the shapes that the network learns. `"resample"`
            makes all weights positive and conserves the yield of each process in small cells of
            the features (`resampled`).

    Raises:
        InputError: For an unknown treatment.
    """
    if negative not in get_args(NegativeWeights):
        *others, last = map(repr, get_args(NegativeWeights))
        raise InputError(f"negative={negative!r}: choose {', '.join(others)} or {last}.")
    weight = np.asarray(weight, np.float64)
    if negative == "keep":
        return weight
    if negative == "absolute":
        return np.abs(weight)
    result = weight.copy()
    for index in np.unique(process):
        (mine,) = np.nonzero(process == index)
        count = int(np.sum(weight[mine] < 0))
        if count * len(mine) > _MANY:
            logger.warning(
                "the weights of %d events of a process, %d of them negative, are resampled, each "
                'with its neighbours among all: this may take minutes. negative_weights="keep" '
                "does without.",
                len(mine),
                count,
            )
        result[mine] = resampled(weight[mine], np.asarray(features)[mine])
    return result


def resampled(
    weight: Float[np.ndarray, " events"], features: Float[np.ndarray, "events inputs"]
) -> Float[np.ndarray, " events"]:
    """Cell resampling (arXiv 2109.07851): no weight is negative, and local yields stay.

    Around each event of negative weight, the most negative first, a cell takes in its nearest
    neighbours until the weights in it add up to no less than zero. Within the cell each weight
    becomes its magnitude, times the ratio of the sum of weights to the sum of magnitudes.

    Args:
        weight: Of the events of one process.
        features: Their distance is that of the cells.

    Returns:
        Weights of the same sum, none of them negative. Where that sum is negative itself, there is
        no such cell, and what is left of the events weighs nothing.
    """
    result = np.asarray(weight, np.float64).copy()
    seeds = np.argsort(result, kind="stable")[: np.sum(result < 0)]
    for seed, distance in _distances(np.asarray(features, np.float32), seeds):
        if result[seed] >= 0:
            continue
        # What rounding leaves of a cancellation is no reason to go on.
        least = -1e-12 * np.abs(result[seed])
        for count in (min(_FEW, len(result)), len(result)):
            cell = _nearest(distance, count)
            total = np.cumsum(result[cell])
            enough = np.flatnonzero(total >= least)
            if len(enough):
                cell = cell[: enough[0] + 1]
                break
        magnitude = np.abs(result[cell])
        result[cell] = magnitude * (max(float(result[cell].sum()), 0.0) / magnitude.sum())
    return result


def _distances(
    features: Float[np.ndarray, "events inputs"], seeds: Int[np.ndarray, " seeds"]
) -> Iterator[tuple[int, Float[np.ndarray, " events"]]]:
    """Each seed with the squared distances of all events to it, less a constant."""
    square = np.sum(np.square(features), axis=1)
    rows = max(1, _BLOCK // max(len(features), 1))
    for begin in range(0, len(seeds), rows):
        block = seeds[begin : begin + rows]
        distance = square - 2 * features[block] @ features.T
        # A seed is its own nearest, whatever rounding says.
        distance[np.arange(len(block)), block] = -np.inf
        yield from zip(block.tolist(), distance, strict=True)


def _nearest(distance: Float[np.ndarray, " events"], count: int) -> Int[np.ndarray, " count"]:
    """Indices of the `count` nearest events, the nearest first."""
    if count == len(distance):
        return np.argsort(distance, kind="stable")
    near = np.argpartition(distance, count)[:count]
    return near[np.argsort(distance[near], kind="stable")]


def boosted(
    training_weight: Float[np.ndarray, " events"],
    label: Int[np.ndarray, " events"],
    score: Float[np.ndarray, " events"],
    *,
    factor: float = 1.3,
    threshold: float = 0.4,
) -> Float[np.ndarray, " events"]:
    """Training weights of the next round: those of misclassified events times a factor.

    A signal event is misclassified below the threshold, a background event above it. The classes
    are balanced again afterwards. Factor and threshold are those of a single-top t-channel study;
    AdaBoost (Freund and Schapire, J. Comput. Syst. Sci. 55 (1997) 119) takes a factor that depends
    on the error, and keeps the networks of all rounds, where here one network is trained on.

    Args:
        training_weight: Of the round before.
        label: 1 for signal, 0 for background.
        score: Signal probabilities that the network gives.
        factor: On the weights of misclassified events.
        threshold: On the score.

    Raises:
        InputError: For a factor that is not positive, or a threshold outside of (0, 1).
    """
    if not factor > 0 or not 0 < threshold < 1:
        raise InputError(
            f"boosted(factor={factor}, threshold={threshold}): the factor is positive, and the "
            "threshold is one on the score, between 0 and 1."
        )
    wrong = np.where(label == 1, score < threshold, score > threshold)
    return training_weights(training_weight * np.where(wrong, factor, 1.0), label)
