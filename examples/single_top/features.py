"""Selection, b-tagging and the features of the selected events. Plain NumPy; energies in GeV."""

from dataclasses import dataclass

import awkward as ak
import numpy as np
import vector
from definitions import FEATURES, MISSING
from detector import JET_ETA, JET_PT, LEPTON_PT, TAG_ETA

MET, MTW = 30.0, 50.0  # GeV
W_MASS = 80.38
MOST_JETS = 6  # of an event that are kept as objects
OBJECT_PT = 20.0  # GeV, of jets that are kept as objects
ANGLE_STEP = 2**-5  # to which angles of objects are rounded

#: Probability to tag a jet of |eta| < 2.5 by flavour (b, c, other), and relative uncertainties by variation.
TAG_EFFICIENCY = {5: 0.70, 4: 0.15, 0: 0.01}
TAG_VARIATIONS = {
    "btag_up": {5: 1.03, 4: 1.10, 0: 1.0},
    "btag_down": {5: 0.97, 4: 0.90, 0: 1.0},
    "mistag_up": {5: 1.0, 4: 1.0, 0: 1.25},
    "mistag_down": {5: 1.0, 4: 1.0, 0: 0.75},
}

_PATTERNS = np.array(
    [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]], bool
)  # tagged of 3 jets


@dataclass(frozen=True)
class Selected:
    """Events of a batch that pass the selection, with two or three jets, before b-tagging.

    Attributes:
        index: of the events among those given.
        lepton: pt, eta, phi, charge: [events, 4].
        jets: pt, eta, phi, mass: [events, 3, 4], zero for no third jet.
        probability: of each pattern of tags: [events, patterns]; zero for a pattern that is not selected.
        varied: the same for each of `TAG_VARIATIONS`.
        met: x, y: [events, 2].
        softer: pt, eta, phi, mass of the jets below the threshold: [events, `MOST_JETS`, 4], zero for none.
    """

    index: np.ndarray
    lepton: np.ndarray
    jets: np.ndarray
    probability: np.ndarray
    varied: dict[str, np.ndarray]
    met: np.ndarray
    softer: np.ndarray


def select(
    lepton: ak.Array,
    jets: ak.Array,
    missing_x: ak.Array,
    missing_y: ak.Array,
    *,
    tags: str,
) -> tuple[Selected, np.ndarray]:
    """The selection but for the b-tag.

    Args:
        lepton, jets, missing_x, missing_y: what `detector` gives.
        tags: which patterns of tags are selected: "one_untagged" (one tag at least, and an untagged jet is left) or
            "both_tagged" (of two jets).

    Returns:
        The events, and which are left after each step (lepton, MET, mT(W), jets): [steps, events].
    """
    jets = jets[abs(jets.eta) < JET_ETA]
    softer, jets = jets[jets.pt <= JET_PT], jets[jets.pt > JET_PT]
    met = np.stack([np.asarray(missing_x), np.asarray(missing_y)], axis=-1)
    candidates = np.stack(
        [np.asarray(getattr(lepton, name)) for name in ("pt", "eta", "phi", "charge")], axis=-1
    )
    number = np.asarray(ak.num(jets))
    steps = (
        candidates[:, 0] > LEPTON_PT,
        np.hypot(*met.T) > MET,
        _transverse_mass(candidates, met) > MTW,
        (number == 2) | (number == 3),
    )
    passed = np.logical_and.accumulate(steps)
    index = np.flatnonzero(passed[-1])
    jets, softer = jets[index], softer[index]

    def column(values: ak.Array, fill: float, most: int = 3) -> np.ndarray:
        padded = ak.fill_none(ak.pad_none(values, most, clip=True), fill)
        return np.asarray(ak.to_regular(padded)).reshape(-1, most)

    momenta, below = (
        np.stack(
            [column(getattr(some, name), 0.0, most) for name in ("pt", "eta", "phi", "mass")],
            axis=-1,
        )
        for some, most in ((jets, 3), (softer, MOST_JETS))
    )
    flavour, taggable = column(jets.flavour, -1), np.abs(momenta[..., 1]) < TAG_ETA

    def probability(factors: dict[int, float]) -> np.ndarray:
        tagged = np.zeros(flavour.shape)
        for kind, efficiency in TAG_EFFICIENCY.items():
            tagged[(flavour == kind) & taggable] = efficiency * factors[kind]
        result = np.where(_PATTERNS, tagged[:, None], 1 - tagged[:, None]).prod(axis=-1)
        tagged_jets, all_jets = _PATTERNS.sum(axis=1), (flavour >= 0).sum(axis=1)[:, None]
        if tags == "both_tagged":
            return result * ((tagged_jets == 2) & (all_jets == 2))
        return result * (tagged_jets < all_jets)

    return Selected(
        index=index,
        lepton=candidates[index],
        jets=momenta,
        probability=probability(dict.fromkeys(TAG_EFFICIENCY, 1.0)),
        varied={name: probability(factors) for name, factors in TAG_VARIATIONS.items()},
        met=met[index],
        softer=below,
    ), passed


