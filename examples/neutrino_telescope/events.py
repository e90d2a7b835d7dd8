"""Events: a neutrino interacts, its products shine; what enough modules see is a trigger."""

from dataclasses import dataclass

import light
import neutrinos
import numpy as np

RADIUS, HEIGHT = 90.0, 105.0  # m, of the water in which neutrinos interact: half of its height
FRAGMENTS = 3  # cascades of what the nucleus becomes
FRAGMENT_MOMENTUM = 0.35  # GeV, sideways
REACH, BEFORE, SLACK = 70.0, 60.0, 20.0  # m, ns, ns: hits of an event, around its brightest module
WINDOW = (-400.0, 800.0)  # ns, of the background
TRIGGER = {"coincidences": 5, "charge": 30}  # modules with two photons or more, and all photons
INSIDE = (
    60.0,
    80.0,
)  # m, fitted vertices: distance to the axis, and height above or below the middle


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Modules that were hit, event after event, in each the brightest first.

    Attributes:
        event: Number of the event.
        module: Number of the module.
        time: Of its first photon, relative to that of the brightest module.
        charge: How many photons.
        direction: Mean of the axes of the tubes, `[hits, 3]`.
    """

    event: np.ndarray
    module: np.ndarray
    time: np.ndarray
    charge: np.ndarray
    direction: np.ndarray

    def __getitem__(self, kept):
        return Hits(**{name: values[kept] for name, values in vars(self).items()})


def rotated(axis, angle, azimuth):
    """Unit vectors at an angle to others."""
    axis, angle, azimuth = np.broadcast_arrays(axis, angle[..., None], azimuth[..., None])
    angle, azimuth = angle[..., :1], azimuth[..., :1]
    aside = np.where(np.abs(axis[..., 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    first = np.cross(axis, aside)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    second = np.cross(axis, first)
    around = np.cos(azimuth) * first + np.sin(azimuth) * second
    return np.cos(angle) * axis + np.sin(angle) * around


def interactions(process, count, rng):
    """Neutrinos that interact in the water, and what shines then.

    Returns:
        The truth by name, the light sources, and the interactions in a year.
    """
    energy, cosine, anti, per_volume = neutrinos.drawn(process, count, rng)
    tau = process == "nutau_cc"
    mass = neutrinos.TAU if tau else 0.0
    y = neutrinos.inelasticity(energy, anti, rng, lepton_mass=mass)
    to_lepton, to_hadrons = neutrinos.scattering_angles(energy, y, rng)
    azimuth = rng.uniform(0, 2 * np.pi, count)
    sine, around = np.sqrt(1 - cosine**2), rng.uniform(0, 2 * np.pi, count)
    axis = np.stack([sine * np.cos(around), sine * np.sin(around), -cosine], axis=1)
    lepton, energy_of_lepton = rotated(axis, to_lepton, azimuth), (1 - y) * energy
    hadrons = rotated(axis, to_hadrons, azimuth + np.pi)

    cascade, towards = _fragments(y * energy, hadrons, rng)
    electron, muon = np.zeros(count), np.zeros(count)
    kind = np.full(count, -1)
    if process == "nue_cc":
        electron = energy_of_lepton
    elif process == "numu_cc":
        muon = energy_of_lepton
    elif tau:
        kind, seen = neutrinos.tau_decay(count, rng)
        visible = seen * energy_of_lepton
        muon, electron = visible * (kind == 0), visible * (kind == 1)
        more = _fragments(visible * (kind > 1), lepton, rng, pieces=2)
        cascade = np.concatenate([cascade, more[0]], axis=1)
        towards = np.concatenate([towards, more[1]], axis=1)
    cascade = np.concatenate([cascade, electron[:, None]], axis=1)
    towards = np.concatenate([towards, lepton[:, None]], axis=1)

    distance = RADIUS * np.sqrt(rng.random(count))
    phi = rng.uniform(0, 2 * np.pi, count)
    vertex = np.stack([distance * np.cos(phi), distance * np.sin(phi), np.zeros(count)], axis=1)
    vertex[:, 2] = rng.uniform(-HEIGHT, HEIGHT, count)
    truth = {"energy": energy, "cos_zenith": cosine, "y": y, "tau_decay": kind}
    sources = light.Sources(
        vertex=vertex,
        cascade=cascade,
        towards=towards,
        track=muon / light.MUON_LOSS,
        along=lepton,
    )
    return truth, sources, per_volume * np.pi * RADIUS**2 * 2 * HEIGHT


def _fragments(energy, axis, rng, *, pieces=FRAGMENTS):
    """Hadrons as some cascades around an axis: energies of as much light, and directions."""
    share = rng.dirichlet(np.ones(pieces), len(energy))
    each = share * energy[:, None]
    sideways = FRAGMENT_MOMENTUM * np.sqrt(rng.exponential(2.0, each.shape))
    azimuth = rng.uniform(0, 2 * np.pi, each.shape)
    towards = rotated(axis[:, None], np.arctan2(sideways, np.maximum(each, 1e-3)), azimuth)
    spread = np.clip(rng.normal(1.0, 0.15, each.shape), 0.4, 1.6)
    return each * light.hadronic_light(energy)[:, None] * spread, towards


def measured(photons, events):
    """Hits of events in the order of their numbers: what fits to the brightest module of each."""
    where = light.modules()
    key = photons.event.astype(np.int64) * len(where) + photons.module
    order = np.lexsort((photons.time, key))
    photons, key = photons[order], key[order]
    start, size = _groups(key)
    first = np.lexsort((-size, photons.event[start]))
    event = photons.event[start][first]
    brightest = first[np.flatnonzero(np.diff(event, prepend=-1))]
    middle = start[brightest] + size[brightest] // 2
    time, module = np.zeros(events), np.zeros(events, int)
    time[photons.event[middle]] = photons.time[middle]
    module[photons.event[middle]] = photons.module[middle]

    apart = np.linalg.norm(where[:, None] - where[None], axis=2)
    distance = apart[module[photons.event], photons.module]
    late = photons.time - time[photons.event]
    latest = distance * light.GROUP / light.LIGHT
    kept = (
        (distance < REACH) & (late < latest + SLACK) & (late > -np.minimum(latest, BEFORE) - SLACK)
    )
    photons, key, late, distance = photons[kept], key[kept], late[kept], distance[kept]
    start, size = _groups(key)
    direction = np.add.reduceat(photons.direction, start, axis=0) / size[:, None]
    hits = Hits(
        event=photons.event[start],
        module=photons.module[start],
        time=late[start],
        charge=size,
        direction=direction,
    )
    residual = np.abs(late[start] - distance[start] * light.GROUP / light.LIGHT)
    return hits[np.lexsort((residual, -size, hits.event))]


def _groups(key):
    """Where groups of equal keys begin, and how many there are of each."""
    start = np.flatnonzero(np.diff(key, prepend=-1))
    return start, np.diff(np.append(start, len(key)))


def triggered(hits, events):
    """Which events are seen."""
    coincidences = np.bincount(hits.event, hits.charge >= 2, minlength=events)
    charge = np.bincount(hits.event, hits.charge, minlength=events)
    return (coincidences >= TRIGGER["coincidences"]) & (charge >= TRIGGER["charge"])


def contained(fitted):
    """Which events have their vertex among the strings, as it is fitted."""
    return (fitted["vertex_radius"] < INSIDE[0]) & (np.abs(fitted["vertex_z"]) < INSIDE[1])


def promising(sources):
    """Events with enough light for a trigger, at the best place: others need not be followed."""
    return sources.cascade.sum(axis=1) + sources.track * light.MUON_LOSS > 1.0


def some(sources, kept):
    """The sources of some events."""
    return light.Sources(**{name: values[kept] for name, values in vars(sources).items()})
