"""Searches side by side: none of them knows of the others."""

import dataclasses

import numpy as np
import pytest

from difftune.errors import InputError
from difftune.search import (
    CMAES,
    PB2,
    PBT,
    Evolution,
    FixedSchedule,
    Halving,
    Optuna,
    Random,
    Replicated,
    SearchError,
    SideBySide,
    Space,
    log_uniform,
    run_search,
    uniform,
)
from difftune.training import Checkpoints, Replicas
from tests.search.fake import Game, play
from tests.training import toy

SPACE = Space(learning_rate=log_uniform(1e-4, 1e-1), dropout=uniform(0.0, 0.5))
SIZE = {"population": 4, "rounds": 4, "epochs_per_round": 1}
STRATEGIES = {
    "pbt": PBT(**SIZE),
    "replicated": Replicated(strategy=PBT(**SIZE), executions=2, std_penalty=1.0),
    "halving": Halving(**SIZE, longest=3),
    "evolution": Evolution(**SIZE, crossover=0.5, inherit=True),
    "cmaes": CMAES(**SIZE),
    "tpe": Optuna(**SIZE),
    "pb2": PB2(**SIZE),
}


def game(shifts: np.ndarray) -> Game:
    """A hill that lies elsewhere for each member; those of strong dropout may not be chosen."""

    def score(state, values):
        height = -((np.log10(values["learning_rate"]) + 2 + shifts) ** 2)
        return height + 0.1 * state - values["dropout"]

    return Game(
        train=lambda state, values: state + values["learning_rate"],
        score=score,
        eligible=lambda values: values["dropout"] < 0.35,
    )


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_does_not_depend_on_its_neighbours(name):
    strategy = STRATEGIES[name]
    size = strategy.population
    shifts = np.repeat([0.0, 0.5, -0.5], size)
    three = SideBySide(strategies=(strategy,) * 3)
    assert three.population == 3 * size
    together = play(three, SPACE, game(shifts), seed=3)
    # With one neighbour less, and with one that does something else.
    two = play(SideBySide(strategies=(strategy,) * 2), SPACE, game(shifts[: 2 * size]), seed=3)
    other = play(three, SPACE, game(np.where(shifts < 0, 1.0, shifts)), seed=3)
    for found, searches in ((two, 2), (other, 2)):
        own = slice(0, searches * size)
        for one, two_ in zip(together.proposals, found.proposals, strict=True):
            np.testing.assert_array_equal(one.parents[own], two_.parents[own])
            np.testing.assert_array_equal(one.restart[own], two_.restart[own])
            for key in SPACE:
                np.testing.assert_array_equal(
                    one.hyperparameters[key][own], two_.hyperparameters[key][own]
                )
    # They do what they do from other random numbers, and stay among themselves.
    rates = together.proposals[0].hyperparameters["learning_rate"].reshape(3, -1)
    assert not np.isin(rates[0], rates[1:]).any()
    for proposal in together.proposals:
        np.testing.assert_array_equal(proposal.parents // size, np.repeat(range(3), size))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_is_what_its_strategy_does_alone(name):
    strategy = STRATEGIES[name]
    size = strategy.population
    shifts = np.repeat([0.0, 0.5], size)
    together = play(SideBySide(strategies=(strategy,) * 2), SPACE, game(shifts), seed=3)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Second(type(strategy)):
        """With the random numbers of the second search."""

        def start(self, space, rng):
            return strategy.start(space, rng.spawn(2)[1])

        def propose(self, space, state, rng):
            return strategy.propose(space, state, rng.spawn(2)[1])

    fields = {f.name: getattr(strategy, f.name) for f in dataclasses.fields(strategy)}
    alone = play(Second(**fields), SPACE, game(shifts[size:]), seed=3)
    for both, one in zip(together.proposals, alone.proposals, strict=True):
        np.testing.assert_array_equal(both.parents[size:] - size, one.parents)
        np.testing.assert_array_equal(both.restart[size:], one.restart)
        for key in SPACE:
            np.testing.assert_array_equal(
                both.hyperparameters[key][size:], one.hyperparameters[key]
            )


def test_scores_of_trials_and_winners_are_those_of_each_search():
    inner = Replicated(strategy=Random(population=2, rounds=1), executions=2)
    both = SideBySide(strategies=(inner, inner))
    score = np.array([1.0, 3.0, 5.0, -np.inf, 7.0, 1.0, 6.0, 4.0])
    np.testing.assert_array_equal(both.trial_scores(score), [2, 2, -np.inf, -np.inf, 4, 4, 5, 5])
    np.testing.assert_array_equal(both.complete(score), [1, 1, 0, 0, 1, 1, 1, 1])
    assert both.winners(score) == (1, 6)
    assert both.winner(score) == 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SideBySide(strategies=()), "at least one strategy"),
        (lambda: SideBySide(strategies=PBT()), "give one for each search"),
        (lambda: SideBySide(strategies=(PBT(), PBT(rounds=3))), r"rounds is \[10, 3\]"),
        (
            lambda: SideBySide(strategies=(Random(), Halving(longest=2))),
            r"training_rounds is \[10, 2\]",
        ),
    ],
)
def test_searches_that_do_not_go_together_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_search_that_learns_from_elsewhere_does_so_no_more(tmp_path):
    shared = Optuna(**SIZE, journal=tmp_path / "study", shared=True)
    assert SideBySide(strategies=(shared,)).strategies == (Optuna(**SIZE),)


