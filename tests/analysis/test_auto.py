"""`dt.auto`: who takes part, that the best is chosen without the test events, what comes out."""

import json
import logging
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import sklearn.metrics

import difftune as dt
from difftune.analysis.contest import Contest, Parts
from difftune.analysis.influence import without_influence
from difftune.analysis.split import Split
from difftune.errors import InputError
from difftune.report import write_onnx
from difftune.training import load_network

PROCESSES = [dt.Process(name="bkg"), dt.Process(name="sig", role="signal")]


def sample(events=1500, *, seed=0):
    """Signal where two features agree; a tenth of the weights is negative."""
    rng = np.random.default_rng(seed)
    process = np.arange(events) % 2
    features = rng.normal(size=(events, 3))
    agree = np.sign(features[:, 0]) * np.abs(features[:, 1])
    features[:, 1] = np.where(process == 1, agree, features[:, 1])
    weight = rng.uniform(0.5, 1.5, events) * np.where(rng.random(events) < 0.1, -0.3, 1.0)
    return dt.Events.from_arrays(
        features, process, weight, feature_names=["a", "b", "c"], processes=PROCESSES
    )


EVENTS = sample()


@pytest.fixture(scope="module")
def found():
    return dt.auto(EVENTS, minutes=0.15, bins=5)


@pytest.mark.slow
def test_networks_trees_and_their_means_take_part(found):
    names = [each.name for each in found.contestants]
    assert names[:2] == ["xgboost, default", "lightgbm, default"]
    assert any(name.startswith("periodic embeddings, best of") for name in names)
    assert names[-2:] == ["networks, greedy ensemble", "networks and trees, greedy ensemble"]
    board = str(found.leaderboard)
    assert all(name in board for name in names)
    assert "AUC, training - test" in board
    for each in found.standings:
        assert each.cpu_seconds > 0.0
        assert each.log_loss.value - found.standings[0].log_loss.value == pytest.approx(
            each.behind.value
        )


@pytest.mark.slow
def test_each_event_is_judged_by_what_has_not_seen_it(found):
    """The parts of the default trees are those that are grown without the fold they validate."""
    split = Split(events=EVENTS)
    parts = Parts.of(split, ("signal",))
    assert [each.validation_folds for each in parts.groups[0]] == [(0,), (1,), (2,), (3,)]
    scores, labels, weights = [], [], []
    for fold in range(4):
        rest = [other for other in range(4) if other != fold]
        trees = dt.BoostedTrees.grown(split.part(*rest))
        own = split.part(fold)
        scores.append(trees.score(own))
        labels.append(own.label)
        weights.append(own.weight)
    (candidate,) = found.contestants[0].groups
    np.testing.assert_array_equal(candidate.scores, np.concatenate(scores))
    (standing,) = (each for each in found.standings if each.name == "xgboost, default")
    label, weight = np.concatenate(labels), np.concatenate(weights)
    totals = np.bincount(label, weight)
    expected = -np.sum(
        weight / totals[label] / 2 * np.log(np.where(label, candidate.scores, 1 - candidate.scores))
    )
    assert standing.log_loss.value == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_the_best_of_the_validation_events_is_chosen_and_measured_on_the_test_events(found):
    (number,) = found.chosen
    assert found.contestants[number].name == found.standings[0].name
    test = found.split.test
    (group,) = found.contestants[number].groups
    mean = np.mean([network.score(test) for network in group.final], axis=0)
    np.testing.assert_allclose(found.network.score(test), mean, atol=1e-6)
    assert found.measurement.stat_only == dt.measure(found, EVENTS, bins=5).stat_only
    assert found.standings[0].test_auc.value == pytest.approx(
        _auc(found.network.score(test), test), abs=1e-6
    )


def _auc(score, events):
    """Of scikit-learn, which takes no negative weights: those of pairs, one by one."""
    label, weight = np.asarray(events.label), np.asarray(events.weight, np.float64)
    signal, background = label == 1, label == 0
    above = (score[signal][:, None] > score[background]) + 0.5 * (
        score[signal][:, None] == score[background]
    )
    pairs = weight[signal][:, None] * weight[background]
    assert sklearn.metrics.roc_auc_score(label, score) == pytest.approx(above.mean())
    return np.sum(above * pairs) / pairs.sum()


@pytest.mark.slow
def test_the_report_holds_network_leaderboard_workspace_and_page(found, tmp_path):
    page = found.report(tmp_path / "auto")
    assert "networks and trees, greedy ensemble" in page.read_text()
    again = load_network(tmp_path / "auto" / "network")
    np.testing.assert_array_equal(again.score(EVENTS), found.network.score(EVENTS))
    workspace = json.loads((tmp_path / "auto" / "workspace.json").read_text())
    assert workspace["channels"][0]["name"] == "signal_region"
    lines = (tmp_path / "auto" / "leaderboard.csv").read_text().splitlines()
    assert len(lines) == 1 + len(found.contestants)
    assert (tmp_path / "auto" / "plots" / "signal_region.png").is_file()


