"""The jets example: features against closed forms, and the file against its own constituents."""

import importlib.util
import runpy
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
import vector

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "jets"
KINDS = ("w", "top", "qcd")


def module_of(script):
    """A script of the example, as a module."""
    spec = importlib.util.spec_from_file_location(f"{script}_of_jets", FOLDER / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    # Where a dataclass looks for its module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def of_jets():
    """The module of features."""
    return module_of("features")


@pytest.fixture(scope="module")
def trees():
    with uproot.open(FOLDER / "jets.root") as file:
        return {kind: file[kind].arrays() for kind in KINDS}


def particles(*rows):
    """Of one jet `(pt, eta, phi)` each."""
    pt, eta, phi = np.array(rows, float).T
    return ak.zip({"pt": [pt], "eta": [eta], "phi": [phi]})


def jet_at(eta, phi):
    return ak.zip({"pt": [600.0], "eta": [eta], "phi": [phi], "mass": [80.0]})


@pytest.mark.parametrize("phi", [0.3, np.pi - 0.05])
def test_two_prongs_of_two_particles_each(of_jets, phi):
    share, apart, half = 0.3, 0.4, 0.03
    # The axis of the jet is the centre of momentum; across the line of the prongs each is split.
    first, second = 0.1 - (1 - share) * apart, 0.1 + share * apart
    rows = [
        (600 * part / 2, eta, phi + side * half)
        for part, eta in ((share, first), (1 - share, second))
        for side in (-1, 1)
    ]
    # As FastJet has it, from -pi to pi.
    rows = [(pt, eta, (angle + np.pi) % (2 * np.pi) - np.pi) for pt, eta, angle in rows]
    prongs = ((1, first, phi), (1, second, phi))
    found = of_jets.features(
        jet_at(0.1, phi),
        particles(*rows),
        {1: particles((1, 0.1, phi)), 2: particles(*prongs), 3: particles(*prongs, rows[0])},
    )
    width = share * np.hypot((1 - share) * apart, half) + (1 - share) * np.hypot(
        share * apart, half
    )
    expected = {
        "multiplicity": 4,
        "dispersion": np.sqrt((share**2 + (1 - share) ** 2) / 2),
        "width": width,
        "tau21": half / width,
        # A third axis on one of the particles of the first prong.
        "tau32": 1 - share / 2,
        "mass": 80,
    }
    for name, value in expected.items():
        assert ak.to_numpy(found[name]) == pytest.approx([value], rel=1e-9), name


def test_subjettiness_of_a_ring_and_of_its_own_particles(of_jets):
    angles = np.arange(6) * np.pi / 3
    ring = particles(*((100, 0.5 * np.cos(a), 0.5 * np.sin(a)) for a in angles))
    assert of_jets.subjettiness(ring, particles((1, 0, 0)))[0] == pytest.approx(0.5 / 0.8)
    # Neighbours on the ring are as far apart as its radius.
    assert of_jets.subjettiness(ring, ring[:, ::2])[0] == pytest.approx(0.5 * 0.5 / 0.8)
    assert of_jets.subjettiness(ring, ring)[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_features_in_the_file_are_those_of_its_constituents(trees, kind):
    jets = trees[kind]
    # Others have constituents that are not in the file.
    jets = jets[jets["multiplicity"] < 80]
    pt, eta, phi = (
        jets["constituent_pt"] / 4.0,
        jets["constituent_eta"] / 100.0,
        jets["constituent_phi"] / 100.0,
    )
    assert ak.all(ak.num(pt) == jets["multiplicity"])
    assert ak.all(pt[:, 1:] <= pt[:, :-1])
    massless = vector.zip({"pt": pt, "eta": eta, "phi": phi, "mass": ak.zeros_like(pt)})
    whole = ak.sum(massless, axis=1)
    # What rounding leaves: a hundredth in angles, a quarter of a GeV in momenta.
    heavy = jets["mass"] > 40
    assert np.std((whole.mass / jets["mass"])[heavy]) < 0.02
    np.testing.assert_allclose(np.mean((whole.mass / jets["mass"])[heavy]), 1, atol=0.005)
    np.testing.assert_allclose(whole.pt, jets["pt"], rtol=0.01)
    share = pt / ak.sum(pt, axis=1)
    width = ak.sum(share * np.hypot(eta, phi), axis=1)
    np.testing.assert_allclose(width, jets["width"], atol=0.006)
    dispersion = np.sqrt(ak.sum(share**2, axis=1))
    np.testing.assert_allclose(dispersion, jets["dispersion"], atol=0.003)


def test_kinds_are_what_they_are_called(trees):
    median = {
        kind: {name: np.median(jets[name]) for name in ("mass", "tau21", "tau32")}
        for kind, jets in trees.items()
    }
    # Particle Data Group; jets lose what is radiated out of them, and gain what is radiated in.
    assert median["w"]["mass"] == pytest.approx(80.4, rel=0.05)
    assert median["top"]["mass"] == pytest.approx(172.6, rel=0.05)
    assert median["w"]["tau21"] < median["qcd"]["tau21"] - 0.1
    assert median["top"]["tau32"] < min(median["w"]["tau32"], median["qcd"]["tau32"]) - 0.05
    # By momentum nothing tells them apart.
    spectra = [np.histogram(jets["pt"], 5, (550, 650))[0] for jets in trees.values()]
    assert np.ptp(spectra, axis=0).max() < 0.01 * len(trees["w"])
    numbers = np.concatenate([jets["event_number"] for jets in trees.values()])
    assert len(np.unique(numbers)) == len(numbers)


def test_a_file_of_two_kinds_is_read_and_drawn(trees, tmp_path):
    script = module_of("jets")
    path = tmp_path / "other.root"
    kinds = ("top", "qcd")
    with uproot.recreate(path) as file:
        for kind in kinds:
            file[kind] = {name: trees[kind][name][:300] for name in trees[kind].fields}
    network = script.NETWORKS["dense, substructure"]
    events = script.read(path, "top", network)
    assert [each.name for each in events.processes] == ["top", "qcd"]
    expected = np.concatenate(
        [np.stack([trees[kind][name][:300] for name in network.features], 1) for kind in kinds]
    )
    np.testing.assert_array_equal(np.asarray(events.features), expected)
    assert list(script.jets_of(path, ["mass"])) == ["top", "qcd"]
    script.draw_jets(tmp_path / "jets.png", path, 200)
    script.draw_features(tmp_path / "features.png", path)
    assert (tmp_path / "jets.png").stat().st_size > 10_000


def test_more_jets_than_event_numbers_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["generate.py", "--jets", "100001"])
    with pytest.raises(SystemExit):
        module_of("generate").main()
    assert "--jets 100001" in capsys.readouterr().err


def test_each_network_has_its_number_of_epochs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jets.py", "--networks", "deep set", "--epochs", "3", "4"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(FOLDER / "jets.py"), run_name="__main__")
    assert "--epochs [3, 4]: give one number for each of ['deep set']" in capsys.readouterr().err
