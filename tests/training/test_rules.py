"""Early stopping, the best epoch, overtraining, divergence: on scores that are written down.

The objective's own parameter counts the steps of a line of descent, one step an epoch, and the
metric looks its score up in a table by that number: so every outcome can be worked out by hand.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from difftune.objectives import Objective
from difftune.training import DIVERGED, RUNNING, STOPPED, Columns, Population, ScoreGap
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


class Clock(Objective):
    """Falls by one a step; is NaN at its third step where `bad` is set."""

    def init(self, key):
        return {"time": jnp.float32(0.0), "birth": jax.random.uniform(key)}

    def __call__(self, scores, batch, hyperparameters, parameters):
        bad = (hyperparameters["bad"] > 0.5) & (parameters["time"] >= 2.0)
        return jnp.where(bad, jnp.nan, 0.0) - parameters["time"]


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


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(
        blueprint=toy.blueprint(hidden=()),
        objective=Clock(),
        train=events(-1.0),
        validation=events(1.0),
        members=8,
        batch_size=32,
        patience=PATIENCE,
        metric=Table(),
        overtraining=ScoreGap(limit=0.1),
        optimizer=lambda h: optax.sgd(1.0),
    )


@pytest.fixture(scope="module")
def outcome(population):
    state, records = toy.train(population, GIVEN, EPOCHS)
    return state, records


EXPECTED = {
    # status, best epoch, best score, steps made, epochs that count as eligible
    "rises": (RUNNING, 5, 6.0, 6, [1, 1, 1, 1, 1, 1]),
    "stops": (STOPPED, 1, 3.0, 4, [1, 1, 1, 1, 1, 1]),
    "recovers": (RUNNING, 4, 7.0, 6, [1, 1, 1, 1, 1, 1]),
    "stays": (STOPPED, 0, 2.0, 3, [1, 1, 1, 1, 1, 1]),
    "breaks": (DIVERGED, 1, 2.0, 3, [1, 1, 0, 0, 0, 0]),
    "overtrains": (RUNNING, 5, 4.0, 6, [1, 1, 0, 1, 1, 1]),
    "never fits": (STOPPED, -1, -np.inf, 2, [0, 0, 0, 0, 0, 0]),
    "bad loss": (DIVERGED, 1, 2.0, 2, [1, 1, 0, 0, 0, 0]),
}


@pytest.mark.parametrize("name", NAMES)
def test_outcome(outcome, name):
    state, records = outcome
    slot = NAMES.index(name)
    status, epoch, score, steps, eligible = EXPECTED[name]
    assert state.status[slot] == status
    assert state.best.epoch[slot] == epoch
    assert state.best.score[slot] == score
    assert state.objective["time"][slot] == steps
    assert records.eligible[:, slot].tolist() == [bool(one) for one in eligible]
    # The snapshot is of that epoch, not of the last one.
    assert state.best.objective["time"][slot] == epoch + 1
    assert state.best.slot[slot] == slot
    assert state.best.hyperparameters["script"][slot] == slot


@pytest.mark.parametrize("name", NAMES)
def test_records(outcome, name):
    _, records = outcome
    slot = NAMES.index(name)
    status, *_, steps, _ = EXPECTED[name]
    # A member that has stopped keeps the score of its last weights; one that diverged has none.
    after = np.minimum(np.arange(1, EPOCHS + 1), steps) - 1
    for recorded, table in ((records.score, VALIDATION), (records.train_score, TRAINING)):
        expected = table[slot][after]
        if status == DIVERGED:
            expected = np.where(np.arange(EPOCHS) < 2, expected, np.nan)
        np.testing.assert_array_equal(recorded[:, slot], expected)


def test_inheritance(population, outcome):
    state, _ = outcome
    parents = np.array([0, 0, 2, 2, 1, 5, 6, 7])
    restart = np.array([0, 0, 0, 0, 0, 0, 1, 0], bool)
    # Once more on the host and back, as between any two rounds.
    heirs = population.inherit(state, parents, restart, GIVEN, generation=1)
    times = [6, 6, 6, 6, 4, 6, 0, 2]
    np.testing.assert_array_equal(heirs.objective["time"], times)
    births = state.objective["birth"]
    np.testing.assert_array_equal(
        heirs.objective["birth"][[0, 1, 2, 3, 4, 5, 7]], births[parents[[0, 1, 2, 3, 4, 5, 7]]]
    )
    assert heirs.objective["birth"][6] not in births
    kernel = state.weights.parameters["output"]["kernel"][...]
    moved = heirs.weights.parameters["output"]["kernel"][...]
    np.testing.assert_array_equal(moved[1], kernel[0])
    assert not np.array_equal(moved[6], kernel[6])
    # Whoever took over or began afresh runs again; who went on is what he was.
    assert heirs.status.tolist() == [0, 0, 0, 0, 0, 0, 0, DIVERGED]
    assert heirs.stale.tolist() == [0, 0, 1, 0, 0, 0, 0, state.stale[7]]
    # The best of a slot stays there.
    for a, b in zip(jax.tree.leaves(state.best), jax.tree.leaves(heirs.best), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_better_heir_replaces_the_best_of_its_slot(population, outcome):
    state, _ = outcome
    # The first three scripts from the beginning, in slots that have seen 6, 3 and 7.
    parents, restart = np.arange(8), np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    given = GIVEN | {"script": np.array([1.0, 2, 0, 3, 4, 5, 6, 7])}
    heirs = population.inherit(state, parents, restart, given, generation=1)
    after, _ = toy.train(population, given, 2, heirs, first=EPOCHS)
    assert after.best.score[:3].tolist() == [6.0, 5.0, 7.0]
    assert after.best.epoch[:3].tolist() == [5, EPOCHS, 4]
    assert after.best.hyperparameters["script"][:3].tolist() == [0.0, 2.0, 2.0]
    # Two epochs without beating the best of the slot end a member.
    assert after.status[:3].tolist() == [STOPPED, RUNNING, STOPPED]
