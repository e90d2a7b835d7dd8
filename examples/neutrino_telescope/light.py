"""Strings of light sensors in the sea, and what they see of charged particles.

Lengths are in m, times in ns, energies in GeV. The z axis points upwards.
"""

from dataclasses import dataclass

import numpy as np

# KM3NeT/ORCA has 115 strings some 20 m apart, each with 18 modules, 9 m one above the other
# (arXiv 1601.07459, 2103.09885). Here are the innermost 37, on a regular grid.
STRINGS, MODULES, BETWEEN_STRINGS, BETWEEN_MODULES = 37, 18, 20.0, 9.0
AREA = 80e-4  # m², of a module: its 31 tubes, as they are hit, with their quantum efficiency
UP_AND_DOWN = 0.25  # modules have more tubes below: acceptance of light going up, less that down
TUBE = 0.45  # rad, between the light and the axis of the tube that it hits
JITTER = 2.0  # ns, of a tube
DARK = 31 * 7e-6  # background of a module per ns, most of it decays of potassium

LIGHT = 0.2998  # m/ns
PHASE, GROUP = 1.35, 1.38  # refractive indices
ABSORPTION = 45.0  # one for all colours
SCATTERING = 250.0  # to another direction: far larger than the distance between two scatterings
DELAY = 0.8  # ns/m, mean of what scattered light is late
CHERENKOV = np.arccos(1 / PHASE)

# Photons between 300 and 600 nm by the formula of Frank and Tamm. A muon frees electrons that shine
# as 24 % more of its track (arXiv 1206.5530). Electrons of 1 GeV have 5.32 m of track in ice
# of 0.91 g/cm³ (arXiv 1210.5140), hence 4.66 m in sea water of 1.04 g/cm³.
PER_METRE = 34_500.0
FROM_TRACK, FROM_CASCADE = 1.24 * PER_METRE, 4.66 * PER_METRE  # of a metre, of 1 GeV
MUON_LOSS = 0.24  # GeV/m
RADIATION = 0.347  # radiation length
SLANT = np.tan(CHERENKOV), np.sin(CHERENKOV)


def modules():
    """Where they are, `[modules, 3]`."""
    rings = 3  # 1 + 6 + 12 + 18 strings
    a = np.array([(i, j) for i in range(-rings, rings + 1) for j in range(-rings, rings + 1)])
    a = a[np.abs(a.sum(axis=1)) <= rings]
    plane = BETWEEN_STRINGS * np.stack([a[:, 0] + a[:, 1] / 2, a[:, 1] * np.sqrt(0.75)], axis=1)
    height = BETWEEN_MODULES * (np.arange(MODULES) - (MODULES - 1) / 2)
    where = np.repeat(plane, MODULES, axis=0)
    return np.concatenate([where, np.tile(height, STRINGS)[:, None]], axis=1)


def angular_profile(cosine):
    """Light of a cascade by the cosine to its axis, relative to the same in all directions.

    The curve of arXiv 1210.5140 for electrons, which has its peak at the Cherenkov angle.
    """
    return np.interp(cosine, *_PROFILE)


def _profile():
    cosine = np.linspace(-1, 1, 4001)
    curve = 4.27033 * np.exp(-6.02527 * np.abs(cosine - 1 / PHASE) ** 0.29887) - 0.00103
    return cosine, curve / np.trapezoid(curve, cosine) * 2


_PROFILE = _profile()


