"""Reading files whose branches hold lists, as NanoAOD and its like, against uproot and awkward."""

import logging

import awkward as ak
import numpy as np
import pytest
import uproot
import vector

import difftune as dt
from difftune.data import FeatureVariation, Process, Region, WeightVariation, entries, read
from difftune.data.entries import tables_of
from difftune.errors import InputError
from tests import public_files

vector.register_awkward()
EVENTS = 400


def nanoaod(path, seed=1, **more):
    """A small file with the branches of NanoAOD that tests use; returns its name and columns."""
    rng = np.random.default_rng(seed)
    jets, muons = rng.integers(0, 5, EVENTS), rng.integers(0, 3, EVENTS)

    def collection(counts, **members):
        made = {}
        for name, draw in members.items():
            made[name] = ak.unflatten(draw(int(counts.sum())), counts)
        return ak.zip(made)

    kinematics = {
        "pt": lambda n: (rng.exponential(50, n) + 15).astype(np.float32),
        "eta": lambda n: rng.normal(0, 1.5, n).astype(np.float32),
        "phi": lambda n: rng.uniform(-3.1, 3.1, n).astype(np.float32),
        "mass": lambda n: rng.uniform(1, 12, n).astype(np.float32),
    }
    columns = {
        "event": np.arange(EVENTS, dtype=np.uint64),
        "MET_pt": rng.exponential(40, EVENTS).astype(np.float32),
        "MET_phi": rng.uniform(-3.1, 3.1, EVENTS).astype(np.float32),
        "genWeight": rng.normal(1, 0.2, EVENTS).astype(np.float32),
        "Jet": collection(jets, **kinematics, btag=lambda n: rng.random(n).astype(np.float32)),
        "Muon": collection(muons, **kinematics, jetIdx=lambda n: rng.integers(-1, 3, n)),
        "LHEScaleWeight": ak.from_numpy(rng.normal(1, 0.1, (EVENTS, 9)), regulararray=False),
    }
    columns |= more
    with uproot.recreate(path) as file:
        types = {name: ak.type(values).content for name, values in columns.items()}
        file.mktree("Events", types)
        file["Events"].extend(columns)
    return str(path), columns


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return nanoaod(tmp_path_factory.mktemp("nano") / "a.root")


def alone(file, features, **options):
    process = Process(name="ttbar", files=file, tree="Events", **options.pop("process", {}))
    return read(processes=process, features=features, **options)


def first(values):
    return ak.to_numpy(ak.fill_none(ak.firsts(values), np.nan)).astype(np.float32)


def test_features_may_be_expressions_on_lists(file):
    name, columns = file
    features = ["Jet_pt[0]", "max(Jet_btag)", "sum(Jet_pt[Jet_pt > 30])", "count(Muon_pt > 20)"]
    features += ["(p4('Jet')[0] + p4('Muon')[0]).mass", "nearest", "MET_pt"]
    events = alone(
        name,
        features,
        derived={"nearest": "min(delta_r(p4('Jet'), p4('Muon')[0]))"},
        weight="genWeight * LHEScaleWeight[4]",
        event_number="event",
        # More chunks than one.
        chunk_size=150,
    )
    jets, muons = columns["Jet"], columns["Muon"]
    assert events.feature_names == tuple(features)
    found = dict(zip(features, events.features.T, strict=True))
    np.testing.assert_array_equal(found["Jet_pt[0]"], first(jets.pt))
    tags = ak.fill_none(ak.max(jets.btag, axis=1), np.nan)
    np.testing.assert_array_equal(found["max(Jet_btag)"], tags)
    sums = ak.sum(jets.pt[jets.pt > 30], axis=1)
    np.testing.assert_allclose(found["sum(Jet_pt[Jet_pt > 30])"], sums, rtol=1e-6)
    np.testing.assert_array_equal(found["count(Muon_pt > 20)"], ak.sum(muons.pt > 20, axis=1))
    momenta = [
        ak.zip({n: ak.values_astype(v[n], float) for n in v.fields[:4]}, with_name="Momentum4D")
        for v in (jets, muons)
    ]
    mass = ak.fill_none((ak.firsts(momenta[0]) + ak.firsts(momenta[1])).mass, np.nan)
    np.testing.assert_allclose(found[features[4]], mass, rtol=1e-5)
    distance = ak.min(momenta[0].deltaR(ak.firsts(momenta[1])), axis=1)
    np.testing.assert_allclose(found["nearest"], ak.fill_none(distance, np.nan), rtol=1e-5)
    np.testing.assert_array_equal(found["MET_pt"], columns["MET_pt"])
    weight = columns["genWeight"].astype(float) * np.asarray(columns["LHEScaleWeight"])[:, 4]
    np.testing.assert_allclose(events.weight, weight, rtol=1e-6)


