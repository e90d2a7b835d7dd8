"""Several scores: the front by Optuna's, searches that spread along it, networks that are kept."""

import functools
from dataclasses import replace

import jax
import numpy as np
import optuna
import pytest

from difftune.errors import InputError
from difftune.objectives import AUC, MultiObjective, Significance
from difftune.search import (
    PBT,
    Evolution,
    FixedSchedule,
    Optuna,
    Random,
    Replicated,
    Space,
    log_uniform,
    proposal,
    run_search,
    uniform,
)
from difftune.training import Checkpoints
from tests.search.fake import Game, play
from tests.training import toy


def judged(scores) -> set[int]:
    """The front, by Optuna."""
    study = optuna.create_study(directions=["maximize"] * scores.shape[1])
    study.add_trials([optuna.trial.create_trial(values=row.tolist()) for row in scores])
    return {trial.number for trial in study.best_trials}


@pytest.mark.parametrize("scores", [2, 3])
def test_layers_are_fronts_of_what_is_left(scores):
    values = np.random.default_rng(scores).integers(0, 6, (60, scores)).astype(float)
    layers, left = proposal.layers(values), np.arange(60)
    np.testing.assert_array_equal(proposal.dominated(values), layers > 0)
    for number in range(layers.max() + 1):
        found = left[sorted(judged(values[left]))]
        np.testing.assert_array_equal(found, np.flatnonzero(layers == number))
        left = np.setdiff1d(left, found)
    assert not len(left)


def test_places_go_by_layer_and_then_by_distance():
    # Both ends, two between them of which the second is closer to its neighbours, one behind.
    values = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.7], [0.6, 0.6], [0.1, 0.1]])
    assert proposal.places(values).tolist() == [0, 1, 3, 2, 4]


def hypervolume(values: np.ndarray) -> float:
    """Area below a front of two scores."""
    height, area = 0.0, 0.0
    for x, y in values[np.argsort(-values[:, 0])]:
        area += x * max(y - height, 0.0)
        height = max(y, height)
    return area


# The front is a quarter circle: any angle, and everything that shrinks the radius in the middle.
SHRINKS = ("a", "b", "c", "d")
CIRCLE = Space(angle=uniform(0.0, np.pi / 2), **{name: uniform(0.0, 1.0) for name in SHRINKS})


def circle(values):
    radius = 1.0 - 2.0 * np.mean([np.abs(values[name] - 0.5) for name in SHRINKS], axis=0)
    return radius[:, None] * np.stack([np.cos(values["angle"]), np.sin(values["angle"])], axis=-1)


GAME = Game(
    train=lambda state, _: state,
    score=lambda _, values: np.sqrt(np.prod(circle(values), axis=-1)),
    scores=circle,
)


@pytest.mark.parametrize(
    "strategy",
    [
        PBT(population=16, rounds=40),
        Evolution(population=16, rounds=12),
        pytest.param(Optuna(population=16, rounds=6), marks=pytest.mark.slow),
    ],
    ids=["pbt", "evolution", "tpe"],
)
def test_a_search_spreads_along_the_front(strategy):
    """By their mean alone, all members would gather in the middle of the circle.

    The last generation of the others are trials, not those that have proved themselves.
    """
    gains, widths = [], []
    for seed in range(5):
        several, alone = (
            play(strategy, CIRCLE, game, seed=seed) for game in (GAME, replace(GAME, scores=None))
        )
        areas = [
            hypervolume(circle(played.past[-1].hyperparameters)) for played in (several, alone)
        ]
        gains.append(areas[0] / areas[1])
        spreads = [np.std(played.past[-1].hyperparameters["angle"]) for played in (several, alone)]
        widths.append(spreads[0] / spreads[1])
    assert np.median(widths) > 1.5
    if isinstance(strategy, PBT):
        assert np.median(gains) > 1.05


# ---- with networks -------------------------------------------------------------------------------

BOTH = {"significance": Significance(), "area": AUC()}
SPACE = Space(learning_rate=log_uniform(1e-4, 3e-1), dropout=uniform(0.0, 0.5))


