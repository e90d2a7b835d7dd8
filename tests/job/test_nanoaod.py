"""From files of public origin with jagged branches to workspaces."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import awkward as ak
import jax
import numpy as np
import pytest
import uproot
import vector

import difftune as dt
from difftune.analysis import CrossFit, measure
from difftune.job import build, load, quickened
from difftune.models import MLP, DeepSet
from difftune.training import CrossFitted, ModuleDef, Recipe, TrainedNetwork
from difftune.training.sample import inputs_of
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


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("p8_ee_WW_ecm240_edm4hep.root", {"Jet.energy[0]", "p4('Jet')[0].eta", "sum(Jet.energy)"}),
        ("delphes.root", {"Jet_size", "Jet.PT[0]", "Electron.Eta[0]", "sum(Jet.PT)"}),
        ("PHYSLITE_example.root", {"AnalysisJetsAuxDyn.pt[1]", "AnalysisMuonsAuxDyn.eta[0]"}),
    ],
)
def test_a_first_analysis_file_of_other_formats_has_leading_objects(file, wanted):
    """And they are what can be read; what counts objects is no weight."""
    path = str(public_files.path(file))
    text = dt.job.draft([path]).text
    drafted = tomllib.loads(text)
    features = drafted["data"]["features"]
    assert wanted <= set(features)
    assert "_size" not in drafted["data"]["weight"]
    tree = drafted["samples"][0]["tree"]
    events = dt.read(
        path, processes=dt.Process(name="a", tree=tree), features=sorted(wanted), missing=np.nan
    )
    assert np.isfinite(np.asarray(events.features)).any(axis=0).all()


def untrained(events: dt.Events) -> CrossFitted:
    """Networks that nobody trained, one for each fold."""
    transform = Recipe().transform(events)
    model = DeepSet(each=(4,), hidden=(4,)) if events.collections else MLP(hidden=(4,))
    module = ModuleDef(model, inputs=inputs_of(transform), outputs=1)
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
    "EDM4hep": {
        "file": "p8_ee_WW_ecm240_edm4hep.root",
        "tree": "events",
        "number": "EventHeader.eventNumber[0]",
        "key": "EventHeader.eventNumber[0] // 2",  # of ten events each fold has some of both
        "weight": "2.5 * EventHeader.weight[0]",
        "derived": {
            "lead_e": "max(Jet.energy)",
            "visible": "sum(ReconstructedParticles.energy)",
            "mass": "(p4('Jet')[0] + p4('Jet')[1]).mass",
        },
        "objects": {
            "jets": dt.Objects(
                branches={"pt": "p4('Jet').pt", "eta": "p4('Jet').eta", "mass": "Jet.mass"},
                max=3,
                order="-Jet.energy",
            )
        },
    },
    "Delphes": {
        "file": "delphes.root",
        "tree": "Delphes",
        "number": "Event.Number[0]",
        "weight": "Event.Weight[0] / 1e6",
        "derived": {
            "lead_pt": "Jet.PT[0]",
            "n_b": "count(Jet.BTag == 1)",
            "met": "MissingET.MET[0]",
        },
        "objects": {"jets": dt.Objects(branches=["Jet.PT", "Jet.Eta", "Jet.BTag"], max=4)},
    },
}


def events_of(given: dict, file: str) -> dt.Events:
    """Of one file, signal is what has an even number."""
    even = f"{given['number']} % 2 == 0"
    return dt.read(
        file,
        processes=[
            dt.Process(name="even", role="signal", tree=given["tree"], selection=even),
            dt.Process(name="odd", tree=given["tree"], selection=f"not ({even})"),
        ],
        features=list(given["derived"]),
        derived=given["derived"],
        weight=given["weight"],
        event_number=given.get("key", [given["number"], f"{given['number']} // 7"]),
        objects=given.get("objects"),
        folds=3,
    )


@pytest.mark.parametrize("form", FORMATS)
def test_other_formats_as_far_as_the_workspace(form):
    """What comes out is the sum of weights of the file."""
    given = FORMATS[form]
    file = str(public_files.path(given["file"]))
    events = events_of(given, file)
    with uproot.open(file) as opened:
        assert len(events) == opened[given["tree"]].num_entries
    found = measure(untrained(events), CrossFit(events=events), binning=[0.0, 0.5, 1.0])
    (channel,) = found.workspace["channels"]
    totals = {sample["name"]: sum(sample["data"]) for sample in channel["samples"]}
    for name, total in zip(("even", "odd"), events.yields(), strict=True):
        assert totals[name] == pytest.approx(total, rel=1e-4)


def test_edm4hep_is_read_as_awkward_and_vector_have_it():
    given = FORMATS["EDM4hep"]
    file = str(public_files.path(given["file"]))
    events = events_of(given, file)
    with uproot.open(file) as opened:
        tree = opened["events"]
        members = {"px": "momentum.x", "py": "momentum.y", "pz": "momentum.z", "E": "energy"}
        jets = {key: tree[f"Jet/Jet.{name}"].array() for key, name in members.items()}
        mass = tree["Jet/Jet.mass"].array()
        visible = ak.sum(
            tree["ReconstructedParticles/ReconstructedParticles.energy"].array(), axis=1
        )
        number = tree["EventHeader/EventHeader.eventNumber"].array()[:, 0].to_numpy()
        weight = tree["EventHeader/EventHeader.weight"].array()[:, 0].to_numpy()
    momenta = vector.zip(jets)
    order = ak.argsort(momenta.E, axis=1, ascending=False)
    sorted_, masses = momenta[order], mass[order]
    expected = [ak.max(momenta.E, axis=1), visible, (momenta[:, 0] + momenta[:, 1]).mass]
    for place in range(3):
        for values in (sorted_.pt, sorted_.eta, masses):
            padded = ak.pad_none(values, 3, clip=True)[:, place]
            expected.append(ak.fill_none(padded, np.nan))
    columns = np.stack([ak.to_numpy(each) for each in expected], axis=1)
    rows = np.concatenate([np.flatnonzero(number % 2 == 0), np.flatnonzero(number % 2 == 1)])
    np.testing.assert_allclose(events.features, columns[rows], rtol=1e-4)
    np.testing.assert_allclose(events.weight, 2.5 * weight[rows], rtol=1e-6)
    assert np.isnan(columns).any()
