"""What tuning hands out: allowed networks, whole trials, statuses that are their own."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

import difftune as dt
from difftune.errors import InputError
from difftune.seeds import derived


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(0)
    index = np.arange(1000) % 2
    return dt.Events.from_arrays(
        rng.normal(size=(1000, 3)) + (index == 0)[:, None],
        index,
        np.full(1000, 2.0),
        feature_names=["a", "b", "c"],
        processes=[dt.Process(name="s", role="signal"), dt.Process(name="b")],
    )


@pytest.fixture(scope="module")
def tuned(events):
    return dt.tune(
        events,
        model=dt.models.MLP(hidden=4),
        space={"learning_rate": dt.log_uniform(1e-3, 1e-1)},
        search=dt.search.Replicated(
            strategy=dt.search.Random(population=3, rounds=1, epochs_per_round=2), executions=2
        ),
        overtraining=float("inf"),
        batch_size=100,
    )


def without(tuned, members, winner):
    """As if no epoch of these had ever been allowed."""
    best = tuned.result.best
    score, selection_score = (np.array(column) for column in (best.score, best.selection_score))
    score[list(members)] = selection_score[list(members)] = -np.inf
    result = replace(
        tuned.result,
        best=best._replace(score=score, selection_score=selection_score),
        winner=winner,
    )
    return replace(tuned, result=result)


@pytest.mark.slow
def test_a_trial_has_all_its_executions(tuned):
    assert tuned.missing == ()
    assert len(tuned.networks) == 6
    assert len(tuned.trial) == 2
    first = tuned.executions.start
    assert tuned.result.winner in tuned.executions
    assert first % 2 == 0
    events = tuned.split.validation
    for network, member in zip(tuned.trial, tuned.executions, strict=True):
        np.testing.assert_array_equal(
            network.score(events), tuned.choosing(member).network.score(events)
        )


@pytest.mark.slow
def test_networks_that_were_never_allowed_are_not_handed_out(tuned, caplog):
    """Their numbers are those that they were born with."""
    lacking = without(tuned, [1, 4], winner=0)
    assert lacking.missing == (1, 4)
    assert len(lacking.networks) == 4
    assert len(lacking.trial) == 1
    assert all(np.isfinite(rank.score) for rank in lacking.ranking[:4])
    caplog.clear()
    with caplog.at_level(logging.WARNING, "difftune"):
        lacking._say_what_is_missing()
        without(tuned, [4], winner=0)._say_what_is_missing()
    (record,) = caplog.records
    assert "1 of 2 trainings never met the overtraining condition" in record.getMessage()
    assert "members 1." in record.getMessage()


def test_a_trial_with_fewer_networks_says_so(tuned, caplog):
    with caplog.at_level(logging.WARNING, "difftune"):
        assert len(without(tuned, [1], winner=0).trial) == 1
    assert "1 networks decide together, not 2: members 1 never met" in caplog.messages[0]


def weighted_likelihood(score, events):
    """Of scikit-learn, with the weights of a training."""
    signal = np.asarray(events.label) == 1
    weight = dt.training.training_weights(np.asarray(events.weight), np.asarray(events.label))
    return -log_loss(signal, np.asarray(score, np.float64), sample_weight=weight)


def test_networks_decide_together(tuned):
    """Trials of two executions each; the score is minus the loss, in the words of scikit-learn."""
    events = tuned.split.validation
    apart = [network.score(events) for network in tuned.networks]

    def mean(numbers):
        return np.mean([apart[number] for number in numbers], axis=0)

    np.testing.assert_array_equal(
        tuned.ensemble("network").score(events), tuned.network.score(events)
    )
    np.testing.assert_allclose(
        tuned.ensemble("trial").score(events), mean(tuned.executions), rtol=1e-6
    )
    best = np.array([rank.selection_score for rank in tuned.ranking])[
        np.argsort([rank.member for rank in tuned.ranking])
    ]
    order = np.argsort(-best.reshape(3, 2).mean(axis=1))
    two = [2 * trial + number for trial in order[:2] for number in (0, 1)]
    assert order[0] == tuned.executions.start // 2
    np.testing.assert_allclose(tuned.ensemble("trials", size=2).score(events), mean(two), rtol=1e-6)

    recipe = replace(
        tuned.preparation.recipe,
        metric=dt.objectives.as_metric(-1.0 * dt.objectives.CrossEntropy()),
        selection_rule=dt.training.AS_SCORED,
    )
    by_loss = replace(tuned, preparation=replace(tuned.preparation, recipe=recipe))
    together = by_loss.ensemble("greedy", size=4)
    inside, worth = [], []
    for _ in range(4):
        worths = [weighted_likelihood(mean([*inside, i]), events) for i in range(6)]
        inside.append(int(np.argmax(worths)))
        worth.append(max(worths))
    inside = inside[: int(np.argmax(worth)) + 1]
    np.testing.assert_allclose(together.score(events), mean(inside), rtol=1e-5)
    assert weighted_likelihood(together.score(events), events) >= max(
        weighted_likelihood(score, events) for score in apart
    )

    for wrong, options in (("best", {}), ("trial", {"size": 2}), ("greedy", {"size": 0})):
        with pytest.raises(InputError, match=rf"ensemble\('{wrong}'"):
            tuned.ensemble(wrong, **options)


@pytest.mark.slow
def test_trials_on_folds_are_chosen_by_events_that_each_network_has_not_seen(events):
    trials = dt.search.Random(population=3, rounds=1, epochs_per_round=1)
    tuned = dt.tune(
        events,
        model=dt.models.MLP(hidden=3),
        space={"learning_rate": dt.log_uniform(1e-3, 1e-1)},
        search=dt.search.Replicated(strategy=trials, executions=4, folds=True),
        metric=dt.objectives.AUC(),
        selection_rule=dt.training.SelectionRule(n_sigma=0),
        overtraining=float("inf"),
        batch_size=100,
    )
    apart = [tuned.choosing(member).network for member in range(12)]
    folds = [tuned.split.part(fold) for fold in range(4)]
    unseen = [
        [apart[4 * trial + n].score(fold) for n, fold in enumerate(folds)] for trial in range(3)
    ]

    def area(inside):
        return np.mean(
            [
                roc_auc_score(
                    np.asarray(fold.label),
                    np.mean([unseen[trial][n] for trial in inside], axis=0),
                    sample_weight=np.asarray(fold.weight),
                )
                for n, fold in enumerate(folds)
            ]
        )

    inside, areas = [], []
    for _ in range(3):
        worths = [area([*inside, trial]) for trial in range(3)]
        inside.append(int(np.argmax(worths)))
        areas.append(max(worths))
    inside = inside[: int(np.argmax(areas)) + 1]
    together = tuned.ensemble("greedy", size=3)
    assert len(together.networks) == 4 * len(set(inside))
    test = tuned.split.test
    expected = np.mean(
        [apart[4 * trial + n].score(test) for trial in inside for n in range(4)], axis=0
    )
    np.testing.assert_allclose(together.score(test), expected, rtol=1e-5)


def test_a_rank_has_the_status_of_its_network(tuned):
    """What became of the slot later, as that somebody else diverged in it, is not said of it."""
    ended = "diverged: the training loss is not finite"
    history = replace(tuned.result.history, status=(ended,) * 6)
    later = replace(tuned, result=replace(tuned.result, history=history))
    assert [rank.status for rank in later.ranking] == ["running"] * 6
    never = without(later, [5], winner=0)
    assert [rank.status for rank in never.ranking] == ["running"] * 5 + [ended]


def test_the_retraining_has_a_stream_of_its_own(tuned):
    again = tuned.retrain(2)
    assert again.seed == derived(tuned.seed, "retrain") != derived(tuned.seed, "search", 1)
    events = tuned.split.validation
    scores = [network.score(events) for network in (*tuned.networks, *again.networks)]
    assert len({score.tobytes() for score in scores}) == 8


@pytest.mark.slow
def test_what_tune_returned_stands_for_its_network_and_split(tuned, events, caplog):
    options = {"bins": 2, "luminosity": 0.01}
    plain = dt.measure(tuned.network, tuned.split, **options)
    for network, split in ((tuned, tuned), (tuned, events), ([tuned.network], tuned.split)):
        with caplog.at_level(logging.WARNING, "difftune"):
            found = dt.measure(network, split, **options)
        assert found.expected == pytest.approx(plain.expected, rel=1e-6)
    # Only those that were given events do not know which folds the network has seen.
    assert [r.getMessage()[:24] for r in caplog.records if "split" in r.getMessage()] == [
        "events are split as tune"
    ]


def test_folds_are_numbered_without_those_of_the_test(events):
    split = dt.analysis.Split(events=events, validation_folds=(1,), test_folds=(0,))
    preparation = dt.analysis.Preparation(split=split, recipe=dt.Recipe(batch_size=16))
    trials = dt.search.Random(population=1, rounds=1, epochs_per_round=1)
    strategy = dt.search.Replicated(strategy=trials, executions=4, folds=True)
    population = preparation.population(strategy, 1, dt.Space())
    inside = split.part(1, 2, 3, 4).fold
    np.testing.assert_array_equal(population.train.fold, np.asarray(inside) - 1)


@pytest.mark.slow
def test_train_gives_the_network_of_the_best_epoch(events, caplog):
    recipe = dt.Recipe(model=dt.models.MLP(hidden=(4,)), batch_size=16)
    with caplog.at_level(logging.INFO, "difftune"):
        network = dt.train(events, recipe, epochs=3, seed=2)
    table = next(m for m in caplog.messages if m.lstrip().startswith("epoch"))
    assert table.count("kept") == 1
    assert len(table.splitlines()) == 4
    # One network of a search without a space is the same.
    strategy = dt.search.FixedSchedule(population=1, rounds=1, epochs_per_round=3, schedule={})
    tuned = dt.tune(events, recipe, search=strategy, seed=2)
    np.testing.assert_array_equal(network.score(events), tuned.network.score(events))
    parts = {"model": recipe.model, "batch_size": 16, "hyperparameters": {"schedule": 0.0}}
    parts["refit"] = False
    np.testing.assert_array_equal(
        dt.train(events, **parts, epochs=3, seed=2).score(events), network.score(events)
    )
