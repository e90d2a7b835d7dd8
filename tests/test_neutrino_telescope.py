"""The generator of the neutrino telescope: physics against closed forms, and what it writes."""

import sys
from pathlib import Path
from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
import scipy.linalg
import uproot

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "neutrino_telescope"
MODULES = ("neutrinos", "light", "events", "summaries", "generate")


@pytest.fixture(scope="module")
def telescope():
    """The modules of the example, which are forgotten afterwards: others have such names, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        before = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
        found = SimpleNamespace(**{name: __import__(name) for name in MODULES})
        for name in MODULES:
            del sys.modules[name]
        sys.modules.update(before)
        yield found


@pytest.fixture(scope="module")
def made(telescope):
    return telescope.generate.made("nutau_cc", 400, seed=3)


def alone(telescope, **given):
    """One event with one source."""
    shape = {"vertex": (1, 3), "cascade": (1, 1), "towards": (1, 1, 3), "track": (1,)}
    values = {name: np.zeros(size) for name, size in shape.items()} | {"along": np.zeros((1, 3))}
    values |= {name: np.asarray(value, float) for name, value in given.items()}
    return telescope.light.Sources(**values)


def test_oscillation_is_the_evolution_of_the_state(telescope):
    mixing = telescope.neutrinos.Mixing()
    for energy, cosine in ((4.0, -1.0), (25.0, -0.9), (60.0, -0.3)):
        # ħc = 1.97327e-7 eV m; the Hamiltonian of the flavours is U m² U^T / 2E.
        masses = np.diag([0, mixing.dm21, mixing.dm31]) / (2e9 * energy)
        hamiltonian = mixing.matrix @ masses @ mixing.matrix.T
        length = telescope.neutrinos.baseline(cosine) * 1e3 / 1.973270e-7
        expected = np.abs(scipy.linalg.expm(-1j * hamiltonian * length).T) ** 2
        found = telescope.neutrinos.oscillated(energy, cosine, mixing)
        np.testing.assert_allclose(found, expected, atol=2e-4)
        np.testing.assert_allclose(found.sum(axis=0), 1.0, atol=1e-12)


def test_two_flavours_are_the_formula_of_textbooks(telescope):
    two = telescope.neutrinos.Mixing(theta12=0.0, theta13=0.0, theta23=40.0, dm21=0.0)
    energy, cosine = np.array([5.0, 20.0, 80.0]), np.array([-0.2, -0.7, -1.0])
    found = telescope.neutrinos.oscillated(energy, cosine, two)[1, 2]
    length = telescope.neutrinos.baseline(cosine)
    expected = np.sin(np.radians(80)) ** 2 * np.sin(1.267 * 2.51e-3 * length / energy) ** 2
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # From below it has come through all of the Earth.
    assert length[-1] == pytest.approx(2 * 6371 + 15)


def test_the_flux_is_that_of_the_table(telescope):
    # Of arXiv 1502.03916 (Fréjus, solar minimum, all azimuths): energy, cosine, and the flux per
    # m², s, sr and GeV of muon, antimuon, electron and antielectron neutrinos.
    for energy, cosine, *table in (
        (3.162, -0.95, 6.865, 5.689, 2.126, 1.634),
        (10, -0.05, 0.4248, 0.3996, 0.2316, 0.1734),
        (10, -0.45, 0.3066, 0.2529, 0.09077, 0.06862),
        (10, -0.95, 0.2561, 0.1936, 0.04411, 0.03348),
        (31.62, -0.95, 0.008364, 0.006026, 0.0007577, 0.0005979),
        (100, -0.25, 0.000399, 0.0002998, 4.953e-05, 3.923e-05),
    ):
        kinds = [("mu", False), ("mu", True), ("e", False), ("e", True)]
        found = [telescope.neutrinos.flux(k, energy, cosine, anti=anti) for k, anti in kinds]
        np.testing.assert_allclose(found[:2], table[:2], rtol=0.07)
        np.testing.assert_allclose(found[2:], table[2:], rtol=0.15)


def test_taus_decay_as_they_do(telescope):
    kind, share = telescope.neutrinos.tau_decay(200_000, np.random.default_rng(1))
    # Particle Data Group: 17.39 % and 17.82 %.
    assert np.mean(kind == 0) == pytest.approx(0.1739, abs=0.003)
    assert np.mean(kind == 1) == pytest.approx(0.1782, abs=0.003)
    # Integrals of 4/3 x (1 - x³), 4/3 x² (1 - x³) and 2 x (1 - x).
    assert share[kind == 0].mean() == pytest.approx(2 / 5, abs=0.005)
    assert (share[kind == 1] ** 2).mean() == pytest.approx(2 / 9, abs=0.005)
    assert share[kind == 2].mean() == pytest.approx(1 / 3, abs=0.005)


def test_inelasticity_of_neutrinos_and_antineutrinos(telescope):
    rng = np.random.default_rng(1)
    for anti, quarks, antiquarks in ((False, 1 / 2, 1 / 12), (True, 1 / 12, 1 / 2)):
        y = telescope.neutrinos.inelasticity(np.full(50_000, 20.0), np.full(50_000, anti), rng)
        # Integrals of y (1 + 0.2 (1 - y)²), or with the two exchanged, over those without y.
        total = (1 + 0.2 / 3) if not anti else (1 / 3 + 0.2)
        assert y.mean() == pytest.approx((quarks + 0.2 * antiquarks) / total, abs=0.005)
    y = telescope.neutrinos.inelasticity(
        np.full(1000, 3.6), np.zeros(1000, bool), rng, lepton_mass=1.777
    )
    assert ((1 - y) * 3.6 > 1.777).all()


def test_light_of_a_muon_is_on_the_cherenkov_cone(telescope):
    axis = np.array([0.3, -0.2, 0.9])
    axis /= np.linalg.norm(axis)
    start = np.array([-25.0, 5.0, -60.0])
    event = alone(telescope, vertex=[start], track=[90.0], along=[axis])
    photons = telescope.light.shine(event, np.random.default_rng(2), light=20.0, scattering=False)
    away = telescope.light.modules()[photons.module] - start
    along = away @ axis
    aside = np.linalg.norm(away - along[:, None] * axis, axis=1)
    # Index 1.35 for the angle, whose cosine is its inverse, and 1.38 for the speed.
    angle = np.arccos(1 / 1.35)
    point = along - aside / np.tan(angle)
    expected = (point + 1.38 * aside / np.sin(angle)) / 0.299792
    assert len(photons) > 3000
    near = aside > 1.0
    residual = (photons.time - expected)[near]
    assert residual.mean() == pytest.approx(0, abs=0.2)
    assert residual.std() == pytest.approx(2.0, rel=0.1)
    assert (point[near] > 0).all()
    assert (point[near] < 90).all()


def test_light_of_a_cascade(telescope):
    light = telescope.light
    cosine = np.linspace(-1, 1, 20_001)
    assert np.trapezoid(light.angular_profile(cosine), cosine) / 2 == pytest.approx(1, rel=1e-3)
    peak = cosine[np.argmax(light.angular_profile(cosine))]
    assert np.degrees(np.arccos(peak)) == pytest.approx(42.2, abs=0.3)
    vertex, axis = np.array([3.0, 4.0, 5.0]), np.array([0.0, 0.6, 0.8])
    event = alone(telescope, vertex=[vertex], cascade=[[10.0]], towards=[[axis]])
    photons = light.shine(event, np.random.default_rng(2), light=20.0, scattering=False)
    # All light comes from the middle of the shower, delayed by the way to it.
    depth = 0.347 * (np.log(10) + 3.2)
    away = light.modules()[photons.module] - vertex - depth * axis
    length = np.linalg.norm(away, axis=1)
    residual = photons.time - depth / 0.2998 - 1.38 * length / 0.2998
    assert residual.mean() == pytest.approx(0, abs=0.1)
    assert residual.std() == pytest.approx(2.0, rel=0.1)
    # Frank and Tamm: 2 pi alpha sin² of the angle times the difference of inverse wavelengths.
    per_metre = 2 * np.pi / 137.036 * (1 - 1 / 1.35**2) * (1 / 300e-9 - 1 / 600e-9)
    # As many as the solid angle of each module, absorption and the profile say.
    every = light.modules() - vertex - depth * axis
    far = np.linalg.norm(every, axis=1)
    seen = 80e-4 * (1 + 0.25 * every[:, 2] / far) * np.exp(-far / 45) / (4 * np.pi * far**2)
    expected = 20 * 4.66 * per_metre * 10 * (seen * light.angular_profile(every @ axis / far)).sum()
    assert len(photons) == pytest.approx(expected, rel=0.05)


def test_scattered_light_is_late(telescope):
    event = alone(telescope, cascade=[[10.0]], towards=[[[0.0, 0.0, 1.0]]])
    plain, scattered = (
        telescope.light.shine(event, np.random.default_rng(2), light=10.0, scattering=on)
        for on in (False, True)
    )
    far = [
        np.linalg.norm(telescope.light.modules()[p.module], axis=1) > 30 for p in (plain, scattered)
    ]
    assert scattered.time[far[1]].mean() > plain.time[far[0]].mean() + 1.0


def test_point_fit_finds_where_a_flash_was(telescope):
    rng = np.random.default_rng(4)
    where = telescope.light.modules()
    truth = np.array([[10.0, -5.0, 20.0], [-20.0, 15.0, -30.0]])
    event = np.repeat([0, 1], 30)
    nearest = [np.argsort(np.linalg.norm(where - one, axis=1))[:30] for one in truth]
    module = np.concatenate(nearest)
    distance = np.linalg.norm(where[module] - truth[event], axis=1)
    time = 7.0 + distance * 1.38 / 0.2998 + rng.normal(0, 1.0, 60)
    start = np.concatenate([where[[one[0] for one in nearest]], np.zeros((2, 1))], axis=1)
    sums = telescope.summaries._Sums(event, 2)
    found = telescope.summaries.point_fit(where[module], time, np.ones(60), event, sums, start)
    np.testing.assert_allclose(found[:, :3], truth, atol=1.0)
    np.testing.assert_allclose(found[:, 3], 7.0, atol=2.0)


def test_tau_neutrinos_have_the_rate_and_the_energies_to_be_expected(made):
    tree = made[""]
    # An order of magnitude: some 3000 a year in 115 strings; here are 37 of them.
    assert np.sum(tree["weight"]) / 3 == pytest.approx(3000 * 37 / 115, rel=0.6)
    # Median of the first six strings: 20 GeV (arXiv 2502.01443).
    assert 12 < np.median(tree["energy"]) < 25
    hits = np.median(ak.num(tree["hit"]))
    assert 20 < hits < 200
    for name in ("dm31", "theta23", "tilt", "slant"):
        ratio = np.asarray(tree[f"weight_{name}_up"]) / np.asarray(tree["weight"])
        assert 0.9 < ratio.mean() < 1.1
        assert ratio.std() > 0


def test_more_light_is_seen_of_the_same_neutrinos(made):
    up, nominal, down = (made[suffix] for suffix in ("_light_up", "", "_light_down"))
    assert len(up["energy"]) > len(nominal["energy"]) > len(down["energy"])
    _, of_up, of_down = np.intersect1d(
        up["event_number"], down["event_number"], return_indices=True
    )
    np.testing.assert_array_equal(up["energy"][of_up], down["energy"][of_down])
    more = np.asarray(up["log_charge"][of_up] - down["log_charge"][of_down])
    # Ten percent of the light, less what the background is of it.
    assert 0.02 < more.mean() < np.log10(1.05 / 0.95) + 0.005


def test_estimates_follow_the_truth(made):
    tree = made[""]
    right = np.corrcoef(np.log(tree["energy"]), tree["energy_estimate"])[0, 1]
    assert right > 0.6
    assert np.median(np.abs(tree["cos_zenith_estimate"] - tree["cos_zenith"])) < 0.25


@pytest.mark.slow
def test_the_file_is_that_of_its_seed(telescope, tmp_path, monkeypatch):
    monkeypatch.setattr(telescope.generate, "CHUNK", 200)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        telescope.generate.write(tmp_path / f"{name}.root", 30, seed=seed)
    trees = []
    for name in "abc":
        with uproot.open(tmp_path / f"{name}.root") as file:
            assert set(file.keys(cycle=False)) == {
                process + suffix
                for process in telescope.neutrinos.PROCESSES
                for suffix in telescope.generate.LIGHT
            }
            trees.append(file["nutau_cc"].arrays(["hit_x", "hit_t", "energy"]))
    assert ak.array_equal(trees[0], trees[1])
    assert not ak.array_equal(trees[0], trees[2])