def tag(
    events: Selected, uniform: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Draw which jets are tagged, given that the event is selected.

    Args:
        events: to tag.
        uniform: one random number per event; the same one in nominal and varied events keeps their tags alike.

    Returns:
        Tagged jets [events, 3]; the probability to be selected, that is the weight of the event; and for each of
        `TAG_VARIATIONS` the ratio of the probabilities of the pattern that was drawn.
    """
    total = events.probability.sum(axis=1)
    below = events.probability.cumsum(axis=1) < (uniform * total)[:, None]
    drawn = below.sum(axis=1)
    rows = np.arange(len(drawn))
    nominal = np.where(total > 0, events.probability[rows, drawn], 1.0)
    return (
        _PATTERNS[drawn],
        total,
        {name: p[rows, drawn] / nominal for name, p in events.varied.items()},
    )


def features(events: Selected, tagged: np.ndarray) -> np.ndarray:
    """`FEATURES` of each event: [events, features], float32, rounded."""
    lepton, jets, (met_x, met_y) = events.lepton, events.jets, events.met.T
    rows, exists = np.arange(len(jets)), jets[..., 0] > 0
    b_index = np.argmax(tagged, axis=1)  # jets are in pT order
    light_index = np.argmax(np.where(exists & ~tagged, np.abs(jets[..., 1]), -1.0), axis=1)
    light_index = np.where((exists & ~tagged).any(axis=1), light_index, 1 - b_index)
    other_index = 3 - b_index - light_index
    b, light, other = (jets[rows, index] for index in (b_index, light_index, other_index))
    three = exists[rows, other_index]
    met = np.hypot(met_x, met_y)

    lepton4 = _momentum(lepton[:, 0], lepton[:, 1], lepton[:, 2], 0.0)
    jets4 = _momentum(*np.moveaxis(jets, -1, 0))
    b4, light4 = jets4[rows, b_index], jets4[rows, light_index]
    neutrino4 = _neutrino(lepton4, met_x, met_y)
    w4 = lepton4 + neutrino4
    top4 = w4 + b4
    all4 = np.concatenate([jets4, lepton4[:, None], neutrino4[:, None]], axis=1)
    sphericity, aplanarity = _event_shape(all4)
    moments = _fox_wolfram(all4[:, :4], orders=(1, 2))
    top_vector = vector.array(
        {"px": top4[:, 1], "py": top4[:, 2], "pz": top4[:, 3], "E": top4[:, 0]}
    )

    values = {
        "lepton_pt": lepton[:, 0],
        "lepton_eta": lepton[:, 1],
        "lepton_charge": lepton[:, 3],
        "met": met,
        "mtw": _transverse_mass(lepton, events.met),
        "bjet_pt": b[:, 0],
        "bjet_eta": b[:, 1],
        "lightjet_pt": light[:, 0],
        "lightjet_abs_eta": np.abs(light[:, 1]),
        "jet3_pt": np.where(three, other[:, 0], MISSING),
        "jet3_eta": np.where(three, other[:, 1], MISSING),
        "n_jets": exists.sum(axis=1),
        "n_bjets": tagged.sum(axis=1),
        "top_mass": _mass(top4),
        "top_pt": top_vector.pt,
        "mass_lb": _mass(lepton4 + b4),
        "mass_jb": _mass(light4 + b4),
        "delta_r_lb": np.hypot(lepton[:, 1] - b[:, 1], _delta_phi(lepton[:, 2], b[:, 2])),
        "delta_eta_jb": np.abs(light[:, 1] - b[:, 1]),
        "delta_eta_lj": np.abs(lepton[:, 1] - light[:, 1]),
        "delta_phi_lmet": _delta_phi(lepton[:, 2], np.arctan2(met_y, met_x)),
        "delta_r_top_j": np.hypot(
            top_vector.eta - light[:, 1], _delta_phi(top_vector.phi, light[:, 2])
        ),
        "cos_theta_star": _cosine(_boosted(lepton4, top4), _boosted(light4, top4)),
        "cos_theta_w": _cosine(_boosted(lepton4, w4), _boosted(w4, top4)),
        "ht": jets[..., 0].sum(axis=1) + lepton[:, 0] + met,
        "mass_total": _mass(all4.sum(axis=1)),
        "sphericity": sphericity,
        "aplanarity": aplanarity,
        "fox_wolfram_1": moments[0],
        "fox_wolfram_2": moments[1],
    }
    return np.stack(
        [_rounded(values[name], step) for name, (_, _, step) in FEATURES.items()], axis=1
    )


def every_jet(events: Selected, tagged: np.ndarray) -> np.ndarray:
    """pt, eta, phi, mass and tag of each jet above 15 GeV, those that are selected first, which alone can be tagged:
    [events, `MOST_JETS`, 5], zero for none.
    """
    jets = np.concatenate([events.jets, events.softer], axis=1)
    tags = np.zeros(jets.shape[:2])
    tags[:, : tagged.shape[1]] = tagged
    # Selected jets are the hardest, so one order by momentum has no gaps.
    order = np.argsort(-jets[..., 0], axis=1, kind="stable")[:, :MOST_JETS]
    all_of_it = np.concatenate([jets, tags[..., None]], axis=-1)
    return np.take_along_axis(all_of_it, order[..., None], axis=1)


def azimuths(events: Selected) -> np.ndarray:
    """Of lepton and missing momentum: [events, 2]."""
    met_x, met_y = events.met.T
    return np.stack([events.lepton[:, 2], np.arctan2(met_y, met_x)], axis=1)


def objects(jets: np.ndarray, azimuths: np.ndarray) -> ak.Array:
    """Jets above `OBJECT_PT` and the azimuth of the missing momentum, rounded; azimuths count from the lepton.

    Args:
        jets: what `every_jet` gives.
        azimuths: what `azimuths` gives.
    """
    there = jets[..., 0] > OBJECT_PT
    lepton_phi, met_phi = azimuths.T
    pt, eta, phi, mass, tags = (jets[..., i][there] for i in range(jets.shape[-1]))
    from_lepton = _turned(phi - np.repeat(lepton_phi, there.sum(axis=1)))
    of_jet = {
        "pt": round_mantissa(pt, 6),
        "eta": _rounded(eta, ANGLE_STEP),
        "phi": _rounded(from_lepton, ANGLE_STEP),
        "mass": round_mantissa(mass, 4),
        "btag": tags.astype(bool),
    }
    jagged = {name: ak.unflatten(values, there.sum(axis=1)) for name, values in of_jet.items()}
    return ak.Array(
        {"jets": ak.zip(jagged), "met_phi": _rounded(_turned(met_phi - lepton_phi), ANGLE_STEP)}
    )


def round_mantissa(values: np.ndarray, bits: int = 8) -> np.ndarray:
    """To the nearest float32 with that many bits of mantissa, which compresses well."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    return np.ldexp(np.round(mantissa * 2 ** (bits + 1)), exponent - bits - 1).astype(np.float32)


def _rounded(values: np.ndarray, step: float | None) -> np.ndarray:
    if step is None:
        return np.where(values == MISSING, MISSING, round_mantissa(values)).astype(np.float32)
    return np.asarray(np.round(values / step) * step if step else values, np.float32)


def _momentum(pt, eta, phi, mass) -> np.ndarray:
    """E, px, py, pz on the last axis."""
    pz = pt * np.sinh(eta)
    return np.stack(
        [np.sqrt(pt**2 + pz**2 + mass**2), pt * np.cos(phi), pt * np.sin(phi), pz], axis=-1
    )


def _mass(p: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(p[..., 0] ** 2 - (p[..., 1:] ** 2).sum(axis=-1), 0.0))


def _delta_phi(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Absolute, in [0, pi]."""
    return np.abs(_turned(a - b))


def _turned(phi: np.ndarray) -> np.ndarray:
    """The angle in [-pi, pi)."""
    return (phi + np.pi) % (2 * np.pi) - np.pi


def _transverse_mass(lepton: np.ndarray, met: np.ndarray) -> np.ndarray:
    pt, phi = lepton[:, 0], lepton[:, 2]
    square = pt * np.hypot(*met.T) - pt * (np.cos(phi) * met[:, 0] + np.sin(phi) * met[:, 1])
    return np.sqrt(np.maximum(2 * square, 0.0))


def _neutrino(lepton: np.ndarray, met_x: np.ndarray, met_y: np.ndarray) -> np.ndarray:
    """Momentum that gives lepton and neutrino the W mass: the solution of smaller |pz|, or the real part of both."""
    pt2 = lepton[:, 1] ** 2 + lepton[:, 2] ** 2
    a = W_MASS**2 / 2 + lepton[:, 1] * met_x + lepton[:, 2] * met_y
    root = np.sqrt(np.maximum(a**2 - pt2 * (met_x**2 + met_y**2), 0.0)) * lepton[:, 0]
    solutions = (a * lepton[:, 3] + np.stack([root, -root])) / pt2
    pz = np.take_along_axis(solutions, np.abs(solutions).argmin(axis=0)[None], axis=0)[0]
    return np.stack([np.sqrt(met_x**2 + met_y**2 + pz**2), met_x, met_y, pz], axis=-1)


def _boosted(p: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Three-momentum of p in the rest frame of `frame`."""
    mass = np.maximum(_mass(frame), 1e-3)
    along = (p[:, 1:] * frame[:, 1:]).sum(axis=1)
    factor = along / (mass * (frame[:, 0] + mass)) - p[:, 0] / mass
    return p[:, 1:] + factor[:, None] * frame[:, 1:]


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.clip((a * b).sum(axis=1) / np.maximum(norm, 1e-9), -1, 1)


def _event_shape(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sphericity and aplanarity."""
    tensor = np.einsum("npi,npj->nij", p[..., 1:], p[..., 1:])
    eigenvalues = np.linalg.eigvalsh(
        tensor / np.trace(tensor, axis1=1, axis2=2)[:, None, None]
    )  # ascending
    return 1.5 * (eigenvalues[:, 0] + eigenvalues[:, 1]), 1.5 * np.maximum(eigenvalues[:, 0], 0.0)


def _fox_wolfram(p: np.ndarray, orders: tuple[int, ...]) -> list[np.ndarray]:
    """H_l / H_0, with H_l = sum_ij |p_i| |p_j| P_l(cos_ij) (Fox, Wolfram, PRL 41 (1978) 1581)."""
    norm = np.linalg.norm(p[..., 1:], axis=-1)
    products = norm[:, :, None] * norm[:, None, :]
    cosine = np.einsum("npi,nqi->npq", p[..., 1:], p[..., 1:]) / np.where(
        products > 0, products, 1.0
    )
    return [
        (products * np.polynomial.legendre.legval(cosine, [0] * order + [1])).sum(axis=(1, 2))
        / products.sum(axis=(1, 2))
        for order in orders
    ]