def test_lists_in_selections_regions_and_variations(file, caplog):
    name, columns = file
    jets, muons = columns["Jet"], columns["Muon"]
    with caplog.at_level(logging.INFO, "difftune"):
        events = read(
            name,
            processes=[
                Process(name="signal", role="signal", selection="Muon_pt[0] > 40"),
                Process(name="ttbar", selection="not (Muon_pt[0] > 40)"),
            ],
            features=["Jet_pt[0]", "ht"],
            derived={"good": "Jet_pt > 30", "ht": "sum(Jet_pt[good])"},
            selection="count(Jet_pt) >= 1",
            weight="abs(genWeight)",
            event_number="event",
            folds=2,
            regions=[
                Region(name="tagged", selection="any(Jet_btag > 0.5)"),
                Region(
                    name="untagged",
                    role="control",
                    selection="max(Jet_btag) <= 0.5",
                    observable="sum(p4('Jet')).pt",
                    edges=[0, 50, 200],
                ),
            ],
            variations=[
                WeightVariation("scale", up="{weight} * LHEScaleWeight[8]"),
                FeatureVariation("jes", up={"Jet_pt": "1.02 * Jet_pt"}),
            ],
        )
    jet, muon = first(jets.pt), first(muons.pt)
    # An event without a muon is neither of them.
    for index, wanted in enumerate((muon > 40, muon <= 40)):
        number = events.number[events.process == index]
        assert sorted(number) == np.flatnonzero(wanted & ~np.isnan(jet)).tolist()
    assert "`Muon_pt[0] > 40` asks for what is not there in " in caplog.text
    number = events.number
    np.testing.assert_array_equal(events.features[:, 0], jet[number])
    sums = ak.to_numpy(ak.sum(jets.pt[jets.pt > 30], axis=1))
    np.testing.assert_allclose(events.features[:, 1], sums[number], rtol=1e-6)
    tagged = ak.to_numpy(ak.any(jets.btag > 0.5, axis=1))
    np.testing.assert_array_equal(events.region == 0, tagged[number])
    totals = np.hypot(
        ak.sum(jets.pt * np.cos(jets.phi), axis=1), ak.sum(jets.pt * np.sin(jets.phi), axis=1)
    )
    np.testing.assert_allclose(
        events.observable[events.region == 1], totals[number][events.region == 1], rtol=1e-5
    )
    scale = np.asarray(columns["LHEScaleWeight"])[:, 8]
    up = events.variations["scale"].up
    np.testing.assert_allclose(up, events.weight * scale[number], rtol=1e-6)
    varied = events.variations["jes"].up
    np.testing.assert_allclose(varied.features[:, 0], 1.02 * jet[varied.number], rtol=1e-6)
    sums = ak.to_numpy(ak.sum((1.02 * jets.pt)[1.02 * jets.pt > 30], axis=1))
    np.testing.assert_allclose(varied.features[:, 1], sums[varied.number], rtol=1e-6)


def test_sentinels_in_lists_are_left_out(tmp_path):
    tags = ak.Array([[0.5, -999.0], [-999.0], [], [0.25]] * 100)
    name, _ = nanoaod(tmp_path / "a.root", tags=tags)
    features = ["max(tags)", "min(tags)", "tags[0]", "sum(tags)", "count(tags)"]
    events = alone(name, features, missing=-999)
    nan = np.nan
    wanted = [[0.5, 0.5, 0.5, 0.5, 1], [nan, nan, nan, 0, 0], [nan, nan, nan, 0, 0]]
    np.testing.assert_array_equal(events.features[:4], [*wanted, [0.25, 0.25, 0.25, 0.25, 1]])
    # Selections see what is in the file.
    assert len(alone(name, ["MET_pt"], selection="min(tags) == -999")) == 200


