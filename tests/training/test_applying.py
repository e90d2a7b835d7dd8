"""Scores for every entry of files: aligned with the entries, and those of numpy and the network."""

import logging
from dataclasses import replace

import jax
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import uproot

import difftune as dt
from difftune.data import FeatureTransform
from difftune.data.transform import Missing
from difftune.errors import InputError
from difftune.models import MLP
from difftune.training import CrossFitted, Ensemble, ModuleDef, TrainedNetwork
from tests.data.files import write_root

FEATURES = ("pt", "ht")
OPTIONS = {
    "derived": {"ht": "pt + 2 * met"},
    "selection": "n_jets >= 2",
    "missing": {"pt": -999},
}


def network(seed: int = 0) -> TrainedNetwork:
    """One that was not trained, which no test here needs."""
    module_def = ModuleDef(MLP(hidden=(5,)), inputs=2, outputs=1)
    return TrainedNetwork(
        module_def=module_def,
        weights=module_def.init(jax.random.key(seed)),
        hyperparameters={},
        transform=FeatureTransform(
            center=np.array([50.0, 150.0], np.float32),
            scale=np.array([40.0, 90.0], np.float32),
            fill=np.array([50.0, 150.0], np.float32),
        ),
        feature_names=FEATURES,
        signal_process=(1.0, 0.0),
    )


@pytest.mark.slow
def test_targets_are_read_and_predictions_written_in_their_unit(tmp_path):
    """An expression of branches is learned; data have none; friends have a branch for each."""
    rng = np.random.default_rng(4)
    columns = {
        "pt": rng.exponential(50, 600).astype(np.float32),
        "eta": rng.normal(size=600).astype(np.float32),
        "event": np.arange(600),
    }
    columns["true_e"] = (columns["pt"] * np.cosh(columns["eta"])).astype(np.float32)
    columns["true_e"][5] = -999
    write_root(tmp_path / "muons.root", events=columns)
    observed = {name: column for name, column in columns.items() if name != "true_e"}
    write_root(tmp_path / "data.root", events=observed)
    processes = [
        dt.Process(
            name="muons", role="signal", files=tmp_path / "muons.root", selection="event < 400"
        ),
        dt.Process(name="others", files=tmp_path / "muons.root", selection="event >= 400"),
        dt.Process(name="data", role="data", files=tmp_path / "data.root"),
    ]
    options = {"features": ["pt", "eta"], "event_number": "event", "missing": {"true_e": -999}}
    events = dt.read(processes=processes, target={"e": "true_e / 2"}, **options)
    assert events.target_names == ("e",)
    wanted = np.where(columns["true_e"] == -999, np.nan, columns["true_e"].astype(float) / 2)
    np.testing.assert_array_equal(events.target[:600, 0], wanted)
    assert np.isnan(events.target[600:]).all()
    with pytest.raises(InputError, match="true_f"):
        dt.read(processes=processes, target="true_f", **options)
    kept = dt.read(processes=processes[0], selection="true_e > 0", target="true_e", **options)
    trained = dt.train(kept, objective="quantile", model=MLP(hidden=(4,)), epochs=2)
    paths = trained.apply(tmp_path / "data.root", tmp_path / "out", selection="True")
    with uproot.open(paths[0]) as file:
        written = file["events"].arrays(library="np")
    said = trained.score(np.stack([columns["pt"], columns["eta"]], axis=1))
    assert list(written) == ["true_e_q16", "true_e_q50", "true_e_q84"]
    np.testing.assert_allclose(np.stack(list(written.values()), axis=1), said, rtol=1e-5)


