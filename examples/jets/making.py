"""Pieces of generated jets, and the trees that they become."""

import argparse
import itertools
import json
import os
import zlib
from importlib.metadata import version

import awkward as ak
import fastjet
import numpy as np
import pythia8mc
import uproot
import vector
from features import RADIUS, apart, features
from generate import (
    ANGLE_UNIT,
    COMMON,
    CONSTITUENTS,
    ETA,
    HADRON_CELL,
    KINDS,
    NUMBERS,
    PHOTON_CELL,
    PIECE,
    PT,
    PT_BINS,
    PT_UNIT,
    TRACK_ETA,
    TRACK_PT,
)

vector.register_awkward()
_JET = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
# All constituents of one jet become as many subjets as are asked for.
_SUBJETS = fastjet.JetDefinition(fastjet.kt_algorithm, 10.0)


def make(options: argparse.Namespace) -> None:
    """All of it, from the options of `generate.py`."""
    options.cache.mkdir(parents=True, exist_ok=True)
    trees = {}
    for kind in options.kinds:
        pieces: list[dict[str, np.ndarray]] = []
        for number in itertools.count():
            if pieces and _alike(pieces, options.jets) is not None:
                break
            pieces.append(_piece(kind, number, options))
        jets = _alike(pieces, options.jets)
        trees[kind] = _branches(jets, first=list(KINDS).index(kind) * NUMBERS)
        print(f"{kind}: {len(jets['pt'])} jets of {len(pieces)} pieces", flush=True)
    with uproot.recreate(options.output, compression=uproot.LZMA(9)) as file:
        file["metadata"] = json.dumps({"seed": options.seed, "pythia": version("pythia8mc")})
        for kind, branches in trees.items():
            file.mktree(
                kind,
                {
                    name: values.dtype if isinstance(values, np.ndarray) else values.type.content
                    for name, values in branches.items()
                },
            )
            file[kind].extend(branches)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB")