@pytest.mark.slow
def test_networks_only_can_be_exported(tmp_path, caplog):
    """And what there is no time for is said."""
    with caplog.at_level(logging.WARNING, "difftune"):
        found = dt.auto(dt.CrossFit(events=EVENTS), minutes=0.01, networks_only=True)
    assert all(each.kind == "network" for each in found.contestants)
    assert "epochs, which are few. Give minutes=" in caplog.text
    assert isinstance(found.network, dt.CrossFitted)
    assert len(found.chosen) == EVENTS.folds
    write_onnx(found.network, tmp_path / "auto.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "auto.onnx")
    few = EVENTS.select(np.arange(len(EVENTS)) < 50)
    (scores,) = session.run(
        None,
        {
            "features": np.asarray(few.features, np.float32),
            "event_number": np.asarray(few.fold, np.int64),
        },
    )
    np.testing.assert_allclose(scores, found.network.score(few), atol=1e-5)
    assert found.measurement.stat_only > 0.0


@pytest.mark.slow
def test_noise_is_left_out_and_the_leaderboard_says_so():
    """Searches of a certain length, however long they take; of a, b and c the last one is noise."""
    rng = np.random.default_rng(3)
    label = np.arange(1500) % 2
    x = rng.normal(size=(1500, 3))
    x[:, :2] += np.where(label == 1, 1.0, -1.0)[:, None]
    events = dt.Events.from_arrays(
        x, label, np.ones(1500), feature_names=["a", "b", "c"], processes=PROCESSES
    )
    own = Contest(Split(events=events), ("signal",), 3600.0, 1)
    space = dt.Space(learning_rate=dt.log_uniform(5e-3, 2e-2))
    every = own._kind("networks", dt.models.MLP(hidden=(8,)), space, 3)
    own._search(every, 3600.0)
    fewer = own._fewer(every)
    own._search(fewer, 3600.0)
    for kind in (every, fewer):
        own._enter_best(kind)
    own.together()
    together = own.contestants[-1].groups[0]
    # The same choice of both kinds; what is judged has not seen the events, what is used has.
    unseen = [
        network.score(own.parts.validation[0][i]) for i, network in enumerate(together.networks)
    ]
    np.testing.assert_allclose(np.concatenate(unseen), together.scores, atol=1e-6)
    assert [each.weights for each in together.anew] == [each.weights for each in together.networks]
    auto = dt.analysis.Auto(
        split=own.sample,
        contestants=tuple(own.contestants),
        chosen=own.chosen(),
        seconds=1.0,
        measuring={},
    )
    name = "networks of 2 of 3 variables, best of 4 trials"
    assert [each.name for each in own.contestants][1] == name
    assert own.contestants[1].unused == (("c",),)
    assert f"Left out of {name}: c." in auto.leaderboard.caption
    test = np.asarray(own.sample.test.features)
    candidate = own.contestants[1].groups[0]
    assert len(candidate.anew) == len(candidate.networks) == 4
    for network in (*candidate.networks, *candidate.anew):
        other = test.copy()
        other[:, 2] = -other[:, 2]
        np.testing.assert_array_equal(network.score(other), network.score(test))
        assert np.max(np.abs(network.score(-other) - network.score(test))) > 0.1


def test_the_loss_by_exchanged_values_decides_what_has_influence():
    """Trees that are grown on a and b alone see nothing of the noise c, nor of its copy d."""
    values = np.asarray(EVENTS.features)
    wide = dt.Events.from_arrays(
        np.concatenate([values, values[:, 2:]], axis=1),
        np.asarray(EVENTS.process),
        np.asarray(EVENTS.weight),
        feature_names=list("abcd"),
        processes=PROCESSES,
    )
    split = Split(events=wide)
    learning = np.array(split.train.features)
    learning[:, 2:] = 0.0
    trees = dt.BoostedTrees.grown(replace(split.train, features=learning))
    assert without_influence([trees], [split.validation]) == ("c", "d")
    # The one that matters most stays, also where nothing matters.
    learning[:] = 0.0
    learning[:, 1] = np.arange(len(learning)) % 7
    nothing = dt.BoostedTrees.grown(replace(split.train, features=learning))
    assert len(without_influence([nothing], [split.validation])) <= 3


class Weak(dt.BoostedTrees):
    """The right logit of weak a and strong c; half of what a says comes from b, its copy."""

    size = 0.1

    def __init__(self):
        """There are no trees in it."""

    def score(self, features):
        a, b, c = features.T
        return 1.0 / (1.0 + np.exp(-2.0 * (self.size * (a + b) / 2.0 + c)))


def test_of_variables_that_say_the_same_one_stays():
    rng = np.random.default_rng(8)
    label = np.arange(4000) % 2
    a, c = (rng.normal(size=4000) + size * (2 * label - 1) for size in (Weak.size, 1.0))
    events = dt.Events.from_arrays(
        np.stack([a, a, c], axis=1),
        label,
        np.ones(4000),
        feature_names=["a", "b", "c"],
        processes=PROCESSES,
    )
    assert without_influence([Weak()], [events]) == ("a",)
    # Neither seems to be of much help, but without both there is less to say.
    other = a[rng.permutation(4000)]
    losses = [
        sklearn.metrics.log_loss(label, Weak().score(np.stack([*pair, c], axis=1)))
        for pair in ((a, a), (other, a), (other, other))
    ]
    assert losses[2] - losses[0] > 2.0 * (losses[1] - losses[0])


def test_a_choice_for_a_fold_has_not_seen_it():
    contest = Contest(dt.CrossFit(events=EVENTS), ("signal",), 1.0, 1)
    for fold, (rotation,) in enumerate(contest.parts.groups):
        assert rotation.test_folds == (fold,)
        assert not set(contest.parts.validation[fold][0].fold) & {fold}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "fast"}, "auto(mode='fast'): choose quick, standard, thorough"),
        ({"minutes": 0.0}, "auto(minutes=0.0): give a positive number"),
        ({"minuts": 3}, "auto(minuts=...): there is no such argument"),
        ({"figure": "luck"}, "luck"),
        ({"luminosity": "much"}, "luminosity"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(options, said):
    with pytest.raises(InputError) as refused:
        dt.auto(EVENTS, **options)
    assert said in str(refused.value)
