"""`difftune init`: what it recognises in ntuples, and that the check takes what it writes."""

import logging
import tomllib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import uproot
from click.testing import CliRunner

from difftune.cli import cli
from difftune.data import ntuples
from difftune.errors import InputError
from difftune.job import build, draft, load
from tests.data.files import write_root
from tests.job.small import FEATURES, write_small
from tests.shared_data import path


def drafted(files, output):
    """The draft as a configuration; the comments are no part of it."""
    draft(files, output)
    return load(output)


def test_the_single_top_sample(tmp_path):
    """All that its own analysis file says of the data, by names and values alone."""
    write_small(tmp_path)
    found = drafted(tmp_path / "small.root", tmp_path / "draft.toml")
    assert found.data.weight == "weight"
    assert found.data.event_number == "event_number"
    assert found.data.missing == -999
    assert sorted(found.data.features) == sorted(FEATURES)
    assert [(s.name, s.role, s.tree) for s in found.samples] == [
        ("tchannel", "signal", "tchannel"),
        ("ttbar", "background", "ttbar"),
        ("wjets", "background", "wjets"),
    ]
    assert [(s.name, s.type, s.up, s.down) for s in found.systematics] == [
        ("btag", "weight", "weight_btag_up", "weight_btag_down"),
        ("jes", "tree", "{tree}_jes_up", "{tree}_jes_down"),
    ]
    assert 'files = "small.root"' in (tmp_path / "draft.toml").read_text()


@pytest.mark.slow
def test_the_command_writes_what_the_check_takes(tmp_path, monkeypatch):
    write_small(tmp_path)
    monkeypatch.chdir(tmp_path)
    made = CliRunner().invoke(cli, ["init", "small.root"])
    assert made.exit_code == 0, made.output
    assert "wrote analysis.toml. Look at the lines marked EDIT:" in made.output
    assert "which sample is the signal? tchannel is a guess" in made.output
    assert made.output.splitlines()[-1] == "Then: difftune check analysis.toml"
    text = (tmp_path / "analysis.toml").read_text()
    asked = [line.removeprefix("# EDIT: ") for line in text.splitlines() if "# EDIT" in line]
    assert [f"  - {question}" for question in asked] == made.output.splitlines()[-4:-1]
    checked = CliRunner().invoke(cli, ["check", "analysis.toml"])
    assert checked.exit_code == 0, checked.output
    assert "variations: btag, jes" in checked.output
    again = CliRunner().invoke(cli, ["init", "small.root"])
    assert isinstance(again.exception, InputError)
    assert "analysis.toml exists" in str(again.exception)
    assert (tmp_path / "analysis.toml").read_text() == text


@pytest.mark.slow
def test_what_a_draft_says_of_real_files(tmp_path):
    """Public files in the manner of four experiments; events are read as the draft says."""
    higgs = drafted(path("events/higgsml_15000.csv.gz"), tmp_path / "higgs.toml")
    assert higgs.data.weight == "Weight"
    assert higgs.data.event_number == "EventId"
    assert higgs.data.missing == -999
    assert len(higgs.data.features) == 30  # those of the challenge
    assert {s.role: s.selection for s in higgs.samples} == {
        "background": "Label == 'b'",
        "signal": "Label == 's'",
    }
    events = build.events(higgs)
    assert events.feature_names == tuple(higgs.data.features)

    universe = drafted(path("events/fair_universe_1000.parquet"), tmp_path / "universe.toml")
    assert len(universe.data.features) == 28
    assert {s.role: s.selection for s in universe.samples} == {
        "background": "labels == 0.0",
        "signal": "labels == 1.0",
    }
    build.events(universe)

    toys = [path("events/cabinetry_toy_prediction.root"), path("events/cabinetry_toy_data.root")]
    cabinetry = drafted(toys, tmp_path / "toys.toml")
    assert [(s.name, s.role) for s in cabinetry.samples] == [
        ("signal", "signal"),
        ("background", "background"),
        ("pseudodata", "data"),
    ]
    (only,) = cabinetry.systematics
    assert (only.up, only.down, only.samples) == ("weight_up", "weight_down", ["background"])
    # A varied tree wants an event number, and there is none.
    assert '# up = "{tree}_varied"' in (tmp_path / "toys.toml").read_text()
    build.events(cabinetry)

    atlas = drafted(path("events/atlas_dilepton_weightsys.root"), tmp_path / "atlas.toml")
    assert atlas.data.weight == "weight_nominal"
    with uproot.open(path("events/atlas_dilepton_weightsys.root")) as file:
        names = [n for n in file["WtLoop_nominal"].iterkeys() if n.startswith("weight_sys_")]
    # Those of b-tagging have their directions in small letters.
    up = {name for name in names if name.lower().endswith("_up")}
    assert len(up) == 41
    assert {s.up for s in atlas.systematics} == up
    for each in atlas.systematics:
        other = each.up.removesuffix("UP") + "DOWN" if each.up[-1] == "P" else f"{each.up[:-2]}down"
        assert each.down == other
    assert not any("weight" in name for name in atlas.data.features)


