"""A small classification problem, quick to train on."""

import functools
from dataclasses import fields
from typing import Any

import jax
import numpy as np

from difftune.models import MLP
from difftune.training import (
    AS_SCORED,
    Columns,
    Epochs,
    ModuleDef,
    Population,
    Recipe,
    ScoreGap,
    batch_at,
    training_weights,
)

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


def batches(data: Columns, size: int, *, seed: int, epoch: int) -> Any:
    """The batches of an epoch, stacked."""
    (part,) = Epochs(data=data, sizes=(size,), seed=seed).parts_of(epoch, progress=0.0)
    each = [batch_at(part.events, start, size) for start in part.starts[0][0]]
    return jax.tree.map(lambda *columns: np.stack(columns), *each)


@functools.cache
def module_def(hidden: tuple[int, ...] = (8,), outputs: int = 1) -> ModuleDef:
    return ModuleDef(MLP(hidden=hidden), inputs=4, outputs=outputs)


def population(**options: Any) -> Population:
    """Four members, sixteen steps an epoch."""
    defaults = {
        "model": MLP(hidden=(8,)),
        "batch_size": 64,
        "overtraining": ScoreGap(limit=1.0, sigmas=0),
        "selection_rule": AS_SCORED,
        "train": columns(1024),
        "validation": columns(512),
        "members": 4,
        "seed": 5,
    }
    options = defaults | options
    parts = {f.name: options.pop(f.name) for f in fields(Recipe) if f.name in options}
    return Population(recipe=Recipe(**parts), **options)


shared = functools.cache(population)
"""One population for many tests, so that it is compiled once."""

GIVEN = {
    "learning_rate": np.array([1e-3, 3e-3, 1e-2, 3e-3]),
    "dropout": np.array([0.0, 0.1, 0.2, 0.3]),
}
"""The hyperparameters that tests of the shared population give, for the same reason."""


def train(population: Population, given: dict, epochs: int, state=None, first: int = 0):
    """State on the host after so many epochs, and their records, each `[epochs, members]`."""
    state = population.init(given) if state is None else state
    records = []
    for epoch in range(first, first + epochs):
        state, record = population.epoch(state, given, epoch=epoch, epochs=first + epochs)
        records.append(jax.device_get(record))
    # A copy: the next epoch may reuse the buffers.
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *records)
    return jax.tree.map(np.array, jax.device_get(state)), stacked


def member(tree, slot: int):
    """The leaves of one member."""
    return [np.asarray(leaf)[slot] for leaf in jax.tree.leaves(tree)]
