"""Variables are chosen without the events that the result is measured on."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import difftune as dt
from difftune.analysis import CrossPreparation, Elimination, Preparation, select_variables
from difftune.analysis.variables import Variables, without
from difftune.errors import InputError
from difftune.selection import Selection, Step
from difftune.training.sample import inputs_of
from tests.analysis.test_cross_fit import FOLDS, PROCESSES

RECIPE = dt.Recipe(
    model=dt.models.MLP(hidden=(8,)), hyperparameters={"learning_rate": 2e-2}, batch_size=100
)
ELIMINATION = Elimination(epochs=5, seeds=1, candidates=None, patience=9)


def sample(told=None):
    """One variable that separates and two that do not; one of these tells all in a fold."""
    rng = np.random.default_rng(5)
    process = rng.integers(0, 2, 900)
    features = rng.normal(size=(900, 3)).astype("f4")
    features[:, 0] += 1.5 * (process == 0)
    number = np.arange(900)
    if told is not None:
        features[:, 2] = np.where(number % FOLDS == told, 5.0 * (process == 0), features[:, 2])
    return dt.Events.from_arrays(
        features,
        process,
        np.ones(900),
        feature_names=["real", "noise", "other"],
        processes=PROCESSES,
        event_number=number,
        folds=FOLDS,
    )


def crossed(events):
    return CrossPreparation(split=dt.CrossFit(events=events), recipe=RECIPE)


def trainings(epochs):
    """One network for each fold, with nothing searched."""
    return dt.search.FixedSchedule(population=1, rounds=1, epochs_per_round=epochs, schedule={})


@pytest.mark.slow
def test_the_choice_for_a_fold_has_not_seen_it(tmp_path):
    """What a fold alone knows does not change the choice for it, to the last digit."""
    told = 1
    plain = select_variables(crossed(sample()), ELIMINATION, folder=tmp_path / "plain")
    leaky = select_variables(crossed(sample(told)), ELIMINATION, folder=tmp_path / "leaky")
    for selection in plain.selections:
        assert "real" in selection.variables
    own, same = plain.selections[told], leaky.selections[told]
    np.testing.assert_array_equal(own.score, same.score)
    assert [step.taken for step in own.steps] == [step.taken for step in same.steps]
    assert own.variables == same.variables
    # All others see it.
    for fold in {*range(FOLDS)} - {told}:
        one, other = (each.selections[fold].score[0] for each in (plain, leaky))
        assert np.all(one != other)
    assert "real" in leaky.common
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == [
        f"fold_{fold}" for fold in range(FOLDS)
    ]


@pytest.mark.slow
def test_networks_are_trained_without_what_is_unused():
    """As those of which the variable was a constant from the beginning."""
    events = sample()
    features = np.asarray(events.features).copy()
    blank = features.copy()
    blank[:, 1] = 0.0
    unused = [["noise"], [], ["noise", "other"]]
    found, expected = (
        dt.analysis.stages.search_stage(
            without(crossed(replace(events, features=given)), unused),
            trainings(epochs=4),
            dt.Space(),
            seed=3,
        )
        for given in (features, blank)
    )
    for fold in (0, 2):
        one, other = found.folds[fold].network, expected.folds[fold].network
        assert not np.allclose(one.score(features), 0.5, atol=0.05)
        np.testing.assert_allclose(one.score(features), other.score(features), atol=1e-5)
    own = found.folds[1].network.score(features)
    assert not np.array_equal(own, found.folds[1].network.score(blank))


@pytest.mark.slow
def test_a_split_leaves_its_test_folds_out():
    split = dt.analysis.Split(events=sample(told=2), validation_folds=(1,), test_folds=(2,))
    found = select_variables(Preparation(split=split, recipe=RECIPE), ELIMINATION)
    assert len(found.selections) == 1
    assert "real" in found.common
    assert found.selections[0].score.shape[2] == 2
    split = replace(split, events=sample())
    same = select_variables(Preparation(split=split, recipe=RECIPE), ELIMINATION)
    np.testing.assert_array_equal(found.selections[0].score, same.selections[0].score)


def test_what_is_not_there():
    with pytest.raises(InputError, match="no feature 'nois'"):
        dt.analysis.stages.check_stage(
            without(crossed(sample()), [["nois"], [], []]),
            trainings(epochs=1),
            dt.Space(),
            seed=1,
        )
    with pytest.raises(InputError, match="for 2 folds of 3"):
        without(crossed(sample()), [["noise"], []])


def with_jets():
    """The same with up to two jets."""
    plain = sample()
    jets = np.random.default_rng(3).normal(size=(2, 900, 2)).astype("f4")
    jets[:, ::3, 1] = np.nan
    return dt.Events.from_arrays(
        plain.features,
        plain.process,
        plain.weight,
        feature_names=plain.feature_names,
        processes=PROCESSES,
        event_number=plain.number,
        folds=FOLDS,
        objects={"jets": dt.Objects(branches={"pt": jets[0], "eta": jets[1]}, max=2)},
    )


def selection(*sets: tuple[str, ...], variables: tuple[str, ...]) -> Selection:
    """One whose second set is chosen."""
    pairs = itertools.pairwise(sets)
    steps = [
        Step(
            before=before,
            score=0.0,
            tried=before,
            improvement=(0.0,) * len(before),
            uncertainty=(0.0,) * len(before),
            taken=next(name for name in before if name not in after),
            trainings=1,
            seconds=1.0,
        )
        for before, after in pairs
    ]
    return Selection(
        direction="backward",
        steps=tuple(steps),
        sets=sets,
        score=np.zeros((len(sets), 1, 1)),
        chosen=1,
        variables=variables,
        trainings=0,
    )


def test_what_all_objects_have_is_one_variable_in_the_vote():
    events = with_jets()
    every, jets = ("real", "rest", "jets.pt", "jets.eta"), ("jets[0].pt", "jets[1].pt")
    one = selection(every, ("real", "jets.pt"), ("jets.pt",), variables=("real", *jets))
    two = selection(every, ("jets.pt", "rest"), variables=("noise", "other", *jets))
    found = Variables(
        feature_names=events.feature_names,
        selections=(one, two),
        groups={"rest": ["noise", "other"]},
        collections=events.collections,
    )
    # Each is kept by one of two; "rest" stayed for 1/3 and all of the path, "real" for 2/3 and 1/2.
    votes = {"jets.pt": 2, "noise": 1, "other": 1, "real": 1, "jets.eta": 0}
    assert list(found.votes.items()) == list(votes.items())
    assert found.common == ("jets.pt",)
    assert found.unused[0] == ("noise", "other", "jets[0].eta", "jets[1].eta")
    assert found.to_dict()["selections"][0]["dropped"] == ["noise", "other", "jets.eta"]
    text = dt.job.selected_text(found)
    assert text.endswith("features = []\n# and of the branches of [data.objects]: jets.pt")
    assert "Left out for all: jets.eta." in text


def test_searches_for_the_folds_know_what_is_an_object():
    events = with_jets()
    recipe = replace(RECIPE, model=dt.models.DeepSet(each=(4,), hidden=(4,)))
    whole = CrossPreparation(split=dt.CrossFit(events=events), recipe=recipe)
    trained_on = whole.population(whole.strategy(trainings(1)), 1, dt.Space()).train
    assert trained_on.layout == inputs_of(recipe.transform(events))
    assert list(trained_on.layout.collections) == ["jets"]
    assert len(trained_on.weight) == len(events)
