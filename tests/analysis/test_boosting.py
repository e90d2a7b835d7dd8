"""Boosted trees: they give what the packages give, and go wherever a network goes."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest
import sklearn.metrics
import uproot
import xgboost

import difftune as dt
from difftune.analysis.boosting import searched
from difftune.analysis.judged import Labelled, auc, log_loss
from difftune.analysis.split import Split
from difftune.errors import InputError
from difftune.search import Evolution, Space, uniform
from difftune.training import load_network, training_weights, treated_weights

NAMES = ("pt", "eta", "mass")
PROCESSES = [dt.Process(name="bkg"), dt.Process(name="sig", role="signal")]


def sample(events=2000, *, negative=0.0, seed=0, **options):
    rng = np.random.default_rng(seed)
    process = np.arange(events) % 2
    features = rng.normal(size=(events, 3)) + 0.8 * process[:, None]
    features[::7, 1] = np.nan
    weight = rng.uniform(0.5, 1.5, events)
    weight[rng.random(events) < negative] *= -0.5
    return dt.Events.from_arrays(
        features, process, weight, feature_names=NAMES, processes=PROCESSES, **options
    )


EVENTS = sample()
SPLIT = Split(events=EVENTS)
FEW = {"max_depth": 3}


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_default_trees_are_those_of_the_package(library):
    trees = dt.train_trees(EVENTS, library)
    train = SPLIT.train
    x, y = np.asarray(train.features), np.asarray(train.label)
    weight = training_weights(train.weight, y)
    kind = {
        "xgboost": lambda: xgboost.XGBClassifier(random_state=1),
        "lightgbm": lambda: lightgbm.LGBMClassifier(random_state=1, verbose=-1),
    }[library]
    expected = kind().fit(x, y, sample_weight=weight)
    at = np.asarray(SPLIT.test.features)
    np.testing.assert_allclose(trees.score(SPLIT.test), expected.predict_proba(at)[:, 1], atol=2e-6)
    np.testing.assert_array_equal(trees.score(at), trees.score(SPLIT.test))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_trees_see_objects_side_by_side(library):
    """As the package does that gets the places as columns, with NaN where there is no object."""
    rng = np.random.default_rng(4)
    jets = rng.normal(size=(2000, 3)) + 0.8 * (np.arange(2000)[:, None] % 2)
    jets[rng.random((2000, 3)) < 0.3] = np.nan
    made = dt.Objects(branches={"pt": jets, "eta": jets**2}, max=4)
    events = sample(objects={"jets": made})
    trees = dt.train_trees(events, library, settings=FEW)
    train, test = Split(events=events).train, Split(events=events).test
    x, y = (np.asarray(each) for each in (train.features, train.label))
    kind = {
        "xgboost": lambda: xgboost.XGBClassifier(random_state=1, **FEW),
        "lightgbm": lambda: lightgbm.LGBMClassifier(random_state=1, verbose=-1, **FEW),
    }[library]
    expected = kind().fit(x, y, sample_weight=training_weights(train.weight, y))
    found = trees.score(test)
    np.testing.assert_allclose(
        found, expected.predict_proba(np.asarray(test.features))[:, 1], atol=2e-6
    )
    empty = np.array(test.features)
    empty[:, len(NAMES) :] = np.nan
    assert np.abs(found - trees.score(empty)).max() > 0.1


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_the_validation_events_decide_how_many_trees_are_kept(library):
    settings = {"learning_rate": 0.3}
    kept = dt.train_trees(EVENTS, library, trees=300, patience=10, settings=settings)
    every = dt.train_trees(EVENTS, library, trees=300, patience=1000, settings=settings)
    # The second has all of them at its disposal and keeps the best number, which is the same.
    np.testing.assert_array_equal(kept.score(EVENTS), every.score(EVENTS))
    validation = SPLIT.validation
    whole = dt.BoostedTrees.grown(SPLIT.train, library=library, trees=300, settings=settings)
    losses = [log_loss(each.score(validation), validation).value for each in (kept, whole)]
    assert losses[0] < losses[1] - 0.05


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_negative_weights_are_treated_as_the_networks_treat_them(library):
    events = sample(negative=0.2)
    train = Split(events=events).train
    trees = dt.train_trees(events, library, settings=FEW)
    recipe = dt.Recipe()
    inputs = np.asarray(recipe.transform(train)(train.features))
    process = np.asarray(train.process)
    weight = treated_weights(train.weight, inputs, process, negative="resample")
    assert (weight >= 0.0).all()
    assert (np.asarray(train.weight) < 0.0).any()
    same = dt.BoostedTrees.grown(
        replace(train, weight=weight.astype(np.float32)), library=library, settings=FEW
    )
    np.testing.assert_allclose(trees.score(events), same.score(events), atol=1e-5)
    absolute = dt.train_trees(events, library, settings=FEW, negative_weights="absolute")
    assert np.abs(absolute.score(events) - trees.score(events)).max() > 0.01
    with pytest.raises(InputError, match="'resample' or 'absolute'"):
        dt.train_trees(events, library, negative_weights="keep")


def test_a_search_takes_its_time_and_finds_better_settings():
    """The best of a function of one setting, on a clock that counts trainings."""
    clock, space = iter(range(10**6)), Space(x=uniform(0.0, 1.0))
    tried = []

    def grow(values):
        tried.append(values["x"])
        return values["x"]

    best = searched(
        grow,
        lambda x: -((x - 0.3) ** 2),
        space,
        Evolution(population=4, epochs_per_round=1),
        seconds=150.0,
        seed=1,
        clock=lambda: float(next(clock)),
    )
    assert best == min(tried, key=lambda x: abs(x - 0.3))
    assert 60 < len(tried) < 150
    assert abs(best - 0.3) < 0.05
    # Later proposals learn from earlier ones.
    assert np.median(np.abs(np.array(tried[-40:]) - 0.3)) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_tuned_trees_are_no_worse_on_validation_than_the_default(library):
    tuned = dt.train_trees(EVENTS, library, minutes=0.03)
    default = dt.train_trees(EVENTS, library)
    events = SPLIT.validation
    losses = [log_loss(each.score(events), events).value for each in (tuned, default)]
    assert losses[0] < losses[1]


@pytest.mark.slow
def test_trees_are_measured_saved_averaged_and_cross_fitted_as_networks_are(tmp_path):
    trees = dt.train_trees(SPLIT, settings=FEW)
    measured = dt.measure(trees, SPLIT, bins=5)
    by_function = dt.measure(lambda events: trees.score(events), SPLIT, bins=5)
    assert measured.stat_only == by_function.stat_only > 0.0
    network = dt.train(SPLIT, epochs=1, model=dt.models.MLP(hidden=(4,)), overtraining=9.0)
    both = dt.Ensemble((network, trees))
    mean = 0.5 * (network.score(EVENTS) + trees.score(EVENTS))
    np.testing.assert_allclose(both.score(EVENTS), mean, rtol=1e-6)

    crossed = dt.train_trees(dt.CrossFit(events=EVENTS), "lightgbm", settings={"num_leaves": 7})
    assert isinstance(crossed, dt.CrossFitted)
    scores = crossed.score(EVENTS)
    fold = np.asarray(EVENTS.fold)
    for number, each in enumerate(crossed.networks):
        mine = EVENTS.select(fold == number)
        np.testing.assert_array_equal(scores[fold == number], each.score(mine))
    assert dt.measure(crossed, EVENTS, bins=5).stat_only > 0.0

    for name, each in (("trees", trees), ("both", both), ("crossed", crossed)):
        each.save(tmp_path / name)
        again = load_network(tmp_path / name)
        assert type(again) is type(each)
        np.testing.assert_array_equal(again.score(EVENTS), each.score(EVENTS))
    assert load_network(tmp_path / "trees").settings == FEW


def test_trees_are_applied_to_files_which_they_remember(tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 2)) + (np.arange(600) % 2)[:, None]
    columns = {"pt": x[:, 0], "met": x[:, 1], "kind": np.arange(600) % 2, "number": np.arange(600)}
    with uproot.recreate(tmp_path / "in.root") as file:
        file["events"] = columns
    events = dt.read(
        tmp_path / "in.root",
        features=["pt", "met"],
        processes=[
            dt.Process(name="b", selection="kind == 0"),
            dt.Process(name="s", role="signal", selection="kind == 1"),
        ],
        event_number="number",
    )
    trees = dt.train_trees(events, settings=FEW)
    trees.save(tmp_path / "trees")
    dt.BoostedTrees.load(tmp_path / "trees").apply(tmp_path / "in.root", tmp_path / "out")
    written = uproot.open(tmp_path / "out" / "in.root")["events/score"].array(library="np")
    np.testing.assert_array_equal(written, trees.score(x.astype(np.float32)))


def test_what_does_not_fit_is_refused_with_the_remedy(tmp_path):
    trees = dt.train_trees(EVENTS, settings=FEW)
    with pytest.raises(InputError, match=r"the trees want the features \['pt', 'eta', 'mass'\]"):
        trees.score(np.zeros((3, 2), np.float32))
    with pytest.raises(InputError, match=r"library='xgbost': .*Did you mean 'xgboost'"):
        dt.train_trees(EVENTS, "xgbost")
    with pytest.raises(InputError, match=r"xgboost refuses the settings .*'max_depth': -3"):
        dt.train_trees(EVENTS, settings={"max_depth": -3})
    with pytest.raises(InputError, match=r"there is no such argument.*library"):
        dt.train_trees(EVENTS, libary="xgboost")
    trees.save(tmp_path)
    (tmp_path / "trees.model").write_bytes(b"no trees")
    with pytest.raises(InputError, match=r"trees.model cannot be read"):
        dt.BoostedTrees.load(tmp_path)
    with pytest.raises(InputError, match=r"does not exist; give a folder that save\(\) made"):
        dt.BoostedTrees.load(tmp_path / "nowhere")


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lightgbm", None)
    with pytest.raises(InputError, match=r"pip install 'difftune\[trees\]'"):
        dt.train_trees(EVENTS, "lightgbm")


def test_figures_are_those_of_scikit_learn_and_errors_those_of_many_samples():
    rng = np.random.default_rng(5)
    score = np.round(rng.beta(2, 2, len(EVENTS)), 2)  # with ties
    label, weight = np.asarray(EVENTS.label), np.asarray(EVENTS.weight, np.float64)
    area, loss = auc(score, EVENTS), log_loss(score, EVENTS)
    totals = np.bincount(label, weight)
    assert area.value == pytest.approx(
        sklearn.metrics.roc_auc_score(label, score, sample_weight=weight), abs=1e-9
    )
    assert loss.value == pytest.approx(
        sklearn.metrics.log_loss(label, score, sample_weight=weight / totals[label]), abs=1e-9
    )
    found = {"area": [], "loss": [], "difference": []}
    other = np.clip(score + rng.normal(0, 0.05, len(score)), 0.01, 0.99)
    for _ in range(300):
        rows = rng.integers(len(EVENTS), size=len(EVENTS))
        drawn = Labelled(label[rows], weight[rows])
        found["area"].append(auc(score[rows], drawn).value)
        found["loss"].append(log_loss(score[rows], drawn).value)
        found["difference"].append(
            (log_loss(other[rows], drawn) - log_loss(score[rows], drawn)).value
        )
    errors = {
        "area": area.error,
        "loss": loss.error,
        "difference": (log_loss(other, EVENTS) - loss).error,
    }
    for name, values in found.items():
        assert errors[name] == pytest.approx(np.std(values), rel=0.15), name
