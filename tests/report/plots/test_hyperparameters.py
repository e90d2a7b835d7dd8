import dataclasses

import numpy as np
import pytest
from scipy import stats

from difftune.report import (
    best_network,
    hyperparameter_history,
    line_of_descent,
    score_against_hyperparameters,
)
from difftune.report.lineage import exploits, round_scores
from tests.report import samples
from tests.report.readable import assert_readable, texts

SIZES = [(1, 1, 1), (12, 1, 2), (30, 9, 1)]


@pytest.fixture(scope="module")
def history():
    return samples.search(members=12, rounds=5, epochs=2)


def test_lines_join_members_to_those_they_copied(history):
    (figure,) = hyperparameter_history(history)
    assert_readable(figure)
    axes = figure.axes[0]
    assert axes.get_ylabel() == "learning_rate"
    values = history.hyperparameters["learning_rate"]
    copied = axes.collections[1].get_segments()
    rounds, members = exploits(history)
    assert len(copied) == len(rounds) > 0
    for segment, r, i in zip(copied, rounds, members, strict=True):
        parent = history.parents[r, i]
        np.testing.assert_allclose(segment, [[r - 1, values[r - 1, parent]], [r, values[r, i]]])
    line = line_of_descent(
        history, **dict(zip(("epoch", "member"), best_network(history), strict=True))
    )
    chosen = next(line for line in axes.lines if line.get_gid() == "chosen")
    np.testing.assert_array_equal(chosen.get_xdata(), list(line))
    np.testing.assert_array_equal(chosen.get_ydata(), [values[r, i] for r, i in line.items()])


def test_restarts_are_ringed(history):
    restart = history.restart.copy()
    restart[3, [2, 5]] = True
    (figure,) = hyperparameter_history(dataclasses.replace(history, restart=restart))
    rings = next(
        line for line in figure.axes[1].lines if line.get_markerfacecolor() == "none"
    ).get_ydata()
    expected = history.hyperparameters["dropout"][1:][restart[1:]]
    np.testing.assert_array_equal(rings, expected)


def test_score_against_value_with_scipys_rank_correlation(history):
    (figure,) = score_against_hyperparameters(history, score_name="Validation significance")
    assert_readable(figure)
    values, scores = history.hyperparameters["dropout"], round_scores(history)
    good = np.isfinite(scores)
    expected = stats.spearmanr(values[good], scores[good]).statistic
    assert figure.numbers["dropout"]["spearman"] == pytest.approx(expected)
    axes = figure.axes[1]
    assert axes.get_xlabel() == "dropout"
    points, arrows = axes.collections[0].get_offsets(), axes.lines[0].get_xdata()
    assert len(points) + len(arrows) == good.sum()
    star = next(line for line in axes.lines if line.get_gid() == "chosen")
    epoch, member = best_network(history)
    assert star.get_xdata()[0] == values[history.round[epoch], member]
    assert any("Spearman" in text for text in texts(figure))


@pytest.mark.parametrize("plot", [hyperparameter_history, score_against_hyperparameters])
@pytest.mark.parametrize(("members", "rounds", "epochs"), SIZES)
def test_small_and_large_searches(plot, members, rounds, epochs):
    history = samples.search(members=members, rounds=rounds, epochs=epochs, hyperparameters=2)
    for figure in plot(history):
        assert_readable(figure)


@pytest.mark.slow
@pytest.mark.parametrize("plot", [hyperparameter_history, score_against_hyperparameters])
def test_many_hyperparameters_take_several_pages_and_none_takes_none(plot):
    history = samples.search(members=4, rounds=2, epochs=1, hyperparameters=14)
    pages = plot(history)
    names = [name for page in pages for name in page.numbers if name in history.hyperparameters]
    assert names == list(history.hyperparameters)
    assert len(pages) == 2
    for page in pages:
        assert_readable(page)
    assert plot(dataclasses.replace(history, hyperparameters={})) == []


@pytest.mark.parametrize("plot", [hyperparameter_history, score_against_hyperparameters])
def test_scores_and_values_that_are_not_numbers(plot):
    history = samples.search(members=5, rounds=2, epochs=2, hyperparameters=2)
    history.score[:] = np.nan
    history.hyperparameters["dropout"][:] = np.nan
    history.hyperparameters["learning_rate"][:] = 1e-3
    for figure in plot(history):
        assert_readable(figure)
