"""What tuning hands out: allowed networks, whole trials, statuses that are their own."""

import logging
from dataclasses import replace

import numpy as np
import pytest

import difftune as dt
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


def test_networks_that_were_never_allowed_are_not_handed_out(tuned, caplog):
    """Their numbers are those that they were born with."""
    lacking = without(tuned, [1, 4], winner=0)
    assert lacking.missing == (1, 4)
    assert len(lacking.networks) == 4
    assert len(lacking.trial) == 1
    assert all(np.isfinite(rank.score) for rank in lacking.ranking[:4])
    with caplog.at_level(logging.WARNING, "difftune"):
        lacking._say_what_is_missing()
        without(tuned, [4], winner=0)._say_what_is_missing()
    (record,) = caplog.records
    assert "1 of 2 trainings never met the overtraining condition" in record.getMessage()
    assert "members 1." in record.getMessage()


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
    np.testing.assert_array_equal(
        dt.train(events, model=recipe.model, batch_size=16, epochs=3, seed=2).score(events),
        network.score(events),
    )