def test_values_that_are_not_finite_in_lists_are_refused(tmp_path):
    name, _ = nanoaod(tmp_path / "a.root", x=ak.Array([[1.0, np.nan], []] * 200))
    with pytest.raises(InputError, match=r"'x\[1\]': 200 of 400 .* add nan to `missing`"):
        alone(name, ["x[1]"])
    assert np.isnan(alone(name, ["x[1]"], missing=np.nan).features).all()


def test_lists_of_different_length_are_refused(tmp_path):
    y = ak.Array([[1.0]] * 400)
    name, _ = nanoaod(tmp_path / "a.root", x=ak.Array([[1.0]] * 7 + [[1.0, 2.0]] * 393), y=y)
    with pytest.raises(InputError) as caught:
        alone(name, ["max(x * y)"], chunk_size=5)
    message = str(caught.value)
    assert f"`x` and `y` have 2 and 1 elements at entry 7 of {name}:Events" in message
    assert "Take branches of one collection" in message


def test_a_place_beyond_all_lists_is_said(file, caplog):
    name, _ = file
    alone(name, ["Jet_pt[40]", "MET_pt"])
    assert "missing in every event: 'Jet_pt[40]' of ttbar" in caplog.text
    with pytest.raises(InputError, match=r"none of them has what `Jet_pt\[40\] > 3` asks for"):
        alone(name, ["MET_pt"], selection="Jet_pt[40] > 3")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ({"features": ["Jet_pt"]}, "has a list of numbers .* `Jet_pt\\[0\\]` for the first"),
        ({"features": ["Jet_pt * 2"]}, "`\\(Jet_pt \\* 2\\)\\[0\\]` for the first"),
        ({"features": ["p4('Jet')[0]"]}, "is a four-momentum: .* `p4\\('Jet'\\)\\[0\\].pt`"),
        ({"selection": "Jet_pt > 30"}, "`any\\(Jet_pt > 30\\)`"),
        ({"weight": "LHEScaleWeight"}, "`LHEScaleWeight\\[0\\]` for the first"),
        ({"features": ["Jets_pt[0]"]}, "no branch 'Jets_pt'. Did you mean 'Jet_pt'"),
        ({"features": ["max(Jet_pt, MET_pt)"]}, "write `maximum\\(a, b\\)`"),
        ({"features": ["Jet_p"]}, "no branch for feature 'Jet_p'"),
        ({"features": ["p4('Electron')[0].pt"]}, "nothing like `Electron_pt`"),
    ],
)
def test_what_is_no_number_for_each_event(file, use, message):
    with pytest.raises(InputError, match=message):
        alone(file[0], **({"features": ["MET_pt"]} | use))


def test_one_number_in_place_of_a_list_is_refused(file):
    change = FeatureVariation("jes", up={"Jet_pt": "Jet_pt[0]"}, processes=["ttbar"])
    with pytest.raises(InputError, match=r"one number for each event, and 'Jet_pt'.* a list of"):
        alone(file[0], ["Jet_pt[0]"], variations=[change], event_number="event")


def test_members_and_branches_in_others_as_the_file_names_them():
    """Delphes and EDM4hep have them: `Jet/Jet.PT` and the like."""
    for name, tree, member, path in (
        ("delphes.root", "Delphes", "Jet.PT", "Jet/Jet.PT"),
        ("p8_ee_WW_ecm240_edm4hep.root", "events", "Jet.momentum.x", "Jet/Jet.momentum.x"),
    ):
        file = str(public_files.path(name))
        values = uproot.open(file)[tree][path].array()
        process = Process(name="a", files=file, tree=tree)
        features = [f"max({member})", f"max({path})", f"max(`{path}`)"]
        events = read(processes=process, features=features)
        wanted = ak.fill_none(ak.max(values, axis=1), np.nan)
        for column in events.features.T:
            np.testing.assert_array_equal(column, wanted)


