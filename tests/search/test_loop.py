"""The loop on scores that are written down, and its resumption on a real training."""

from dataclasses import dataclass, field

import jax
import numpy as np
import pytest

from difftune.errors import InputError
from difftune.models import MLP
from difftune.search import (
    PBT,
    FixedSchedule,
    Halving,
    PopulationState,
    Proposal,
    Random,
    SearchError,
    Space,
    Strategy,
    choice,
    integer,
    log_uniform,
    run_search,
    uniform,
)
from difftune.training import Checkpoints, SelectionRule
from tests.training import scripted, toy
from tests.training.scripted import NAMES, VALIDATION

SLOTS = np.arange(8)


@dataclass(frozen=True, kw_only=True)
class Told(Strategy):
    """Proposes what it is told, and remembers how the population stood."""

    proposals: tuple[Proposal, ...]
    # Not part of what a search is defined by.
    seen: list[PopulationState] = field(default_factory=list, compare=False)

    def start(self, space, rng):
        return self.proposals[0]

    def propose(self, space, state, rng):
        self.seen.append(state)
        return self.proposals[state.round]


def told(*rounds, epochs: int = 2) -> Told:
    """Each round: parents, members that restart, scripts."""
    proposals = tuple(
        Proposal(
            parents=np.array(parents),
            restart=np.isin(SLOTS, restart),
            hyperparameters={"script": np.array(scripts, float)},
        )
        for parents, restart, scripts in rounds
    )
    return Told(population=8, rounds=len(rounds), epochs_per_round=epochs, proposals=proposals)


def run(strategy, **options):
    return run_search(scripted.population(bad=0.0), strategy, Space(), **options)


THREE_ROUNDS = [
    (SLOTS, SLOTS, SLOTS),
    # 3 and 7 go on from 2 ("recovers"), 6 begins afresh, all others go on.
    ([0, 1, 2, 2, 4, 5, 6, 2], [6], [0, 1, 2, 0, 4, 5, 0, 2]),
    # 0 goes on from 3.
    ([3, 1, 2, 3, 4, 5, 6, 7], [], [0, 1, 2, 0, 4, 5, 0, 2]),
]


