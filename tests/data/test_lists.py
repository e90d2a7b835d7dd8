"""Lists and four-momenta in expressions, against awkward and vector."""

import awkward as ak
import numpy as np
import pytest
import vector

from difftune.data.expressions import parse
from difftune.data.lists import Lists, Part, Unequal, of_awkward
from difftune.data.momenta import members_of
from difftune.errors import InputError

vector.register_awkward()
EVENTS = 300


def lists(generator, counts, dtype=np.float32):
    return ak.unflatten(generator(int(counts.sum())).astype(dtype), counts)


@pytest.fixture(scope="module")
def data():
    """Columns as in NanoAOD, float32 and all, some events without jets or muons."""
    rng = np.random.default_rng(3)
    jets, muons = rng.integers(0, 6, EVENTS), rng.integers(0, 3, EVENTS)
    columns = {"met": rng.exponential(40, EVENTS), "met_phi": rng.uniform(-3.1, 3.1, EVENTS)}
    for name, counts in (("Jet", jets), ("Muon", muons)):
        columns |= {
            f"{name}_pt": lists(lambda n: rng.exponential(50, n) + 1, counts),
            f"{name}_eta": lists(lambda n: rng.normal(0, 2, n), counts),
            f"{name}_phi": lists(lambda n: rng.uniform(-3.1, 3.1, n), counts),
            f"{name}_mass": lists(lambda n: rng.uniform(0, 12, n), counts),
        }
    columns |= {
        "Jet_tag": lists(lambda n: rng.random(n), jets),
        "Jet_id": lists(lambda n: rng.integers(0, 8, n), jets, np.uint8),
        "Jet_good": lists(lambda n: rng.random(n) < 0.6, jets, bool),
        "Muon_jet": lists(lambda n: rng.integers(-1, 4, n), muons, np.int16),
        "scales": rng.normal(1, 0.1, (EVENTS, 9)).astype(np.float32),
        "n": rng.integers(0, 3, EVENTS),
    }
    inner = rng.integers(0, 4, int(jets.sum()))
    tracks = ak.unflatten(rng.exponential(size=int(inner.sum())), inner)
    return columns | {"Jet_tracks": ak.unflatten(tracks, jets)}


def part_of(text, data):
    kinds, columns = {}, {}
    for name, values in data.items():
        deep = values.ndim - 1
        dtype = str(ak.type(values))
        kinds[name] = ("bool" if "bool" in dtype else "number") + "[]" * deep
        columns[name] = Part(of_awkward(values) if deep else values)
    expression = parse(text, "test")
    code = expression.typed(kinds.__getitem__, kinds)
    part = expression.values(code, columns.__getitem__, EVENTS)
    deep = code.kind.count("[]")
    frame = part.frame
    for _ in range(deep):
        assert isinstance(frame, Lists)
        frame = frame.content
    assert isinstance(frame, np.ndarray)
    return part


def nested(values):
    """As awkward has it."""
    if isinstance(values, Lists):
        return ak.unflatten(nested(values.content), values.counts)
    return ak.Array(values)


def p4(data, name):
    members = {key: data[f"{name}_{key}"] for key in ("pt", "eta", "phi", "mass")}
    doubles = {key: ak.values_astype(values, np.float64) for key, values in members.items()}
    return ak.zip(doubles, with_name="Momentum4D")


def first(values, place=0):
    return ak.pad_none(values, place + 1, axis=1)[:, place]


