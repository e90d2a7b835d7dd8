"""One region for each process, against a count by hand and pyhf."""

from dataclasses import replace

import numpy as np
import pyhf
import pytest

import difftune as dt
from difftune.analysis import CrossFit, Split, categorised
from difftune.data import VariedSample
from difftune.errors import InputError
from difftune.models import MLP

NAMES = ("tchannel", "ttbar", "wjets")


@pytest.fixture(scope="module")
def sample():
    """Three processes around three points, each with more of its kind than of the others."""
    rng = np.random.default_rng(1)
    process = rng.choice(3, 6000)
    points = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
    x = points[process] + rng.normal(size=(6000, 2))
    events = dt.Events.from_arrays(
        x,
        process,
        np.array([0.2, 0.3, 0.5])[process],
        feature_names=["a", "b"],
        processes=[
            dt.Process(name=name, role="background" if i else "signal")
            for i, name in enumerate(NAMES)
        ],
        event_number=np.arange(6000),
    )
    shifted = replace(events, features=np.asarray(events.features) + np.float32(0.1))
    varied = VariedSample(up=shifted, down=None, processes=NAMES)
    return replace(events, variations={"scale": varied})


@pytest.fixture(scope="module")
def network(sample):
    return dt.train(
        sample,
        objective="categorical_cross_entropy",
        model=MLP(hidden=(8,)),
        epochs=6,
        hyperparameters={"learning_rate": 0.01},
    )


def test_regions_hold_what_a_count_by_hand_finds(sample, network):
    split = categorised(network, Split(events=sample), bins=4)
    assert [(r.name, r.role) for r in split.events.regions] == [
        ("tchannel", "signal"),
        ("ttbar", "control"),
        ("wjets", "control"),
    ]
    measured = dt.measure(network, split, bins=3)
    test = Split(events=sample).test
    shares = network.class_probabilities(test)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(shares[:, 0], network.score(test), rtol=1e-5)
    assert np.mean(np.argmax(shares, axis=1) == test.process) > 0.8
    edges = np.linspace(1 / 3, 1, 5)
    varied = network.class_probabilities(test.varied("scale", "up"))
    for templates in measured.fitted:
        own = NAMES.index(templates.channel)
        for number, name in enumerate(NAMES):
            for given, found in (
                (shares, templates.processes[name].nominal),
                (varied, templates.processes[name].variations["scale"][0]),
            ):
                mine = (np.argmax(given, axis=1) == own) & (test.process == number)
                bins = edges if own else templates.edges
                by_hand = np.histogram(given[mine, own], bins, weights=test.weight[mine])[0]
                np.testing.assert_allclose(found.sumw, by_hand, rtol=1e-5, atol=1e-5)
    # pyhf counts the same events.
    workspace = pyhf.Workspace(measured.workspace)
    assert set(workspace.channels) == set(NAMES)
    model = workspace.model()
    expected = model.expected_actualdata(model.config.suggested_init())
    assert np.sum(expected) == pytest.approx(sample.yields().sum(), rel=1e-4)


def test_the_regions_of_the_backgrounds_help(sample, network):
    """What is free in the fit is measured there; with one region it hides the signal."""
    free = [dt.histfactory.FreeNormalisation("k_ttbar", ["ttbar"])]
    plain = replace(sample, variations={})
    options = {"bins": 3, "figure": "precision", "free": free}
    alone = dt.measure(network, Split(events=plain), **options)
    split = categorised(network, Split(events=plain))
    assert dt.measure(network, split, **options).value < alone.value


def test_each_fold_and_what_is_refused(sample, network):
    plain = replace(sample, variations={})
    crossed = dt.train(
        CrossFit(events=plain),
        objective="categorical_cross_entropy",
        model=MLP(hidden=(4,)),
        epochs=2,
    )
    found = categorised(crossed, CrossFit(events=plain)).events
    for fold in (0, 3):
        mine = np.asarray(plain.fold) == fold
        shares = crossed.networks[fold].class_probabilities(plain.select(mine))
        np.testing.assert_array_equal(found.region[mine], np.argmax(shares, axis=1))
    with pytest.raises(InputError, match="in the regions tchannel, ttbar, wjets already"):
        categorised(network, found)
    binary = dt.train(plain, objective="cross_entropy", model=MLP(hidden=(4,)), epochs=1)
    with pytest.raises(InputError, match="1 outputs, not one for each of the 3 processes"):
        categorised(binary, plain)
