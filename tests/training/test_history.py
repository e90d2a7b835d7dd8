import numpy as np
import pytest

from difftune.training import History

# Three members, four rounds of two epochs. Member 2 takes over from 0 in round 1, member 0 from 2
# in round 2, member 1 begins afresh in round 2 and is taken over by 2 in round 3.
PARENTS = np.array([[0, 1, 2], [0, 1, 0], [2, 1, 2], [0, 1, 1]])
RESTART = np.array([[1, 1, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
# Tens for the round, ones for the member.
RATE = 10.0 * np.arange(4)[:, None] + np.arange(3)


@pytest.fixture
def history() -> History:
    nothing = np.zeros((8, 3))
    return History(
        epoch=np.arange(8),
        round=np.repeat(np.arange(4), 2),
        loss=nothing,
        validation_loss=nothing,
        hard_loss=nothing,
        score=nothing,
        selection_score=nothing,
        train_score=nothing,
        hyperparameters={"rate": RATE, "twice": 2 * RATE},
        parents=PARENTS,
        restart=RESTART,
        status=("running",) * 3,
    )


@pytest.mark.parametrize(
    ("epoch", "member", "line"),
    [
        (0, 2, [2]),
        (1, 2, [2]),
        (3, 2, [0, 12]),
        (5, 0, [0, 12, 20]),
        (7, 0, [0, 12, 20, 30]),
        (7, 1, [21, 31]),
        (6, 2, [21, 32]),
        (3, 1, [1, 11]),
    ],
)
def test_schedule_follows_the_line_of_descent(history, epoch, member, line):
    schedule = history.schedule(epoch=epoch, member=member)
    np.testing.assert_array_equal(schedule["rate"], line)
    np.testing.assert_array_equal(schedule["twice"], 2 * np.array(line))


def test_stages_are_one_history(history):
    """The second stage has two members: one from member 2, one from member 0 of the first."""
    two = np.ones((4, 2))
    later = History(
        epoch=np.arange(4),
        round=np.repeat([0, 1, 2], [1, 1, 2]),
        loss=two,
        validation_loss=two,
        hard_loss=two,
        score=two,
        selection_score=two,
        train_score=two,
        hyperparameters={"rate": 100.0 + np.arange(6).reshape(3, 2), "new": np.ones((3, 2))},
        # The first one is copied, then begins afresh.
        parents=np.array([[0, 1], [0, 0], [0, 1]]),
        restart=np.array([[1, 1], [0, 0], [1, 0]], bool),
        status=("running", "stopped early"),
    )
    carried = {"twice": np.array([44.0, 40.0]), "rate": np.zeros(2)}
    whole = history.then(later, parents=np.array([2, 0]), carried=carried)
    np.testing.assert_array_equal(whole.epoch, range(12))
    np.testing.assert_array_equal(whole.round, [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 6])
    np.testing.assert_array_equal(whole.score[:8], history.score)
    np.testing.assert_array_equal(whole.score[8:], np.array([[1, 1, np.nan]] * 4))
    # What only one of them has: followed from the start, or not there.
    np.testing.assert_array_equal(
        whole.hyperparameters["rate"][4:, :2], 100 + np.arange(6).reshape(3, 2)
    )
    np.testing.assert_array_equal(whole.hyperparameters["twice"][:4], 2 * RATE)
    np.testing.assert_array_equal(
        whole.hyperparameters["twice"][4:, :2], [[44, 40], [44, 44], [44, 44]]
    )
    assert np.isnan(whole.hyperparameters["new"][:4]).all()
    np.testing.assert_array_equal(whole.hyperparameters["new"][4:, :2], np.ones((3, 2)))
    assert whole.status == ("running", "stopped early", "not continued")
    # The second one, over the copy of the first in round 5, back to member 2.
    line = whole.line_of_descent(epoch=11, member=1)
    assert line == {2: 1, 3: 2, 4: 0, 5: 1, 6: 1}
    assert whole.line_of_descent(epoch=10, member=0) == {6: 0}
    # From the best epochs of the first stage instead: member 2 of round 0, member 0 of round 1.
    best = history.then(later, parents=np.array([2, 0]), epochs=np.array([1, 3]), carried=carried)
    assert best.line_of_descent(epoch=11, member=1) == {0: 2, 4: 0, 5: 1, 6: 1}
    third = best.then(later)
    assert third.line_of_descent(epoch=15, member=1) == {6: 0, 7: 0, 8: 1, 9: 1}
    again = later.then(best, parents=np.array([0, 1, 1]))
    line = again.line_of_descent(epoch=15, member=1)
    assert line == {0: 0, 1: 1, 2: 1, 3: 2, 7: 0, 8: 1, 9: 1}
    # Three stages are two and one.
    assert len(whole.then(later).epoch) == 16
