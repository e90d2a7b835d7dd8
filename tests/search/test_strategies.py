import numpy as np
import pytest
from scipy import stats

from difftune.errors import InputError
from difftune.search import (
    PBT,
    FixedSchedule,
    PopulationState,
    Random,
    Space,
    choice,
    log_uniform,
    uniform,
)

SPACE = Space(
    learning_rate=log_uniform(1e-4, 1e-2), dropout=uniform(0.0, 0.5), batch_size=choice(1, 2, 3)
)
NAN = float("nan")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def state(scores, eligible=None, number: int = 1) -> PopulationState:
    members = len(scores)
    return PopulationState(
        round=number,
        selection_score=np.array(scores, np.float32),
        eligible=np.ones(members, bool) if eligible is None else np.array(eligible, bool),
        hyperparameters=SPACE.sample(rng(99), members),
    )


def pbt(members: int, **options) -> PBT:
    return PBT(population=members, **options)


# Scores, eligibility, then by hand: whom a loser may copy, and who loses, with quantile 0.25.
YES, NO = True, False
CASES = {
    "plain": ([5, 8, 1, 4, 7, 2, 6, 3], None, {1, 4}, {2, 5}),
    "overtrained best": ([5, 8, 1, 4, 7, 2, 6, 3], [1, 0, 1, 1, 1, 1, 1, 1], {4, 6}, {1, 2}),
    "diverged": ([5, 8, NAN, 4, NAN, 2, 6, NAN], [1, 1, 0, 1, 0, 1, 1, 0], {1, 6}, {2, 4, 7}),
    "NaN said to be eligible": ([5, 8, NAN, 4, 7, 2, 6, 3], None, {1, 4}, {2, 5}),
    "one eligible": ([5, 8, 1, 4, 7, 2, 6, 3], [0, 0, 0, 1, 0, 0, 0, 0], {3}, set(range(8)) - {3}),
    "two": ([1, 2], None, {1}, {0}),
    "three": ([1, 2, 0], None, {1}, {2}),
}


@pytest.mark.parametrize("case", CASES)
def test_pbt_replaces_losers_by_winners(case):
    scores, eligible, winners, losers = CASES[case]
    before = state(scores, eligible)
    members = len(scores)
    chosen = set()
    for seed in range(40):
        proposal = pbt(members, resample=0.0).propose(SPACE, before, rng(seed))
        assert not proposal.restart.any()
        changed = np.flatnonzero(proposal.parents != np.arange(members))
        assert set(changed) == losers
        chosen |= set(proposal.parents[changed])
        for name, values in proposal.hyperparameters.items():
            own = before.hyperparameters[name]
            kept = np.setdiff1d(np.arange(members), changed)
            np.testing.assert_array_equal(values[kept], own[kept])
            for member in changed:
                near = SPACE[name].perturb(np.full(9, own[proposal.parents[member]]), 0.1, rng())
                assert np.isclose(values[member], near, rtol=1e-9).any()
    assert chosen == winners


def test_pbt_copies_every_winner_equally_often():
    scores, *_ = CASES["plain"]
    parents = [
        pbt(8).propose(SPACE, state(scores), rng(seed)).parents[[2, 5]] for seed in range(500)
    ]
    counts = [np.sum(np.equal(parents, winner)) for winner in (1, 4)]
    assert sum(counts) == 1000
    assert stats.binomtest(counts[0], 1000).pvalue > 1e-4


def test_pbt_draws_anew_with_the_probability_of_resample():
    scores, *_ = CASES["plain"]
    before = state(scores)
    for resample in (0.3, 1.0):
        strategy = pbt(8, resample=resample, quantile=0.5)
        proposals = [strategy.propose(SPACE, before, rng(seed)) for seed in range(400)]
        parents = np.array([p.parents for p in proposals])
        dropout = np.array([p.hyperparameters["dropout"] for p in proposals])
        lost = parents != np.arange(8)
        inherited = before.hyperparameters["dropout"][parents[lost]]
        step = np.abs(dropout[lost] - inherited)
        # A perturbation is a step of 0.05 (or its reflection at 0 or 0.5), a draw is anything.
        moved = np.isclose(step, 0.05) | np.isclose(step, np.abs(2 * inherited - 0.05))
        moved |= np.isclose(step, np.abs(1.0 - 2 * inherited - 0.05))
        drawn = dropout[lost][~moved]
        assert stats.binomtest(len(drawn), lost.sum(), min(resample, 0.999)).pvalue > 1e-4
        assert stats.kstest(drawn, stats.uniform(0.0, 0.5).cdf).pvalue > 1e-4