def _piece(kind: str, number: int, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Jets of some events, from the cache if they are there."""
    path = options.cache / f"{kind}_{options.seed}_{number}.npz"
    if not path.exists():
        seed = zlib.crc32(f"{options.seed}/{kind}/{number}".encode()) % 900_000_000
        made = _jets(kind, seed)
        np.savez_compressed(path.with_suffix(".part.npz"), **made)
        os.replace(path.with_suffix(".part.npz"), path)
        print(f"{path.name}: {len(made['pt'])} jets", flush=True)
    return dict(np.load(path))


def _jets(kind: str, seed: int) -> dict[str, np.ndarray]:
    """Jets of a piece: features, and constituents as `[jets, CONSTITUENTS]`, 0 for none."""
    chosen = KINDS[kind]
    pythia = pythia8mc.Pythia("", False)
    bias = f"PhaseSpace:bias2SelectionPow = {chosen.bias}"
    for line in (*COMMON, *chosen.settings, bias, f"Random:seed = {seed}"):
        if not pythia.readString(line):
            raise ValueError(f"Pythia does not accept the setting {line!r}")
    if not pythia.init():
        raise RuntimeError("Pythia did not initialise; run with Print:quiet = off to see why")
    particles = pythia.nextBatch(PIECE).prt
    seen = _detected(particles, np.random.default_rng(seed))
    cluster = fastjet.ClusterSequence(seen, _JET)
    jets, constituents = cluster.inclusive_jets(PT[0]), cluster.constituents(PT[0])
    quarks = particles[(abs(particles.id) < 6) & (particles.status == -23)].p
    if chosen.quarks:
        pairs = ak.cartesian({"jet": jets, "quark": quarks}, nested=True)
        inside = ak.sum(pairs.jet.deltaR(pairs.quark) < RADIUS, axis=2)
    else:
        inside = ak.zeros_like(jets.pt)
    good = (jets.pt < PT[1]) & (abs(jets.eta) < ETA) & (inside >= chosen.quarks)
    good = good & (ak.num(constituents, axis=2) >= 3)
    return _described(ak.flatten(jets[good]), ak.flatten(constituents[good]))


def _detected(particles: ak.Array, rng: np.random.Generator) -> ak.Array:
    """What a simple detector sees of each event, without masses.

    Charged particles are tracks, which are exact but for 1 % of the momentum. Photons, and neutral
    hadrons, are summed up in cells of two sizes, with the energy resolution of a calorimeter of
    each kind.
    """
    final = particles[particles.status > 0]
    momentum, code = final.p, abs(final.id)
    unseen = (code == 12) | (code == 14) | (code == 16) | (abs(momentum.eta) > 3.0)
    light = code == 22
    neutral = (
        light | (code == 130) | (code == 310) | (code == 2112) | (code == 3122) | (code == 3322)
    )
    track = ~neutral & (momentum.pt > TRACK_PT) & (abs(momentum.eta) < TRACK_ETA)
    event = ak.flatten(ak.broadcast_arrays(np.arange(len(final)), code)[0]).to_numpy()
    kept = ak.flatten(~unseen & (track | neutral)).to_numpy()
    track, light = (ak.flatten(each).to_numpy()[kept] for each in (track, light))
    event = event[kept]
    energy, eta, phi = (
        ak.flatten(each).to_numpy()[kept] for each in (momentum.e, momentum.eta, momentum.phi)
    )
    size = np.where(light, PHOTON_CELL, HADRON_CELL)
    # A track is a cell of its own.
    row, column = (np.where(track, 0, np.floor(each / size)).astype(int) for each in (eta, phi))
    sort = np.where(track, 2 + np.arange(len(track)), light)
    _, first, cell = np.unique(
        np.stack([event, sort, row, column]), axis=1, return_index=True, return_inverse=True
    )
    cell = cell.ravel()
    energy = np.bincount(cell, energy)
    of_track, of_light, size = track[first], light[first], size[first]
    stochastic, constant = np.where(of_light, 0.1, 0.5), np.where(of_light, 0.01, 0.05)
    resolution = np.where(of_track, 0.01, np.hypot(stochastic / np.sqrt(energy), constant))
    energy = energy * np.maximum(1 + resolution * rng.normal(size=len(energy)), 0.0)
    centre = [
        np.where(of_track, each[first], (np.floor(each[first] / size) + 0.5) * size)
        for each in (eta, phi)
    ]
    pt = energy / np.cosh(centre[0])
    kept = pt > TRACK_PT
    counts = np.bincount(event[first][kept], minlength=len(final))
    seen = ak.zip(
        {
            "px": pt * np.cos(centre[1]),
            "py": pt * np.sin(centre[1]),
            "pz": pt * np.sinh(centre[0]),
            "E": energy,
        },
        with_name="Momentum4D",
    )[kept]
    return ak.unflatten(seen, counts)


def _described(jets: ak.Array, constituents: ak.Array) -> dict[str, np.ndarray]:
    """Features of jets from all their constituents, and the first of these."""
    constituents = constituents[ak.argsort(constituents.pt, axis=1, ascending=False)]
    subjets = fastjet.ClusterSequence(constituents, _SUBJETS)
    axes = {number: subjets.exclusive_jets(n_jets=number) for number in (1, 2, 3)}
    eta, phi = apart(constituents, jets)
    rows = {
        "constituent_pt": np.round(constituents.pt / PT_UNIT),
        "constituent_eta": np.round(eta / ANGLE_UNIT),
        "constituent_phi": np.round(phi / ANGLE_UNIT),
    }
    padded = {
        name: ak.fill_none(ak.pad_none(values, CONSTITUENTS, clip=True), 0)
        for name, values in rows.items()
    }
    made = features(jets, constituents, axes) | padded
    return {name: ak.to_numpy(values) for name, values in made.items()}


def _alike(pieces: list[dict[str, np.ndarray]], wanted: int) -> dict[str, np.ndarray] | None:
    """As many jets of each bin of transverse momentum, in the order of their making.

    None if there are too few.
    """
    jets = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    number = ((jets["pt"] - PT[0]) / (PT[1] - PT[0]) * PT_BINS).astype(int)
    each = wanted // PT_BINS
    bins = [np.flatnonzero(number == i)[:each] for i in range(PT_BINS)]
    if min(map(len, bins)) < each:
        return None
    rows = np.sort(np.concatenate(bins))
    return {name: values[rows] for name, values in jets.items()}


def _branches(jets: dict[str, np.ndarray], *, first: int) -> dict[str, np.ndarray | ak.Array]:
    """As they are written: numbered, rounded, and the constituents as lists."""
    there = jets["constituent_pt"] > 0
    counts = there.sum(axis=1)
    objects = {
        name.removeprefix("constituent_"): ak.unflatten(
            values[there].astype(np.int16 if name.endswith("pt") else np.int8), counts
        )
        for name, values in jets.items()
        if name.startswith("constituent_")
    }
    steps = {
        "pt": 1.0,
        "eta": 2**-6,
        "mass": 0.25,
        "multiplicity": 1.0,
        "dispersion": 2**-10,
        "width": 2**-11,
    }

    def rounded(name: str, values: np.ndarray) -> np.ndarray:
        step = steps.get(name, 2**-9)
        return (np.round(values / step) * step).astype(np.float32)

    flat = {
        name: rounded(name, values)
        for name, values in jets.items()
        if not name.startswith("constituent_")
    }
    numbers = first + np.arange(len(counts), dtype=np.int32)
    return {"event_number": numbers} | flat | {"constituent": ak.zip(objects)}
