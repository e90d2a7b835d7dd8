"""The task that all are given: events, network, optimizer. Needs numpy alone."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

INPUTS = 30
HIDDEN = (64, 64)
VALIDATION = 2_000
LEARNING_RATE = 1e-3
# Adam's constants, the same in every library; Keras and TensorFlow would take another epsilon.
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
# What a population that differs in everything chooses from. The activations cost the same, so that
# the choice is timed and not the work of a tanh.
ACTIVATIONS = ("relu", "leaky_relu")
OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
# Standard deviation of a normal distribution that is cut at two of them.
TRUNCATED = 0.87962566


class Events(NamedTuple):
    """Columns of simulated events; `training_weight` is that of the loss, of mean one."""

    features: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    training_weight: np.ndarray


def events(count: int, *, seed: int = 0) -> Events:
    """Two overlapping normal distributions, whatever the seed, with weights; in a random order."""
    shift = 0.3 * np.random.default_rng(57).normal(size=INPUTS)
    draw = np.random.default_rng(seed)
    label = draw.random(count) < 0.3
    features = draw.normal(size=(count, INPUTS)) + label[:, None] * shift
    weight = draw.gamma(2.0, 1.0, count)
    totals = np.where(label, weight[label].sum(), weight[~label].sum())
    return Events(
        features=features.astype(np.float32),
        label=label.astype(np.int32),
        weight=weight.astype(np.float32),
        training_weight=(weight * count / (2.0 * totals)).astype(np.float32),
    )


def batches(count: int, batch: int) -> int:
    """Steps of an epoch; the events left over are not used, by nobody."""
    return count // min(batch, count)


def trained_events(count: int, batch: int) -> int:
    """Events that an epoch uses."""
    return batches(count, batch) * min(batch, count)


def trained_columns(count: int, batch: int) -> list[np.ndarray]:
    """Features, labels and weights of these, for who goes through them in slices."""
    data, used = events(count), trained_events(count, batch)
    return [a[:used] for a in (data.features, data.label.astype("float32"), data.training_weight)]


def start_weights(units: Sequence[int], seed: int) -> list[np.ndarray]:
    """Kernels `[inputs, outputs]` between layers of so many units, as Flax draws them.

    They have variance 1 / inputs (arXiv 1706.02515); there are no biases.
    """
    draw = np.random.default_rng([7, seed])
    kernels = []
    for rows, columns in pairwise(units):
        normal = draw.normal(size=(rows, columns))
        while np.any(far := np.abs(normal) > 2.0):
            normal[far] = draw.normal(size=far.sum())
        kernels.append((normal / (TRUNCATED * np.sqrt(rows))).astype(np.float32))
    return kernels


def flops(width: int) -> float:
    """Operations to train one member, of two hidden layers of this width, on one event.

    Two for each multiplication with its addition; forwards, and twice as many backwards. The
    gradient in the features, which nobody needs, is counted as is customary.
    """
    return 3 * 2 * (INPUTS * width + width * width + width)