def table(events: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    pt = rng.exponential(50, events).astype(np.float32)
    return {
        "pt": np.where(rng.random(events) < 0.2, np.float32(-999), pt),
        "met": rng.exponential(50, events).astype(np.float32),
        "n_jets": rng.integers(0, 5, events, dtype=np.int32),
        "event": rng.permutation(10 * events)[:events].astype(np.int64),
    }


def expected(columns: dict[str, np.ndarray], *networks: TrainedNetwork) -> np.ndarray:
    """By numpy: of each entry, of those that the selection keeps."""
    pt = np.where(columns["pt"] == -999, np.nan, columns["pt"].astype(np.float64))
    inputs = np.stack([pt, pt + 2.0 * columns["met"]], axis=1).astype(np.float32)
    scores = np.stack([each.score(inputs) for each in networks])
    chosen = scores[columns["event"] % len(networks), np.arange(len(pt))]
    return np.where(columns["n_jets"] >= 2, chosen, np.nan)


NOMINAL, VARIED = table(1000, 1), table(700, 2)


@pytest.fixture
def file(tmp_path):
    """Events, varied events in a folder, and a tree without the columns."""
    with uproot.recreate(tmp_path / "sample.v1.root") as opened:
        for name, data in (("nominal", NOMINAL), ("jes/up", VARIED), ("sums", {"w": np.ones(3)})):
            opened.mktree(name, {key: values.dtype for key, values in data.items()})
            opened[name].extend(data)
    return tmp_path / "sample.v1.root"


@pytest.mark.parametrize("chunk_size", ["100 MB", 333])
def test_friends_have_the_entries_of_their_trees(file, tmp_path, chunk_size, caplog):
    own = network()
    with caplog.at_level(logging.INFO, "difftune"):
        written = dt.apply(own, file, tmp_path / "out", chunk_size=chunk_size, **OPTIONS)
    assert written == (tmp_path / "out" / "sample.root",)
    assert "left out" in caplog.text
    with uproot.open(written[0]) as friends:
        assert sorted(friends.keys(cycle=False, filter_classname="TTree")) == ["jes/up", "nominal"]
        for name, data in (("nominal", NOMINAL), ("jes/up", VARIED)):
            found = friends[name]["score"].array(library="np")
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected(data, own), rtol=1e-6)
            assert np.isnan(found).any()
            assert np.isfinite(found).any()


def test_cross_fitted_networks_score_their_own_folds(file, tmp_path):
    networks = tuple(network(seed) for seed in range(3))
    CrossFitted(networks).save(tmp_path / "networks")
    loaded = dt.training.load_network(tmp_path / "networks")
    options = OPTIONS | {"event_number": "event", "trees": "nominal", "branch": "nn"}
    (written,) = dt.apply(loaded, file, tmp_path / "out", **options)
    found = uproot.concatenate(f"{written}:nominal", library="np")["nn"]
    np.testing.assert_allclose(found, expected(NOMINAL, *networks), rtol=1e-6)
    assert not np.allclose(found, expected(NOMINAL, networks[0]), equal_nan=True)
    with uproot.open(written) as friends:
        assert friends.keys(cycle=False) == ["nominal"]
    with pytest.raises(InputError, match="has not seen an event: give event_number"):
        dt.apply(loaded, file, tmp_path / "out", **OPTIONS)


def test_an_ensemble_is_its_mean(file, tmp_path):
    networks = (network(1), network(2))
    Ensemble(networks).save(tmp_path / "networks")
    loaded = dt.training.load_network(tmp_path / "networks")
    (written,) = dt.apply(loaded, file, tmp_path / "out", trees=["nominal"], **OPTIONS)
    found = uproot.concatenate(f"{written}:nominal", library="np")["score"]
    mean = (expected(NOMINAL, networks[0]) + expected(NOMINAL, networks[1])) / 2
    np.testing.assert_allclose(found, mean, rtol=1e-6)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_parquet_for_what_has_no_trees(tmp_path, form):
    own, data = network(), pa.table(NOMINAL)
    file = tmp_path / f"new.{form}"
    if form == "csv":
        pyarrow.csv.write_csv(data, file)
    else:
        pyarrow.parquet.write_table(data, file)
    (written,) = dt.apply(own, file, tmp_path / "out", chunk_size=300, **OPTIONS)
    assert written == tmp_path / "out" / "new.parquet"
    found = pyarrow.parquet.read_table(written)
    assert found.column_names == ["score"]
    np.testing.assert_allclose(found["score"].to_numpy(), expected(NOMINAL, own), rtol=2e-6)
    (written,) = dt.apply(own, file, tmp_path / "out", form="root", **OPTIONS)
    found = uproot.concatenate(f"{written}:events", library="np")["score"]
    np.testing.assert_allclose(found, expected(NOMINAL, own), rtol=2e-6)