FOLDS = 3
EVENTS = toy.columns(600)._replace(fold=np.arange(600, dtype=np.int32) % FOLDS)
SEARCH = PBT(population=3, rounds=3, epochs_per_round=1)


def population(strategy, folds=range(FOLDS), **options):
    """A search for each of some folds, which it holds out."""
    held_out = np.repeat(np.array(folds), strategy.population // len(folds))
    replicas = Replicas(
        fold=(held_out + 1) % FOLDS,
        held_out=held_out,
        # As if each were alone.
        seed=np.tile(np.arange(strategy.population // len(folds)), len(folds)),
    )
    return toy.population(
        train=EVENTS,
        validation=None,
        members=strategy.population,
        replicas=replicas,
        batch_size=50,
        **options,
    )


@pytest.mark.slow
def test_each_result_is_that_of_a_search_of_its_own(tmp_path):
    three = SideBySide(strategies=(SEARCH,) * FOLDS, each="fold")
    lines = []
    result = run_search(
        population(three),
        three,
        SPACE,
        checkpoints=Checkpoints(tmp_path),
        on_round=lines.append,
    )
    # The first search has the same random numbers whatever comes after it.
    alone = SideBySide(strategies=(SEARCH,))
    (expected,) = run_search(population(alone, folds=(0,)), alone, SPACE).apart(alone)
    first = result.apart(three)[0]
    for name in ("score", "loss", "parents", "restart", "epoch"):
        np.testing.assert_allclose(
            getattr(first.history, name), getattr(expected.history, name), rtol=1e-4
        )
    assert first.winner == expected.winner
    for name, values in expected.schedule.items():
        np.testing.assert_array_equal(first.schedule[name], values)
    for number, part in enumerate(result.apart(three)):
        assert part.history.score.shape == (3, 3)
        assert len(part.history.status) == 3
        assert part.best.slot[part.winner] < 3
        own = result.best.selection_score[3 * number : 3 * number + 3]
        assert part.best.selection_score[part.winner] == own.max()
        assert lines[-1].searches[number] == own.max()
    assert lines[-1].selection_score == max(lines[-1].searches)
    assert f"{min(lines[-1].searches):.4g} to {lines[-1].selection_score:.4g} of 3" in str(
        lines[-1]
    )


def test_a_search_without_a_network_is_named():
    # The search for fold 0 is validated on fold 1, and that for fold 2 trains on it.
    broken = np.where(EVENTS.fold[:, None] == 1, np.nan, EVENTS.features).astype(np.float32)
    strategy = FixedSchedule(population=1, rounds=1, epochs_per_round=1, schedule={})
    each = SideBySide(strategies=(strategy,) * FOLDS, each="fold")
    everybody = dataclasses.replace(population(each), train=EVENTS._replace(features=broken))
    with pytest.raises(SearchError, match="no member of fold 0 ever met"):
        run_search(everybody, each, Space())
