"""Events that are there more than once: as many as were put there."""

import logging
import shutil

import numpy as np
import pytest

from difftune.data import Events, Process, TreeVariation, read
from difftune.errors import InputError
from difftune.job import build, from_dict
from tests.data.files import columns, write_root


def read_from(files, **options):
    """A signal of these files, and a background that has no copies."""
    given = {
        "processes": [
            Process(name="higgs", role="signal", files=[str(f) for f in files], tree="t"),
            Process(name="ttbar", files=str(files[0]), tree="other"),
        ],
        "features": ["x", "jet_pt", "n_jets"],
        "weight": "weight",
    }
    return read(**(given | options))


def sample(events, seed):
    return columns(events, seed) | {"run": np.full(events, seed), "lumi": np.arange(events) // 10}


def some(data, chosen):
    return {name: values[chosen] for name, values in data.items()}


def joined(*parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


OTHER = sample(200, 99)


@pytest.fixture
def files(tmp_path):
    write_root(tmp_path / "p1.root", t=sample(400, 1), other=OTHER)
    shutil.copy(tmp_path / "p1.root", tmp_path / "p1copy.root")
    return [tmp_path / "p1.root", tmp_path / "p1copy.root"]


@pytest.mark.parametrize("event_number", [None, "event", ["run", "event"]])
@pytest.mark.parametrize("features", [["x", "jet_pt", "n_jets"], ["n_jets"]])
def test_a_copied_file_is_warned_of_refused_or_allowed(files, event_number, features, caplog):
    options = {"event_number": event_number, "features": features}
    if features == ["n_jets"]:
        options["weight"] = "1"
    with caplog.at_level(logging.WARNING, "difftune"):
        events = read_from(files, **options)
    assert (events.process == 0).sum() == 800
    assert "process 'higgs': 400 of 800 events are there more than once" in caplog.text
    assert f"400 in {files[0]}:t, 400 in {files[1]}:t" in caplog.text
    assert "Leave one of the files out" in caplog.text
    assert "process 'ttbar'" not in caplog.text
    with pytest.raises(InputError, match="400 of 800 events are there more than once"):
        read_from(files, duplicates="refuse", **options)
    caplog.clear()
    read_from(files, duplicates="allow", **options)
    assert "more than once" not in caplog.text


@pytest.mark.parametrize("event_number", [None, "event"])
def test_files_that_share_half_of_their_events(tmp_path, event_number, caplog):
    both = sample(900, 1)
    rng = np.random.default_rng(0)
    write_root(tmp_path / "a.root", t=some(both, slice(0, 600)), other=OTHER)
    write_root(tmp_path / "b.root", t=some(both, rng.permutation(np.arange(300, 900))))
    read_from([tmp_path / "a.root", tmp_path / "b.root"], event_number=event_number)
    rows = np.stack([np.r_[both[n][:600], both[n][300:]] for n in ("x", "jet_pt")], axis=1)
    repeated = len(rows) - len(np.unique(rows, axis=0))
    assert repeated == 300
    assert "process 'higgs': 300 of 1200 events are there more than once" in caplog.text
    assert "a.root:t, 300 in" in caplog.text


def test_a_file_that_was_merged_twice(tmp_path, caplog):
    once = sample(300, 1)
    write_root(tmp_path / "a.root", t=joined(once, once), other=OTHER)
    read_from([tmp_path / "a.root"])
    assert "300 of 600 events are there more than once" in caplog.text


def test_numbers_that_are_not_unique_ask_for_more_columns(tmp_path, caplog):
    write_root(tmp_path / "a.root", t=sample(300, 1), other=OTHER)
    write_root(tmp_path / "b.root", t=sample(200, 2))
    files = [tmp_path / "a.root", tmp_path / "b.root"]
    read_from(files, event_number="event")
    assert "200 of 500 events are there more than once: they share their event number, but" in (
        caplog.text
    )
    assert "as in ['run', 'lumi', 'event']" in caplog.text
    caplog.clear()
    read_from(files, event_number=["run", "event"], duplicates="refuse")
    assert "more than once" not in caplog.text


def test_coincidences_are_no_copies(tmp_path, caplog):
    """Whole numbers, rounded ones, and constants, of many events in several files."""
    rng = np.random.default_rng(3)
    for name in "ab":
        data = sample(3000, 1)
        data["x"] = np.round(rng.normal(size=3000), 2).astype(np.float32)
        write_root(tmp_path / f"{name}.root", t=data, other=OTHER)
    files = [tmp_path / "a.root", tmp_path / "b.root"]
    for features in (["x"], ["n_jets"], ["tight"], ["x", "n_jets"]):
        if features == ["n_jets"]:
            files = files[:1]
        read_from(files, features=features, weight="1", duplicates="refuse")
    assert "more than once" not in caplog.text


def test_varied_samples_are_looked_at_too(files):
    up, down = str(files[0]), [str(f) for f in files]
    with pytest.raises(InputError, match=r"process 'higgs' \(variation 'jes' down\): 400 of 800"):
        read_from(
            files[:1],
            event_number="event",
            duplicates="refuse",
            variations=[TreeVariation("jes", "t", "t", ["higgs"], up, down)],
        )


def test_a_key_of_several_columns_spreads_over_folds_and_keeps_events_together(tmp_path):
    data = sample(4000, 7)
    data["event"] = data["event"] * np.uint64(5)  # alone, all of them would be in one fold
    up = some(data, np.random.default_rng(1).permutation(4000)[:3000])
    write_root(tmp_path / "a.root", t=data, t_up=up, other=OTHER)
    key = ["run", "lumi", "event"]
    variations = [TreeVariation("jes", "{tree}_up", processes=["higgs"])]
    events = read_from([tmp_path / "a.root"], event_number=key, variations=variations)
    signal = events.process == 0
    counts = np.bincount(events.fold[signal], minlength=5)
    assert ((counts - 800) ** 2 / 800).sum() < 18.5  # chi2 of 4 degrees: 0.1 %
    nominal = dict(zip(events.features[signal, 0], events.fold[signal], strict=True))
    varied = events.varied("jes", "up")
    wanted = [nominal[x] for x in varied.features[:, 0]]
    np.testing.assert_array_equal(varied.fold, wanted)
    alone = read_from([tmp_path / "a.root"], event_number="event + lumi")
    np.testing.assert_array_equal(alone.fold[signal], (data["event"] + data["lumi"]) % 5)
    one = read_from([tmp_path / "a.root"], event_number=["event + lumi"])
    np.testing.assert_array_equal(one.fold, alone.fold)

    columns_of_key = np.stack([data[name].astype(np.int64) for name in key], axis=1)
    arrays = Events.from_arrays(
        events.features[signal],
        events.process[signal],
        events.weight[signal],
        feature_names=events.feature_names,
        processes=events.processes,
        event_number=columns_of_key,
    )
    np.testing.assert_array_equal(arrays.fold, events.fold[signal])


def test_the_analysis_file_has_both(files, caplog):
    raw = {
        "data": {
            "features": ["x"],
            "event_number": ["run", "lumi", "event"],
            "duplicates": "refuse",
        },
        "samples": [
            {"name": "s", "role": "signal", "tree": "t", "files": [str(f) for f in files]},
            {"name": "b", "tree": "other", "files": str(files[0])},
        ],
    }
    with pytest.raises(InputError, match="process 's': 400 of 800 events"):
        build.events(from_dict(raw))
    raw["data"]["duplicates"] = "allow"
    assert len(build.events(from_dict(raw))) == 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duplicates": "refused"}, "is none of warn, refuse, allow. Did you mean 'refuse'"),
        ({"event_number": []}, "name at least one column"),
        ({"event_number": ["run", "evnt"]}, "no branch 'evnt'. Did you mean 'event'"),
        ({"event_number": ["run", "x"]}, "event number `x`.*no whole numbers"),
    ],
)
def test_wrong_requests(files, options, message):
    with pytest.raises(InputError, match=message):
        read_from(files[:1], **options)
