"""Searches that end when their time is over, on a clock that the test turns."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import difftune as dt
from difftune.errors import InputError
from difftune.job import Config, build
from difftune.models import MLP
from difftune.search import (
    PBT,
    Grid,
    Halving,
    Random,
    Replicated,
    SideBySide,
    Space,
    log_uniform,
    run_search,
)
from difftune.training import Checkpoints, Population, ScoreGap
from tests.training import toy

SPACE = Space(learning_rate=log_uniform(1e-4, 1e-2))
COMPILING = 30.0


@dataclass
class Clock:
    """Stands still but for the epochs, of which the first one in a process is compiled."""

    now: float = 1000.0
    epochs: int = 0
    seconds: float = 2.0
    lengths: tuple[int, ...] = ()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock, train = Clock(), Population.epoch

    def epoch(self, state, given, *, epoch, epochs, begun=None):
        clock.now += clock.seconds if clock.epochs else COMPILING
        clock.epochs += 1
        clock.lengths += (epochs,)
        return train(self, state, given, epoch=epoch, epochs=epochs, begun=begun)

    monkeypatch.setattr(Population, "epoch", epoch)
    return clock


def run(strategy, clock, **options):
    population = toy.shared(
        model=MLP(hidden=()), members=4, patience=10**6, overtraining=ScoreGap(limit=np.inf)
    )
    return run_search(population, strategy, SPACE, clock=clock, **options)


@pytest.mark.slow
def test_as_many_rounds_as_fit_are_planned_from_the_first_epoch_that_is_not_compiled(clock):
    """30 + 19 · 2 seconds are 20 epochs, 5 rounds, within 70 seconds; 6 are not."""
    progress = []
    found = run(
        PBT(population=4, rounds=2, epochs_per_round=4, minutes=70 / 60),
        clock,
        on_round=progress.append,
    )
    assert found.rounds == 5
    np.testing.assert_array_equal(found.history.round, np.repeat(range(5), 4))
    assert [p.rounds for p in progress] == [5] * 5
    # Schedules run over the 2 rounds that were given until it is known how many there are.
    assert clock.lengths == (8, 8) + (20,) * 18


def test_what_is_running_when_the_time_is_over_counts(clock):
    """The fourth round is more than half planned, and cut."""
    found = run(Random(population=4, epochs_per_round=10, minutes=99 / 60), clock)
    np.testing.assert_array_equal(np.bincount(found.history.round), [10, 10, 10, 6])
    assert found.rounds == 4
    assert np.isfinite(found.best.selection_score[found.winner])


def test_a_time_that_one_epoch_exceeds_gives_what_that_epoch_gave(clock):
    found = run(PBT(population=4, rounds=10, epochs_per_round=4, minutes=0.1), clock)
    assert len(found.history.epoch) == 1
    assert found.rounds == 1


def test_a_round_of_one_epoch_that_was_compiled_does_not_end_the_search(clock):
    """Another one would take 30 seconds more if it were compiled too, and takes 2."""
    found = run(Random(population=4, epochs_per_round=1, minutes=40 / 60), clock)
    assert len(found.history.epoch) == 6


def test_the_plan_follows_the_pace(clock):
    """Members stop, and rounds become quicker."""

    def quicker(progress):
        clock.seconds = 1.0

    strategy = Random(population=4, epochs_per_round=2, minutes=52 / 60)
    found = run(strategy, clock, on_round=quicker)
    assert len(found.history.epoch) == 22


def test_resumed_searches_have_what_they_had_left(clock, tmp_path):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.round == 2:
            raise Stop

    strategy = PBT(population=4, epochs_per_round=4, minutes=70 / 60)
    with pytest.raises(Stop):
        run(strategy, clock, checkpoints=Checkpoints(tmp_path), on_round=stop)
    # 44 seconds are used, and nothing is compiled now: there are 5 rounds, as without a stop.
    clock.now += 10_000.0
    found = run(strategy, clock, checkpoints=Checkpoints(tmp_path))
    assert (found.rounds, len(found.history.epoch)) == (5, 20)
    spent = clock.now
    again = run(strategy, clock, checkpoints=Checkpoints(tmp_path))
    assert clock.now == spent
    np.testing.assert_array_equal(again.history.score, found.history.score)
    assert (again.winner, again.rounds) == (found.winner, found.rounds)
    with pytest.raises(InputError, match=r"minutes: 1.1.* then, 2.0 now"):
        run(
            PBT(population=4, epochs_per_round=4, minutes=2.0),
            clock,
            checkpoints=Checkpoints(tmp_path),
        )


def test_a_grid_says_what_there_was_no_time_for_and_takes_no_more_than_it_needs(clock, caplog):
    """Of 12 combinations 4 are trained in a round."""
    grid = Grid(population=4, points=12, rounds=1, epochs_per_round=1, minutes=10.0)
    assert len(run(grid, clock).history.round) == 3
    assert "no time" not in caplog.text
    run(replace(grid, minutes=3 / 60), clock)
    assert "the time was over after 8 of the 12 combinations of the grid" in caplog.text


@pytest.mark.parametrize(
    "strategy",
    [
        Halving(population=4, rounds=9, longest=9, brackets=3, minutes=1.0),
        Replicated(strategy=Random(population=2, minutes=1.0), executions=2),
        SideBySide(strategies=(Halving(population=2, rounds=9, brackets=2, minutes=1.0),) * 2),
    ],
)
def test_every_strategy_can_be_shorter_and_longer(strategy):
    for rounds in (1, 2, 30):
        same = strategy.lasting(rounds, SPACE)
        assert (type(same), same.rounds, same.minutes) == (type(strategy), rounds, 1.0)
        assert same.population == strategy.population
        assert 1 <= same.training_rounds <= rounds


@pytest.mark.parametrize("minutes", [0, -1.0, float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused(minutes):
    with pytest.raises(InputError, match=r"PBT\(minutes=.*\): must be above 0"):
        PBT(minutes=minutes)


@pytest.mark.slow
def test_a_tuning_has_the_rounds_that_it_had_time_for_and_is_trained_again_as_long():
    """The least time there is ends it after its first epoch."""
    rng = np.random.default_rng(0)
    process = np.arange(400) % 2
    events = dt.Events.from_arrays(
        rng.normal(size=(400, 2)) + process[:, None],
        process,
        np.ones(400),
        feature_names=["pt", "eta"],
        processes=[dt.Process(name="bkg"), dt.Process(name="sig", role="signal")],
    )
    recipe = dt.Recipe(model=MLP(hidden=(4,)), overtraining=ScoreGap(limit=np.inf))
    search = PBT(population=2, rounds=7, epochs_per_round=3)
    tuned = dt.tune(events, recipe, search=search, minutes=1e-6)
    assert len(tuned.history.epoch) == 1
    assert (tuned.strategy.rounds, tuned.strategy.minutes) == (1, 1e-6)
    assert len(tuned.retrain(2).history.epoch) == 3


def test_the_time_stands_in_the_analysis_file_too():
    config = Config.model_validate(
        {
            "data": {"files": "a.root", "features": ["pt"]},
            "samples": [{"name": "s", "role": "signal"}, {"name": "b"}],
            "search": {"minutes": 4.0, "executions": 2},
        }
    )
    found = build.strategy(config)
    assert (found.minutes, found.strategy.minutes) == (4.0, 4.0)
