"""From files of public origin with jagged branches to workspaces: NanoAOD, RNTuple, PHYSLITE."""

import json
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

import difftune as dt
from difftune.analysis import CrossFit, measure
from difftune.data import FeatureTransform
from difftune.job import build, load, quickened
from difftune.models import MLP
from difftune.training import CrossFitted, ModuleDef, TrainedNetwork
from tests import public_files
from tests.public_files import VARIABLE

EXAMPLE = Path(__file__).parents[2] / "examples" / "nanoaod" / "nanoaod.toml"
SAMPLES = ("nano_tt_v12.root", "nano_tt_v15.root", "nano_dy.root")


@pytest.fixture
def config(monkeypatch):
    folder = public_files.path(SAMPLES[0]).parent
    monkeypatch.setenv(VARIABLE, str(folder))
    return load(EXAMPLE)


def by_hand(name: str):
    """What the example says, in awkward: selected weights, and some features."""
    with uproot.open(public_files.path(name)) as file:
        events = file["Events"].arrays(
            ["Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "genWeight", "LHEScaleWeight"]
        )
    kept = ak.num(events.Jet_pt[(events.Jet_pt > 30) & (abs(events.Jet_eta) < 2.5)]) >= 1
    events = events[kept]
    first = ak.fill_none(ak.firsts(events.Jet_pt), np.nan).to_numpy()
    ht = ak.sum(events.Jet_pt[events.Jet_pt > 30], axis=1).to_numpy()
    count = ak.sum(events.Jet_pt > 30, axis=1).to_numpy()
    return events, np.stack([first, ht, count], axis=1)


def test_jagged_branches_and_weights_are_those_that_awkward_makes(config):
    events = build.events(config)
    features, weights, up = [], [], []
    generated = [1.0, 1.0, 1.0]
    for i, name in enumerate(SAMPLES):
        own, columns = by_hand(name)
        features.append(columns)
        weights.append(own.genWeight.to_numpy().astype(float))
        with uproot.open(public_files.path(name)) as file:
            if name == "nano_dy.root":
                runs = file["Runs"].arrays(["genEventSumw_", "LHEScaleSumw_"])
                generated[i] = float(runs.genEventSumw_[0])
                scaled = generated[i] * float(runs.LHEScaleSumw_[0][7])
                varied = weights[i] * own.LHEScaleWeight[:, 7].to_numpy() / scaled
                up = varied * 6077.22 * 59800
            else:
                generated[i] = float(
                    file["Events"]["genWeight"].array(library="np").sum(dtype=float)
                )
    names = [events.feature_names.index(name) for name in ("lead_pt", "ht", "n_jets")]
    np.testing.assert_allclose(events.features[:, names], np.concatenate(features), rtol=1e-5)
    factors = np.array([0.5 * 20e3, 0.5 * 39.8e3, 6077.22 * 59.8e3]) / generated
    expected = np.concatenate([f * w for f, w in zip(factors, weights, strict=True)])
    np.testing.assert_allclose(events.weight, expected, rtol=1e-5)
    background = events.process == 1
    scale = events.variations["renormalisation_scale"]
    np.testing.assert_allclose(scale.up[background], up, rtol=1e-4)
    np.testing.assert_array_equal(scale.up[~background], events.weight[~background])


@pytest.mark.slow
def test_the_whole_run_ends_in_a_limit(config, tmp_path, undrawn):
    outcome = dt.job.run(quickened(config), tmp_path / "run")
    assert outcome.job.figure.name == "limit"
    assert 0 < outcome.measurement.value < np.inf
    workspace = json.loads((tmp_path / "run" / "workspace.json").read_text())
    (channel,) = workspace["channels"]
    found = {sample["name"]: sum(sample["data"]) for sample in channel["samples"]}
    assert found["top_pairs"] == pytest.approx(0.5 * 59.8e3, rel=1e-3)  # all events are selected
    dy, _ = by_hand("nano_dy.root")
    with uproot.open(public_files.path("nano_dy.root")) as file:
        generated = float(file["Runs"]["genEventSumw_"].array()[0])
    expected = float(ak.sum(dy.genWeight)) * 6077.22 * 59.8e3 / generated
    assert found["drell_yan"] == pytest.approx(expected, rel=1e-3)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [each["part"] for each in results["normalisations"]] == ["run_3_v12", "run_3_v15", ""]
    assert "σ k in pb" in (tmp_path / "run" / "report.html").read_text()


def test_a_first_analysis_file_of_nanoaod_can_be_read(config, tmp_path):
    """Leading objects, nothing of the generator, no trigger; and where Σw is written."""
    files = [public_files.path(name) for name in ("nano_tree.root", "nano_dy.root")]
    made = dt.job.draft(files, tmp_path / "analysis.toml")
    assert any("cross_section" in question for question in made.questions)
    assert '# sum_of_weights = { tree = "Runs", branch = "genEventSumw" }' in made.text
    features = load(tmp_path / "analysis.toml").data.features
    assert {"Jet_pt[0]", "Muon_eta[0]", "sum(Jet_pt)", "MET_pt"} <= set(features)
    assert not [f for f in features if f.startswith(("HLT_", "LHE", "Gen", "Flag_"))]


def untrained(events: dt.Events) -> CrossFitted:
    """Networks that nobody trained, one for each fold."""
    features = np.asarray(events.features)
    transform = FeatureTransform(
        center=np.nanmean(features, axis=0),
        scale=np.nanstd(features, axis=0) + np.float32(1e-3),
        fill=np.nanmean(features, axis=0),
    )
    module = ModuleDef(MLP(hidden=(4,)), inputs=features.shape[1], outputs=1)
    import jax

    one = TrainedNetwork(
        module_def=module,
        weights=module.init(jax.random.key(1)),
        hyperparameters={},
        transform=transform,
        feature_names=events.feature_names,
        signal_process=(1.0, 0.0),
        reading=events.reading,
    )
    return CrossFitted([replace(one) for _ in range(events.folds)])


FORMATS = {
    "RNTuple": {
        "file": "nano_dy_rntuple.root",
        "tree": "Events",
        "number": "event",
        "weight": "abs(genWeight)",  # of 40 events some folds would have a negative yield
        "derived": {
            "lead_pt": "Jet_pt[0]",
            "ht": "sum(Jet_pt[Jet_pt > 30])",
            "mass": "(p4('Jet')[0] + p4('Jet')[1]).mass",
        },
    },
    "PHYSLITE": {
        "file": "PHYSLITE_example.root",
        "tree": "CollectionTree",
        "number": "EventInfoAuxDyn.eventNumber",
        "weight": "1",
        "derived": {
            "lead_pt": "AnalysisJetsAuxDyn.pt[0]",
            "ht": "sum(AnalysisJetsAuxDyn.pt[AnalysisJetsAuxDyn.pt > 30e3])",
            "mass": "max(AnalysisJetsAuxDyn.m)",
        },
    },
}


@pytest.mark.parametrize("form", FORMATS)
def test_other_formats_as_far_as_the_workspace(form):
    """Of one file, signal is what has an even number: what comes out is its sum of weights."""
    given = FORMATS[form]
    file = str(public_files.path(given["file"]))
    even = f"{given['number']} % 2 == 0"
    events = dt.read(
        file,
        processes=[
            dt.Process(name="even", role="signal", tree=given["tree"], selection=even),
            dt.Process(name="odd", tree=given["tree"], selection=f"not ({even})"),
        ],
        features=list(given["derived"]),
        derived=given["derived"],
        weight=given["weight"],
        event_number=[given["number"], f"{given['number']} // 7"],
        folds=3,
    )
    with uproot.open(file) as opened:
        assert len(events) == opened[given["tree"]].num_entries
    found = measure(untrained(events), CrossFit(events=events), binning=[0.0, 0.5, 1.0])
    (channel,) = found.workspace["channels"]
    totals = {sample["name"]: sum(sample["data"]) for sample in channel["samples"]}
    for name, total in zip(("even", "odd"), events.yields(), strict=True):
        assert totals[name] == pytest.approx(total, rel=1e-4)