ONE_EACH = {
    "Jet_pt[0]": lambda d: first(d["Jet_pt"]),
    "Jet_pt[:, 2]": lambda d: first(d["Jet_pt"], 2),
    "Jet_pt[-1]": lambda d: ak.firsts(d["Jet_pt"][:, ::-1]),
    "Jet_id[1]": lambda d: first(d["Jet_id"], 1),
    "max(Jet_pt)": lambda d: ak.max(d["Jet_pt"], axis=1),
    "min(Jet_id)": lambda d: ak.min(d["Jet_id"], axis=1),
    "mean(Jet_eta)": lambda d: ak.mean(
        ak.values_astype(d["Jet_eta"], float), axis=1, mask_identity=True
    ),
    "sum(Jet_id)": lambda d: ak.sum(d["Jet_id"], axis=1),
    "sum(Jet_pt[Jet_pt > 30])": lambda d: ak.sum(
        ak.values_astype(d["Jet_pt"][d["Jet_pt"] > 30], float), axis=1
    ),
    "count(Jet_pt)": lambda d: ak.num(d["Jet_pt"]),
    "count(Jet_pt > 20)": lambda d: ak.sum(d["Jet_pt"] > 20, axis=1),
    "count(Jet_pt[Jet_good & (Jet_pt > 20)])": lambda d: ak.sum(
        d["Jet_good"] & (d["Jet_pt"] > 20), axis=1
    ),
    "any(Jet_pt > 100)": lambda d: ak.any(d["Jet_pt"] > 100, axis=1),
    "all(Jet_pt > 20)": lambda d: ak.all(d["Jet_pt"] > 20, axis=1),
    "argmax(Jet_tag)": lambda d: ak.argmax(d["Jet_tag"], axis=1),
    "argmin(Jet_tag)": lambda d: ak.argmin(d["Jet_tag"], axis=1),
    "Jet_eta[argmax(Jet_tag)]": lambda d: ak.firsts(
        d["Jet_eta"][ak.argmax(d["Jet_tag"], axis=1, keepdims=True)]
    ),
    "sort(Jet_pt, by=-Jet_tag)[1]": lambda d: first(
        d["Jet_pt"][ak.argsort(d["Jet_tag"], axis=1, ascending=False)], 1
    ),
    "sort(Jet_pt)[0]": lambda d: first(ak.sort(d["Jet_pt"], axis=1)),
    "sum(Jet_pt[:3])": lambda d: ak.sum(ak.values_astype(d["Jet_pt"], float)[:, :3], axis=1),
    "sum(Jet_pt[-2:])": lambda d: ak.sum(ak.values_astype(d["Jet_pt"], float)[:, -2:], axis=1),
    "count(Jet_pt[1:-1])": lambda d: ak.num(d["Jet_pt"][:, 1:-1]),
    "max(Jet_pt * cosh(Jet_eta))": lambda d: ak.max(
        ak.values_astype(d["Jet_pt"], float) * np.cosh(d["Jet_eta"]), axis=1
    ),
    "min(abs(Jet_pt - met))": lambda d: ak.min(abs(d["Jet_pt"] - d["met"]), axis=1),
    "scales[4]": lambda d: d["scales"][:, 4],
    "max(scales)": lambda d: d["scales"].max(axis=1),
    "Jet_pt[n]": lambda d: ak.firsts(d["Jet_pt"][ak.local_index(d["Jet_pt"]) == d["n"][:, None]]),
    "count(Jet_tracks[0])": lambda d: ak.fill_none(ak.num(first(d["Jet_tracks"])), 0),
    "Jet_tracks[0][0]": lambda d: ak.firsts(ak.fill_none(first(d["Jet_tracks"]), [], axis=0)),
    "sum(sum(Jet_tracks))": lambda d: ak.sum(ak.sum(d["Jet_tracks"], axis=2), axis=1),
    "count(max(Jet_tracks) > 1)": lambda d: ak.sum(
        ak.fill_none(ak.max(d["Jet_tracks"], axis=2) > 1, False), axis=1
    ),
    "sum(count(Jet_tracks[Jet_tracks > Jet_tag]))": lambda d: ak.sum(
        ak.sum(d["Jet_tracks"] > d["Jet_tag"], axis=2), axis=1
    ),
    "where(count(Jet_pt) > 1, Jet_pt[1], -1)": lambda d: ak.fill_none(first(d["Jet_pt"], 1), -1),
    "Jet_pt[0] > 30 or met > 40": lambda d: ak.where(d["met"] > 40, True, first(d["Jet_pt"]) > 30),
    "(Jet_pt[0] > 30) & (met > 40)": lambda d: ak.where(
        d["met"] > 40, first(d["Jet_pt"]) > 30, False
    ),
    "not (Jet_pt[0] > 30)": lambda d: first(d["Jet_pt"]) <= 30,
    "isnan(Jet_pt[1])": lambda d: ak.num(d["Jet_pt"]) < 2,
    "p4('Jet')[0].mass": lambda d: first(d["Jet_mass"]),
    "(p4('Jet')[0] + p4('Muon')[0]).mass": lambda d: (
        (first(p4(d, "Jet")) + first(p4(d, "Muon"))).mass
    ),
    "(p4('Jet')[0] - p4('Muon')[0]).pt": lambda d: (first(p4(d, "Jet")) - first(p4(d, "Muon"))).pt,
    "(p4('Jet')[0] + p4('Jet')[1]).eta": lambda d: (
        (first(p4(d, "Jet")) + first(p4(d, "Jet"), 1)).eta
    ),
    "(p4('Jet')[0] + p4('Jet')[1]).phi": lambda d: (
        (first(p4(d, "Jet")) + first(p4(d, "Jet"), 1)).phi
    ),
    "p4('Jet')[0].energy": lambda d: first(p4(d, "Jet")).energy,
    "sum(p4('Jet')).pz": lambda d: ak.sum(p4(d, "Jet").pz, axis=1),
    "sum(p4('Jet')[Jet_pt > 40]).pt": lambda d: np.hypot(
        ak.sum(p4(d, "Jet").px[d["Jet_pt"] > 40], axis=1),
        ak.sum(p4(d, "Jet").py[d["Jet_pt"] > 40], axis=1),
    ),
    "delta_r(p4('Jet')[0], p4('Muon')[0])": lambda d: first(p4(d, "Jet")).deltaR(
        first(p4(d, "Muon"))
    ),
    "delta_phi(p4('Jet')[0], p4('Muon')[0])": lambda d: first(p4(d, "Jet")).deltaphi(
        first(p4(d, "Muon"))
    ),
    "min(abs(delta_phi(p4('Jet'), met_phi)))": lambda d: ak.min(
        abs((ak.values_astype(d["Jet_phi"], float) - d["met_phi"] + np.pi) % (2 * np.pi) - np.pi),
        axis=1,
    ),
    "min(delta_r(p4('Jet'), p4('Muon')[0]))": lambda d: ak.min(
        p4(d, "Jet").deltaR(first(p4(d, "Muon"))), axis=1
    ),
    "sort(p4('Jet'), by=-Jet_tag)[0].pt": lambda d: ak.firsts(
        d["Jet_pt"][ak.argmax(d["Jet_tag"], axis=1, keepdims=True)]
    ),
    "p4(pt=Muon_pt, eta=Muon_eta, phi=Muon_phi, mass=0.106)[0].energy": lambda d: first(
        np.sqrt((ak.values_astype(d["Muon_pt"], float) * np.cosh(d["Muon_eta"])) ** 2 + 0.106**2)
    ),
    "p4('Muon', mass=0.106)[0].mass": lambda d: ak.where(
        ak.num(d["Muon_pt"]) > 0, 0.106, ak.Array([None])[np.zeros(EVENTS, int)]
    ),
    "max([met, n, 50])": lambda d: np.maximum(np.maximum(d["met"], d["n"]), 50),
    "sort([met, n], by=[n, met])[0]": lambda d: np.where(d["n"] <= d["met"], d["met"], d["n"]),
    "count([met, Jet_pt[1], Jet_pt[0]])": lambda d: 1 + np.minimum(2, ak.num(d["Jet_pt"])),
    "any([met > 40, n > 1])": lambda d: (d["met"] > 40) | (d["n"] > 1),
    "sum([p4('Jet')[0], p4('Jet')[1]]).mass": lambda d: ak.where(
        ak.num(d["Jet_pt"]) > 1,
        (first(p4(d, "Jet")) + first(p4(d, "Jet"), 1)).mass,
        ak.fill_none(first(d["Jet_mass"]), 0.0),
    ),
    "max([p4('Jet')[0], p4('Muon')[0]].pt)": lambda d: ak.max(
        ak.concatenate([d["Jet_pt"][:, :1], d["Muon_pt"][:, :1]], axis=1), axis=1
    ),
    "p4(px=met, py=0, pz=n, energy=400).mass": lambda d: np.sqrt(
        400**2 - d["met"] ** 2 - d["n"] ** 2
    ),
}


