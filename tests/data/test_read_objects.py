"""Collections of objects from files with jagged branches, against awkward by hand."""

import awkward as ak
import jax
import numpy as np
import pytest
import uproot

from difftune import InputError, Objects, Process, TreeVariation, apply, read
from difftune.data import Events, FeatureVariation
from difftune.job import build, load
from difftune.models import DeepSet
from difftune.training import ModuleDef, Recipe, TrainedNetwork
from difftune.training.sample import inputs_of

JETS = Objects(
    branches={"pt": "Jet_pt", "eta": "Jet_eta", "tag": "Jet_tag"},
    max=3,
    order="-Jet_pt",
    selection="Jet_pt > 30 and abs(Jet_eta) < 2.4",
)
MUONS = Objects(branches=["Muon_pt", "Muon_pt / MET_pt"], max=2)
EVENTS = 300


def table(seed: int, shift: float = 1.0) -> dict:
    """Branches as those of NanoAOD."""
    rng = np.random.default_rng(seed)
    jets, muons = rng.integers(0, 6, EVENTS), rng.integers(0, 3, EVENTS)

    def branch(counts, values):
        return ak.unflatten(values.astype("f4"), counts)

    pt = rng.exponential(40, jets.sum()) + 20
    tag = np.where(rng.random(jets.sum()) < 0.2, -1.0, rng.random(jets.sum()))
    return {
        "event": np.arange(EVENTS, dtype=np.int64) + 1000 * seed,
        "MET_pt": rng.exponential(50, EVENTS).astype("f4") + 1,
        "Jet_pt": branch(jets, pt * shift),
        "Jet_pt_up": branch(jets, pt * shift * 1.2),
        "Jet_eta": branch(jets, rng.normal(scale=1.5, size=jets.sum())),
        "Jet_tight": ak.unflatten((pt > 40).astype(np.uint8), jets),
        "Jet_tag": branch(jets, tag),
        "Muon_pt": branch(muons, rng.exponential(30, muons.sum())),
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("objects") / "events.root"
    with uproot.recreate(path) as made:
        for number, name in enumerate(("signal", "background")):
            for suffix, shift in (("", 1.0), ("_up", 1.2)):
                own = table(number, shift)
                types = {k: getattr(v, "dtype", None) or v.type.content for k, v in own.items()}
                made.mktree(f"{name}{suffix}", types)
                made[f"{name}{suffix}"].extend(own)
    return str(path)


def of(file: str, **options) -> Events:
    return read(
        file,
        processes=[
            Process(name="signal", role="signal", tree="signal"),
            Process(name="background", tree="background"),
        ],
        **{
            "features": ["MET_pt"],
            "event_number": "event",
            "missing": {"Jet_tag": -1},
            "objects": {"jets": JETS, "muons": MUONS},
        }
        | options,
    )


def by_hand(number: int, *, pt: str = "Jet_pt", shift: float = 1.0) -> np.ndarray:
    """All features, by awkward alone."""
    made = table(number, shift)
    jets = ak.zip({"pt": made[pt], "eta": made["Jet_eta"], "tag": made["Jet_tag"]})
    jets = jets[(jets.pt > 30) & (abs(jets.eta) < 2.4)]
    jets = jets[ak.argsort(jets.pt, ascending=False)]
    met = made["MET_pt"]
    muons = ak.zip({"pt": made["Muon_pt"], "share": made["Muon_pt"] / met})
    blocks = [np.asarray(met)[:, None]]
    for objects, most in ((jets, 3), (muons, 2)):
        padded = [ak.pad_none(objects[f], most, clip=True) for f in objects.fields]
        each = [ak.fill_none(one, np.nan) for one in padded]
        blocks.append(np.stack([ak.to_numpy(one) for one in each], -1).reshape(EVENTS, -1))
    result = np.concatenate(blocks, axis=1)
    tags = result[:, 3:10:3]
    tags[tags == -1] = np.nan
    return result.astype("f4")


def test_objects_are_read_as_awkward_has_them(file):
    events = of(file, chunk_size=70)
    assert events.feature_names[:3] == ("MET_pt", "jets[0].pt", "jets[0].eta")
    assert events.feature_names[-1] == "muons[1].Muon_pt / MET_pt"
    expected = np.concatenate([by_hand(0), by_hand(1)])
    np.testing.assert_allclose(events.features, expected, rtol=1e-6)
    tagged = dict(events.sentinels)
    assert tagged["jets[2].tag"] == (-1.0,)
    assert "jets[2].pt" not in tagged


def test_a_varied_tree_and_varied_momenta_change_order_and_number(file):
    # Of one kind and of the other the same: all momenta are 1.2 times larger.
    events = of(
        file,
        variations=[
            FeatureVariation("branch", up={"Jet_pt": "Jet_pt_up"}),
            TreeVariation("tree", up="{tree}_up"),
        ],
    )
    expected = np.concatenate([by_hand(i, pt="Jet_pt_up") for i in range(2)])
    assert (np.isnan(expected).sum(axis=0) != np.isnan(events.features).sum(axis=0)).any()
    for name in ("branch", "tree"):
        varied = events.varied(name, "up")
        assert varied.collections == events.collections
        np.testing.assert_allclose(varied.features, expected, rtol=1e-5)


def test_a_default_for_a_branch_of_lists(file, tmp_path):
    """It is one value for each event, which takes the place of each object's."""
    second = str(tmp_path / "second.root")
    with uproot.recreate(second) as made:
        for number, name in enumerate(("signal", "background")):
            own = table(number + 2)
            own.pop("Jet_tag")
            types = {k: getattr(v, "dtype", None) or v.type.content for k, v in own.items()}
            made.mktree(name, types)
            made[name].extend(own)
    jets = Objects(branches={"pt": "Jet_pt", "tag": "Jet_tag + 0 * Jet_pt"}, max=3)
    given = {"objects": {"jets": jets}, "defaults": {"Jet_tag": 0.25}, "missing": None}
    first = of(file, **given | {"defaults": None})
    both = of([file, second], **given)
    for process in range(2):
        old, new = first.features[first.process == process], both.features[both.process == process]
        np.testing.assert_array_equal(new[:EVENTS], old)
        rest = new[EVENTS:]
        pt, tag = rest[:, 1::2], rest[:, 2::2]
        assert set(tag[~np.isnan(pt)]) == {np.float32(0.25)}
        assert np.isnan(tag[np.isnan(pt)]).all()
    plain = Objects(branches=["Jet_pt", "Jet_tag"], max=3)
    message = (
        rf"`Jet_tag`: has one value for each event of {second}:signal.*`Jet_tag \+ 0 \* Jet_pt`"
    )
    with pytest.raises(InputError, match=message):
        of([file, second], **given | {"objects": {"jets": plain}})


def network(events: Events) -> TrainedNetwork:
    """One with random start values."""
    transform = Recipe().transform(events)
    made = ModuleDef(DeepSet(each=(8,), hidden=(8,)), inputs=inputs_of(transform), outputs=1)
    return TrainedNetwork(
        module_def=made,
        weights=made.init(jax.random.key(4)),
        hyperparameters={},
        transform=transform,
        feature_names=events.feature_names,
        signal_process=(1.0, 0.0),
        reading=events.reading,
    )


def test_apply_gives_the_scores_of_the_events(file, tmp_path):
    events = of(file, variations=[FeatureVariation("jes", up={"Jet_pt": "Jet_pt_up"})])
    made = network(events)
    expected = made.score(events)
    assert expected.std() > 0.01
    made.save(tmp_path / "network")
    again = TrainedNetwork.load(tmp_path / "network")
    assert again.reading.to_dict() == events.reading.to_dict()
    (path,) = apply(again, file, tmp_path / "scores", trees=["signal", "background"])
    with uproot.open(path) as written:
        trees = [written[name].arrays(library="np") for name in ("signal", "background")]
    found = np.concatenate([each["score"] for each in trees])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    varied = np.concatenate([each["score_jes_up"] for each in trees])
    np.testing.assert_allclose(varied, made.score(events.varied("jes", "up")), atol=1e-6)


def test_only_objects(file):
    events = of(file, features=[], objects={"muons": MUONS})
    assert events.features.shape == (2 * EVENTS, 4)


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (
            {"branches": ["Jet_pt", "Muon_pt"]},
            r"objects\['jets'\]: branches: `Muon_pt`.* at entry \d+ of .*events.root:signal there "
            r"are \d values of it and \d of `Jet_pt`",
        ),
        ({"branches": ["Jet_ptt"]}, r"events.root:signal has no branch 'Jet_ptt'.*'Jet_pt'"),
        ({"branches": ["MET_pt"]}, r"`MET_pt`: has one value for each event.*`features`"),
        ({"branches": ["Jet_pt"], "order": "MET_pt"}, r"order: `MET_pt`: has one value for each"),
        (
            {"branches": ["Jet_pt"], "selection": "Muon_pt > 3"},
            r"selection: `Muon_pt > 3`.*values of it",
        ),
        (
            {"branches": ["sqrt(Jet_eta)"]},
            r"`sqrt\(Jet_eta\)`.*NaN or infinite.* at entry \d+ of .*missing",
        ),
        ({"branches": {"pt": np.ones((3, 3))}}, "`read` takes expressions"),
        ({"branches": ["Jet_pt"], "selection": "~Jet_tight"}, "write `not Jet_tight`"),
        ({"branches": ["Jet_pt"], "max": 10**9}, r"max=1000000000.* no more than 10000"),
    ],
)
def test_bad_input(file, objects, message):
    with pytest.raises(InputError, match=message):
        of(file, objects={"jets": {"max": 2} | objects})