def hadronic_light(energy):
    """Light of hadrons relative to that of electrons of the same energy.

    Gabriel's formula with what IceCube uses for it: a share of the energy is electromagnetic, and
    the others give 0.467 of the light.
    """
    hadronic = np.maximum(energy / 0.399, 1.0) ** -0.130
    return 1 - hadronic * (1 - 0.467)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What shines in events, all at the time 0.

    Attributes:
        vertex: Where the neutrino interacted, `[events, 3]`.
        cascade: Energies of cascades, as of electrons with as much light, `[events, cascades]`.
        towards: Their directions, `[events, cascades, 3]`.
        track: Lengths of muon tracks, 0 where there is none, `[events]`.
        along: Their directions, `[events, 3]`.
    """

    vertex: np.ndarray
    cascade: np.ndarray
    towards: np.ndarray
    track: np.ndarray
    along: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Photons:
    """Light that modules have seen, one by one.

    Attributes:
        event: Number of the event.
        module: Number of the module.
        time: When, with what a tube adds.
        direction: Of the axis of the tube, outwards, `[photons, 3]`.
        rank: Uniform in (0, 1): with a share f of all light those below f would have been seen.
    """

    event: np.ndarray
    module: np.ndarray
    time: np.ndarray
    direction: np.ndarray
    rank: np.ndarray

    def __len__(self):
        return len(self.event)

    def __getitem__(self, kept):
        return Photons(**{name: values[kept] for name, values in vars(self).items()})


def joined(*several):
    """Light of several sources."""
    return Photons(
        **{n: np.concatenate([getattr(one, n) for one in several]) for n in vars(several[0])}
    )


def _seen(expected, emitted, delay, where, rng, *, scattering):
    """Photons where `expected` says how many; from points of emission, at times of emission."""
    counts = rng.poisson(expected)
    event, module = np.nonzero(counts)
    repeat = counts[event, module]
    event, module = np.repeat(event, repeat), np.repeat(module, repeat)
    path = where[module] - emitted(event, module)
    length = np.maximum(np.linalg.norm(path, axis=1), 0.1)
    time = delay(event, module) + length * GROUP / LIGHT
    came = path / length[:, None]
    if scattering:
        late = rng.random(len(event)) > np.exp(-length / SCATTERING)
        time = time + late * rng.exponential(1.0, len(event)) * length * DELAY
        came = came + late[:, None] * rng.normal(0, 0.8, path.shape)
    tube = -came + rng.normal(0, TUBE / np.sqrt(2), path.shape)
    tube /= np.linalg.norm(tube, axis=1, keepdims=True)
    time = time + rng.normal(0, JITTER, len(event))
    return Photons(
        event=event, module=module, time=time, direction=tube, rank=rng.random(len(event))
    )


def _reach(length, upwards):
    """Share of the light that is not absorbed, times the area that sees it."""
    return AREA * (1 + UP_AND_DOWN * upwards) * np.exp(-length / ABSORPTION)


def shine(sources, rng, *, light=1.0, scattering=True):
    """Photons of events: Cherenkov light of tracks and cascades, without background.

    Args:
        sources: What shines.
        rng: Source of random numbers.
        light: All yields are multiplied by it.
        scattering: Whether light is scattered, which makes some of it late and blurs cascades.
    """
    where = modules().astype(np.float32)
    found = []
    for k in range(sources.cascade.shape[1]):
        some = np.flatnonzero(sources.cascade[:, k] > 0.03)
        energy, axis = sources.cascade[some, k], sources.towards[some, k]
        # A cascade is some metres long; its light comes from the middle (arXiv 1210.5140).
        depth = RADIATION * (np.log(np.maximum(energy, 0.1)) + 3.2)
        centre = sources.vertex[some] + depth[:, None] * axis
        away = where[None] - centre[:, None].astype(np.float32)
        length = np.maximum(np.sqrt(np.einsum("emi,emi->em", away, away)), 1.0)
        cosine = np.einsum("emi,ei->em", away, axis.astype(np.float32)) / length
        profile = angular_profile(cosine)
        if scattering:
            profile = 1 + (profile - 1) * np.exp(-length / SCATTERING)
        expected = (light * FROM_CASCADE * energy)[:, None] * profile / (4 * np.pi * length**2)
        expected *= _reach(length, away[..., 2] / length)
        photons = _seen(
            expected,
            lambda event, module, centre=centre: centre[event],
            lambda event, module, depth=depth: depth[event] / LIGHT,
            where,
            rng,
            scattering=scattering,
        )
        found.append(_renumbered(photons, some))
    some = np.flatnonzero(sources.track > 0)
    if len(some):
        found.append(_renumbered(_tracks(sources, some, where, rng, light, scattering), some))
    return joined(*found)


def _tracks(sources, some, where, rng, light, scattering):
    """Light of muons: each module sees it from one point, at the Cherenkov angle."""
    start, axis, length = sources.vertex[some], sources.along[some], sources.track[some]
    away = where[None] - start[:, None].astype(np.float32)
    forward = np.einsum("emi,ei->em", away, axis.astype(np.float32))
    aside = np.sqrt(np.maximum(np.einsum("emi,emi->em", away, away) - forward**2, 1.0))
    point = forward - aside / SLANT[0]
    path = aside / SLANT[1]
    upwards = (away[..., 2] - point * axis[:, None, 2]) / path
    expected = light * FROM_TRACK / (2 * np.pi * aside * SLANT[1]) * _reach(path, upwards)
    expected = np.where((point > 0) & (point < length[:, None]), expected, 0.0)
    return _seen(
        expected,
        lambda event, module: start[event] + point[event, module][:, None] * axis[event],
        lambda event, module: point[event, module] / LIGHT,
        where,
        rng,
        scattering=scattering,
    )


def _renumbered(photons, events):
    return Photons(**{**vars(photons), "event": events[photons.event]})


def background(events, window, rng):
    """Light of decays of potassium in the sea, at any time within a window."""
    count = STRINGS * MODULES
    number = rng.poisson(DARK * (window[1] - window[0]) * count * events)
    direction = rng.normal(size=(number, 3))
    return Photons(
        event=rng.integers(events, size=number),
        module=rng.integers(count, size=number),
        time=rng.uniform(*window, number),
        direction=direction / np.linalg.norm(direction, axis=1, keepdims=True),
        rank=np.zeros(number),
    )