def events(size=300, **more):
    rng = np.random.default_rng(size)
    return {
        "met": rng.exponential(50, size),
        "n_jets": rng.integers(0, 5, size),
        "constant": np.ones(size),
        "run": np.full(size, 3) + np.arange(size) // 100,
        "lumi": np.arange(size) // 10,
        "event": np.arange(size),
        **more,
    }


def test_files_of_one_tree_each_and_a_weight_in_factors(tmp_path):
    rng = np.random.default_rng(1)
    factors = {
        "weight_mc": rng.normal(3.0, 0.1, 300),
        "weight_pileup": rng.normal(1.0, 0.1, 300),
        "weight_pileup_UP": rng.normal(1.1, 0.1, 300),
        "weight_pileup_DOWN": rng.normal(0.9, 0.1, 300),
        "met_jer_up": rng.exponential(50, 300),
    }
    for name in ("higgs", "ttbar_1", "ttbar_2", "data16"):
        own = events(**factors) if name != "data16" else events(met_jer_up=factors["met_jer_up"])
        write_root(tmp_path / f"{name}.root", nominal=own)
    found = drafted(tmp_path / "*.root", tmp_path / "draft.toml")
    names = {s.name: (s.role, s.files, s.tree) for s in found.samples}
    assert names == {
        "data": ("data", str(tmp_path / "data16.root"), "nominal"),
        "higgs": ("signal", str(tmp_path / "higgs.root"), "nominal"),
        "ttbar": ("background", [str(tmp_path / f"ttbar_{i}.root") for i in (1, 2)], "nominal"),
    }
    assert found.data.weight == "weight_mc * weight_pileup"
    assert found.data.event_number == ["run", "lumi", "event"]
    assert found.data.features == ["met", "n_jets"]
    assert [(s.name, s.type, s.up, s.down) for s in found.systematics] == [
        ("pileup", "weight", "{weight} * weight_pileup_UP / weight_pileup",
         "{weight} * weight_pileup_DOWN / weight_pileup"),
        ("jer", "features", {"met": "met_jer_up"}, None),
    ]  # fmt: skip
    text = (tmp_path / "draft.toml").read_text()
    assert "# left out (always the same): constant" in text
    read = build.events(found)
    assert len(read) == 4 * 300


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_one_sample_alone_is_asked_about(tmp_path, form):
    table = pa.table(events() | {"w": np.full(300, 0.01), "ratio_weight_up": np.full(300, 1.1)})
    file = tmp_path / f"signal.{form}"
    write = pyarrow.parquet.write_table if form == "parquet" else pyarrow.csv.write_csv
    write(table, file)
    made = draft(file)
    content = tomllib.loads(made.text)
    assert content["data"]["weight"] == "w"
    # As large as one, beside a weight of 0.01: a factor.
    assert content["systematics"][0]["up"] == "{weight} * ratio_weight_up"
    assert any("one sample is not enough" in question for question in made.questions)


def test_what_cannot_be_drafted(tmp_path):
    file = write_root(tmp_path / "a.root", sums={"w": np.ones(1), "n": np.ones(1)})
    with pytest.raises(InputError, match="there are no events in"):
        draft(file)
    file = write_root(tmp_path / "b.root", t={"weight": np.ones(9), "event": np.arange(9)})
    with pytest.raises(InputError, match="nothing to train on"):
        draft(file)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("weight_btag_up", ("weight_btag", "up")),
        ("jes__1down", ("jes", "down")),
        ("JET_JER_1up", ("JET_JER", "up")),
        ("pileupUp", ("pileup", "up")),
        ("weight_sys_pileup_DOWN", ("weight_sys_pileup", "down")),
        ("weight_pileup", None),
        ("setup", None),
        ("breakdown", None),
    ],
)
def test_names_of_variations(name, expected):
    assert ntuples.variation_of(name) == expected


def test_trees_in_the_manner_of_frameworks():
    trees = ["Loop_nominal", "Loop_jes_up", "Loop_jes_down", "Loop_Fake_nominal"]
    nominal, varied = ntuples.tree_variations(trees)
    assert nominal == ["Loop_nominal", "Loop_Fake_nominal"]
    assert [(v.name, v.up, v.down) for v in varied] == [("jes", "Loop_jes_up", "Loop_jes_down")]


def test_a_draft_of_few_events_is_warned_of_when_it_is_read(tmp_path, caplog):
    small = write_small(tmp_path, events=100)
    with caplog.at_level(logging.WARNING, "difftune"):
        build.events(load(small))
    assert "few events of" in caplog.text


def test_the_signal_may_be_named(tmp_path):
    write_small(tmp_path)
    draft(tmp_path / "small.root", tmp_path / "draft.toml", signal=("ttbar",))
    roles = {sample.name: sample.role for sample in load(tmp_path / "draft.toml").samples}
    assert roles == {"tchannel": "background", "ttbar": "signal", "wjets": "background"}
    with pytest.raises(InputError, match=r"signal 'ttbr': .*Did you mean 'ttbar'"):
        draft(tmp_path / "small.root", tmp_path / "other.toml", signal=("ttbr",))
    assert not (tmp_path / "other.toml").exists()