@pytest.mark.parametrize("text", ONE_EACH)
def test_one_value_for_each_event(text, data):
    part = part_of(text, data)
    wanted = ak.Array(ONE_EACH[text](data))
    absent = ak.to_numpy(ak.is_none(wanted))
    found = np.zeros(EVENTS, bool) if part.absent is None else part.absent
    assert found.tolist() == absent.tolist()
    values = ak.to_numpy(ak.drop_none(wanted))
    assert (part.values.dtype == bool) == (values.dtype == bool)
    np.testing.assert_allclose(part.values[~absent], values, rtol=2e-6, atol=1e-5)
    filled = part.filled()
    assert not filled[absent].any() if filled.dtype == bool else np.isnan(filled[absent]).all()


LISTS = {
    "Jet_pt * 1.02 + met": lambda d: ak.values_astype(d["Jet_pt"], float) * 1.02 + d["met"],
    "Jet_id - 7": lambda d: ak.values_astype(d["Jet_id"], int) - 7,
    "Jet_pt[Jet_good]": lambda d: d["Jet_pt"][d["Jet_good"]],
    "sort(Jet_pt, by=Jet_tag)": lambda d: d["Jet_pt"][ak.argsort(d["Jet_tag"])],
    "Jet_pt[:2]": lambda d: d["Jet_pt"][:, :2],
    "Jet_tracks[:, :, 0]": lambda d: ak.firsts(d["Jet_tracks"], axis=2),
    "Jet_tracks[Jet_good]": lambda d: d["Jet_tracks"][d["Jet_good"]],
    "sort(Jet_tracks, by=Jet_tag)": lambda d: d["Jet_tracks"][ak.argsort(d["Jet_tag"])],
    "Jet_tracks * Jet_pt": lambda d: d["Jet_tracks"] * d["Jet_pt"],
    "p4('Jet').pt": lambda d: d["Jet_pt"],
    "where(Jet_good, Jet_pt, 0)": lambda d: ak.where(d["Jet_good"], d["Jet_pt"], 0),
    "[met, Jet_pt[0], 3]": lambda d: ak.Array(
        [
            [float(met), jets[0] if jets else None, 3.0]
            for met, jets in zip(d["met"], d["Jet_pt"].to_list(), strict=True)
        ]
    ),
    "Jet_pt[Muon_jet]": lambda d: ak.Array(
        [
            [jets[i] if 0 <= i < len(jets) else None for i in places]
            for jets, places in zip(d["Jet_pt"].to_list(), d["Muon_jet"].to_list(), strict=True)
        ]
    ),
}


