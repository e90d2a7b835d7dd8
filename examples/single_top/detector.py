"""From Pythia's particles to what a detector reports: leptons, jets, missing transverse momentum.

All functions work on a batch of events. Jets stay Awkward arrays in pT order of the *generated* jets with one smearing
factor each, so that the nominal and the varied events share their random numbers.
"""

import functools
import operator

import awkward as ak
import fastjet
import numpy as np
import vector

vector.register_awkward()

LEPTON_PT, LEPTON_ETA, VETO_PT = 28.0, 2.5, 10.0  # GeV
ISOLATION_CONE, ISOLATION, DRESSING_CONE = 0.3, 0.15, 0.1
LEPTON_EFFICIENCY = 0.80  # trigger and identification, a factor on the weight
LEPTON_RESOLUTION = 0.015
CALORIMETER_ETA, MUON_ETA = 4.9, 2.5
JET_PT, JET_ETA, TAG_ETA = 30.0, 4.5, 2.5
SOFT_NOISE = 10.0  # GeV a component of the missing momentum, for what pile-up and soft hadrons do
_JET = fastjet.JetDefinition(fastjet.antikt_algorithm, 0.4)


def jet_resolution(pt):
    """Relative: noise, stochastic and constant term; 18 % at 30 GeV, 9 % at 100 GeV."""
    return np.sqrt((3.0 / pt) ** 2 + 0.80**2 / pt + 0.04**2)


def jet_energy_uncertainty(pt, abs_eta):
    """Relative: 3 % at 30 GeV and 2 % at 100 GeV in the centre, 0.5 % more a unit of |eta|."""
    return 0.015 + 0.45 / np.maximum(pt, 20.0) + 0.005 * abs_eta


def measure(particles: ak.Array, rng: np.random.Generator) -> dict[str, ak.Array]:
    """Events with exactly one isolated electron or muon, measured.

    Args:
        particles: Pythia's event records, as `Pythia.nextBatch` gives them.
        rng: for the smearing.

    Returns:
        index: of the events in the batch.
        lepton: Momentum4D with charge.
        jets: Momentum4D of the generated jets above 10 GeV, with `smearing` and `flavour` (5, 4 or 0).
        recoil_x, recoil_y: missing momentum from everything but the smearing and scale of the jets.
    """
    final = particles[particles.status > 0]
    final["pt"], final["eta"], final["phi"] = final.p.pt, final.p.eta, final.p.phi
    leptons = _isolated_leptons(final)
    index = np.flatnonzero(ak.num(leptons) == 1)
    particles, final, lepton = particles[index], final[index], leptons[index][:, 0]

    of_lepton = (ak.local_index(final) == lepton.where) | (
        (final.id == 22) & (_distance(final, lepton) < DRESSING_CONE)
    )
    unseen = _is(final, 12, 14, 16) | (_is(final, 13) & (abs(final.eta) > MUON_ETA))
    seen = ~unseen & ~of_lepton & (abs(final.eta) < CALORIMETER_ETA)
    visible = final.p[seen]
    jets = fastjet.ClusterSequence(visible, _JET).inclusive_jets(min_pt=10.0)
    jets = jets[ak.argsort(jets.pt, axis=1, ascending=False)]
    jets["flavour"] = _flavour(jets, particles)
    counts = ak.num(jets)
    noise = rng.normal(size=int(ak.sum(counts)))
    jets["smearing"] = np.maximum(1 + jet_resolution(jets.pt) * ak.unflatten(noise, counts), 0.2)

    scale = 1 + LEPTON_RESOLUTION * rng.normal(size=len(index))
    measured = ak.zip(
        {
            "pt": lepton.pt * scale,
            "eta": lepton.eta,
            "phi": lepton.phi,
            "mass": ak.zeros_like(lepton.pt),
        },
        with_name="Momentum4D",
    )
    measured["charge"] = -np.sign(lepton.id)
    soft = SOFT_NOISE * rng.normal(size=(2, len(index)))
    return {
        "index": index,
        "lepton": measured,
        "jets": jets,
        "recoil_x": -ak.sum(visible.px, axis=1) - measured.px + soft[0],
        "recoil_y": -ak.sum(visible.py, axis=1) - measured.py + soft[1],
    }


