"""Varied samples in the rows of the nominal one."""

import logging
from pathlib import Path

import numpy as np
import pytest
import uproot

from difftune.data import (
    Events,
    FeatureTransform,
    FeatureVariation,
    Process,
    TreeVariation,
    VariedSample,
    WeightVariation,
    paired,
    read,
)
from difftune.training import columns
from tests.data.files import columns as file_columns
from tests.data.files import write_root
from tests.shared_data import path

SINGLE_TOP = Path(__file__).parents[2] / "examples" / "single_top" / "single_top.root"
PROCESSES = (Process(name="s", role="signal"), Process(name="b"), Process(name="other"))


def sample(rows, **options) -> Events:
    """Of (process, number, feature, weight)."""
    process, number, feature, weight = (np.array(column) for column in zip(*rows, strict=True))
    return Events.from_arrays(
        feature[:, None].astype(float),
        process,
        weight.astype(float),
        feature_names=["x"],
        processes=PROCESSES,
        event_number=number,
        folds=5,
        **options,
    )


@pytest.fixture(scope="module")
def single_top():
    return read(
        SINGLE_TOP,
        processes=[
            Process(name="schannel", role="signal", tree="schannel"),
            Process(name="zjets", tree="zjets"),
        ],
        features=["lightjet_pt", "ht", "lepton_eta"],
        weight="weight",
        event_number="event_number",
        variations=[
            TreeVariation("jes", "{tree}_jes_up", "{tree}_jes_down", processes=["schannel"]),
            WeightVariation("isr", "weight_isr_up", "weight_isr_down"),
        ],
    )


def test_by_hand():
    nominal = sample([(0, 7, 0.1, 1.0), (1, 7, 0.2, 2.0), (1, 8, 0.3, 3.0), (2, 9, 0.4, 4.0)])
    up = sample([(1, 9, 1.5, 6.0), (1, 8, 1.3, 5.0), (0, 7, 1.1, 7.0)])
    down = sample([(1, 9, 2.5, 8.0), (0, 3, 2.0, 9.0)])
    weights = np.array([1, 2, 3, 5], np.float32)
    events = sample(
        [(0, 7, 0.1, 1.0), (1, 7, 0.2, 2.0), (1, 8, 0.3, 3.0), (2, 9, 0.4, 4.0)],
        variations={
            "jes": VariedSample(up=up, down=down, processes=("s", "b")),
            "isr": (weights, None),
        },
    )
    found = paired(events)
    # Number 9 of b is in both variations, number 3 of s in one of them.
    np.testing.assert_array_equal(found.process, [0, 1, 1, 2, 1, 0])
    np.testing.assert_array_equal(found.fold, [2, 2, 3, 4, 4, 3])
    np.testing.assert_array_equal(found.weight, [1, 2, 3, 4, 0, 0])
    jes, isr = found.variations["jes"], found.variations["isr"]
    np.testing.assert_array_equal(jes.up.weight, [7, 0, 5, 4, 6, 0])
    np.testing.assert_array_equal(jes.down.weight, [0, 0, 0, 4, 8, 9])
    as32 = np.float32
    np.testing.assert_array_equal(found.features[:, 0], as32([0.1, 0.2, 0.3, 0.4, 1.5, 2.0]))
    np.testing.assert_array_equal(jes.up.features[:, 0], as32([1.1, 0.2, 1.3, 0.4, 1.5, 2.0]))
    np.testing.assert_array_equal(jes.down.features[:, 0], as32([0.1, 0.2, 0.3, 0.4, 2.5, 2.0]))
    np.testing.assert_array_equal(isr.up, [1, 2, 3, 5, 0, 0])
    assert isr.down is None
    assert paired(nominal) is nominal


def spectrum(features, weight, process, wanted):
    mine = process == wanted
    edges = np.linspace(0, 800, 30)
    return np.histogram(features[mine, 1], edges, weights=weight[mine].astype(float))[0]


def test_histograms_of_the_single_top_sample_stay_what_they_are(single_top):
    found = paired(single_top)
    jes = found.variations["jes"]
    for process in (0, 1):
        for ours, theirs in (
            (found, single_top),
            (jes.up, single_top.variations["jes"].up if process == 0 else single_top),
            (jes.down, single_top.variations["jes"].down if process == 0 else single_top),
        ):
            np.testing.assert_allclose(
                spectrum(ours.features, ours.weight, ours.process, process),
                spectrum(theirs.features, theirs.weight, theirs.process, process),
                rtol=1e-12,
            )


def test_shared_events_are_those_that_the_file_has_in_both_trees(single_top):
    found, nominal = paired(single_top), single_top
    with uproot.open(SINGLE_TOP) as file:
        trees = {
            direction: file[f"schannel_jes_{direction}"].arrays(library="np")
            for direction in ("up", "down")
        }
        numbers = file["schannel"]["event_number"].array(library="np")
    mine = nominal.process == 0
    np.testing.assert_array_equal(nominal.number[mine], numbers)
    for direction, tree in trees.items():
        varied = getattr(found.variations["jes"], direction)
        share = np.mean(varied.weight[: len(nominal)][mine] != 0)
        assert share == pytest.approx(np.mean(np.isin(numbers, tree["event_number"])))
        # Of the README of the sample.
        assert share == pytest.approx(0.983 if direction == "up" else 0.962, abs=6e-4)
        by_number = dict(zip(tree["event_number"], tree["ht"], strict=True))
        expected = [
            by_number.get(number, own)
            for number, own in zip(numbers, nominal.features[mine, 1], strict=True)
        ]
        np.testing.assert_array_equal(varied.features[: len(nominal)][mine, 1], expected)
    entering = np.union1d(trees["up"]["event_number"], trees["down"]["event_number"])
    assert len(found) - len(nominal) == len(np.setdiff1d(entering, numbers))