@pytest.mark.parametrize(
    ("name", "tree", "branch"),
    [
        ("PHYSLITE_example.root", "CollectionTree", "AnalysisJetsAuxDyn.pt"),
        ("nano_dy_rntuple.root", "Events", "Jet_pt"),
        ("nano_dy.root", "Events", "Jet_pt"),
        ("pduneana.root", "pduneana/beamana", "beam_inst_TOF"),
    ],
)
def test_lists_of_other_public_files(name, tree, branch):
    file = str(public_files.path(name))
    values = uproot.open(file)[tree].arrays([branch])[branch]
    features = [f"{branch}[0]", f"count({branch})", f"sum({branch})"]
    events = read(processes=Process(name="a", files=file, tree=tree), features=features)
    np.testing.assert_array_equal(events.features[:, 0], first(values))
    np.testing.assert_array_equal(events.features[:, 1], ak.num(values))
    np.testing.assert_allclose(events.features[:, 2], ak.sum(values, axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["nano_dy_rntuple.root", "nano_dimuon_rntuple.root", "nano_tree_rntuple.root"]
)
def test_counters_of_public_ntuples_are_numbers(name):
    """`nMuon` is a projection on the collection, of which it is the length."""
    file = str(public_files.path(name))
    counters = {"nMuon": "Muon_pt", "nJet": "Jet_pt", "nElectron": "Electron_pt"}
    features = [*counters, *(f"count({branch})" for branch in counters.values())]
    process = Process(name="a", files=file, tree="Events", selection="nMuon >= 0")
    events = read(processes=process, features=features)
    opened = uproot.open(file)["Events"]
    for i, (counter, branch) in enumerate(counters.items()):
        values = opened.arrays([counter, branch])
        np.testing.assert_array_equal(events.features[:, i], ak.to_numpy(values[counter]))
        np.testing.assert_array_equal(events.features[:, i + 3], ak.num(values[branch]))
    assert events.features[:, :3].any()


def test_a_mass_that_no_branch_holds_is_asked_for():
    file = str(public_files.path("delphes.root"))
    process = Process(name="a", files=file, tree="Delphes")
    with pytest.raises(InputError, match=r"lacks mass: say it, as in `p4\('Muon', mass=0.106\)`"):
        read(processes=process, features=["p4('Muon')[0].pt"])
    events = read(processes=process, features=["p4('Muon', mass=0.106)[0].pt"])
    muons = uproot.open(file)["Delphes/Muon/Muon.PT"].array()
    np.testing.assert_allclose(events.features[:, 0], first(muons), rtol=1e-6)


def test_public_nanoaod_is_read():
    file = str(public_files.path("nano_tt_v12.root"))
    tree = uproot.open(file)["Events"]
    events = alone(
        file,
        ["Jet_pt[0]", "sum(p4('Jet')).mass", "count(Jet_btagDeepFlavB > 0.3)", "PuppiMET_pt"],
        weight="genWeight * LHEScaleWeight[4]",
        event_number=["run", "luminosityBlock", "event"],
    )
    jets = tree.arrays(filter_name="/Jet_(pt|eta|phi|mass|btagDeepFlavB)/")
    np.testing.assert_array_equal(events.features[:, 0], first(jets.Jet_pt))
    members = {n: ak.values_astype(jets[f"Jet_{n}"], float) for n in ("pt", "eta", "phi", "mass")}
    momenta = ak.zip(members, with_name="Momentum4D")
    total = ak.sum(momenta, axis=1)
    np.testing.assert_allclose(events.features[:, 1], total.mass, rtol=1e-4, atol=1e-3)
    tagged = ak.sum(jets.Jet_btagDeepFlavB > 0.3, axis=1)
    np.testing.assert_array_equal(events.features[:, 2], tagged)
    weight = tree["genWeight"].array() * tree["LHEScaleWeight"].array()[:, 4]
    np.testing.assert_allclose(events.weight, weight, rtol=1e-6)


def test_scores_are_of_the_same_rows(file):
    """`entries` serves those who add scores to files."""
    name, columns = file
    events = alone(name, ["Jet_pt[0]"], selection="count(Jet_pt) > 1", event_number="event")
    (table,) = [t for t in tables_of(name, "test") if t.tree == "Events"]
    ((kept, again),) = list(entries(table, events.reading))
    np.testing.assert_array_equal(kept, ak.to_numpy(ak.num(columns["Jet"].pt) > 1))
    np.testing.assert_array_equal(again.features, events.features)
    assert isinstance(again, dt.Events)