def calibrated(event: dict[str, ak.Array], shift: float) -> tuple[ak.Array, ak.Array, ak.Array]:
    """Smeared jets (pT > 15 GeV, in pT order) and the missing momentum (x, y), with the jet energy scale off by
    `shift` standard deviations.
    """
    jets = event["jets"]
    measured = jets.smearing * jets.pt
    scale = jets.smearing * (1 + shift * jet_energy_uncertainty(measured, abs(jets.eta)))
    scale = ak.where(measured > 15.0, scale, jets.smearing)
    missing_x = event["recoil_x"] - ak.sum((scale - 1) * jets.px, axis=1)
    missing_y = event["recoil_y"] - ak.sum((scale - 1) * jets.py, axis=1)
    reco = ak.zip(
        {
            "pt": scale * jets.pt,
            "eta": jets.eta,
            "phi": jets.phi,
            "mass": scale * np.maximum(jets.mass, 0.0),
            "flavour": jets.flavour,
        },
        with_name="Momentum4D",
    )
    reco = reco[reco.pt > 15.0]
    return reco[ak.argsort(reco.pt, axis=1, ascending=False)], missing_x, missing_y


def _isolated_leptons(final: ak.Array) -> ak.Array:
    """Isolated electrons and muons above `VETO_PT`, photons in the dressing cone added; `where` is their index."""
    candidate = _is(final, 11, 13) & (final.pt > 0.8 * VETO_PT) & (abs(final.eta) < LEPTON_ETA)
    leptons, where = final[candidate], ak.local_index(final)[candidate]
    pairs = ak.cartesian({"lepton": leptons, "other": final}, nested=True)
    distance = _distance(pairs.lepton, pairs.other)
    itself = where[:, :, np.newaxis] == ak.local_index(pairs, axis=2)
    dressing = itself | ((pairs.other.id == 22) & (distance < DRESSING_CONE))
    in_cone = ~dressing & ~_is(pairs.other, 12, 14, 16) & (distance < ISOLATION_CONE)
    pt = ak.sum(pairs.other.pt[dressing], axis=2)
    good = (ak.sum(pairs.other.pt[in_cone], axis=2) < ISOLATION * pt) & (pt > VETO_PT)
    dressed = ak.zip(
        {"pt": pt, "eta": leptons.eta, "phi": leptons.phi, "id": leptons.id, "where": where}
    )
    return dressed[good]


def _flavour(jets: ak.Array, particles: ak.Array) -> ak.Array:
    """5 or 4 for a jet with a b or c hadron above 5 GeV within 0.4, else 0."""
    code = abs(particles.id)
    hadron = (code > 100) & (code < 100_000) & (code // 10 % 10 > 0)

    def near(quark: int) -> ak.Array:
        heavy = hadron & (
            (code // 1000 % 10 == quark) | ((code // 1000 % 10 == 0) & (code // 100 % 10 == quark))
        )
        momenta = particles.p[heavy & (np.hypot(particles.p.px, particles.p.py) > 5.0)]
        pairs = ak.cartesian({"jet": jets, "hadron": momenta}, nested=True)
        return ak.any(_distance(pairs.jet, pairs.hadron) < 0.4, axis=2)

    return ak.where(near(5), 5, ak.where(near(4), 4, 0))


def _is(particles: ak.Array, *kinds: int) -> ak.Array:
    return functools.reduce(operator.or_, (abs(particles.id) == kind for kind in kinds))


def _distance(a: ak.Array, b: ak.Array) -> ak.Array:
    """Delta R."""
    return np.hypot(a.eta - b.eta, (a.phi - b.phi + np.pi) % (2 * np.pi) - np.pi)