@pytest.mark.parametrize("form", ["root", "parquet"])
def test_varied_features_have_a_branch_of_their_own(tmp_path, form):
    own = network()
    shifted = NOMINAL | {"met": NOMINAL["met"] * np.float32(1.1), "n_jets": NOMINAL["n_jets"] + 1}
    columns = NOMINAL | {"met_up": shifted["met"], "more": shifted["n_jets"]}
    file = write_root(tmp_path / "a.root", with_it=columns, without=NOMINAL)
    varied = {"jer_up": {"met": "met_up", "n_jets": "more"}}
    options = OPTIONS | {"varied": varied, "form": form, "chunk_size": 400}
    written = dt.apply(own, file, tmp_path / "out", **options)
    if form == "root":
        with uproot.open(written[0]) as friends:
            assert friends["without"].keys() == ["score"]
            found = friends["with_it"].arrays(library="np")
    else:
        table = pyarrow.parquet.read_table(written[0])
        found = {name: table[name].to_numpy() for name in table.column_names}
    assert list(found) == ["score", "score_jer_up"]
    np.testing.assert_allclose(found["score"], expected(NOMINAL, own), rtol=2e-6)
    np.testing.assert_allclose(found["score_jer_up"], expected(shifted, own), rtol=2e-6)
    # The selection follows the varied columns.
    assert np.isfinite(found["score_jer_up"]).sum() > np.isfinite(found["score"]).sum()


def test_trees_to_parquet(file, tmp_path):
    own = network()
    written = dt.apply(own, file, tmp_path / "out", form="parquet", **OPTIONS)
    assert [path.name for path in written] == ["sample_nominal.parquet", "sample_jes_up.parquet"]
    for path, data in zip(written, (NOMINAL, VARIED), strict=True):
        found = pyarrow.parquet.read_table(path)["score"].to_numpy()
        np.testing.assert_allclose(found, expected(data, own), rtol=1e-6)


def test_what_cannot_be_is_refused_and_leaves_nothing(file, tmp_path):
    own, out = network(), tmp_path / "out"
    for options, said in (
        ({"trees": "nominla"}, "has no tree 'nominla'. Did you mean 'nominal'"),
        ({"trees": "sums"}, "has no branch"),
        ({"form": "csv"}, "there are 'root' and 'parquet'"),
        ({"derived": {"ht": "pt + mte"}}, "no tree of .* has what the network needs"),
        ({"missing": None, "selection": "n_jets > 99"}, None),
    ):
        if said is None:
            # Nothing selected is no error.
            (written,) = dt.apply(own, file, out, trees="nominal", **(OPTIONS | options))
            assert np.isnan(uproot.concatenate(f"{written}:nominal", library="np")["score"]).all()
            continue
        with pytest.raises(InputError, match=said):
            dt.apply(own, file, out, **(OPTIONS | options))
        assert not out.exists()
    (tmp_path / "other").mkdir()
    again = write_root(tmp_path / "other" / "sample.root", nominal=NOMINAL)
    with pytest.raises(InputError, match="would both be written to"):
        dt.apply(own, [file, again], out, **OPTIONS)
    before = (tmp_path / "other" / "sample.root").read_bytes()
    with pytest.raises(InputError, match="is the input itself"):
        dt.apply(own, again, tmp_path / "other", **OPTIONS)
    assert (tmp_path / "other" / "sample.root").read_bytes() == before
    with pytest.raises(InputError, match="cannot be written"):
        dt.apply(own, file, file / "below", **OPTIONS)


