"""Reading, against what uproot, pyarrow, hist and numpy give directly."""

import gzip
import logging
from dataclasses import replace

import hist
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import uproot

import difftune as dt
from difftune.data import (
    FeatureVariation,
    Process,
    TreeVariation,
    WeightVariation,
    read,
)
from difftune.errors import InputError
from difftune.job import build, load
from tests.data.files import columns, write_root
from tests.shared_data import path

SIGNAL, BACKGROUND = columns(300, 1), columns(200, 2)


@pytest.fixture
def file(tmp_path):
    up, down = columns(310, 3), columns(290, 4)
    return write_root(
        tmp_path / "all.root", signal=SIGNAL, ttbar=BACKGROUND, ttbar_jes_up=up, ttbar_jes_down=down
    )


PROCESSES = (
    Process(name="higgs", role="signal", tree="signal"),
    Process(name="ttbar", tree="ttbar"),
)


def read_plain(file, **options):
    given = {
        "processes": PROCESSES,
        "features": ["x", "jet_pt", "n_jets", "tight"],
        "weight": "weight",
        "event_number": "event",
    }
    return read(file, **(given | options))


def test_columns_are_those_of_the_file(file):
    events = read_plain(file, folds=3)
    assert events.features.dtype == np.float32
    assert events.feature_names == ("x", "jet_pt", "n_jets", "tight")
    for index, data in enumerate((SIGNAL, BACKGROUND)):
        mine = events.process == index
        for i, name in enumerate(events.feature_names):
            np.testing.assert_array_equal(events.features[mine, i], data[name].astype(np.float32))
        np.testing.assert_array_equal(events.weight[mine], data["weight"].astype(np.float32))
        np.testing.assert_array_equal(events.fold[mine], data["event"] % 3)
    np.testing.assert_allclose(events.yields(), [d["weight"].sum() for d in (SIGNAL, BACKGROUND)])


def test_selections_are_joined_and_derived_features_build_on_each_other(file):
    events = read_plain(
        file,
        processes=[
            Process(name="higgs", role="signal", tree="signal", selection="tight or n_jets > 4"),
            Process(name="ttbar", tree="ttbar", weight="2 * weight_isr_up"),
        ],
        features=["ratio", "x"],
        derived={"ratio": "double / jet_pt", "double": "2 * x"},
        selection="jet_pt > 20",
    )
    kept = (SIGNAL["jet_pt"] > 20) & (SIGNAL["tight"] | (SIGNAL["n_jets"] > 4))
    expected = (2 * SIGNAL["x"] / SIGNAL["jet_pt"])[kept]
    np.testing.assert_allclose(events.features[events.process == 0, 0], expected, rtol=1e-5)
    kept = BACKGROUND["jet_pt"] > 20
    np.testing.assert_allclose(events.yields()[1], 2 * BACKGROUND["weight_isr_up"][kept].sum())


@pytest.mark.parametrize("chunk_size", [1, 7, 100, 10**6, "1 kB", "0.5MB"])
def test_chunks_change_nothing(file, chunk_size):
    options = {
        "selection": "x > -0.5",
        "event_number": None,
        "variations": [
            WeightVariation("isr", "weight_isr_up"),
            FeatureVariation("jes", {"jet_pt": "1.05 * jet_pt"}),
        ],
    }
    whole = read_plain(file, **options)
    chunked = read_plain(file, **options, chunk_size=chunk_size)
    for name in ("features", "process", "weight", "fold"):
        np.testing.assert_array_equal(getattr(chunked, name), getattr(whole, name))
        np.testing.assert_array_equal(
            getattr(chunked.variations["jes"].up, name), getattr(whole.variations["jes"].up, name)
        )
    np.testing.assert_array_equal(chunked.variations["isr"].up, whole.variations["isr"].up)


