"""A search for each fold that it does not see, in stages; from the events to the networks."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import difftune as dt
from difftune.analysis import CrossFit, CrossPreparation, search_each_fold, search_networks
from difftune.errors import InputError
from difftune.objectives import Focal
from difftune.search import PBT, FixedSchedule, Random, Replicated, SearchError, Space
from difftune.training import ScoreGap

FOLDS = 4
SEARCH = PBT(population=3, rounds=2, epochs_per_round=1)
SPACE = dt.Space(learning_rate=dt.log_uniform(1e-3, 1e-2), dropout=dt.uniform(0.0, 0.3))
LATER = dt.Space(learning_rate=dt.log_uniform(1e-3, 1e-2))
RECIPE = dt.Recipe(
    model=dt.models.MLP(hidden=(4,)),
    metric=dt.objectives.Significance(),
    batch_size=50,
    overtraining=ScoreGap(limit=1.0, sigmas=0),
)


def sample(mixed_up: int | None = None) -> dt.Events:
    """Two processes and a variation; of one fold, on request, the events without their labels."""
    rng = np.random.default_rng(1)
    process = np.arange(480) % 2
    features = (rng.normal(size=(480, 3)) + process[:, None]).astype(np.float32)
    fold = (np.arange(480) // 2 % FOLDS).astype(np.int32)
    if mixed_up is not None:
        own = np.flatnonzero(fold == mixed_up)
        features[own] = features[rng.permutation(own)]
    events = dt.Events.from_arrays(
        features,
        process,
        np.full(480, 0.5),
        feature_names=["pt", "eta", "mass"],
        processes=[dt.Process(name="bkg"), dt.Process(name="sig", role="signal")],
        folds=FOLDS,
    )
    return replace(events, fold=fold)


def prepared(mixed_up: int | None = None, **options) -> CrossPreparation:
    recipe = replace(RECIPE, **options)
    return CrossPreparation(split=CrossFit(events=sample(mixed_up)), recipe=recipe)


def second(of: CrossPreparation) -> CrossPreparation:
    """With another objective, all events a step."""
    return replace(of, recipe=replace(RECIPE, objective=Focal(), batch_size=100_000))


@pytest.fixture(scope="module")
def stages():
    first = search_each_fold(prepared(), SEARCH, SPACE, seed=3)
    return first, search_each_fold(second(prepared()), SEARCH, LATER, seed=4, start=first)


def same(one, other):
    for name in ("score", "loss", "train_score", "validation_loss", "parents"):
        np.testing.assert_array_equal(
            getattr(one.result.history, name), getattr(other.result.history, name)
        )
    events = one.split.events
    np.testing.assert_array_equal(one.network.score(events), other.network.score(events))
    assert one.result.winner == other.result.winner


@pytest.fixture(scope="module")
def mixed():
    """The same, of events that in fold 2 have lost their labels."""
    # The transform sees the same values, since it knows no labels.
    others = prepared(mixed_up=2)
    first = search_each_fold(others, SEARCH, SPACE, seed=3)
    return first, search_each_fold(second(others), SEARCH, LATER, seed=4, start=first)


@pytest.mark.slow
def test_what_decides_together_for_a_fold_is_chosen_without_its_events(stages, mixed):
    """With the events of a fold mixed up the networks for it, and their weights, stay."""

    def found(mixed_up, folds):
        split = prepared(mixed_up).split
        return dt.analysis.CrossTuned(split=split, folds=folds).ensemble("greedy")

    events = sample()
    plain, other = found(None, stages[0]), found(2, mixed[0])
    assert len(plain.networks) == FOLDS
    assert plain.networks[2].weights == other.networks[2].weights
    np.testing.assert_array_equal(plain.networks[2].score(events), other.networks[2].score(events))
    for fold in (0, 1, 3):
        assert not np.array_equal(
            plain.networks[fold].score(events), other.networks[fold].score(events)
        )


@pytest.mark.slow
def test_each_fold_has_a_search_of_its_own(stages):
    for stage in stages:
        assert len(stage) == FOLDS
        for fold, tuned in enumerate(stage):
            assert tuned.split.test_folds == (fold,)
            assert tuned.split.validation_folds == ((fold + 1) % FOLDS,)
            assert tuned.strategy == SEARCH
            assert tuned.result.history.score.shape == (2, 3)
            assert [rank.member for rank in tuned.ranking[:1]] == [tuned.result.winner]
            assert np.mean(tuned.network.score(tuned.split.test) > 0.5) > 0.2
        scores = {tuned.network.score(tuned.split.events).tobytes() for tuned in stage}
        assert len(scores) == FOLDS


@pytest.mark.slow
def test_no_stage_sees_what_is_held_out(stages, mixed):
    fold = 2
    for before, after in zip(stages, mixed, strict=True):
        scores = [tuned[fold].network.score(sample()) for tuned in (before, after)]
        np.testing.assert_array_equal(*scores)
        for name in ("score", "loss", "train_score", "validation_loss", "parents"):
            one, other = (getattr(tuned[fold].result.history, name) for tuned in (before, after))
            np.testing.assert_array_equal(one, other)
        for number in {*range(FOLDS)} - {fold}:
            one, other = (tuned[number].result.history.score for tuned in (before, after))
            assert np.all(one[-1] != other[-1])


@pytest.mark.slow
def test_a_fold_is_tuned_as_by_its_rotation_alone():
    """The weights of the folds are scaled one by one, so this holds but for the order."""
    strategy = FixedSchedule(
        population=1, rounds=1, epochs_per_round=1, schedule={"learning_rate": np.array([1e-2])}
    )
    cross = prepared(batch_size=100_000)
    folded = search_each_fold(cross, strategy, Space(), seed=3)
    alone = search_networks(cross.rotation(0), strategy, Space(), seed=3)
    one, other = (each.result.history for each in (folded[0], alone))
    # All events in one step, from the start values of the first slot.
    for name in ("loss", "validation_loss", "score"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5)
    np.testing.assert_allclose(
        folded[0].network.score(sample()), alone.network.score(sample()), atol=1e-5
    )


@pytest.mark.slow
def test_the_history_spans_the_stages(stages):
    for first, tuned in zip(*stages, strict=True):
        history = tuned.history
        np.testing.assert_array_equal(history.epoch, range(4))
        np.testing.assert_array_equal(history.round, [0, 1, 2, 3])
        np.testing.assert_array_equal(history.score[:2], first.result.history.score)
        np.testing.assert_array_equal(history.score[2:], tuned.result.history.score)
        np.testing.assert_array_equal(history.parents[2], range(3))
        assert not history.restart[2].any()
        # Each slot went on from the epoch that was kept of it.
        np.testing.assert_array_equal(history.resumed[2], first.result.best.epoch)
        best = tuned.ranking[0]
        assert history.score[best.epoch, best.member] == pytest.approx(best.score)
        # The dropout of the first stage, which the second does not name.
        assert set(best.hyperparameters) == {"learning_rate", "dropout"}
        row = history.round[best.epoch]
        assert history.hyperparameters["dropout"][row, best.member] == pytest.approx(
            best.hyperparameters["dropout"]
        )
        # Had that fixed it, it would not be carried on.
        recipe = replace(tuned.preparation.recipe, hyperparameters={"dropout": 0.125})
        fixed = replace(tuned, preparation=replace(tuned.preparation, recipe=recipe)).history
        assert np.all(fixed.hyperparameters["dropout"][2:] == 0.125)


class Stop(Exception):
    """Ends a search after a round, as a crash does."""


def stop(progress):
    if progress.round == 1:
        raise Stop


@pytest.mark.slow
def test_killed_in_the_second_stage_it_goes_on_to_the_same_numbers(stages, tmp_path):
    first, expected = stages
    later = second(prepared())
    with pytest.raises(Stop):
        search_each_fold(later, SEARCH, LATER, seed=4, start=first, folder=tmp_path, on_round=stop)
    moved = [replace(each, result=rolled(each.result)) for each in first]
    with pytest.raises(InputError, match="start"):
        search_each_fold(later, SEARCH, LATER, seed=4, start=moved, folder=tmp_path)
    lines = []
    found = search_each_fold(
        later, SEARCH, LATER, seed=4, start=first, folder=tmp_path, on_round=lines.append
    )
    for one, other in zip(expected, found, strict=True):
        same(one, other)
    assert [line.round for line in lines] == [2]
    assert len(lines[0].searches) == FOLDS
    assert f"of {FOLDS}" in str(lines[0])


def rolled(result):
    return replace(result, best=jax.tree.map(lambda leaf: np.roll(leaf, 1, axis=0), result.best))


@pytest.mark.slow
def test_a_later_stage_of_another_size_begins_with_the_best(stages):
    first = stages[0]
    strategy = FixedSchedule(
        population=2, rounds=1, epochs_per_round=1, schedule={"learning_rate": np.zeros(1)}
    )
    for before, after in zip(
        first, search_each_fold(prepared(), strategy, Space(), seed=4, start=first), strict=True
    ):
        expected = [rank.score for rank in before.ranking[:2]]
        np.testing.assert_allclose(after.result.best.score, expected, rtol=1e-5)
        best = [rank.member for rank in before.ranking[:2]]
        np.testing.assert_array_equal(after.history.parents[-1][:2], best)
        assert after.history.score.shape == (3, 3)


def test_the_executions_of_a_trial_have_the_same_seeds_in_one_search_only():
    strategy = Replicated(strategy=Random(population=2, rounds=1, epochs_per_round=1), executions=2)
    cross = prepared()
    population = cross.population(cross.strategy(strategy), 1, Space())
    seeds = np.reshape(population.replicas.seed, (FOLDS, 2, 2))
    np.testing.assert_array_equal(seeds[:, 0], seeds[:, 1])
    assert len(set(seeds[:, 0].ravel())) == 2 * FOLDS


def test_each_fold_stands_for_its_share_of_the_yields():
    cross = prepared()
    train = cross.population(cross.strategy(SEARCH), 1, SPACE).train
    share = sample().yields() / FOLDS
    for fold in range(FOLDS):
        own = train.fold == fold
        np.testing.assert_allclose(np.bincount(train.process[own], train.weight[own]), share)


@pytest.mark.slow
def test_what_does_not_fit_is_refused(stages):
    first = stages[0]
    for make, message in (
        (lambda: search_each_fold(prepared(), [SEARCH] * 3, SPACE, seed=1), "3 strategies for 4"),
        (
            lambda: search_each_fold(
                prepared(), Replicated(strategy=SEARCH, folds=True), SPACE, seed=1
            ),
            "differ in their seeds",
        ),
        (
            lambda: search_each_fold(prepared(), SEARCH, SPACE, seed=1, start=first[1:]),
            "the stage before, one for each fold",
        ),
    ):
        with pytest.raises(InputError, match=message):
            make()
    diverging = FixedSchedule(
        population=1, rounds=1, epochs_per_round=1, schedule={"learning_rate": np.full(1, 1e38)}
    )
    strategies = [replace(diverging, schedule={"learning_rate": np.full(1, 1e-3)})] * 4
    strategies[2] = diverging
    with pytest.raises(SearchError, match="no member of fold 2 ever met"):
        search_each_fold(prepared(), strategies, Space(), seed=1)


@pytest.mark.slow
def test_a_later_stage_is_trained_again_with_those_before(stages):
    tuned = stages[1][1]
    again = tuned.retrain(2)
    assert again.before is not None
    line = tuned.result.history.line_of_descent(
        epoch=int(tuned.result.best.epoch[tuned.result.winner]), member=tuned.result.winner
    )
    dropout = stages[0][1].result.best.hyperparameters["dropout"][next(iter(line.values()))]
    # What the first stage chose, in both; and the objective and the batches of each.
    np.testing.assert_allclose(again.result.best.hyperparameters["dropout"], dropout)
    np.testing.assert_allclose(again.before.result.best.hyperparameters["dropout"], dropout)
    assert isinstance(again.preparation.recipe.objective, Focal)
    assert not isinstance(again.before.preparation.recipe.objective, Focal)
    rates = tuned.result.schedule["learning_rate"]
    for member in range(2):
        np.testing.assert_allclose(
            again.result.history.hyperparameters["learning_rate"][: len(rates), member], rates
        )