@pytest.mark.parametrize("text", ["max([1, 2])", "max([pi, sqrt(2)])", "[2 * 3]"])
def test_brackets_make_lists_of_columns(text, data):
    with pytest.raises(InputError, match="no column in a list: brackets make a list of columns"):
        part_of(text, data)


@pytest.mark.parametrize("text", LISTS)
def test_lists_for_each_event(text, data):
    part = part_of(text, data)
    wanted = LISTS[text](data)
    values = nested(part.values)
    if part.absent is not None:
        values = ak.mask(values, ~nested(part.absent))
    assert ak.is_none(values, axis=-1).to_list() == ak.is_none(wanted, axis=-1).to_list()
    for axis in range(1, wanted.ndim):
        assert ak.num(values, axis=axis).to_list() == ak.num(wanted, axis=axis).to_list()
    flat, reference = (
        ak.to_numpy(ak.drop_none(ak.flatten(v, axis=None))) for v in (values, wanted)
    )
    np.testing.assert_allclose(flat, reference, rtol=1e-6)


def test_masses_of_light_particles_are_exact():
    """An electron at 2 TeV, whose mass the difference of squares would not give back."""
    columns = {"e_pt": np.array([500.0]), "e_eta": np.array([2.0]), "e_phi": np.array([0.3])}
    expression = parse("p4('e', mass=0.000511).mass", "test")
    code = expression.typed(lambda name: "number", columns)
    part = expression.values(code, lambda name: Part(columns[name]), 1)
    assert part.values[0] == 0.000511


def test_integers_of_lists_are_exact_or_refused():
    large = 2**62 + 1
    data = {"x": ak.Array([[large, 1], [], [3]] + [[]] * (EVENTS - 3))}
    assert part_of("sum(x)", data).values[:3].tolist() == [large + 1, 0, 3]
    assert part_of("max(x)", data).values[0] == large
    data["x"] = ak.Array([[large, large, large, large, large]] + [[]] * (EVENTS - 1))
    with pytest.raises(InputError, match="beyond 64 bits"):
        part_of("sum(x)", data)


BEYOND = 10**30