def test_every_round_follows_its_proposal():
    strategy = told(*THREE_ROUNDS)
    progress = []
    result = run(strategy, on_round=progress.append)
    history = result.history

    # After the first round the population state is that of the tables' second epoch.
    first, second = strategy.seen
    np.testing.assert_array_equal(first.selection_score, VALIDATION[:, 1])
    assert first.eligible.tolist() == [name != "never fits" for name in NAMES]
    assert (first.round, second.round) == (1, 2)
    np.testing.assert_array_equal(first.hyperparameters["script"], SLOTS)
    # In the second each goes on where its parent stood; who began afresh is at its start.
    expected = [4, 2.5, 5, 4, np.nan, 3, 2, 5]
    np.testing.assert_array_equal(second.selection_score, expected)
    # In one of its two epochs 5 ("overtrains") was allowed, in the other far from it.
    assert second.overtraining[5] > 1
    assert second.eligible.tolist() == [True, True, True, True, False, False, True, True]

    np.testing.assert_array_equal(history.epoch, range(6))
    np.testing.assert_array_equal(history.round, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(history.parents[1], [0, 1, 2, 2, 4, 5, 6, 2])
    np.testing.assert_array_equal(history.restart[1], SLOTS == 6)
    np.testing.assert_array_equal(history.hyperparameters["script"][2], [0, 1, 2, 0, 4, 5, 0, 2])
    assert set(history.hyperparameters) == {"script"}
    np.testing.assert_array_equal(history.score[1], VALIDATION[:, 1])

    # Scripts 0 and 2 end with 6, but 2 and its copy 7 had 7 before, 2 first.
    assert result.winner == 2
    assert result.best.score[2] == 7.0
    assert result.best.epoch[2] == 4
    np.testing.assert_array_equal(result.schedule["script"], [2, 2, 2])
    np.testing.assert_array_equal(history.schedule(epoch=5, member=0)["script"], [2, 0, 0])
    # Weights went along: 7 has those of 2, 0 those of 3 and so of 2, 6 new ones.
    births = result.best.objective["birth"]
    assert result.best.epoch[[0, 7, 6]].tolist() == [5, 4, 5]
    assert births[0] == births[7] == births[2]
    started = scripted.population().init(scripted.GIVEN).objective["birth"]
    np.testing.assert_array_equal(births[[1, 2, 4, 5]], started[np.array([1, 2, 4, 5])])
    assert births[6] not in started
    statuses = dict(zip(NAMES, history.status, strict=True))
    assert statuses["breaks"] == "diverged: the validation score is not finite"
    assert statuses["stops"] == "stopped early"

    assert [(p.round, p.rounds) for p in progress] == [(1, 3), (2, 3), (3, 3)]
    assert [p.best for p in progress] == [5.0, 6.0, 7.0]
    assert [p.selection_score for p in progress] == [5.0, 6.0, 7.0]
    assert "best selection score 7 (score 7)" in str(progress[-1])
    assert [p.diverged for p in progress] == [0, 1, 1]
    assert [p.running for p in progress] == [7, 6, 6]
    # Events of the members that trained: of 32 events, by all but those that were out.
    passes = [p.events_per_second * p.seconds / 32 for p in progress]
    assert [round(number) for number in passes] == [16, 15, 12]
    np.testing.assert_array_equal(progress[1].score, expected)


def test_numbers_that_are_not_finite_are_no_error_of_jax():
    """Under `jax_debug_nans` a member that diverges is out, as it is without."""
    with jax.debug_nans(True), jax.debug_infs(True):
        found = run(told(*THREE_ROUNDS))
        assert jax.config.jax_debug_nans
    expected = run(told(*THREE_ROUNDS))
    np.testing.assert_array_equal(found.history.score, expected.history.score)
    assert found.history.status == expected.history.status
    assert np.isnan(found.history.score).any()


def test_ends_early_when_nobody_trains(tmp_path):
    stays = np.full(8, NAMES.index("stays"), float)
    strategy = told(*[(SLOTS, [] if i else SLOTS, stays) for i in range(5)], epochs=1)
    result = run(strategy, checkpoints=Checkpoints(tmp_path))
    # Two epochs without a better score, after the first.
    np.testing.assert_array_equal(result.history.epoch, [0, 1, 2])
    assert len(result.history.parents) == 3
    assert result.history.status == ("stopped early",) * 8
    # Asked again, the search has nothing to add.
    again = run(strategy, checkpoints=Checkpoints(tmp_path))
    np.testing.assert_array_equal(again.history.epoch, [0, 1, 2])
    assert_same(result, again)


def test_a_search_without_any_eligible_member_says_so():
    never = np.full(8, NAMES.index("never fits"), float)
    with pytest.raises(SearchError, match=r"overtraining condition.*'running': 8.*Relax"):
        run(told((SLOTS, SLOTS, never), epochs=1))


def test_pbt_never_copies_the_ineligible():
    space = Space(script=choice(*range(8)))
    strategy = PBT(population=8, rounds=6, epochs_per_round=1, quantile=0.4)
    result = run_search(scripted.population(bad=0), strategy, space)
    history = result.history
    copied = 0
    for number in range(1, 6):
        moved = history.parents[number] != SLOTS
        copied += moved.sum()
        parents = history.parents[number][moved]
        score = history.score[number - 1]
        assert np.isfinite(score[parents]).all()
        # "never fits" is script 6.
        assert not np.any(history.hyperparameters["script"][number - 1][parents] == 6)
    assert copied >= 10


@dataclass(frozen=True, kw_only=True)
class Paired(Told):
    """Members 0 and 1, 2 and 3, ... are one trial: its worse execution counts."""

    def selection_score(self, score):
        return np.repeat(np.min(np.reshape(score, (-1, 2)), axis=1), 2)


def test_trials_are_kept_and_chosen_as_a_whole():
    # (1, 0) reaches 3 and 2; then two copies of "recovers" 5 and 5, so they replace both.
    # (2, 4) reaches 5 and 2, and then two of "rises", 1 and 1: both are kept as they were.
    first = [1, 0, 2, 4, 3, 3, 6, 6]
    second = [2, 2, 0, 0, 3, 3, 6, 6]
    afresh = [0, 1, 2, 3]
    proposals = told((SLOTS, SLOTS, first), (SLOTS, afresh, second), epochs=2)
    strategy = Paired(**{**vars(proposals), "epochs_per_round": 2})
    result = run(strategy)
    assert result.best.score[:4].tolist() == [5.0, 5.0, 5.0, 2.0]
    assert result.best.hyperparameters["script"][:4].tolist() == [2.0, 2.0, 2.0, 4.0]
    assert result.winner == 0


@dataclass(frozen=True, kw_only=True)
class Lenient(Paired):
    """The mean of those that were allowed; trials of which both were come first."""

    def selection_score(self, score):
        pairs = np.reshape(score, (-1, 2))
        able = np.isfinite(pairs)
        mean = np.where(able, pairs, 0).sum(axis=1) / np.maximum(able.sum(axis=1), 1)
        return np.repeat(np.where(able.any(axis=1), mean, -np.inf), 2)

    def complete(self, score):
        return np.repeat(np.isfinite(np.reshape(score, (-1, 2))).all(axis=1), 2)


def test_a_trial_with_all_executions_comes_before_a_better_one_without():
    never = NAMES.index("never fits")
    # (2, never) reaches 5, (4, 4) reaches 2.
    first = [2, never, 4, 4, 2, never, 2, never]
    proposals = told((SLOTS, SLOTS, first), epochs=2)
    strategy = Lenient(**vars(proposals))
    progress = []
    result = run(strategy, on_round=progress.append)
    assert result.best.score[:4].tolist() == [5.0, -np.inf, 2.0, 2.0]
    assert result.winner in (2, 3)
    assert (progress[0].best, progress[0].selection_score) == (2.0, 2.0)
    # A whole trial replaces one that is not, and not the other way round.
    second = [4, 4, 2, never, 2, never, 2, never]
    afresh = [0, 1, 2, 3]
    twice = told((SLOTS, SLOTS, first), (SLOTS, afresh, second), epochs=2)
    best = run(Lenient(**vars(twice))).best
    assert best.hyperparameters["script"][:4].tolist() == [4.0, 4.0, 4.0, 4.0]
    # Where there is none, most must do.
    alone = [2, never] * 4
    result = run(Lenient(**vars(told((SLOTS, SLOTS, alone), epochs=2))))
    assert result.best.score[result.winner] == 5.0


# ---- resuming ------------------------------------------------------------------------------------

SPACE = Space(learning_rate=log_uniform(1e-4, 3e-2), dropout=uniform(0.0, 0.5))


def assert_same(first, second):
    """Bit for bit."""
    for name, values in vars(first.history).items():
        other = getattr(second.history, name)
        for a, b in zip(jax.tree.leaves(values), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == np.asarray(b).dtype
    for a, b in zip(jax.tree.leaves(first.best), jax.tree.leaves(second.best), strict=True):
        np.testing.assert_array_equal(a, b)
        assert isinstance(b, np.ndarray)
    assert first.winner == second.winner


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("last", [1, 3])
def test_a_resumed_search_is_the_undisturbed_one(tmp_path, last, undisturbed):
    seen = []

    def on_round(progress):
        seen.append(progress.round)
        if progress.round == last and len(seen) == last:
            raise Interrupt

    def search():
        return run_search(
            toy.shared(),
            STRATEGY,
            SPACE,
            checkpoints=Checkpoints(tmp_path),
            on_round=on_round,
        )

    with pytest.raises(Interrupt):
        search()
    assert_same(undisturbed, search())
    assert seen == [*range(1, last + 1), *range(last + 1, 5)]
    # And once more: everything is there.
    assert_same(undisturbed, search())
    assert len(seen) == 4


STRATEGY = PBT(population=4, rounds=4, epochs_per_round=2, quantile=0.5)


@pytest.fixture(scope="module")
def undisturbed():
    result = run_search(toy.shared(), STRATEGY, SPACE)
    # Otherwise the resumption would have little to get wrong.
    assert np.any(result.history.parents[1:] != np.arange(4))
    return result


@pytest.mark.slow
def test_trainings_that_begin_in_any_round_are_resumed_too(tmp_path):
    """Their clocks and what was kept of their slots come from the history."""
    strategy = Halving(population=4, rounds=4, epochs_per_round=1, factor=2, longest=2)
    population = toy.population(hyperparameters={"schedule": 1.0})

    def on_round(progress):
        if progress.round == 2:
            raise Interrupt

    plain = run_search(population, strategy, SPACE)
    history = plain.history
    assert np.any(history.restart[1:])
    # What is kept of a slot is the best of all that were in it.
    kept = np.where(history.overtraining <= 1.0, history.score, -np.inf).max(axis=0)
    np.testing.assert_array_equal(plain.best.score, kept)
    with pytest.raises(Interrupt):
        run_search(
            *(population, strategy, SPACE),
            **{"checkpoints": Checkpoints(tmp_path), "on_round": on_round},
        )
    resumed = run_search(population, strategy, SPACE, checkpoints=Checkpoints(tmp_path))
    assert_same(plain, resumed)


def test_the_schedule_follows_the_clock_of_the_member():
    """Whose training is over has nothing left of a cosine; others have."""
    population = toy.shared()
    given = toy.GIVEN | {"schedule": np.ones(4)}
    begun = np.array([0, 5, 0, 5], np.int32)
    before = jax.device_get(population.init(given))
    kernel = np.array(before.weights.parameters["output"]["kernel"][...])
    state, _ = population.epoch(before, given, epoch=5, epochs=2, begun=begun)
    after = np.asarray(state.weights.parameters["output"]["kernel"][...])
    same = [np.array_equal(kernel[i], after[i]) for i in range(4)]
    assert same == [True, False, True, False]


def test_a_replay_is_resumed_too(tmp_path, undisturbed):
    """Its hyperparameters are in no space."""
    strategy = FixedSchedule(
        population=4, rounds=3, epochs_per_round=1, schedule=undisturbed.schedule
    )

    def on_round(progress):
        if progress.round == 1:
            raise Interrupt

    plain = run_search(toy.shared(), strategy, Space())
    with pytest.raises(Interrupt):
        run_search(
            toy.shared(), strategy, Space(), checkpoints=Checkpoints(tmp_path), on_round=on_round
        )
    resumed = run_search(toy.shared(), strategy, Space(), checkpoints=Checkpoints(tmp_path))
    assert_same(plain, resumed)
    for name, values in undisturbed.schedule.items():
        expected = values[np.minimum(np.arange(3), len(values) - 1)]
        np.testing.assert_array_equal(plain.history.hyperparameters[name][:, 0], expected)


def test_what_cannot_be_searched_is_refused():
    strategy = Random(population=4, rounds=1, epochs_per_round=1)
    with pytest.raises(InputError, match=r"'learning_rat' is read by nothing.*'learning_rate'"):
        run_search(toy.shared(), strategy, Space(learning_rat=uniform(0, 1)))
    with pytest.raises(InputError, match=r"'droput' is read by nothing.*'dropout'"):
        run_search(toy.population(hyperparameters={"droput": 0.1}), strategy, SPACE)
    with pytest.raises(InputError, match=r"wants 4 members, the population has 8"):
        run(strategy)


@pytest.mark.slow
def test_the_shape_of_a_network_goes_with_its_weights():
    model = MLP(hidden=(8, 8))
    population = toy.population(model=model, members=8)
    space = Space(width_1=integer(2, 8), depth=integer(1, 2), learning_rate=log_uniform(1e-4, 0.1))
    strategy = PBT(population=8, rounds=4, epochs_per_round=1, quantile=0.5, resample=0.5)
    history = run_search(population, strategy, space).history
    copied = 0
    for number in range(1, 4):
        parents, restart = history.parents[number], history.restart[number]
        copied += np.sum(parents != SLOTS)
        for name in ("width_1", "depth"):
            before, after = history.hyperparameters[name][number - 1 : number + 1]
            np.testing.assert_array_equal(after[~restart], before[parents][~restart])
    assert copied > 4
    rates = history.hyperparameters["learning_rate"]
    assert len(set(rates[3])) > len(set(history.hyperparameters["width_1"][3]))


@pytest.mark.slow
@pytest.mark.parametrize("sigmas", [0, 2])
def test_the_selection_score_is_that_of_the_weights_and_not_of_the_slot(tmp_path, sigmas):
    """It comes with them from the parent, begins anew with new ones, and survives a resumption."""
    population = toy.shared(selection_rule=SelectionRule(n_sigma=sigmas, ema_decay=0.7))

    def on_round(progress):
        if progress.round == 2:
            raise Interrupt

    result = run_search(population, STRATEGY, SPACE)
    history = result.history
    assert np.any(history.parents[1:] != np.arange(4))
    if sigmas == 0:
        memory = [[] for _ in range(4)]
        for number, (round_number, score) in enumerate(
            zip(history.round, history.score, strict=True)
        ):
            if number and round_number != history.round[number - 1]:
                memory = [list(memory[parent]) for parent in history.parents[round_number]]
            memory = [[*past, own] for past, own in zip(memory, score, strict=True)]
            expected = [np.average(m, weights=0.7 ** np.arange(len(m))[::-1]) for m in memory]
            np.testing.assert_allclose(history.selection_score[number], expected, rtol=1e-5)
    else:
        assert np.all(history.selection_score[0] < history.score[0])
    # The network is the one of the largest selection score that was allowed.
    allowed = np.where(history.overtraining <= 1.0, history.selection_score, -np.inf)
    row, slot = np.unravel_index(np.argmax(allowed), allowed.shape)
    best = result.best
    assert best.selection_score[result.winner] == allowed[row, slot]
    assert best.score[result.winner] == history.score[row, slot]
    with pytest.raises(Interrupt):
        run_search(
            population, STRATEGY, SPACE, checkpoints=Checkpoints(tmp_path), on_round=on_round
        )
    assert_same(result, run_search(population, STRATEGY, SPACE, checkpoints=Checkpoints(tmp_path)))
