"""The objects of the single-top sample, against the features that were made of them."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "single_top"
PROCESSES = ("tchannel", "schannel", "ttbar", "wjets", "zjets")
ANGLE = 2**-6  # largest error of an angle, and below it that of a momentum


def trees(file):
    with uproot.open(FOLDER / file) as opened:
        return sorted(set(opened.keys(cycle=False)) - {"metadata"})


def read(file, tree, *names):
    with uproot.open(FOLDER / file) as opened:
        return opened[tree].arrays(names)


def test_every_tree_has_its_objects():
    assert trees("single_top_objects.root") == trees("single_top.root")


@pytest.mark.parametrize("shift", ["", "_jes_up", "_jes_down"])
@pytest.mark.parametrize("process", PROCESSES)
def test_objects_are_those_of_the_features(process, shift):
    names = ("n_jets", "n_bjets", "bjet_pt", "bjet_eta", "lightjet_abs_eta", "mtw", "met")
    names += ("lepton_pt", "delta_phi_lmet", "event_number")
    flat = read("single_top.root", process + shift, *names)
    given = read("single_top_objects.root", process + shift, "event_number", "met_phi", "jets")
    jets, met_phi = given["jets"], np.asarray(given["met_phi"])
    np.testing.assert_array_equal(given["event_number"], flat["event_number"])
    # The hardest first; selected jets are above 30 GeV, which rounding can move others to.
    assert ak.all(jets.pt[:, 1:] <= jets.pt[:, :-1])
    number = np.asarray(flat["n_jets"], int)
    assert np.all(np.asarray(ak.sum(jets.pt > 30.5, axis=1)) <= number)
    assert np.all(np.asarray(ak.sum(jets.pt >= 30, axis=1)) >= number)
    selected = jets[ak.local_index(jets) < number]
    np.testing.assert_array_equal(ak.sum(jets.btag, axis=1), flat["n_bjets"])
    np.testing.assert_array_equal(ak.sum(selected.btag, axis=1), flat["n_bjets"])
    tagged = selected[selected.btag][:, 0]
    np.testing.assert_allclose(tagged.pt, flat["bjet_pt"], rtol=0.012)
    np.testing.assert_allclose(tagged.eta, flat["bjet_eta"], atol=1.6 * ANGLE)
    light = ak.max(np.abs(selected.eta[~selected.btag]), axis=1)
    np.testing.assert_allclose(light, flat["lightjet_abs_eta"], atol=1.6 * ANGLE)
    # Azimuths count from the lepton.
    turned = np.minimum(np.abs(met_phi), 2 * np.pi - np.abs(met_phi))
    np.testing.assert_allclose(turned, flat["delta_phi_lmet"], atol=1.6 * ANGLE)
    scale = np.asarray(flat["lepton_pt"] * flat["met"], float)
    squared = 2 * scale * (1 - np.cos(met_phi))
    error = 2 * scale * np.abs(np.sin(met_phi)) * ANGLE + 0.02 * squared + scale * ANGLE**2
    assert np.all(np.abs(squared - np.asarray(flat["mtw"], float) ** 2) <= error)