def test_objects_of_an_analysis_file(file, tmp_path):
    path = tmp_path / "analysis.toml"
    path.write_text(f"""
[data]
files = "{file}"
features = ["MET_pt"]
event_number = "event"
missing = {{ Jet_tag = -1 }}

[data.objects.jets]
branches = {{ pt = "Jet_pt", eta = "Jet_eta", tag = "Jet_tag" }}
max = 3
order = "-Jet_pt"
selection = "Jet_pt > 30 and abs(Jet_eta) < 2.4"

[data.objects.muons]
branches = ["Muon_pt", "Muon_pt / MET_pt"]
max = 2

[model]
module = "deep_set"
latent = 8

[[samples]]
name = "signal"
role = "signal"
tree = "signal"

[[samples]]
name = "background"
tree = "background"
""")
    config = load(path)
    found = build.events(config)
    np.testing.assert_array_equal(found.features, of(file).features)
    assert found.collections == of(file).collections
    assert build.model(config) == DeepSet(latent=8)
    path.write_text(path.read_text().replace("max = 2", "max = 0"))
    with pytest.raises(InputError, match=r"data\.objects\.muons\.max"):
        load(path)


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> str:
    """Up to three jets in branches of their own, `jet1_pt` to `jet3_tag`; -9 where there is none.

    The second jet has a momentum that NaN says is missing in some events, where its direction is
    there; the first is not there in some that have a second.
    """
    rng = np.random.default_rng(7)
    path = tmp_path_factory.mktemp("flat") / "flat.root"
    columns = {"event": np.arange(EVENTS), "process": np.arange(EVENTS) % 2}
    for jet in (1, 2, 3):
        there = rng.random(EVENTS) < (0.9 if jet < 3 else 0.5)
        pt = np.where(there, rng.exponential(40, EVENTS) + 10, -9)
        if jet == 2:
            pt[there & (rng.random(EVENTS) < 0.1)] = np.nan
        columns |= {
            f"jet{jet}_pt": pt,
            f"jet{jet}_pt_up": np.where(pt > 0, pt * rng.uniform(0.8, 1.4, EVENTS), pt),
            f"jet{jet}_eta": np.where(there, rng.normal(size=EVENTS), -9),
        }
    with uproot.recreate(path) as file:
        file["events"] = columns
    return str(path)


