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
