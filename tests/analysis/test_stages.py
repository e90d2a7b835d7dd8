"""Cross-fitting and stages through the public interface."""

from dataclasses import replace

import numpy as np
import pytest

import difftune as dt
from difftune.analysis import FIGURES, CrossTuned, fit_model, statistics
from difftune.errors import InputError
from tests.analysis.test_cross_fit import sample

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts():
    """Events cross-fitted, a recipe, and a stage through the fit."""
    crossed = dt.CrossFit(events=sample())
    split, figure = crossed.rotation(0), FIGURES["precision"]
    recipe = dt.Recipe(
        model=dt.models.MLP(hidden=(8,)),
        batch_size=100,
        metric=figure.metric(
            fit_model(bins=5, mc_statistics=statistics(split.validation, crossed.test))
        ),
        overtraining=dt.training.ScoreGap(limit=np.inf),
    )
    loss = figure.objective(
        fit_model(
            bins=5, bandwidth=(0.05, 0.02), mc_statistics=statistics(split.train, crossed.test)
        )
    )
    stage = dt.Stage(
        name="through the fit",
        recipe=replace(recipe, objective=loss, batch_size=len(crossed.events), chunk=500),
        space=dt.Space(learning_rate=dt.log_uniform(3e-3, 1e-2)),
        search=dt.search.Random(population=2, rounds=1, epochs_per_round=15),
    )
    return crossed, recipe, stage


SPACE = {"learning_rate": dt.log_uniform(1e-3, 1e-2), "dropout": dt.uniform(0.0, 0.3)}


@pytest.fixture(scope="module")
def tuned(parts, tmp_path_factory):
    crossed, recipe, stage = parts
    folder = tmp_path_factory.mktemp("stages")
    return (
        dt.tune(
            crossed,
            recipe,
            space=SPACE,
            search=dt.search.PBT(population=4, rounds=2, epochs_per_round=2),
            stages=[stage],
            checkpoints=folder,
        ),
        folder,
    )


def test_a_stage_begins_where_the_one_before_ended(tuned, parts):
    (found, _), (crossed, *_) = tuned, parts
    assert isinstance(found, CrossTuned)
    assert len(found.folds) == crossed.folds
    for fold in found.folds:
        assert len(fold.history.epoch) == 4 + 15
        # The best networks of four members, two of them.
        assert len(fold.networks) == 2
        kept = fold.network.hyperparameters
        assert kept["dropout"] in fold.before.result.best.hyperparameters["dropout"]
        assert 3e-3 <= kept["learning_rate"] <= 1e-2


def test_what_is_tuned_through_the_fit_is_better_by_what_it_is_tuned_for(tuned, parts):
    (found, _), (crossed, recipe, _) = tuned, parts
    edges = np.linspace(0, 1, 6)
    plain = dt.train(crossed, recipe, epochs=4, hyperparameters={"learning_rate": 5e-3})
    before = dt.measure(plain, crossed, figure="precision", binning=edges)
    after = dt.measure(found, crossed, figure="precision", binning=edges)
    assert after.value < before.value


def test_the_same_call_goes_on_from_its_checkpoints(tuned, parts):
    (found, folder), (crossed, recipe, stage) = tuned, parts
    again = dt.tune(
        crossed,
        recipe,
        space=SPACE,
        search=dt.search.PBT(population=4, rounds=2, epochs_per_round=2),
        stages=[stage],
        checkpoints=folder,
    )
    np.testing.assert_array_equal(
        again.network.score(crossed.events), found.network.score(crossed.events)
    )


def test_a_stage_that_cannot_be_is_refused_before_anything_trains(parts):
    crossed, recipe, stage = parts
    told = []
    with pytest.raises(InputError, match="no_such"):
        dt.tune(
            crossed,
            recipe,
            search=dt.search.Random(population=2, rounds=1, epochs_per_round=1),
            stages=[replace(stage, space=dt.Space(no_such=dt.uniform(0, 1)))],
            on_round=told.append,
        )
    assert not told