def test_training_sees_varied_samples_in_their_folds(single_top):
    train = single_top.in_folds([0, 1, 2])
    full = single_top.yields()
    transform = FeatureTransform.fit(train.features, train.weight)
    made = columns(train, full, transform, fold=True)
    jes, isr = made.variations["jes"], made.variations["isr"]
    scale = full / train.yields()
    np.testing.assert_allclose(np.bincount(made.process, made.weight), full, rtol=1e-5)
    for side, sample in (
        (jes.up, train.variations["jes"].up),
        (jes.down, train.variations["jes"].down),
    ):
        total = np.bincount(made.process, side.weight)
        np.testing.assert_allclose(total[0], scale[0] * sample.yields()[0], rtol=1e-5)
        np.testing.assert_allclose(total[1], full[1], rtol=1e-5)
        assert side.features.shape == made.features.shape
    assert len(isr.up.weight) == len(made.weight)
    # A row that only a variation fills has the fold of the sample that it is from.
    entering = made.weight == 0
    assert 0 < entering.sum() < 0.1 * len(entering)
    assert set(made.fold[entering]) == {0, 1, 2}
    assert np.all(made.training_weight[entering] == 0)
    assert np.mean(made.training_weight) == pytest.approx(1, rel=1e-5)
    without = columns(train, full, transform, varied=False)
    assert len(without.weight) == len(train)
    assert not without.variations


def test_cabinetry_toy_has_unrelated_samples(caplog):
    file = str(path("events/cabinetry_toy_prediction.root"))
    events = read(
        processes=[
            Process(name="signal", role="signal", files=file, tree="signal"),
            Process(name="background", files=file, tree="background"),
        ],
        features=["jet_pt"],
        weight="weight",
        # No event number in the toy; this one hardly ever agrees, and sometimes repeats.
        event_number="floor(100 * jet_pt)",
        variations=[TreeVariation("modelling", "{tree}_varied", processes=["background"])],
    )
    with caplog.at_level(logging.INFO, logger="difftune"):
        found = paired(events)
    assert "have a number that is not theirs alone (background)" in caplog.text
    varied = found.variations["modelling"]
    assert varied.down is None
    for process in (0, 1):
        for ours, theirs in ((found, events), (varied.up, events.varied("modelling", "up"))):
            if theirs is not events and process == 0:
                theirs = events
            edges = np.linspace(0, 600, 20)
            counts = [
                np.histogram(e.features[m, 0], edges, weights=e.weight[m].astype(float))[0]
                for e in (ours, theirs)
                for m in [e.process == process]
            ]
            np.testing.assert_allclose(*counts, rtol=1e-9)
    repeated = [
        np.bincount(np.unique(e.number, return_inverse=True)[1], minlength=len(e)).tolist()
        for e in (events.select(events.process == 1), varied_of(events))
    ]
    assert max(map(max, repeated)) > 1
    assert len(found) < len(events) + len(varied_of(events))


def varied_of(events: Events) -> Events:
    sample = events.varied("modelling", "up")
    assert sample is not None
    return sample


def test_feature_variations_pair_by_entry_without_an_event_number(tmp_path):
    file = write_root(tmp_path / "a.root", s=file_columns(300, 1), b=file_columns(300, 2))
    events = read(
        file,
        processes=[Process(name="s", role="signal", tree="s"), Process(name="b", tree="b")],
        features=["jet_pt"],
        weight="abs(weight) + 0.1",
        selection="jet_pt > 25",
        variations=[FeatureVariation("jes", {"jet_pt": "1.1 * jet_pt"})],
    )
    found = paired(events)
    up = found.variations["jes"].up
    stay = slice(0, len(events))
    np.testing.assert_allclose(up.features[stay], 1.1 * events.features, rtol=1e-6)
    np.testing.assert_array_equal(up.weight[stay], events.weight)
    entered = up.features[len(events) :, 0]
    assert len(entered) > 0
    assert np.all((entered > 25) & (entered < 1.1 * 25 * (1 + 1e-6)))


def test_without_numbers_nothing_is_paired(caplog):
    def unnumbered(rows: int) -> Events:
        return Events.from_arrays(
            np.ones((rows, 1)),
            np.ones(rows, int),
            np.ones(rows),
            feature_names=["x"],
            processes=PROCESSES,
        )

    events = Events.from_arrays(
        np.zeros((3, 1)),
        np.array([0, 1, 1]),
        np.ones(3),
        feature_names=["x"],
        processes=PROCESSES,
        variations={"alternative": (unnumbered(2), None)},
    )
    with caplog.at_level(logging.INFO, logger="difftune"):
        found = paired(events)
    assert "no event numbers" in caplog.text
    np.testing.assert_array_equal(found.weight, [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(found.variations["alternative"].up.weight, [1, 0, 0, 1, 1])
