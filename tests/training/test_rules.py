"""Early stopping, the best epoch, overtraining, divergence: on scores that are written down."""

import numpy as np
import pytest

from difftune.training import RUNNING, STOPPED
from difftune.training.state import (
    LOSS_NOT_FINITE,
    SCORE_NOT_FINITE,
)
from tests.training import toy
from tests.training.scripted import EPOCHS, GIVEN, NAMES, TRAINING, VALIDATION, population


@pytest.fixture(scope="module")
def outcome():
    return toy.train(population(), GIVEN, EPOCHS)


EXPECTED = {
    # status, best epoch, best score, steps made, epochs that count as eligible
    "rises": (RUNNING, 5, 6.0, 6, [1, 1, 1, 1, 1, 1]),
    "stops": (STOPPED, 1, 3.0, 4, [1, 1, 1, 1, 1, 1]),
    "recovers": (RUNNING, 4, 7.0, 6, [1, 1, 1, 1, 1, 1]),
    "stays": (STOPPED, 0, 2.0, 3, [1, 1, 1, 1, 1, 1]),
    "breaks": (SCORE_NOT_FINITE, 1, 2.0, 3, [1, 1, 0, 0, 0, 0]),
    "overtrains": (RUNNING, 5, 4.0, 6, [1, 1, 0, 1, 1, 1]),
    "never fits": (STOPPED, -1, -np.inf, 2, [0, 0, 0, 0, 0, 0]),
    "bad loss": (LOSS_NOT_FINITE, 1, 2.0, 2, [1, 1, 0, 0, 0, 0]),
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
        if status in (LOSS_NOT_FINITE, SCORE_NOT_FINITE):
            expected = np.where(np.arange(EPOCHS) < 2, expected, np.nan)
        np.testing.assert_array_equal(recorded[:, slot], expected)


def test_progress_goes_from_zero_to_one_and_is_one_in_validation(outcome):
    _, records = outcome
    # The loss is progress minus the steps made before: one more each epoch.
    progress = records.loss[:, 0] + np.arange(EPOCHS)
    np.testing.assert_allclose(progress, np.linspace(0.0, 1.0, EPOCHS), atol=1e-6)
    np.testing.assert_allclose(records.validation_loss[:, 0], -np.arange(EPOCHS), atol=1e-6)


def test_inheritance(outcome):
    state, _ = outcome
    parents = np.array([0, 0, 2, 2, 1, 5, 6, 7])
    restart = np.array([0, 0, 0, 0, 0, 0, 1, 0], bool)
    # Once more on the host and back, as between any two rounds.
    heirs = population().inherit(state, parents, restart, GIVEN, generation=1)
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
    assert heirs.status.tolist() == [0, 0, 0, 0, 0, 0, 0, LOSS_NOT_FINITE]
    assert heirs.stale.tolist() == [0, 0, 1, 0, 0, 0, 0, state.stale[7]]
    # The best of a slot counts as long as nobody moves in.
    moved_in = np.isin(np.arange(8), [1, 3, 4, 6])
    expected = np.where(moved_in, -np.inf, state.best.score)
    np.testing.assert_array_equal(heirs.best.score, expected)


def test_an_heir_is_measured_by_what_it_does_itself(outcome):
    state, _ = outcome
    # The first three scripts from the beginning, in slots that have seen 6, 3 and 7.
    parents, restart = np.arange(8), np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)
    given = GIVEN | {"script": np.array([1.0, 2, 0, 3, 4, 5, 6, 7])}
    heirs = population().inherit(state, parents, restart, given, generation=1)
    after, _ = toy.train(population(), given, 2, heirs, first=EPOCHS)
    assert after.best.score[:3].tolist() == [3.0, 5.0, 2.0]
    assert after.best.epoch[:3].tolist() == [EPOCHS + 1, EPOCHS, EPOCHS + 1]
    assert after.best.hyperparameters["script"][:3].tolist() == [1.0, 2.0, 0.0]
    # Nobody is stopped for being worse than who was in the slot before.
    assert after.status[:3].tolist() == [RUNNING] * 3


def test_each_member_has_a_clock_of_its_own(outcome):
    """Those that begin later have the progress of their own training."""
    begun = np.array([0, 1, 2, 0, 0, 0, 0, 0], np.int32)
    state, losses = population().init(GIVEN), []
    for epoch in range(4):
        state, record = population().epoch(state, GIVEN, epoch=epoch, epochs=3, begun=begun)
        losses.append(np.asarray(record.loss)[:3])
    progress = np.array(losses) + np.arange(4)[:, None]
    own = np.clip((np.arange(4)[:, None] - begun[:3]) / 2, 0, 1)
    np.testing.assert_allclose(progress[:, [0, 2]], own[:, [0, 2]], atol=1e-6)
    # Script 1 stops after its fourth epoch, none has by then.
    np.testing.assert_allclose(progress[:, 1], own[:, 1], atol=1e-6)