def of_flat(file: str, **options) -> Events:
    brackets = {
        name: f"[{', '.join(f'jet{i}_{name}' for i in (1, 2, 3))}]" for name in ("pt", "eta")
    }
    given = {
        "processes": [
            Process(name="signal", role="signal", selection="process == 0"),
            Process(name="background", selection="process == 1"),
        ],
        "features": ["max(pt)", "count(pt)"],
        "derived": brackets,
        "event_number": "event",
        "missing": [-9, np.nan],
        "objects": {"jets": Objects(branches=["pt", "eta"], max=3, order="-pt")},
    }
    return read(file, **(given | options))


def by_numpy(file: str, *, pt: str = "pt", most: int = 3, least: float = -np.inf) -> np.ndarray:
    """All features of the events of the file, one jet after the other."""
    with uproot.open(file) as opened:
        data = opened["events"].arrays(library="np")
    rows = []
    for entry in np.concatenate([np.arange(0, EVENTS, 2), np.arange(1, EVENTS, 2)]):
        jets = [
            [np.nan if value == -9 else value for value in (data[name][entry] for name in names)]
            for names in ((f"jet{i}_{pt}", f"jet{i}_eta") for i in (1, 2, 3))
        ]
        momenta = [jet[0] for jet in jets if jet[0] == jet[0]]
        row = [max(momenta, default=np.nan), len(momenta)]
        kept = [jet for jet in jets if not np.isnan(jet).all()]
        kept = [jet for jet in kept if least == -np.inf or jet[0] > least]
        kept.sort(key=lambda jet: (np.isnan(jet[0]), -jet[0] if jet[0] == jet[0] else 0))
        kept = [*kept, *[[np.nan, np.nan]] * 3][:most]
        rows.append(row + [value for jet in kept for value in jet])
    return np.array(rows, "f4")


