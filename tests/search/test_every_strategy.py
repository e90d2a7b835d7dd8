"""Strategies played out on functions whose optimum is known."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from scipy import stats
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from difftune.errors import InputError
from difftune.search import (
    CMAES,
    PB2,
    PBT,
    Evolution,
    Grid,
    Halving,
    Optuna,
    Random,
    Replicated,
    Round,
    Space,
    category,
    choice,
    integer,
    log_uniform,
    uniform,
    when,
)
from difftune.search import pbt as model
from tests.search.fake import Game, Played, play, static

SPACE = Space(
    learning_rate=log_uniform(1e-5, 1e-1),
    dropout=uniform(0.0, 0.5),
    depth=integer(1, 4),
    kind=category("a", "b", "c"),
    slope=when("kind", 1, then=uniform(0.0, 1.0)),
)
MEMBERS = 12
ROOT = Path(__file__).parents[2]


def hill(values):
    """One optimum: rate 1e-3, dropout 0.1, depth 3, kind b with slope 0.8; 0 there."""
    away = (
        (np.log10(values["learning_rate"]) + 3) ** 2
        + (10 * (values["dropout"] - 0.1)) ** 2
        + 0.5 * (values["depth"] - 3) ** 2
        + np.where(values["kind"] == 1, (values["slope"] - 0.8) ** 2, 1.0)
    )
    return -away


HILL = static(hill)
SIZE = {"population": MEMBERS, "rounds": 20, "epochs_per_round": 1}
SHORT = SIZE | {"rounds": 3}
STRATEGIES = {
    "pbt": PBT(**SIZE),
    "tournament": PBT(**SIZE, exploit="tournament"),
    "slow": PBT(**SIZE, slow_fraction=0.5, slow_interval=3),
    "pb2": PB2(**SHORT),
    "halving": Halving(**SIZE, longest=3),
    "hyperband": Halving(**SIZE, longest=9, brackets=3),
    "evolution": Evolution(**SIZE),
    "crossover": Evolution(**SIZE, crossover=0.5, inherit=True),
    "cmaes": CMAES(**SIZE),
    "tpe": Optuna(**SHORT),
    "tpe inherits": Optuna(**SHORT, inherit=True),
}
SEEDS = 5


def bests(strategy, game=HILL, seeds=SEEDS, space=SPACE):
    return np.array([play(strategy, space, game, seed=seed).best for seed in range(seeds)])


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """What as many independent draws find at their best, as Random draws once."""
    strategy = Random(population=MEMBERS * SIZE["rounds"], rounds=1, epochs_per_round=1)
    return bests(strategy, seeds=24)


# The others have tests of what they are for.
@pytest.mark.parametrize("name", ["evolution", "crossover", "cmaes"])
def test_they_find_more_than_random_search(name, drawn):
    found = bests(STRATEGIES[name])
    assert np.median(found) > np.median(drawn)
    assert stats.mannwhitneyu(found, drawn, alternative="greater").pvalue < 0.05


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_proposed_is_in_the_space(name):
    game = static(hill, eligible=lambda values: values["dropout"] < 0.4)
    strategy = STRATEGIES[name]
    for proposal in play(strategy, SPACE, game, seed=1).proposals:
        assert set(proposal.hyperparameters) == set(SPACE)
        for key, values in proposal.hyperparameters.items():
            assert values.shape == (MEMBERS,)
            assert all(SPACE[key].contains(value) for value in values)
        assert proposal.parents.shape == proposal.restart.shape == (MEMBERS,)
        assert set(proposal.parents) <= set(range(MEMBERS))
        unused = proposal.hyperparameters["kind"] != 1
        assert (proposal.hyperparameters["slope"][unused] == 0.5).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("last", [False, True])
def test_a_resumed_search_goes_the_way_it_would_have_gone(name, last):
    strategy = STRATEGIES[name]
    after = strategy.rounds - 1 if last else 1
    whole = play(strategy, SPACE, HILL, seed=3)
    left = dataclasses.replace(whole, proposals=whole.proposals[:after], past=whole.past[:after])
    again = play(dataclasses.replace(strategy), SPACE, HILL, seed=3, resumed=left)
    for one, other in zip(whole.proposals, again.proposals, strict=True):
        np.testing.assert_array_equal(one.parents, other.parents)
        np.testing.assert_array_equal(one.restart, other.restart)
        for key in SPACE:
            np.testing.assert_array_equal(one.hyperparameters[key], other.hyperparameters[key])
    other = play(strategy, SPACE, HILL, seed=4).proposals[0].hyperparameters
    assert not np.array_equal(whole.proposals[0].hyperparameters["dropout"], other["dropout"])


@pytest.mark.parametrize("name", STRATEGIES)
def test_they_go_on_where_nobody_is_eligible(name):
    nobody = static(hill, eligible=lambda values: np.zeros(MEMBERS, bool))
    played = play(STRATEGIES[name], SPACE, nobody)
    assert played.best == -np.inf
    tried = {tuple(np.round(p.hyperparameters["dropout"], 6)) for p in played.proposals}
    # Something else is tried, too.
    assert len(tried) > 1


# ---- population-based training ------------------------------------------------------------------


def test_a_tournament_is_won_by_the_better():
    space = Space(dropout=uniform(0.0, 0.5))
    strategy = PBT(population=6, rounds=2, epochs_per_round=1, exploit="tournament")
    game = static(lambda v: v["dropout"], eligible=lambda v: v["dropout"] < 0.45)
    lost = np.zeros(6)
    for seed in range(150):
        first, second = play(strategy, space, game, seed=seed).past
        fitness = np.where(np.isfinite(first.best), first.selection_score, -np.inf)
        rank = np.argsort(np.argsort(fitness))
        moved = second.parents != np.arange(6)
        assert (fitness[second.parents[moved]] > fitness[moved]).all()
        assert moved[~np.isfinite(fitness)].all()
        if np.isfinite(fitness).all():
            lost[rank] += moved
    # The k-th best of six loses with the probability k / 5.
    count = lost[0]
    for rank in range(6):
        assert stats.binomtest(int(lost[rank]), int(count), (5 - rank) / 5).pvalue > 1e-4


def test_whoever_was_copied_is_left_alone_until_ready():
    space = Space(dropout=uniform(0.0, 0.5))
    strategy = PBT(population=12, rounds=30, epochs_per_round=1, min_rounds=3)
    past = play(strategy, space, static(lambda v: v["dropout"]), seed=0).past
    age, copies = np.zeros(12, int), 0
    for each in past:
        if age.any():
            assert (age[each.moved] >= 3).all()
            assert (age[each.parents[each.moved]] >= 3).all()
            copies += each.moved.sum()
        age = np.where(each.moved, 0, age) + 1
    assert copies > 10


def test_perturbation_and_resample_by_name():
    space = Space(fixed_step=uniform(0.0, 1.0), anew=uniform(0.0, 1.0))
    strategy = PBT(
        population=4,
        quantile=0.5,
        perturbation={"fixed_step": 0.25},
        resample={"fixed_step": 0.0, "anew": 1.0},
        rounds=2,
        epochs_per_round=1,
    )
    drawn = []
    for seed in range(60):
        first, second = play(strategy, space, static(lambda v: v["anew"]), seed=seed).past
        moved = second.moved
        own = first.hyperparameters["fixed_step"][second.parents[moved]]
        step = np.abs(second.hyperparameters["fixed_step"][moved] - own)
        folded = np.abs(np.stack([np.full_like(own, 0.25), 2 * own - 0.25, 1.75 - 2 * own]))
        assert np.isclose(step, folded).any(axis=0).all()
        drawn.append(second.hyperparameters["anew"][moved])
    assert stats.kstest(np.concatenate(drawn), "uniform").pvalue > 1e-4
    with pytest.raises(InputError, match=r"PBT\(resample=...\): 'anwe' is not in .*'anew'"):
        PBT(resample={"anwe": 1.0}).start(space, np.random.default_rng(0))


GREED = Space(rate=log_uniform(1e-3, 1.0))


def greedy() -> Game:
    """A high rate makes progress, and hides it in noise that a low rate removes at once."""

    def train(state, values):
        return state + values["rate"] * np.maximum(0.0, 1.0 - 0.02 * state)

    return Game(train=train, score=lambda state, values: state - 12.0 * values["rate"])


def test_slow_members_guard_against_greed():
    """Lowering the rate wins each comparison after a round, and loses the race."""
    size = {"population": 20, "rounds": 40, "epochs_per_round": 1, "perturbation": 0.2}
    plain = bests(PBT(**size), greedy(), 8, GREED)
    slow = bests(PBT(**size, slow_fraction=0.5, slow_interval=12), greedy(), 8, GREED)
    assert stats.mannwhitneyu(slow, plain, alternative="greater").pvalue < 0.01
    assert np.median(slow) > 1.3 * np.median(plain)


def test_slow_members_keep_to_themselves():
    size = {"population": 20, "rounds": 24, "epochs_per_round": 1}
    past = play(PBT(**size, slow_fraction=0.5, slow_interval=6), GREED, greedy(), seed=0).past
    taken = 0
    for number, each in enumerate(past):
        moved, slow = each.parents != np.arange(20), np.arange(20) < 10
        assert not (moved & slow).any() or number % 6 == 0
        assert (each.parents[slow] < 10).all()
        taken += (each.parents[~slow] < 10).sum()
    assert taken > 0


# ---- PB2 ----------------------------------------------------------------------------------------


def test_the_process_of_pb2_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, at, y = rng.random((30, 2)), rng.random((7, 2)), rng.normal(size=30)
    t, now = np.zeros(30), np.zeros(7)
    process = model.GaussianProcess(length=0.4, forgetting=0.3, noise=0.2)
    theirs = GaussianProcessRegressor(
        RBF(0.4) + WhiteKernel(0.2 + model.JITTER), optimizer=None, alpha=0.0
    ).fit(x, y)
    mean, deviation = process.predict(x, t, y, at, now)
    expected, spread = theirs.predict(at, return_std=True)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    # Theirs has the noise of an observation in it.
    np.testing.assert_allclose(deviation**2, spread**2 - 0.2 - model.JITTER, rtol=1e-5)
    # The likelihood, with time.
    t = rng.integers(0, 5, 30).astype(float)
    covariance = process.covariance(x, t, x, t) + (0.2 + model.JITTER) * np.eye(30)
    normal = multivariate_normal(np.zeros(30), covariance)
    constant = 15 * np.log(2 * np.pi)
    found = process.surprise(*model.distances(x, t), y)
    np.testing.assert_allclose(found, -normal.logpdf(y) - constant)
    assert process.covariance(x[:1], t[:1], x[:1], t[:1] + 4)[0, 0] == pytest.approx(0.7**2)


def test_pb2_fits_scale_and_forgetting():
    rng = np.random.default_rng(1)
    x, t = rng.random((120, 1)), np.repeat(np.arange(10.0), 12)
    true = model.GaussianProcess(length=0.2, forgetting=0.01, noise=0.05)
    lower = np.linalg.cholesky(true.covariance(x, t, x, t) + 0.05 * np.eye(120))
    y = lower @ rng.normal(size=120)
    found = model.fitted(x, t, y / y.std())
    assert 0.1 < found.length < 0.4
    assert found.forgetting < 0.1
    both = [each.surprise(*model.distances(x, t), y / y.std()) for each in (found, true)]
    assert both[0] <= both[1] + 1e-3


def test_pb2_goes_where_the_score_rises_most():
    """The surface is learned from three rounds, and each loser looks at another place of it."""
    space, rng = Space(a=uniform(0.0, 1.0), b=log_uniform(1e-4, 1.0)), np.random.default_rng(2)
    score, past = np.zeros(12), []
    for number in range(4):
        values = space.sample(rng, 12)
        away = (values["a"] - 0.7) ** 2 + (np.log10(values["b"]) / 4 + 0.7) ** 2
        # The rises of later rounds are smaller.
        rise = np.exp(-away / 0.05) * 0.7**number + 0.02 * rng.normal(size=12)
        score = score + rise * (number > 0)
        nobody = np.full(12, number == 0)
        past.append(
            Round(
                parents=np.arange(12),
                restart=nobody,
                hyperparameters=values,
                selection_score=score,
                best=score,
            )
        )
    state = Played([], past, 0.0).population_state()
    proposal = PB2(population=12, quantile=0.25).propose(space, state, rng)
    losers = proposal.parents != np.arange(12)
    assert losers.sum() == 3
    places = np.stack([space[n].to_unit(v[losers]) for n, v in proposal.hyperparameters.items()])
    distance = np.hypot(*(places - np.array([[0.7], [0.3]])))
    # Random places are 0.46 away on average.
    assert distance.max() < 0.3
    assert len(np.unique(places, axis=1).T) == 3


def test_tpe_finds_more_than_random_search():
    space = Space(a=uniform(0.0, 1.0), b=log_uniform(1e-4, 1.0), c=category("x", "y", "z"))

    def score(v):
        away = (v["a"] - 0.3) ** 2 + (np.log10(v["b"]) + 1) ** 2 / 16
        return -away - 0.1 * (v["c"] != 2)

    found = bests(Optuna(population=10, rounds=5, epochs_per_round=1), static(score), 5, space)
    random = Random(population=50, rounds=1, epochs_per_round=1)
    drawn = bests(random, static(score), 40, space)
    assert stats.mannwhitneyu(found, drawn, alternative="greater").pvalue < 0.05


def test_a_journal_holds_the_study(tmp_path):
    file = tmp_path / "study" / "journal.log"
    strategy = Optuna(**SHORT, sampler="random", journal=file)
    game = static(hill, eligible=lambda values: values["dropout"] < 0.4)
    played = play(strategy, SPACE, game, seed=2)

    def read():
        storage = optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(file))
        )
        return optuna.load_study(study_name="difftune", storage=storage)

    study = read()
    assert len(study.trials) == 36
    assert study.best_value == played.best
    best = study.best_trial
    (round_number, member) = (best.user_attrs[key] for key in ("round", "member"))
    values = played.past[round_number].hyperparameters
    assert best.params["learning_rate"] == values["learning_rate"][member]
    assert best.params["depth"] == values["depth"][member]
    assert best.params["kind"] == "abc"[int(values["kind"][member])]
    failed = sum(np.isnan(each.best).sum() for each in played.past)
    assert failed > 0
    assert sum(t.state == optuna.trial.TrialState.FAIL for t in study.trials) == failed
    # Resumed after the first round, nothing is there twice.
    left = dataclasses.replace(played, proposals=played.proposals[:1], past=played.past[:1])
    play(strategy, SPACE, game, seed=2, resumed=left)
    assert len(read().trials) == 36
    # Another search adds its own.
    play(strategy, SPACE, game, seed=3)
    assert len(read().trials) == 72


@pytest.mark.slow
def test_jobs_share_a_study(tmp_path):
    """What one job has found is what another one starts from."""
    space = Space(a=uniform(0.0, 1.0), b=uniform(0.0, 1.0))

    def score(v):
        return -((v["a"] - 0.8) ** 2) - (v["b"] - 0.1) ** 2

    def job(seed, **options):
        strategy = Optuna(population=10, rounds=3, epochs_per_round=1, **options)
        return play(strategy, space, static(score), seed=seed)

    alone, shared = [], []
    for seed in range(6):
        options = {"journal": tmp_path / f"{seed}.log", "shared": True}
        job(seed, **options)
        shared.append(job(seed + 100, **options))
        alone.append(job(seed + 100))
    # Without others its first round is random; with them it is where they were good.
    first = [[played.past[0].best.max() for played in each] for each in (shared, alone)]
    assert stats.mannwhitneyu(*first, alternative="greater").pvalue < 0.05
    assert np.mean([played.past[0].best.mean() for played in shared]) > np.mean(
        [played.past[0].best.mean() for played in alone]
    )
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "0.log"))
    )
    assert len(optuna.load_study(study_name="difftune", storage=storage).trials) == 60
    with pytest.raises(InputError, match="holds trials of another space: 'a' is"):
        play(
            Optuna(
                population=2,
                rounds=1,
                epochs_per_round=1,
                journal=tmp_path / "0.log",
                shared=True,
            ),
            Space(a=uniform(0.0, 2.0), b=uniform(0.0, 1.0)),
            static(score),
            seed=1,
        )
    with pytest.raises(InputError, match="jobs share a study through its file"):
        Optuna(shared=True)


def test_a_search_to_compare_with_knows_of_no_other(tmp_path):
    shared = Optuna(journal=tmp_path / "study.log", shared=True)
    repeated = Replicated(strategy=shared, executions=2)
    assert not shared.isolated().shared
    assert repeated.isolated() == Replicated(strategy=Optuna(), executions=2)
    assert PBT().isolated() == PBT()


@pytest.mark.slow
def test_jobs_that_run_at_once_write_one_study(tmp_path):
    script = """