def test_progress_ends_at_all_entries(file):
    seen = []
    read_plain(file, chunk_size=64, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (500, 500)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_chain_of_files_is_read_in_order_each_file_once(tmp_path):
    parts = [columns(50, seed) for seed in (1, 2, 3)]
    for i, part in enumerate(parts):
        write_root(tmp_path / f"part_{i}.root", tree=part)
    other = write_root(tmp_path / "other.root", tree=columns(80, 9))
    signal = Process(
        name="s",
        role="signal",
        # The glob and the path name the last file twice.
        files=[str(tmp_path / "part_*.root"), tmp_path / "part_2.root"],
    )
    events = read(processes=[signal, Process(name="b", files=other)], features=["x"], folds=7)
    x = np.concatenate([part["x"] for part in parts])
    np.testing.assert_array_equal(events.features[events.process == 0, 0], x)
    # The running number goes on from file to file.
    np.testing.assert_array_equal(events.fold[events.process == 0], np.arange(150) % 7)


def test_data_do_not_take_the_weight_of_the_simulation(file):
    observed = Process(name="observed", role="data", tree="ttbar_jes_up")
    events = read_plain(
        file,
        processes=[*PROCESSES, observed],
        weight="3 * weight",
        variations=[WeightVariation("isr", "weight_isr_up", "weight_isr_down")],
    )
    assert events.yields()[2] == 310
    assert events.variations["isr"].processes == ("higgs", "ttbar")
    np.testing.assert_array_equal(events.variations["isr"].up[events.process == 2], 1)
    assert set(events.varied("isr", "up").process) == {0, 1}


def test_weight_variations_replace_or_multiply_the_weight(file):
    events = read_plain(
        file,
        variations=[
            WeightVariation("isr", "weight_isr_up", "weight_isr_down", processes=["ttbar"]),
            WeightVariation("scale", "{weight} * 1.5"),
        ],
        weight="weight + 1",
    )
    isr = events.varied("isr", "down")
    np.testing.assert_allclose(isr.yields(), [0, BACKGROUND["weight_isr_down"].sum()])
    np.testing.assert_array_equal(isr.features, events.features[events.process == 1])
    scale = events.varied("scale", "up")
    np.testing.assert_allclose(scale.yields(), 1.5 * events.yields(), rtol=1e-6)
    assert events.varied("scale", "down") is None


def test_tree_variations_are_samples_of_their_own(file):
    events = read_plain(
        file,
        selection="jet_pt > 10",
        variations=[TreeVariation("jes", "{tree}_jes_up", "ttbar_jes_down", processes=["ttbar"])],
    )
    for direction, data in (("up", columns(310, 3)), ("down", columns(290, 4))):
        varied = events.varied("jes", direction)
        kept = data["jet_pt"] > 10
        np.testing.assert_allclose(varied.yields(), [0, data["weight"][kept].sum()], rtol=1e-6)
        np.testing.assert_array_equal(varied.features[:, 0], data["x"][kept])
        np.testing.assert_array_equal(varied.fold, data["event"][kept] % 5)


def test_another_generator_comes_from_other_files(file, tmp_path):
    other = columns(150, 8)
    write_root(tmp_path / "other.root", ttbar=other)
    variation = TreeVariation(
        "generator", files_up=str(tmp_path / "oth*.root"), processes=["ttbar"]
    )
    events = read_plain(file, variations=[variation])
    assert events.varied("generator", "down") is None
    np.testing.assert_array_equal(events.varied("generator", "up").features[:, 0], other["x"])


@pytest.mark.parametrize("selection", ["~central", "not central", "~central & (x < 9)"])
def test_a_derived_condition_is_one(file, selection):
    events = read_plain(file, derived={"central": "x > 0"}, selection=selection)
    wanted = int(sum((each["x"] <= 0).sum() for each in (SIGNAL, BACKGROUND)))
    assert len(events) == wanted


def test_a_selection_turns_no_bits_round(file):
    regions = [dt.Region(name="few", selection="~n_jets")]
    for options in ({"selection": "~n_jets"}, {"regions": regions}):
        with pytest.raises(InputError, match="true for every number but -1: write `not n_jets`"):
            read_plain(file, **options)


def test_feature_variations_move_selection_and_derived_features(file):
    events = read_plain(
        file,
        features=["jet_pt", "ratio"],
        derived={"ratio": "jet_pt / (1 + n_jets)"},
        selection="jet_pt > 40",
        variations=[
            FeatureVariation("jes", {"jet_pt": "1.1 * jet_pt"}, {"jet_pt": "0.9 * jet_pt"})
        ],
    )
    for direction, factor in (("up", 1.1), ("down", 0.9)):
        varied = events.varied("jes", direction)
        pt = np.concatenate([factor * d["jet_pt"] for d in (SIGNAL, BACKGROUND)])
        jets = np.concatenate([d["n_jets"] for d in (SIGNAL, BACKGROUND)])
        expected = np.column_stack([pt, pt / (1 + jets)])[pt > 40]
        np.testing.assert_allclose(varied.features, expected, rtol=1e-6)


def missing_file(tmp_path):
    data = columns(100, 5)
    lost = np.arange(100) % 4 == 0
    data["jet_pt"][lost] = -999
    data["eta"] = np.where(np.arange(100) % 10 == 1, np.float32(-99.9), data["x"])
    data["charge"] = np.where(data["x"] > 0, -1, 1)
    return data, lost, write_root(tmp_path / "m.root", signal=data, ttbar=data)


def test_missing_values_become_nan_and_go_through_derived_features(tmp_path):
    data, lost, file = missing_file(tmp_path)
    events = read_plain(
        file,
        features=["jet_pt", "eta", "scaled", "filled", "guarded"],
        derived={
            "scaled": "jet_pt / 1000",
            "filled": "where(isnan(jet_pt), 0, jet_pt)",
            "guarded": "where(n_jets > 2, x, -999)",
        },
        missing=[-999, -99.9],
    )
    x = events.features[:100]
    np.testing.assert_array_equal(np.isnan(x[:, 0]), lost)
    np.testing.assert_array_equal(np.isnan(x[:, 1]), np.arange(100) % 10 == 1)
    np.testing.assert_array_equal(np.isnan(x[:, 2]), lost)
    np.testing.assert_allclose(x[:, 3], np.where(lost, 0, data["jet_pt"]), rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(x[:, 4]), data["n_jets"] <= 2)


def test_selections_see_the_missing_value_also_in_a_varied_column(tmp_path):
    _, lost, file = missing_file(tmp_path)
    events = read_plain(
        file,
        features=["jet_pt"],
        selection="jet_pt != -999",
        missing=-999,
        variations=[FeatureVariation("jes", {"jet_pt": "1.1 * jet_pt"})],
    )
    assert len(events) == 2 * (~lost).sum() == len(events.varied("jes", "up"))
    kept = read_plain(
        file,
        features=["jet_pt"],
        missing=-999,
        variations=[FeatureVariation("jes", {"jet_pt": "1.1 * jet_pt"})],
    )
    np.testing.assert_array_equal(
        np.isnan(kept.varied("jes", "up").features), np.isnan(kept.features)
    )


def test_missing_can_differ_by_column(tmp_path):
    data, lost, file = missing_file(tmp_path)
    events = read_plain(
        file, features=["jet_pt", "charge"], missing={"jet_pt": -999, "x": [-1.0, float("nan")]}
    )
    np.testing.assert_array_equal(np.isnan(events.features[:100, 0]), lost)
    np.testing.assert_array_equal(events.features[:100, 1], data["charge"])


def test_nan_is_missing_where_declared(tmp_path):
    data = columns(60, 6)
    data["x"][:7] = np.nan
    file = write_root(tmp_path / "n.root", signal=data, ttbar=data)
    options = {"features": ["x", "y"], "derived": {"y": "2 * x"}}
    events = read_plain(file, **options, missing=float("nan"))
    np.testing.assert_array_equal(np.isnan(events.features[:60, 1]), np.arange(60) < 7)


def test_an_undeclared_missing_value_is_warned_of(tmp_path, caplog):
    *_, file = missing_file(tmp_path)
    with caplog.at_level(logging.WARNING, "difftune"):
        read_plain(file, features=["jet_pt"])
    assert "feature 'jet_pt' is -999 in 50 of 200 events" in caplog.text


def tables(tmp_path):
    """The same columns with a label, as ROOT (tree and RNTuple), Parquet and CSV files."""
    data = columns(100, 7) | {"label": np.where(np.arange(100) % 3 == 0, "s", "bkg")}
    data["event"] = data["event"].astype(np.int64)
    table = pa.table(data)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=30)
    pyarrow.parquet.write_table(
        table.set_column(8, "label", table["label"].dictionary_encode()), tmp_path / "d.parquet"
    )
    pyarrow.csv.write_csv(table, tmp_path / "t.csv")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    with uproot.recreate(tmp_path / "n.root") as file:
        file.mkrntuple("events", data)
    return data


