"""Friend trees and defaults, against the columns that were written, matched by numpy."""

import awkward as ak
import jax
import numpy as np
import pytest
import uproot
from click.testing import CliRunner

import difftune as dt
from difftune.cli import cli
from difftune.errors import InputError
from difftune.job import build, from_dict
from difftune.job.rundir import open_run
from difftune.models import MLP
from difftune.training import ModuleDef, Recipe, TrainedNetwork
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


def test_a_friend_for_each_tree(tmp_path):
    """Also for the trees of a variation, which have other entries."""
    x = {"s": [1.0, 2.0, 3.0], "b": [5.0, 6.0], "s_up": [2.0, 1.0], "b_up": [7.0, 5.0, 6.0]}
    with uproot.recreate(tmp_path / "more.root") as file:
        for name, values in x.items():
            lists = ak.Array([[v, v + 0.5] for v in reversed(values)])
            given = {"jets": ak.zip({"pt": lists}), "event": np.array(values[::-1], np.int32)}
            file.mkrntuple(name, ak.Array(given))
    flat = {name: {"event": np.array(values, np.int32)} for name, values in x.items()}
    write_root(tmp_path / "flat.root", **flat)

    def read_with(tree):
        return dt.read(
            tmp_path / "flat.root",
            processes=[dt.Process(name=name, tree=name, role=role) for name, role in roles.items()],
            features=["event", "sum(jets.pt)"],
            variations=[dt.TreeVariation("scale", up="{tree}_up")],
            friends=dt.Friend(files=tmp_path / "more.root", tree=tree, key=["event"]),
            event_number="event",
            folds=2,
            duplicates="allow",
        )

    roles = {"s": "signal", "b": "background"}
    events = read_with("{tree}")
    for found in (events, events.varied("scale", "up")):
        event, total = found.features.T
        np.testing.assert_array_equal(total, 2 * event + 0.5)
    with pytest.raises(InputError, match=r"no tree 'no_s'.*Trees in it: s, b, s_up, b_up"):
        read_with("no_{tree}")


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


def scorer(events) -> TrainedNetwork:
    """A network that was not trained, and remembers how its events were read."""
    made = ModuleDef(MLP(hidden=(5,)), inputs=len(events.feature_names), outputs=1)
    return TrainedNetwork(
        module_def=made,
        weights=made.init(jax.random.key(3)),
        hyperparameters={},
        transform=Recipe().transform(events),
        feature_names=events.feature_names,
        signal_process=(1.0, 0.0),
        reading=events.reading,
    )


FRIENDS = (
    {"tree": "scores"},
    {"files": "friend/all.root", "key": ["run", "event"]},
)


def test_files_are_scored_with_their_friends_and_defaults(folder, tmp_path, monkeypatch):
    """As the events of the training, also by a network that was saved; and others with theirs."""
    monkeypatch.chdir(folder)
    second = columns(ROWS, 2) | {"run": np.full(ROWS, 2, np.int32)}
    second |= {"weight": np.abs(second["weight"]), "late": np.linspace(0, 1, ROWS)}
    scores = {"score": second["x"] * 2}
    write_root(folder / "2.root", t=second, scores=scores)
    events = read(
        folder,
        features=["x", "score", "mass", "sum(hits)", "late"],
        friends=FRIENDS,
        defaults={"late": np.float32(0.5)},
        selection="mass > 160",
    )
    own = scorer(events)
    own.save(tmp_path / "network")
    loaded = TrainedNetwork.load(tmp_path / "network")
    assert loaded.reading.to_dict() == events.reading.to_dict()
    expected = np.concatenate([own.score(events)[events.process == i] for i in range(2)])
    written = loaded.apply([folder / "1.root", folder / "2.root"], tmp_path / "out")
    data = [columns(ROWS, run) | {"run": run} for run in (1, 2)]
    found, signal = [], []
    for path, each in zip(written, data, strict=True):
        with uproot.open(path) as file:
            # The other tree has not the columns; that of the friends lacks the key.
            assert file.keys(cycle=False) == ["t"]
            scores = file["t"]["score"].array(library="np")
        kept = each["jet_pt"] + 100 * each["run"] > 160
        np.testing.assert_array_equal(np.isfinite(scores), kept)
        found.append(scores[kept])
        signal.append(each["n_jets"][kept] < 2)
    found, signal = np.concatenate(found), np.concatenate(signal)
    np.testing.assert_allclose(np.concatenate([found[signal], found[~signal]]), expected, rtol=1e-6)
    assert found.std() > 0.01

    # Friends in another place, and a default that the caller gives.
    write_root(tmp_path / "other.root", t=columns(ROWS, 1) | {"run": np.ones(ROWS, np.int32)})
    with pytest.raises(InputError, match=r"friend: .*other.root' has no tree 'scores'"):
        loaded.apply(tmp_path / "other.root", tmp_path / "out2")
    moved = [dt.Friend(files=folder / "1.root", tree="scores"), FRIENDS[1]]
    (path,) = loaded.apply(
        tmp_path / "other.root", tmp_path / "out2", friends=moved, defaults={"late": 0.5}
    )
    with uproot.open(path) as file, uproot.open(written[0]) as first:
        np.testing.assert_array_equal(
            file["t"]["score"].array(library="np"), first["t"]["score"].array(library="np")
        )
    with pytest.raises(InputError, match=r"'late'"):
        loaded.apply(tmp_path / "other.root", tmp_path / "out3", friends=moved, defaults={})


def test_a_run_scores_files_whose_friends_are_elsewhere(folder, tmp_path):
    """`difftune apply RUN FILES --friends PATTERN`."""
    config = from_dict(
        {
            "data": {
                "files": str(folder / "*.root"),
                "features": ["x", "mass"],
                "weight": "weight",
                "friends": [
                    {"files": str(folder / "friend" / "all.root"), "key": ["run", "event"]}
                ],
            },
            "samples": [
                {"name": "s", "role": "signal", "tree": "t", "selection": "n_jets < 2"},
                {"name": "b", "tree": "t", "selection": "n_jets >= 2"},
            ],
        }
    )
    run = tmp_path / "run"
    with open_run(run, config, resume=False):
        scorer(build.events(config)).save(run / "network")
    (expected,) = dt.job.apply(run, folder / "1.root", tmp_path / "first")
    moved = tmp_path / "moved.root"
    (folder / "friend" / "all.root").rename(moved)
    arguments = ["apply", run, folder / "1.root", "--output", tmp_path / "second"]
    failed = CliRunner().invoke(cli, [*map(str, arguments)])
    assert "all.root' does not exist" in str(failed.exception)
    result = CliRunner().invoke(cli, [*map(str, arguments), "--friends", str(moved)])
    assert result.exit_code == 0, result.output
    with uproot.open(expected) as one, uproot.open(tmp_path / "second" / "1.root") as other:
        first, second = (each["t"]["score"].array(library="np") for each in (one, other))
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()
    with pytest.raises(InputError, match=r"read 1 friends with files of their own, '.*all.root'"):
        dt.job.apply(run, folder / "1.root", friends=["a.root", "b.root"])
