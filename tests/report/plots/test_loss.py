import dataclasses

import numpy as np
import pytest

from difftune.report import best_network, line_of_descent, loss_history
from tests.report import samples
from tests.report.readable import assert_readable, texts


def curves(axes):
    return {line.get_label(): line for line in axes.lines}


def test_every_member_is_drawn_and_the_chosen_one_along_its_descent():
    history = samples.search(members=6, rounds=4, epochs=3)
    figure = loss_history(history, score_name="Validation significance")
    assert_readable(figure)
    main, below = figure.axes
    members = [line for line in main.lines if str(line.get_gid()).startswith("member")]
    np.testing.assert_array_equal(
        np.stack([line.get_ydata() for line in members], axis=1), history.validation_loss
    )
    epoch, member = best_network(history)
    line = line_of_descent(history, epoch=epoch, member=member)
    slots = np.array([line.get(r, -1) for r in history.round])
    expected = np.where(slots >= 0, history.loss[np.arange(12), slots], np.nan)
    shown = curves(main)["Chosen network, training"].get_ydata()
    np.testing.assert_array_equal(shown, expected)
    star = curves(below)["Chosen epoch"]
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (epoch, history.score[epoch, member])
    assert below.get_ylabel() == "Validation significance"
    assert "All 6 members, validation" in texts(figure)
    rounds = [line.get_xdata()[0] for line in main.lines if line.get_linestyle() == ":"]
    assert rounds == [2.5, 5.5, 8.5]


def test_a_given_network_is_highlighted():
    history = samples.search(members=4, rounds=2, epochs=3)
    figure = loss_history(history, best=(1, 3))
    assert figure.numbers["best_epoch"] == 1
    shown = curves(figure.axes[0])["Chosen network, validation"].get_ydata()
    np.testing.assert_array_equal(shown[:3], history.validation_loss[:3, 3])
    assert np.isnan(shown[3:]).all()


def test_the_loss_in_hard_bins_is_drawn_where_it_is_another():
    history = samples.search(members=4, rounds=2, epochs=3)
    assert "The same in hard bins" not in texts(loss_history(history))
    smeared = dataclasses.replace(history, hard_loss=history.validation_loss + 0.02)
    figure = loss_history(smeared)
    assert_readable(figure)
    lines = curves(figure.axes[0])
    gap = lines["The same in hard bins"].get_ydata()
    gap = gap - lines["Chosen network, validation"].get_ydata()
    np.testing.assert_allclose(gap[np.isfinite(gap)], 0.02, rtol=1e-9)
    assert np.isfinite(gap).any()


@pytest.mark.parametrize(("members", "rounds", "epochs"), [(1, 1, 1), (1, 3, 4), (40, 2, 2)])
def test_small_and_large_populations(members, rounds, epochs):
    assert_readable(loss_history(samples.search(members=members, rounds=rounds, epochs=epochs)))


def test_what_diverges_neither_breaks_nor_squeezes_the_picture():
    history = samples.search(members=8, rounds=2, epochs=10)
    epoch, member = best_network(history)
    line = line_of_descent(history, epoch=epoch, member=member)
    lost = next(i for i in range(8) if i not in line.values())
    history.validation_loss[5:, lost] = np.nan
    history.score[5:, lost] = np.nan
    history.validation_loss[4, lost] = 1e12
    status = tuple("diverged" if i == lost else "running" for i in range(8))
    figure = loss_history(dataclasses.replace(history, status=status))
    assert_readable(figure)
    assert figure.axes[0].get_ylim()[1] < 10
    crosses = [line for line in figure.axes[1].lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [4]


def test_nothing_but_nan():
    history = samples.search(members=2, rounds=1, epochs=3)
    for name in ("loss", "validation_loss", "hard_loss", "score", "train_score"):
        getattr(history, name)[:] = np.nan
    assert_readable(loss_history(history))


def test_a_chosen_network_above_the_bulk_is_seen():
    history = samples.search(members=6, rounds=4, epochs=5)
    epoch, member = best_network(history)
    history.score[epoch, member] += 50
    below = loss_history(history).axes[1]
    assert below.get_ylim()[0] < history.score[epoch, member] < below.get_ylim()[1]
