"""A small classification problem, quick to train on."""

import functools

import numpy as np

from difftune.models import MLP
from difftune.objectives import CrossEntropy
from difftune.training import Blueprint, Columns, Population, training_weights

SIGNAL = np.array([1.0, 0.0, 0.0], np.float32)
YIELDS = np.array([40.0, 3000.0, 1000.0])


@functools.cache
def columns(events: int, seed: int = 0) -> Columns:
    """One signal and two backgrounds in four variables, a tenth of the weights negative."""
    rng = np.random.default_rng([seed, events])
    process = rng.choice(3, events, p=[0.4, 0.4, 0.2]).astype(np.int32)
    process[:3] = 0, 1, 2
    means = np.array([[0.8, 0.8, 0, 0], [-0.4, 0, 0.5, 0], [0, -0.6, -0.5, 0]])
    features = rng.normal(means[process]).astype(np.float32)
    weight = np.where(rng.random(events) < 0.1, -0.5, rng.uniform(0.5, 1.5, events))
    weight *= (YIELDS / np.bincount(process, weight))[process]
    label = (process == 0).astype(np.int32)
    return Columns(
        features=features,
        process=process,
        label=label,
        weight=weight.astype(np.float32),
        training_weight=training_weights(weight, label),
        signal_process=SIGNAL,
    )


@functools.cache
def blueprint(hidden: tuple[int, ...] = (8,), outputs: int = 1) -> Blueprint:
    return Blueprint(MLP(hidden=hidden), inputs=4, outputs=outputs)


def population(**options) -> Population:
    """Four members, sixteen steps an epoch."""
    defaults = {
        "blueprint": blueprint(),
        "objective": CrossEntropy(),
        "train": columns(1024),
        "validation": columns(512),
        "members": 4,
        "batch_size": 64,
        "seed": 5,
    }
    return Population(**defaults | options)