@functools.cache
def population(**options):
    return toy.population(metric=MultiObjective(BOTH), **options)


@pytest.mark.slow
def test_the_scores_are_those_of_each_alone():
    _, records = population().run(toy.GIVEN, epochs=3)
    state, _ = population().run(toy.GIVEN, epochs=3)
    for number, metric in enumerate(BOTH.values()):
        _, alone = toy.population(metric=metric).run(toy.GIVEN, epochs=3)
        np.testing.assert_allclose(records.scores[..., number], alone.score, rtol=1e-5)
    np.testing.assert_allclose(records.score, np.sqrt(np.prod(records.scores, axis=-1)), rtol=1e-5)
    at = np.argmax(np.where(records.eligible, records.score, -np.inf), axis=0)
    np.testing.assert_array_equal(state.best.epoch, at)
    np.testing.assert_array_equal(state.best.scores, records.scores[at, np.arange(4)])


@functools.cache
def searched(strategy):
    return run_search(population(), strategy, SPACE)


@pytest.mark.slow
def test_a_search_keeps_what_no_other_network_beats():
    result = searched(PBT(population=4, rounds=4, epochs_per_round=1))
    history, best = result.history, result.best
    assert history.score_names == ("significance", "area")
    able = np.where(np.asarray(history.overtraining) <= 1.0, history.score, -np.inf)
    # A member shows its best epoch by the mean: in a round of one, every one that is better than
    # all since it began, or was copied.
    shown, most = np.zeros(able.shape, bool), np.full(4, -np.inf)
    for row, score in enumerate(able):
        most = np.where(history.parents[row] == np.arange(4), most, -np.inf)
        shown[row], most = score > most, np.maximum(score, most)
    every = history.scores[shown]
    foremost = every[sorted(judged(every))]
    kept = {tuple(row) for row in best.scores[np.isfinite(best.score)].tolist()}
    wanted = {tuple(row) for row in foremost.tolist()}
    # As many as there are places for.
    assert len(wanted & kept) == min(len(wanted), 4)
    assert best.score[result.winner] == np.max(able)
    row = best.epoch[result.winner], best.slot[result.winner]
    assert history.score[row] == np.max(able)


def test_a_resumed_search_keeps_the_same(tmp_path):
    strategy = PBT(population=4, rounds=4, epochs_per_round=1)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.round == 2:
            raise Killed

    with pytest.raises(Killed):
        run_search(population(), strategy, SPACE, checkpoints=Checkpoints(tmp_path), on_round=kill)
    resumed = run_search(population(), strategy, SPACE, checkpoints=Checkpoints(tmp_path))
    jax.tree.map(
        np.testing.assert_array_equal,
        (resumed.best, resumed.history.scores),
        (searched(strategy).best, searched(strategy).history.scores),
    )


@pytest.mark.parametrize(
    "strategy",
    [
        FixedSchedule(population=4, rounds=2, epochs_per_round=1, schedule={}),
        Replicated(strategy=Random(population=2, rounds=2, epochs_per_round=1), executions=2),
    ],
    ids=["replay", "repeated"],
)
def test_where_slots_mean_something_each_keeps_its_own(strategy):
    assert run_search(population(), strategy, SPACE).best.slot.tolist() == [0, 1, 2, 3]


def test_a_journal_has_a_direction_for_each_score(tmp_path):
    journal = tmp_path / "study.log"
    strategy = Optuna(population=4, rounds=2, epochs_per_round=1, journal=journal)
    result = run_search(population(), strategy, SPACE)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(journal))
    )
    study = optuna.load_study(study_name="difftune", storage=storage)
    assert len(study.directions) == 2
    theirs = {tuple(np.float32(trial.values)) for trial in study.best_trials}
    ours = result.best.scores[~proposal.dominated(result.best.scores)]
    assert theirs == {tuple(row) for row in ours}


def test_a_tradeoff_of_one_is_none():
    with pytest.raises(InputError, match="at least two"):
        MultiObjective({"significance": Significance()})
