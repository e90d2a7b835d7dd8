"""Friend trees and defaults, against the columns that were written, matched by numpy."""

import awkward as ak
import numpy as np
import pytest

import difftune as dt
from difftune.errors import InputError
from tests.data.files import columns, write_root

ROWS = 60
PROCESSES = [
    dt.Process(name="s", role="signal", tree="t", selection="n_jets < 2"),
    dt.Process(name="b", tree="t", selection="n_jets >= 2"),
]


@pytest.fixture
def folder(tmp_path):
    """Two files of runs 1 and 2, with a tree of the same entries, and one friend by event."""
    rng = np.random.default_rng(0)
    friends = []
    for run in (1, 2):
        data = columns(ROWS, run) | {"run": np.full(ROWS, run, np.int32)}
        data["weight"] = np.abs(data["weight"])
        same = {"score": data["x"] * 2, "n_jets": np.zeros(ROWS, np.int32)}
        write_root(tmp_path / f"{run}.root", t=data, scores=same)
        more = {name: data[name] for name in ("run", "event")}
        friends.append(more | {"mass": data["jet_pt"] + 100 * run, "hits": _lists(data["n_jets"])})
    order = rng.permutation(2 * ROWS)
    joined = {
        name: np.concatenate([friend[name] for friend in friends])[order]
        for name in ("run", "event", "mass")
    }
    joined["hits"] = ak.concatenate([friend["hits"] for friend in friends])[order]
    (tmp_path / "friend").mkdir()
    write_root(tmp_path / "friend" / "all.root", f=joined)
    return tmp_path


def _lists(number):
    return ak.unflatten(np.arange(number.sum(), dtype=np.float32), number)


def read(folder, files="*.root", **options):
    given = {"features": ["x"], "weight": "weight", "folds": 2, "duplicates": "allow"}
    return dt.read(folder / files, processes=PROCESSES, **(given | options))


@pytest.mark.parametrize("chunk_size", [7, "100 MB"])
def test_another_tree_of_the_same_entries(folder, chunk_size):
    events = read(
        folder, features=["x", "score"], friends=[{"tree": "scores"}], chunk_size=chunk_size
    )
    np.testing.assert_array_equal(events.features[:, 1], 2 * events.features[:, 0])
    # A branch of its own goes before that of a friend.
    assert len(np.unique(events.process)) == 2


@pytest.mark.parametrize("chunk_size", [7, "100 MB"])
def test_a_friend_by_event(folder, chunk_size):
    friend = dt.Friend(files=folder / "friend" / "all.root", key=["run", "event"])
    events = read(
        folder,
        features=["jet_pt", "run", "mass", "n_jets", "number"],
        derived={"number": "count(hits > -1)"},
        friends=friend,
        chunk_size=chunk_size,
    )
    pt, run, mass, jets, number = events.features.T
    np.testing.assert_allclose(mass, pt + 100 * run, rtol=1e-6)
    np.testing.assert_array_equal(number, jets)