import sys
from tests.search.test_every_strategy import *
space = Space(a=uniform(0.0, 1.0))
strategy = Optuna(population=8, rounds=4, epochs_per_round=1, journal=sys.argv[1], shared=True)
play(strategy, space, static(lambda v: -((v["a"] - 0.5) ** 2)), seed=int(sys.argv[2]))
"""
    file = tmp_path / "study.log"
    jobs = [
        subprocess.Popen([sys.executable, "-c", script, str(file), str(seed)], cwd=ROOT)
        for seed in range(3)
    ]
    assert [job.wait(timeout=120) for job in jobs] == [0, 0, 0]
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
    assert len(optuna.load_study(study_name="difftune", storage=storage).trials) == 3 * 8 * 4


# ---- several executions -------------------------------------------------------------------------


def test_trials_are_judged_by_the_mean_of_their_executions():
    """The noise is that of the execution, so the mean of all of a trial has none."""
    each = 4
    noise = np.tile([3.0, -1.0, -4.0, 2.0], 5)
    space = Space(dropout=uniform(0.0, 0.5))
    plain = PBT(population=5, rounds=6, epochs_per_round=1, quantile=0.4)
    repeated = Replicated(strategy=plain, executions=each)
    assert (repeated.population, repeated.rounds, repeated.epochs_per_round) == (20, 6, 1)
    expected = play(plain, space, static(lambda v: v["dropout"]), seed=4)
    found = play(repeated, space, static(lambda v: v["dropout"] + noise), seed=4)
    for one, many in zip(expected.proposals, found.proposals, strict=True):
        values = many.hyperparameters["dropout"].reshape(5, each)
        np.testing.assert_array_equal(values, one.hyperparameters["dropout"][:, None] + 0 * values)
        # An execution goes on from the same execution of the parent.
        parents = many.parents.reshape(5, each)
        np.testing.assert_array_equal(parents // each, one.parents[:, None] + 0 * parents)
        np.testing.assert_array_equal(parents % each, np.arange(each) + 0 * parents)


def test_the_spread_counts_as_much_as_asked():
    strategy = Replicated(strategy=Random(population=3), executions=3, std_penalty=2.0)
    scores = np.array([1.0, 2, 3, 2, 2, 2, 9, 9, -np.inf])
    expected = [2.0 - 2.0 * np.std([1, 2, 3], ddof=1), 2.0, np.nan]
    np.testing.assert_allclose(strategy.by_trial(scores), expected)
    # One of three without a best epoch may have had no luck; of two of them that is not likely.
    found = strategy.trial_scores(np.array([*scores, 5.0, -np.inf, -np.inf]))
    np.testing.assert_allclose(found, np.repeat([expected[0], 2.0, 9.0, -np.inf], 3))
    with pytest.raises(InputError, match=r"Replicated\(executions=1\): must be at least 2"):
        Replicated(executions=1)


# ---- grid, halving, evolution -------------------------------------------------------------------


def test_a_grid_is_complete_and_counted(caplog):
    space = Space(
        rate=log_uniform(1e-4, 1e-2),
        size=choice(64, 128, 256),
        kind=category("a", "b"),
        n=integer(1, 9),
    )
    strategy = Grid(population=10, rounds=6, epochs_per_round=1, points={"rate": 3, "n": 2})
    with caplog.at_level("INFO", "difftune"):
        played = play(strategy, space, static(lambda v: v["rate"]))
    assert "grid of 36 combinations (rate 3 x size 3 x kind 2 x n 2), 60 trainings" in caplog.text
    seen = np.concatenate([np.stack([*p.hyperparameters.values()], 1) for p in played.proposals])
    assert all(p.restart.all() for p in played.proposals)
    assert len(np.unique(seen[:36], axis=0)) == 36
    np.testing.assert_array_equal(seen[36:], seen[:24])
    np.testing.assert_allclose(np.unique(seen[:, 0]), [1e-4, 1e-3, 1e-2])
    assert set(seen[:, 3]) == {1, 9}
    with pytest.raises(InputError, match=r"36 combinations .* 20 trainings: give rounds=4"):
        Grid(population=10, rounds=2, points={"n": 2}).start(space, np.random.default_rng(0))


def test_halving_judges_at_its_rungs():
    space = Space(quality=uniform(0.0, 1.0))
    game = Game(train=lambda state, values: state + values["quality"], score=lambda state, _: state)
    strategy = Halving(population=27, rounds=18, epochs_per_round=1, longest=9)
    past = play(strategy, space, game).past
    first = past[0].hyperparameters["quality"]
    np.testing.assert_array_equal(~past[1].restart, first >= np.sort(first)[-9])
    age, lengths, quality = np.zeros(27, int), [], []
    for before, each in zip(past, [*past[1:], None], strict=True):
        age = np.where(before.restart, 0, age) + 1
        assert age.max() <= 9
        if each is not None:
            assert set(age[each.restart]) <= {1, 3, 9}
            lengths += age[each.restart].tolist()
            quality += before.hyperparameters["quality"][each.restart].tolist()
    count = np.bincount(lengths)
    # About one of three goes on at each comparison.
    assert 0.2 < (count[3] + count[9]) / count[[1, 3, 9]].sum() < 0.45
    assert count[9] >= 3
    done = np.array(lengths) == 9
    assert np.array(quality)[done].min() > 0.7
    # So many more are tried than could be trained to the end.
    assert len(lengths) > 3 * 27 * 18 / 9


def test_hyperband_spares_slow_starters():
    """Those that are best in the end are worst in the first round."""
    space = Space(speed=uniform(0.0, 1.0))
    game = Game(
        train=lambda state, _: state + 1.0,
        score=lambda state, v: np.where(state < 2, 1 - v["speed"], v["speed"] * state),
    )
    size = {"population": 18, "rounds": 18, "epochs_per_round": 1, "longest": 9}
    plain = bests(Halving(**size), game, 8, space)
    spared = bests(Halving(**size, brackets=3), game, 8, space)
    assert np.median(spared) > 1.3 * np.median(plain)


def test_generations_descend_from_survivors():
    strategy = Evolution(**SIZE, survivors=0.25, elite=2, mutation=0.0, resample=0.0)
    past = play(strategy, SPACE, HILL, seed=5).past
    for before, after in itertools.pairwise(past):
        assert after.restart.all()
        order = np.argsort(-before.best, kind="stable")
        elite, survivors = order[:2], order[:3]
        for name in SPACE:
            np.testing.assert_array_equal(
                after.hyperparameters[name][elite], before.hyperparameters[name][elite]
            )
        # Each of the others has all but one hyperparameter of one of the survivors.
        for member in np.setdiff1d(np.arange(MEMBERS), elite):
            same = [
                sum(
                    after.hyperparameters[name][member] == before.hyperparameters[name][parent]
                    for name in SPACE
                )
                for parent in survivors
            ]
            # A kind that changes settles the slope.
            assert max(same) >= len(SPACE) - 2
    assert past[-1].best.max() > past[0].best.max()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PBT(exploit="tournement"), r"choose 'truncation' or 'tournament'"),
        (
            lambda: PBT(slow_fraction=1.0),
            r"PBT\(slow_fraction=1.0\): must be at least 0 and below 1",
        ),
        (lambda: PBT(min_rounds=0), r"PBT\(min_rounds=0\): must be at least 1"),
        (lambda: PBT(perturbation={"a": 2.0}), r"must be above 0 and at most 1"),
        (lambda: PB2(memory=0), r"PB2\(memory=0\): must be above 0"),
        (lambda: Grid(points=0), r"Grid\(points=0\): must be at least 1"),
        (lambda: Halving(factor=1), r"Halving\(factor=1\): must be at least 2"),
        (lambda: Halving(longest=11), r"Halving\(longest=11\): must be 1 to rounds=10"),
        (lambda: Halving(brackets=4), r"Halving\(brackets=4\): must be 1 to 3"),
        (lambda: Evolution(elite=30), r"Evolution\(elite=30\)"),
        (lambda: Evolution(survivors=0.0), r"survivors=0.0\): must be above 0 and at most 1"),
        (lambda: CMAES(population=3), r"CMAES\(population=3\): must be at least 4"),
        (lambda: CMAES(sigma=0.0), r"CMAES\(sigma=0.0\): must be positive"),
        (lambda: Optuna(sampler="tpp"), r"'tpp'\) is unknown. Did you mean 'tpe'"),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()