@pytest.mark.parametrize("name", ["t.parquet", "d.parquet", "t.csv", "t.csv.gz", "n.root"])
@pytest.mark.parametrize("chunk_size", ["100 MB", 33])
def test_every_format_gives_the_same(tmp_path, name, chunk_size):
    data = tables(tmp_path)
    seen = []
    events = read(
        tmp_path / name,
        processes=[
            Process(name="s", role="signal", selection="label == 's'"),
            Process(name="b", selection="label in ('b', 'bkg') and not tight"),
        ],
        features=["x", "n_jets"],
        weight="weight",
        event_number="event",
        chunk_size=chunk_size,
        progress=lambda done, total: seen.append((done, total)),
    )
    signal = data["label"] == "s"
    chosen = (signal, ~signal & ~data["tight"])
    expected = np.concatenate([data["x"][mask] for mask in chosen])
    np.testing.assert_allclose(events.features[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(events.yields(), [data["weight"][m].sum() for m in chosen], 1e-6)
    np.testing.assert_array_equal(
        events.fold, np.concatenate([data["event"][m] for m in chosen]) % 5
    )
    assert seen[-1] == (100, None if "csv" in name else 100)


def test_blanks_in_csv_are_nan_and_first_rows_decide_nothing(tmp_path):
    rows = ["x,y,label"] + [f"{i},,a" for i in range(200_000)] + ["0.5,2.5,b"] * 10
    (tmp_path / "c.csv").write_text("\n".join(rows))
    events = read(
        tmp_path / "c.csv",
        processes=[
            Process(name="s", role="signal", selection="label == 'b'"),
            Process(name="b", selection="label == 'a'"),
        ],
        features=["x", "y"],
        missing=float("nan"),
    )
    np.testing.assert_array_equal(events.features[:10], [[0.5, 2.5]] * 10)
    assert np.isnan(events.features[10:, 1]).all()


def test_higgsml():
    file = path("events/higgsml_15000.csv.gz")
    names = ["DER_mass_MMC", "PRI_jet_leading_pt", "PRI_met"]
    events = read(
        file,
        processes=[
            Process(name="htautau", role="signal", selection="Label == 's'"),
            Process(name="other", selection="Label == 'b'"),
        ],
        features=names,
        weight="KaggleWeight * 250000 / 15000",
        event_number="EventId",
        missing=-999,
    )
    table = pyarrow.csv.read_csv(file)
    label = np.array(table["Label"].to_pylist())
    for index, value in enumerate("sb"):
        for i, name in enumerate(names):
            column = table[name].to_numpy()[label == value]
            expected = np.where(column == -999, np.nan, column).astype(np.float32)
            np.testing.assert_array_equal(events.features[events.process == index, i], expected)
    # The numbers of the data set's description.
    np.testing.assert_allclose(events.yields(), [718, 409_000], rtol=1e-3)


def test_atlas_weight_variations():
    file = path("events/atlas_dilepton_weightsys.root")
    tree = "WtLoop_nominal"
    with uproot.open(file) as opened:
        names = opened[tree].keys()
        ups = [n for n in names if n.endswith("_UP") and n[:-2] + "DOWN" in names]
        arrays = opened[tree].arrays([*ups, *(n[:-2] + "DOWN" for n in ups), "elmu"], library="np")
    events = read(
        processes=[
            Process(name="tW", role="signal", files=file, tree=tree, selection="elmu"),
            Process(name="other", files=path("events/atlas_tW_dilepton.root"), tree=tree),
        ],
        features=["met", "pT_lep1"],
        weight="weight_nominal",
        event_number="eventNumber",
        variations=[WeightVariation(n, n, n[:-2] + "DOWN", processes=["tW"]) for n in ups],
    )
    assert len(events.variations) == len(ups) > 10
    for name in ups:
        for direction, branch in (("up", name), ("down", name[:-2] + "DOWN")):
            expected = arrays[branch][arrays["elmu"]].sum(dtype=float)
            assert events.varied(name, direction).yields()[0] == pytest.approx(expected)


def test_sherpa_chain_keeps_negative_weights():
    files = [path(f"events/sherpa_ztautau_emu_{i}.root") for i in (1, 2)]
    tree = "WtLoop_nominal"
    other = path("events/atlas_tW_dilepton.root")
    events = read(
        processes=[
            Process(name="tW", role="signal", files=other, tree=tree),
            Process(name="ztautau", files=files[0].parent / "sherpa_*_emu_?.root", tree=tree),
        ],
        features=["met"],
        weight="weight_nominal",
        event_number="eventNumber",
    )
    parts = [uproot.open(file)[tree]["weight_nominal"].array(library="np") for file in files]
    mine = events.weight[events.process == 1]
    np.testing.assert_array_equal(mine, np.concatenate(parts).astype(np.float32))
    assert 0.25 < (mine < 0).mean() < 0.4
    assert len(mine) == 1804 + 2409


def test_fair_universe_parquet():
    file = path("events/fair_universe_1000.parquet")
    table = pyarrow.parquet.read_table(file)
    labels = np.array(table["detailed_labels"].to_pylist())
    names = sorted(set(labels))
    events = read(
        file,
        processes=[
            Process(
                name=name,
                role="signal" if name == "htautau" else "background",
                selection=f"detailed_labels == '{name}'",
            )
            for name in names
        ],
        features=["PRI_lep_pt", "DER_mass_vis"],
        weight="weights",
        folds=2,
    )
    expected = [table["weights"].to_numpy()[labels == name].sum() for name in names]
    np.testing.assert_allclose(events.yields(), expected, rtol=1e-6)


def test_cabinetry_toy_templates_are_those_of_uproot_and_hist():
    file = path("events/cabinetry_toy_prediction.root")
    events = read(
        processes=[
            Process(name="signal", role="signal", files=file, tree="signal"),
            Process(name="background", files=file, tree="background"),
            Process(
                name="observed",
                role="data",
                files=path("events/cabinetry_toy_data.root"),
                tree="pseudodata",
            ),
        ],
        features=["jet_pt"],
        weight="weight",
        selection="lep_charge > 0",
        # The toy has no event number; the jets' momenta are as random as one.
        event_number="floor(1e6 * jet_pt)",
        variations=[
            WeightVariation("weight", "weight_up", "weight_down", processes=["background"]),
            TreeVariation("modelling", "{tree}_varied", processes=["background"]),
        ],
    )

    def mine(sample, process):
        kept = sample.process == process
        return counts(sample.features[kept, 0], sample.weight[kept])

    def direct(tree, weight, name="prediction"):
        arrays = uproot.open(path(f"events/cabinetry_toy_{name}.root"))[tree].arrays(library="np")
        kept = arrays["lep_charge"] > 0
        return counts(arrays["jet_pt"][kept], arrays[weight][kept] if weight else None)

    def counts(values, weight):
        axis = hist.axis.Regular(12, 0, 600)
        histogram = hist.Hist(axis, storage=hist.storage.Weight())
        return histogram.fill(values, weight=weight).values(flow=True)

    for sample, process, expected in [
        (events, 0, direct("signal", "weight")),
        (events, 1, direct("background", "weight")),
        (events, 2, direct("pseudodata", None, "data")),
        (events.varied("weight", "up"), 1, direct("background", "weight_up")),
        (events.varied("weight", "down"), 1, direct("background", "weight_down")),
        (events.varied("modelling", "up"), 1, direct("background_varied", "weight")),
    ]:
        np.testing.assert_allclose(mine(sample, process), expected, rtol=1e-5)
    assert events.varied("modelling", "down") is None


@pytest.fixture
def charged(tmp_path):
    """A charge of ±1, of which 33 of 50 are -1, and a mass that is -1 where there is none."""
    rng = np.random.default_rng(5)
    data = columns(50, 1)
    data["charge"] = rng.permutation(np.r_[-np.ones(33), np.ones(17)]).astype(np.int32)
    data["mass"] = np.where(data["tight"], 91 + data["x"], -999).astype(np.float32)
    return write_root(tmp_path / "all.root", signal=data, ttbar=data), data


@pytest.mark.parametrize("use", [{"features": ["charge"]}, {"derived": {"q": "charge * x"}}])
def test_a_sentinel_that_is_a_value_is_warned_of(charged, use, caplog):
    options = {"features": [*use.get("derived", {}), "jet_pt"], "weight": "1"} | use
    read_plain(charged[0], missing=-1, **options)
    assert (
        "missing = -1, which other values reach, takes away much of 'charge' (66 of 100, 66%)"
        in (caplog.text)
    )


@pytest.mark.parametrize("missing", [-999, {"charge": -1}, {"*": [-1, -999], "charge": []}])
def test_a_sentinel_far_from_all_values_or_by_column_is_not(charged, missing, caplog):
    options = {"features": ["charge", "mass", "jet_pt"], "weight": "1", "missing": missing}
    events = read_plain(charged[0], **options)
    assert "takes away" not in caplog.text
    own = isinstance(missing, dict) and missing["charge"] == -1
    assert np.isnan(events.features[:, 0]).sum() == (66 if own else 0)
    masses = np.nan if not own else -999
    np.testing.assert_array_equal(
        events.features[:50, 1],
        np.where(charged[1]["tight"], charged[1]["mass"], masses).astype(np.float32),
    )


def test_missing_by_column_in_the_analysis_file(charged, tmp_path):
    (tmp_path / "a.toml").write_text(
        f"""
        [data]
        files = {charged[0]!r}
        features = ["charge", "mass"]
        [data.missing]
        mass = [-999, nan]
        [[samples]]
        name = "s"
        role = "signal"
        tree = "signal"
        [[samples]]
        name = "b"
        tree = "ttbar"
        """,
        encoding="utf-8-sig",  # as an editor of Windows writes it
    )
    events = build.events(load(tmp_path / "a.toml"))
    assert np.isnan(events.features).sum(axis=0).tolist() == [0, 2 * (~charged[1]["tight"]).sum()]
    assert events.sentinels == (("mass", (-999.0,)),)


@pytest.mark.parametrize(
    "name", ["weight", "Weight", "genWeight", "weight_total", "mcEventWeight", "evt_wt", "w"]
)
def test_a_forgotten_weight_is_warned_of(tmp_path, name, caplog):
    data = {"x": columns(50, 1)["x"], name: columns(50, 1)["weight"], "W_mass": np.ones(50)}
    file = write_root(tmp_path / "all.root", signal=data, ttbar=data)
    plain = {"features": ["x"], "event_number": None}
    read_plain(file, weight="2", **plain)
    assert "the events of higgs, ttbar are not weighted by any column" in caplog.text
    assert repr(name) in caplog.text
    assert "W_mass" not in caplog.text
    caplog.clear()
    read_plain(file, weight=f"{name} * 2", **plain)
    assert "not weighted" not in caplog.text


def test_few_signal_events_are_warned_of(tmp_path, caplog):
    file = write_root(tmp_path / "all.root", signal=columns(36, 1), ttbar=columns(300, 2))
    read_plain(file, weight="1")
    assert "only 36 signal events in 5 folds, 7 in the smallest" in caplog.text
    caplog.clear()
    read_plain(
        write_root(tmp_path / "b.root", signal=columns(300, 1), ttbar=columns(9, 2)), weight="1"
    )
    assert "signal events" not in caplog.text


def test_few_background_events_are_warned_of(tmp_path, caplog):
    file = write_root(tmp_path / "all.root", signal=columns(300, 1), ttbar=columns(203, 2))
    read_plain(file, weight="1")
    assert "few events of ttbar (203, 40 in the smallest fold)" in caplog.text
    caplog.clear()
    plenty = write_root(tmp_path / "b.root", signal=columns(300, 1), ttbar=columns(250, 2))
    read_plain(plenty, weight="1")
    assert "few events" not in caplog.text


def test_a_variation_that_is_the_nominal_sample_is_warned_of(tmp_path, caplog):
    signal, ttbar = columns(300, 1), columns(300, 2)
    other = ttbar | {"x": ttbar["x"] * np.float32(1.01)}
    trees = {"signal": signal, "ttbar": ttbar}
    trees |= {"signal_jes_up": signal, "ttbar_jes_up": other, "ttbar_jes_down": other}
    file = write_root(tmp_path / "all.root", **trees, signal_jes_down=columns(290, 4))
    read_plain(
        file,
        weight="weight",
        variations=[
            TreeVariation("jes", "{tree}_jes_up", "{tree}_jes_down"),
            WeightVariation("isr", "weight_isr_up", "weight_isr_down"),
            WeightVariation("same", "weight_isr_up", "weight_isr_up", ("ttbar",)),
            WeightVariation("idle", "weight", processes=("ttbar",)),
            FeatureVariation("jer", {"x": "x + 0.0"}, {"x": "x * 1.01"}, ("ttbar",)),
        ],
    )
    said = [record.getMessage().partition(". Where")[0] for record in caplog.records]
    assert [line for line in said if "event by event" in line] == [
        "up is the nominal sample, event by event, in the variations 'jes' of higgs; 'idle' of "
        "ttbar; 'jer' of ttbar",
        "up and down are the same, event by event, in the variations 'jes' of ttbar; 'same' of "
        "ttbar",
    ]


@pytest.mark.parametrize("name", ["pi", "nan"])
def test_a_column_with_the_name_of_a_constant_stands_in_backquotes(tmp_path, name):
    data = columns(300, 1) | {name: np.arange(300.0)}
    file = write_root(tmp_path / "all.root", signal=data, ttbar=data)
    with pytest.raises(InputError, match=f"write `{name}` in backquotes"):
        read_plain(file, selection=f"{name} > 2")
    assert len(read_plain(file, selection=f"`{name}` > 2")) == 594


@pytest.mark.parametrize("role", ["signal", "background", "data"])
def test_one_process_alone_is_read_whatever_its_role(tmp_path, role, caplog):
    """Events to be scored; there is nothing to tell apart."""
    raw = columns(30, 1)
    file = write_root(tmp_path / "a.root", t=raw)
    alone = Process(name="new", role=role)
    events = read(
        file, processes=alone, features=["x", "jet_pt"], weight="weight", event_number="event"
    )
    assert [p.name for p in events.processes] == ["new"]
    np.testing.assert_array_equal(events.features[:, 0], raw["x"])
    np.testing.assert_array_equal(events.fold, raw["event"] % 5)
    assert "signal events" not in caplog.text
    with pytest.raises(InputError, match="no process has role"):
        read(file, processes=[alone], features=["x"])
    # Nor where a number is learned of each event.
    halves = [replace(alone, selection="x > 0"), Process(name="old", role=role, selection="x <= 0")]
    learned = read(file, processes=halves, features=["x"], target="jet_pt")
    assert len(learned) == 30
    with pytest.raises(InputError, match="no process has the role"):
        dt.tune(events)
