"""A whole run of graph networks on jagged branches: workspace and scores by hand, and a report."""

import json
from pathlib import Path

import awkward as ak
import numpy as np
import pyhf
import pytest
import uproot

import difftune as dt
from difftune.job import build, load
from difftune.training import CrossFitted

SIZES = {"signal": 600, "ttbar": 900, "wjets": 600}
CROSS_SECTIONS = {"signal": 0.05, "ttbar": 0.4, "wjets": 0.6}
CONFIG = """
[data]
files = "nano.root"
features = ["MET_pt", "Jet_pt[0]"]
weight = "genWeight"
luminosity = 2.0
sum_of_weights = { tree = "Runs", branch = "genEventSumw" }
event_number = ["run", "event"]
folds = 3
selection = "count(Jet_pt > 30) >= 1"

[data.objects.jets]
branches = { pt = "Jet_pt", eta = "Jet_eta", tag = "Jet_btag" }
max = 3
order = "-Jet_pt"
selection = "Jet_pt > 30"

[data.objects.muons]
branches = { pt = "Muon_pt", eta = "abs(Muon_eta)" }
max = 2

[[samples]]
name = "signal"
role = "signal"
files = "signal.root"
tree = "Events"
cross_section = 0.05

[[samples]]
name = "ttbar"
files = "ttbar.root"
tree = "Events"
cross_section = 0.4

[[samples]]
name = "wjets"
files = "wjets.root"
tree = "Events"
cross_section = 0.6

[[systematics]]
name = "jes"
type = "features"
up = { Jet_pt = "Jet_pt_jesUp" }
down = { Jet_pt = "Jet_pt_jesDown" }

[[systematics]]
name = "btag"
type = "weight"
up = "{weight} * btag_up"

[model]
module = "particle_net"
widths = [8]
layers = 1
neighbours = 2
coordinates = ["eta"]
hidden = [8]

[training]
batch_size = 256

[search]
population = 2
rounds = 1
epochs_per_round = 1

[space]
learning_rate = { log_uniform = [1e-3, 1e-2] }

[comparison]
seeds = 0
replicas = 0
"""


def table(name: str) -> dict:
    """Branches of a sample as those of NanoAOD; of the signal more jets are tagged."""
    rng = np.random.default_rng(list(SIZES).index(name))
    events = SIZES[name]
    jets, muons = rng.integers(0, 6, events), rng.integers(0, 3, events)

    def of_jets(values):
        return ak.unflatten(values.astype("f4"), jets)

    pt = rng.exponential(35, jets.sum()) + 20
    tag = rng.beta(*((3, 2) if name == "signal" else (2, 3)), jets.sum())
    return {
        "run": np.full(events, 1, np.uint32),
        "event": np.arange(events, dtype=np.uint64),
        "genWeight": rng.uniform(0.5, 2, events),
        "btag_up": rng.uniform(0.9, 1.2, events),
        "MET_pt": rng.exponential(50, events).astype("f4"),
        "Jet_pt": of_jets(pt),
        "Jet_pt_jesUp": of_jets(pt * 1.1),
        "Jet_pt_jesDown": of_jets(pt * 0.9),
        "Jet_eta": of_jets(rng.normal(scale=1.5, size=jets.sum())),
        "Jet_btag": of_jets(tag),
        "Muon_pt": ak.unflatten(rng.exponential(30, muons.sum()).astype("f4"), muons),
        "Muon_eta": ak.unflatten(rng.normal(size=muons.sum()).astype("f4"), muons),
    }


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    for name in SIZES:
        with uproot.recreate(folder / f"{name}.root") as file:
            made = table(name)
            file["Events"] = made
            # As if half of the generated events had been left out of the file.
            file["Runs"] = {"genEventSumw": np.array([2 * made["genWeight"].sum()])}
    path = folder / "objects.toml"
    path.write_text(CONFIG)
    return path


def by_hand(name: str, pt: str = "Jet_pt", factor: str | None = None) -> tuple[np.ndarray, float]:
    """Which events of a sample are selected, and their yield."""
    made = table(name)
    kept = ak.to_numpy(ak.sum(made[pt] > 30, axis=1) >= 1)
    weight = made["genWeight"] * (1 if factor is None else made[factor])
    normalised = CROSS_SECTIONS[name] * 2.0 * 1000 / (2 * made["genWeight"].sum())
    return kept, float(weight[kept].sum() * normalised)


@pytest.fixture(scope="module")
def finished(config, undrawn) -> Path:
    folder = config.parent / "run"
    dt.job.run(load(config), folder)
    return folder


@pytest.mark.slow
def test_the_workspace_has_the_sums_of_weights_that_are_in_the_files(finished):
    workspace = pyhf.Workspace(json.loads((finished / "workspace.json").read_text()))
    (channel,) = workspace["channels"]
    for sample in channel["samples"]:
        _, expected = by_hand(sample["name"])
        assert sum(sample["data"]) == pytest.approx(expected, rel=1e-4), sample["name"]
    model = workspace.model()
    start = model.config.suggested_init()
    for name, value, change in (
        ("jes", 1.0, {"pt": "Jet_pt_jesUp"}),
        ("jes", -1.0, {"pt": "Jet_pt_jesDown"}),
        ("btag", 1.0, {"factor": "btag_up"}),
    ):
        start[model.config.par_slice(name)] = [value]
        found = model.expected_data(start, include_auxdata=False).sum()
        start[model.config.par_slice(name)] = [0.0]
        expected = sum(by_hand(sample, **change)[1] for sample in SIZES)
        assert found == pytest.approx(expected, rel=1e-4), (name, value)


@pytest.mark.slow
def test_scores_of_the_files_are_those_of_the_events(finished, config):
    """Written beside the files and read back: nominal, and with the momenta varied."""
    assert "particle_net" in (finished / "report.html").read_text()
    networks, events = CrossFitted.load(finished / "network"), build.events(load(config))
    nominal = {"": (events, "Jet_pt")}
    varied = {
        f"_jes_{way}": (events.varied("jes", way), f"Jet_pt_jes{way.title()}")
        for way in ("up", "down")
    }
    files = [config.parent / f"{name}.root" for name in SIZES]
    written = dt.job.apply(finished, files, config.parent / "scores")
    assert [path.name for path in written] == [path.name for path in files]
    for process, (name, path) in enumerate(zip(SIZES, written, strict=True)):
        with uproot.open(path) as file:
            assert file.keys(cycle=False) == ["Events"]
            for suffix, (sample, pt) in (nominal | varied).items():
                found = file["Events"][f"score{suffix}"].array(library="np")
                kept, _ = by_hand(name, pt)
                np.testing.assert_array_equal(np.isfinite(found), kept)
                own = sample.process == process
                expected = networks.score(sample)[own]
                assert expected.std() > 1e-3
                np.testing.assert_allclose(found[kept], expected, atol=1e-6)