@pytest.mark.parametrize("place", [BEYOND, -BEYOND, 2**63, -(2**63), "far", "far[0]"])
def test_places_beyond_all_lists_have_nothing(place):
    numbers = np.array([2**64 - 1, 2**63] + [0] * (EVENTS - 2), np.uint64)
    far = ak.unflatten(numbers, np.ones(EVENTS, int))
    data = {"x": ak.Array([[1.0, 2.0], []] + [[3.0]] * (EVENTS - 2)), "far": far}
    part = part_of(f"x[{place}]", data)
    absent = part.absent.content if isinstance(part.absent, Lists) else part.absent
    assert absent[:2].all()
    assert absent.all() == (not isinstance(place, str))


def test_no_place_has_nothing():
    """NaN is what a missing place becomes, such as the -1 of `Muon_jetIdx` with `missing = -1`."""
    data = {"x": ak.Array([[1.0, 2.0]] * EVENTS), "n": np.tile([np.nan, 1.0, 0.0], EVENTS // 3)}
    part = part_of("x[n]", data)
    assert part.filled()[:3].tolist()[1:] == [2.0, 1.0]
    assert part.absent[:3].tolist() == [True, False, False]


def test_flags_are_no_places(data):
    """Elements whose flag is 1 are wanted, and the first ones would be taken."""
    flags = {**data, "flag": ak.values_astype(data["Jet_good"], np.uint8)}
    with pytest.raises(InputError, match=r"all of them are 0 or 1.*Write `x\[flag == 1\]`"):
        part_of("Jet_pt[flag]", flags)
    wanted = data["Jet_pt"][data["Jet_good"]]
    assert nested(part_of("Jet_pt[flag == 1]", flags).values).to_list() == wanted.to_list()


@pytest.mark.parametrize(
    "text",
    [
        "~n and met > 3",
        "not ~n",
        "~n & (met > 3)",
        "where(~n, 1, 2)",
        "1 if ~n else 2",
        "any(~Jet_id)",
        "Jet_pt[~Jet_id]",
    ],
)
def test_bits_that_are_turned_round_are_no_condition(text, data):
    """`~0` is -1 and `~1` is -2: both count as true."""
    with pytest.raises(InputError, match=r"true for every number but -1: write `not (n|Jet_id)`"):
        part_of(text, data)


def test_momenta_are_not_made_of_momenta(data):
    with pytest.raises(InputError, match="is a four-momentum: say what of it"):
        part_of("p4(pt=p4('Jet'), eta=Jet_eta, phi=Jet_phi, mass=0)", data)


def test_unequal_lists_in_lists_name_the_row_of_the_event():
    short, long = [[[1.0], [1.0], [1.0, 2.0]]], [[[1.0], [1.0], [1.0]]]
    equal = [[[1.0], [2.0]]] * 4
    rest = [[]] * (EVENTS - 5)
    data = {"a": ak.Array(equal + short + rest), "b": ak.Array(equal + long + rest)}
    for text in ("a + b", "a[b > 1]", "where(a > 1, a, b)"):
        with pytest.raises(Unequal) as error:
            part_of(text, data)
        assert error.value.row == 4


@pytest.mark.parametrize(
    ("collection", "names", "found"),
    [
        ("Jet", ["Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass", "Jet_ptRaw"], "pt eta phi mass"),
        ("Jet", ["Jet.PT", "Jet.Eta", "Jet.Phi", "Jet.Mass", "JetPUPPI.PT"], "pt eta phi mass"),
        ("Aux", ["AuxDyn.pt", "Aux.pt", "Aux.eta", "Aux.phi", "Aux.m"], "pt eta phi mass"),
        ("J", ["J.momentum.x", "J.momentum.y", "J.momentum.z", "J.energy"], "px py pz energy"),
        ("lep", ["lep_pt", "lep_eta", "lep_phi", "lep_e", "lep_type"], "pt eta phi energy"),
        (
            "Jets",
            [f"Jets.fCoordinates.f{x}" for x in ("Pt", "Eta", "Phi", "E")],
            "pt eta phi energy",
        ),
        ("v", ["v.fP.fX", "v.fP.fY", "v.fP.fZ", "v.fE"], "px py pz energy"),
    ],
)
def test_coordinates_are_found_by_their_names(collection, names, found):
    assert set(members_of(collection, names)) == set(found.split())
