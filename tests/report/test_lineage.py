import dataclasses

import numpy as np
import pytest

from difftune.report.lineage import along, best_network, exploits, line_of_descent, round_scores
from tests.report import samples


@pytest.fixture
def history():
    """Three members, three rounds of two epochs; 2 copies 0 in round 1, 1 restarts in round 2."""
    epochs = np.arange(6)
    score = np.arange(18.0).reshape(6, 3)
    return dataclasses.replace(
        samples.search(members=3, rounds=3, epochs=2),
        epoch=epochs,
        round=epochs // 2,
        score=score,
        selection_score=score,
        parents=np.array([[0, 1, 2], [0, 1, 0], [2, 1, 2]]),
        restart=np.array([[True] * 3, [False] * 3, [False, True, False]]),
    )


def test_descent_follows_the_weights(history):
    assert line_of_descent(history, epoch=5, member=2) == {0: 0, 1: 2, 2: 2}
    assert line_of_descent(history, epoch=4, member=0) == {0: 0, 1: 2, 2: 0}
    assert line_of_descent(history, epoch=5, member=1) == {2: 1}
    assert line_of_descent(history, epoch=1, member=1) == {0: 1}


def test_descent_is_that_of_the_schedule():
    history = samples.search()
    epoch, member = best_network(history)
    line = line_of_descent(history, epoch=epoch, member=member)
    for name, values in history.schedule(epoch=epoch, member=member).items():
        ours = [history.hyperparameters[name][r, i] for r, i in line.items()]
        np.testing.assert_array_equal(values, ours)


def test_values_along_the_line(history):
    line = line_of_descent(history, epoch=3, member=2)
    np.testing.assert_array_equal(
        along(history.score, history, line), [0, 3, 8, 11, np.nan, np.nan]
    )


def test_exploits_are_copies_from_another_member(history):
    rounds, members = exploits(history)
    assert list(zip(rounds, members, strict=True)) == [(1, 2), (2, 0)]


def test_scores_of_rounds_and_best_network_leave_nan_out(history):
    score = history.score.copy()
    score[5, 2] = np.nan
    score[2:4, 1] = np.nan
    score[0, 0] = np.inf
    history = dataclasses.replace(history, score=score, selection_score=score)
    np.testing.assert_array_equal(round_scores(history), [[3, 4, 5], [9, np.nan, 11], [15, 16, 14]])
    assert best_network(history) == (5, 1)
    # The luckiest score is not the best network.
    selection_score = score.copy()
    selection_score[5, 1] = 0.0
    assert best_network(dataclasses.replace(history, selection_score=selection_score)) == (5, 0)
    nothing = dataclasses.replace(history, selection_score=np.full((6, 3), np.nan))
    assert best_network(nothing) == (5, 0)