def test_pbt_begins_afresh_where_nobody_is_eligible():
    before = state([5, 8, 1, NAN], [0, 0, 0, 0])
    proposal = pbt(4).propose(SPACE, before, rng())
    assert proposal.restart.all()
    np.testing.assert_array_equal(proposal.parents, np.arange(4))
    for name, values in proposal.hyperparameters.items():
        assert all(SPACE[name].contains(value) for value in values)
    # Not the old value and not a neighbour of it.
    old, new = (s.hyperparameters["learning_rate"] for s in (before, proposal))
    assert not np.isclose(np.abs(np.log10(new / old)), [[0.0], [0.2]], atol=1e-6).any()


@pytest.mark.parametrize("eligible", [[1], [0]])
def test_pbt_of_one_member_goes_on(eligible):
    before = state([3.0], eligible)
    proposal = pbt(1).propose(SPACE, before, rng())
    assert (proposal.parents.tolist(), proposal.restart.tolist()) == ([0], [False])
    assert proposal.hyperparameters == before.hyperparameters


def test_pbt_leaves_the_state_alone_and_follows_the_generator():
    before, same = state([1, 2, 3, 4]), state([1, 2, 3, 4])
    first, again, other = (pbt(4).propose(SPACE, before, rng(seed)) for seed in (0, 0, 3))
    for name, values in same.hyperparameters.items():
        np.testing.assert_array_equal(before.hyperparameters[name], values)
        np.testing.assert_array_equal(first.hyperparameters[name], again.hyperparameters[name])
    assert first.hyperparameters["dropout"][0] != other.hyperparameters["dropout"][0]


@pytest.mark.parametrize("strategy", [PBT(population=500), Random(population=500)])
def test_the_first_round_is_drawn_from_the_space(strategy):
    proposal = strategy.start(SPACE, rng())
    assert proposal.restart.all()
    np.testing.assert_array_equal(proposal.parents, np.arange(500))
    assert set(proposal.hyperparameters) == set(SPACE)
    dropout = proposal.hyperparameters["dropout"]
    assert stats.kstest(dropout, stats.uniform(0.0, 0.5).cdf).pvalue > 1e-4


def test_random_search_goes_on():
    before = state([1, NAN, 3, 4], [1, 0, 1, 0])
    proposal = Random(population=4).propose(SPACE, before, rng())
    np.testing.assert_array_equal(proposal.parents, np.arange(4))
    assert not proposal.restart.any()
    for name, values in before.hyperparameters.items():
        np.testing.assert_array_equal(proposal.hyperparameters[name], values)


def test_replay_follows_the_schedule_and_keeps_the_last():
    schedule = {"dropout": np.array([0.1, 0.2, 0.3]), "l2": np.array([1.0, 0.5, 0.25])}
    strategy = FixedSchedule(population=2, rounds=5, schedule=schedule)
    proposals = [strategy.start(Space(), rng())]
    for number in range(1, 5):
        before = PopulationState(
            round=number,
            selection_score=np.array([1.0, NAN]),
            eligible=np.array([True, False]),
            hyperparameters=proposals[-1].hyperparameters,
        )
        proposals.append(strategy.propose(Space(), before, rng()))
    assert [p.restart.tolist() for p in proposals] == [[True] * 2] + [[False] * 2] * 4
    for proposal in proposals:
        np.testing.assert_array_equal(proposal.parents, [0, 1])
    for name, values in (("dropout", [0.1, 0.2, 0.3, 0.3, 0.3]), ("l2", [1, 0.5] + [0.25] * 3)):
        found = [p.hyperparameters[name] for p in proposals]
        np.testing.assert_array_equal(found, np.transpose([values, values]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PBT(quantile=0.6), r"PBT\(quantile=0.6\): must be above 0 and at most 0.5"),
        (lambda: PBT(quantile=0.0), r"PBT\(quantile=0.0\)"),
        (lambda: PBT(perturbation=0.0), r"PBT\(perturbation=0.0\): must be above 0 and at most 1"),
        (lambda: PBT(resample=1.1), r"PBT\(resample=1.1\): must be at least 0 and at most 1"),
        (lambda: PBT(resample=-0.1), r"PBT\(resample=-0.1\)"),
        (lambda: Random(population=0), r"Random\(population=0\): must be at least 1"),
        (lambda: PBT(rounds=0), r"PBT\(rounds=0\)"),
        (
            lambda: FixedSchedule(epochs_per_round=0, schedule={}),
            r"FixedSchedule\(epochs_per_round=0\)",
        ),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()