def test_flat_branches_are_a_collection(flat):
    """`[jet1_pt, jet2_pt, jet3_pt]` is the list of the momenta of the jets that are there."""
    events = of_flat(flat, chunk_size=70)
    assert events.feature_names[2:6] == ("jets[0].pt", "jets[0].eta", "jets[1].pt", "jets[1].eta")
    expected = by_numpy(flat)
    np.testing.assert_allclose(events.features, expected, rtol=1e-6)
    # A jet without a momentum is one, and the last of its event; empty places come behind.
    without = np.isnan(expected[:, 2::2]) & ~np.isnan(expected[:, 3::2])
    assert without.any()
    there = ~np.isnan(expected[:, 3::2])
    assert (np.diff(there.astype(int), axis=1) <= 0).all()
    some = {"jets": Objects(branches=["pt", "eta"], max=2, order="-pt", selection="pt > 30")}
    np.testing.assert_allclose(
        of_flat(flat, objects=some).features, by_numpy(flat, most=2, least=30.0), rtol=1e-6
    )


def test_a_missing_object_takes_no_place(flat):
    """Without an order objects stay as they are written, and there are no holes between them."""
    one = {"jets": Objects(branches=["pt", "eta"], max=1)}
    found = of_flat(flat, objects=one).features[:, 3]
    with uproot.open(flat) as file:
        data = file["events"].arrays(library="np")
    eta = np.stack([data[f"jet{i}_eta"] for i in (1, 2, 3)], axis=1)
    first = np.array([next((v for v in row if v != -9), np.nan) for row in eta], "f4")
    np.testing.assert_array_equal(found, np.concatenate([first[::2], first[1::2]]))


def test_apply_makes_the_collection_of_flat_branches(flat, tmp_path):
    events = of_flat(flat)
    made = network(events)
    made.save(tmp_path / "network")
    (path,) = apply(TrainedNetwork.load(tmp_path / "network"), flat, tmp_path / "scores")
    with uproot.open(path) as written:
        found = written["events"]["score"].array(library="np")
    expected = made.score(events)
    assert expected.std() > 0.01
    np.testing.assert_allclose(np.concatenate([found[::2], found[1::2]]), expected, atol=1e-6)


def test_variations_of_flat_branches_vary_the_collection(flat):
    up = {f"jet{i}_pt": f"jet{i}_pt_up" for i in (1, 2, 3)}
    events = of_flat(flat, variations=[FeatureVariation("jes", up=up)])
    varied = events.varied("jes", "up").features
    np.testing.assert_allclose(varied, by_numpy(flat, pt="pt_up"), rtol=1e-6)
    assert not np.array_equal(varied[:, 3], events.features[:, 3], equal_nan=True)


def test_flat_branches_and_lists_do_not_mix(flat, file):
    message = r"`Jet_pt` has a list of numbers for each event; brackets make a list of single"
    with pytest.raises(InputError, match=message):
        of(file, objects={"jets": Objects(branches=["[Jet_pt, MET_pt]"], max=2)})
    with pytest.raises(InputError, match=r"has no branch 'jet4_pt'.*'jet3_pt'"):
        of_flat(flat, objects={"jets": Objects(branches=["[jet1_pt, jet4_pt]"], max=2)})