def read(files, **options):
    """Events as the tests above want them, with a variation of features."""
    roles = {"signal": "signal", "other": "background"}
    return dt.read(
        processes=[
            dt.Process(name=name, role=role, files=files[name], tree="nominal")
            for name, role in roles.items()
        ],
        features=FEATURES,
        event_number="event",
        folds=3,
        variations=[dt.FeatureVariation("jer", up={"met": "1.1 * met"}, processes=("other",))],
        **OPTIONS,
        **options,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {
        name: write_root(folder / f"{name}.root", nominal=table(1500, seed))
        for name, seed in (("signal", 5), ("other", 6))
    }


@pytest.mark.slow
def test_what_tuning_gives_remembers_how_its_events_were_read(files, file, tmp_path):
    events = read(files)
    crossed = dt.tune(
        dt.CrossFit(events=events),
        model=MLP(hidden=(4,)),
        search=dt.search.FixedSchedule(population=2, rounds=1, epochs_per_round=2, schedule={}),
    )
    shifted = NOMINAL | {"met": NOMINAL["met"] * 1.1}
    networks = crossed.network.networks
    wanted = {
        "nn": expected(NOMINAL, *networks),
        "nn_jer_up": expected(shifted, *networks),
    }
    assert not np.allclose(wanted["nn"], wanted["nn_jer_up"], equal_nan=True)
    (written,) = crossed.apply(file, tmp_path / "a", branch="nn", trees="nominal")
    found = uproot.concatenate(f"{written}:nominal", library="np")
    assert list(found) == list(wanted)
    for name, scores in wanted.items():
        np.testing.assert_allclose(found[name], scores, rtol=2e-6)

    # So do its networks, read again from where they were saved.
    crossed.network.save(tmp_path / "networks")
    loaded = dt.training.load_network(tmp_path / "networks")
    (written,) = loaded.apply(
        file, tmp_path / "b", branch="nn", trees="nominal", form="parquet", varied={}
    )
    table_of = pyarrow.parquet.read_table(written)
    assert table_of.column_names == ["nn"]
    np.testing.assert_allclose(table_of["nn"].to_numpy(), wanted["nn"], rtol=2e-6)

    # One of them, and what a search for one fold gave.
    one = crossed.folds[0]
    for given in (one, one.network, [one.network]):
        (written,) = dt.apply(given, file, tmp_path / "c", trees="nominal", varied={})
        found = uproot.concatenate(f"{written}:nominal", library="np")["score"]
        np.testing.assert_allclose(found, expected(NOMINAL, networks[0]), rtol=2e-6)


def test_what_is_given_stands_before_what_is_remembered(files, file, tmp_path):
    own = replace(network(), reading=read(files).reading)
    (written,) = own.apply(file, tmp_path / "out", trees="nominal", selection="True", varied={})
    found = uproot.concatenate(f"{written}:nominal", library="np")["score"]
    everything = NOMINAL | {"n_jets": np.full(1000, 2)}
    np.testing.assert_allclose(found, expected(everything, own), rtol=2e-6)
    with pytest.raises(InputError, match="brnach"):
        own.apply(file, tmp_path / "out", brnach="nn")


@pytest.mark.parametrize("missing", [None, -999, [float("nan"), -999], {"*": -1, "pt": [-9, 0]}])
def test_a_reading_is_saved_with_its_network(tmp_path, missing):
    reading = dt.data.Reading(
        features=FEATURES, missing=missing, event_number=["run", "event"], derived={"ht": "pt"}
    )
    replace(network(), reading=reading).save(tmp_path)
    found = TrainedNetwork.load(tmp_path).reading
    # NaN is not equal to itself.
    assert repr(Missing.of(found.missing)) == repr(Missing.of(missing))
    assert found.event_number == ["run", "event"]
    assert found.derived == {"ht": "pt"}