def test_a_friend_for_each_file(folder):
    for run in (1, 2):
        write_root(folder / "friend" / f"f{run}.root", f={"y": np.arange(ROWS) + 1000.0 * run})
    friend = {"files": str(folder / "friend" / "f{name}.root")}
    events = read(folder, features=["run", "y"], derived={}, friends=[friend])
    np.testing.assert_array_equal(events.features[:, 1] // 1000, events.features[:, 0])


@pytest.fixture
def texts(tmp_path):
    """A text file of 40 events: how many they are, only reading tells."""
    rows = [f"{i % 7},{i},{i // 20}" for i in range(40)]
    (tmp_path / "events.csv").write_text("\n".join(["x,event,n_jets", *rows]))
    return tmp_path


def read_texts(folder, rows, **friend):
    """The score [events] of each event, by its number."""
    lines = [",".join(map(str, row)) for row in [("event", "score"), *rows]]
    (folder / "friend.csv").write_text("\n".join([*lines, ""]))
    events = dt.read(
        folder / "events.csv",
        processes=[
            dt.Process(name="s", role="signal", selection="n_jets == 1"),
            dt.Process(name="b", selection="n_jets == 0"),
        ],
        features=["event", "score"],
        folds=2,
        duplicates="allow",
        friends=dt.Friend(files=folder / "friend.csv", **friend),
        chunk_size=7,
    )
    return dict(events.features.astype(int).tolist())


def test_a_friend_of_another_length_is_no_friend_by_entry(texts):
    rows = [(i, 3 * i) for i in range(40)]
    assert read_texts(texts, rows) == dict(rows)
    for other in (rows[:-5], rows * 2, []):
        with pytest.raises(InputError, match=r"events.csv has \d+ entries, and its friend .*give"):
            read_texts(texts, other)


@pytest.mark.parametrize("value", ["nan", "2.5", f"{2.0**60:.1f}"])
def test_a_key_is_of_whole_numbers(texts, value):
    rows = [(i, 3 * i) for i in range(40)]
    assert read_texts(texts, [(float(i), score) for i, score in rows], key="event") == dict(rows)
    with pytest.raises(InputError, match=r"'event' of the key of a friend is .* no whole number"):
        read_texts(texts, [*rows, (value, 1)], key="event")


def test_an_empty_friend_and_an_empty_key(texts):
    with pytest.raises(InputError, match=r"not in its friend|no column of whole numbers"):
        read_texts(texts, [], key="event")
    with pytest.raises(InputError, match=r"key = \[\]: name the columns that tell events apart"):
        dt.Friend(tree="t", key=[])


def test_friends_that_do_not_fit(folder):
    whole = folder / "friend" / "all.root"
    write_root(folder / "short.root", f={"y": np.arange(5.0)})
    with pytest.raises(
        InputError, match=r"has 60 entries, and its friend .*short\.root:f 5\. With"
    ):
        read(folder, "1.root", features=["y"], friends={"files": folder / "short.root"})
    few = {"run": np.full(5, 1), "event": np.arange(5) + 7, "y": np.arange(5.0)}
    write_root(folder / "few.root", f=few)
    friend = dt.Friend(files=folder / "few.root", key=["run", "event"])
    with pytest.raises(InputError, match=r"55 of the entries .*few\.root:f.* run = 1, event = 12"):
        read(folder, "1.root", features=["y"], friends=friend)
    with pytest.raises(InputError, match=r"it has the event event = \d+ more than once"):
        read(folder, "1.root", features=["mass"], friends={"files": whole, "key": "event"})
    with pytest.raises(InputError, match="the key of a friend has 'lumi'"):
        read(folder, "1.root", features=["mass"], friends={"files": whole, "key": ["run", "lumi"]})
    with pytest.raises(InputError, match="has neither files nor tree"):
        dt.Friend(key="event")


def test_defaults_of_branches_that_some_files_lack(folder):
    data = columns(ROWS, 5) | {"run": np.full(ROWS, 3, np.int32)}
    data |= {"weight": np.ones(ROWS), "btag": np.arange(ROWS) + 1.0, "ok": np.ones(ROWS, bool)}
    write_root(folder / "3.root", t=data)
    defaults = {"btag": -1, "ok": True}
    events = read(folder, "[123].root", features=["run", "btag"], selection="ok", defaults=defaults)
    run, btag = events.features.T
    assert (btag[run < 3] == -1).all()
    assert (btag[run == 3] >= 1).all()
    assert len(events) == 3 * ROWS
    with pytest.raises(InputError, match=r"no file has 'btagg'.* 'btag'"):
        read(folder, "[123].root", features=["x"], defaults={"btagg": 0.0})
    numbers = {"btag": np.float32(-1)}
    again = read(folder, "[123].root", features=["run", "btag"], defaults=numbers)
    np.testing.assert_array_equal(np.unique(again.features[:, 1]), np.unique(btag))
    with pytest.raises(InputError, match=r"defaults: 'btag' has a number that is larger than"):
        read(folder, "3.root", features=["x"], defaults={"btag": 10**400})
    with pytest.raises(InputError, match=r"defaults: 'btag' = \[1\]: give a number"):
        read(folder, "3.root", features=["x"], defaults={"btag": [1]})
