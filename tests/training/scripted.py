"""A population whose scores are written down, for exact tests of the rules.

The objective's own parameter counts the steps of a line of descent, one step an epoch, and the
metric looks its score up in a table by that number: so every outcome can be worked out by hand.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from difftune.models import MLP
from difftune.objectives import Objective
from difftune.training import AS_SCORED, Columns, Population, Recipe, ScoreGap
from tests.training import toy

NAN = float("nan")
EPOCHS = 6
PATIENCE = 2
# Validation scores of each script, epoch by epoch; the training score where it differs.
SCRIPTS = {
    "rises": ([1, 2, 3, 4, 5, 6], {}),
    "stops": ([1, 3, 2, 2.5, 9, 9], {}),
    "recovers": ([5, 4, 6, 5, 7, 6], {}),
    "stays": ([2, 2, 2, 9, 9, 9], {}),
    "breaks": ([1, 2, NAN, 9, 9, 9], {}),
    "overtrains": ([1, 2, 8, 3, 2, 4], {2: 12.0, 3: 3.2}),
    "never fits": ([1, 2, 3, 4, 5, 6], dict.fromkeys(range(6), 20.0)),
    "bad loss": ([1, 2, 3, 4, 5, 6], {}),
}
NAMES = list(SCRIPTS)
VALIDATION = np.array([scores for scores, _ in SCRIPTS.values()], np.float32)
TRAINING = VALIDATION.copy()
for row, (_, changes) in zip(TRAINING, SCRIPTS.values(), strict=True):
    for column, value in changes.items():
        row[column] = value


class Ticks(Objective):
    """Progress minus the steps made before; NaN at the third step of training if `bad` is set."""

    def init(self, key):
        return {"time": jnp.float32(0.0), "birth": jax.random.uniform(key)}

    def __call__(self, scores, batch, hyperparameters, parameters):
        bad = (hyperparameters["bad"] > 0.5) & (parameters["time"] >= 2.0)
        training = batch.features[0, 0] < 0
        return jnp.where(bad & training, jnp.nan, 0.0) - parameters["time"] + batch.progress


@dataclass(frozen=True)
class Table:
    """Looks the score up; the training events are the ones with negative features."""

    def __call__(self, scores, batch, hyperparameters, parameters):
        script = hyperparameters["script"].astype(int)
        now = parameters["time"].astype(int) - 1
        table = jnp.where(batch.features[0, 0] < 0, jnp.array(TRAINING), jnp.array(VALIDATION))
        return table[script, now]


def events(sign: float) -> Columns:
    data = toy.columns(32)
    return data._replace(features=sign * np.ones_like(data.features))


GIVEN = {
    "script": np.arange(8.0),
    "bad": np.array([name == "bad loss" for name in NAMES], float),
}


@functools.cache
def population(**hyperparameters: float) -> Population:
    return Population(
        recipe=Recipe(
            model=MLP(hidden=()),
            hyperparameters=hyperparameters,
            objective=Ticks(),
            batch_size=32,
            patience=PATIENCE,
            metric=Table(),
            overtraining=ScoreGap(limit=0.1, sigmas=0),
            optimizer=lambda h: optax.sgd(1.0),
            selection_rule=AS_SCORED,
        ),
        train=events(-1.0),
        validation=events(1.0),
        members=8,
    )
