"""Atmospheric neutrinos that come up through the Earth: flux, oscillation, interaction, tau decay.

Energies are in GeV, lengths in km where nothing else is said. Neutrinos and antineutrinos are
summed over in the flux. `cosine` is that of the zenith from which a neutrino comes, -1 from
straight below.
"""

from dataclasses import dataclass

import numpy as np

FLAVOURS = ("e", "mu", "tau")
PROCESSES = ("nutau_cc", "numu_cc", "nue_cc", "nc")
ENERGIES = (3.0, 100.0)
EARTH, PRODUCED = 6371.0, 15.0  # its radius, and at what height neutrinos are made
NUCLEON, TAU = 0.939, 1.777  # masses
NUCLEONS = 6.17e29  # in a cubic metre of sea water
YEAR = 3.156e7  # seconds


# ---- oscillation ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Angles in degrees and differences of squared masses in eV² (NuFIT, arXiv 2007.14792).

    The phase of CP violation is left at 0.
    """

    theta12: float = 33.4
    theta13: float = 8.6
    theta23: float = 49.0
    dm21: float = 7.4e-5
    dm31: float = 2.51e-3

    @property
    def matrix(self):
        """The mixing matrix, flavour by mass."""
        s12, s13, s23 = np.sin(np.radians([self.theta12, self.theta13, self.theta23]))
        c12, c13, c23 = np.cos(np.radians([self.theta12, self.theta13, self.theta23]))
        first = np.array([[1, 0, 0], [0, c23, s23], [0, -s23, c23]])
        second = np.array([[c13, 0, s13], [0, 1, 0], [-s13, 0, c13]])
        third = np.array([[c12, s12, 0], [-s12, c12, 0], [0, 0, 1]])
        return first @ second @ third


def baseline(cosine):
    """How far a neutrino has come [km]."""
    height = EARTH + PRODUCED
    return -EARTH * cosine + np.sqrt(height**2 - EARTH**2 * (1 - cosine**2))


def oscillated(energy, cosine, mixing):
    """Probabilities in vacuum, `[from, to, ...]`; what matter does to them is left out."""
    squared = np.array([0.0, mixing.dm21, mixing.dm31])
    u, length = mixing.matrix, baseline(cosine)
    chance = np.zeros((3, 3, *np.broadcast(energy, cosine).shape))
    chance += np.eye(3).reshape(3, 3, *(1,) * (chance.ndim - 2))
    for i in range(3):
        for j in range(i):
            # Δm² L / 4E in units of eV², km and GeV.
            wave = np.sin(1.26693 * (squared[i] - squared[j]) * length / energy) ** 2
            amplitude = np.outer(u[:, i] * u[:, j], u[:, i] * u[:, j])
            chance -= 4 * np.multiply.outer(amplitude, wave)
    return chance


# ---- flux and interaction ------------------------------------------------------------------------


# By flavour and whether it is the antineutrino's: flux at 10 GeV along the horizon, spectral index
# and its change in a decade, how much less comes from below at 10 GeV, and that with the energy.
_FLUX = {
    ("mu", False): (0.420, 2.811, 0.079, 0.752, 0.258),
    ("mu", True): (0.402, 2.855, 0.077, 1.209, 0.235),
    ("e", False): (0.316, 2.766, 0.073, 5.98, 0.778),
    ("e", True): (0.235, 2.799, 0.054, 5.82, 0.735),
}


def flux(flavour, energy, cosine, *, anti):
    """Neutrinos, or antineutrinos, per m², s, sr and GeV, as they are made.

    Curves through the table of arXiv 1502.03916 for the Fréjus site at the solar minimum, averaged
    over the azimuth: within 7 % for the muon's flavour and 15 % for the electron's from 3 to
    100 GeV at all directions from below.
    """
    if flavour == "tau":
        return np.zeros(np.broadcast(energy, cosine).shape)
    level, index, change, less, growth = _FLUX[flavour, bool(anti)]
    share = energy / 10
    spectrum = level * share ** (-index - change * np.log10(share))
    return spectrum / (1 + less * share**growth * np.abs(cosine))


def cross_section(energy, *, anti, current="cc", flavour="mu"):
    """Of a nucleon [m²], proportional to the energy.

    Without the tau's mass that is what is measured above 30 GeV (Particle Data Group); below it is
    up to 10 % too little. The share that the mass leaves is that of hep-ph/0107261 up to 32 GeV,
    as GLoBES tabulates it, and above from the integral of hep-ph/0208187 at leading order.
    """
    per_energy = {"cc": (0.68, 0.34), "nc": (0.21, 0.127)}[current][bool(anti)]
    found = per_energy * 1e-42 * energy
    if flavour == "tau" and current == "cc":
        points = np.log([3.5, 5.0, 7.0, 10.0, 20.0, 32.0, 50.0, 100.0])
        shares = [0.0, 0.015, 0.07, 0.16, 0.37, 0.50, 0.62, 0.75]
        found = found * np.interp(np.log(energy), points, shares)
    return found


def rate(process, energy, cosine, *, mixing=None, anti=False):
    """Interactions per year, m³ of water, GeV and unit of the cosine."""
    mixing = mixing or Mixing()
    made = {flavour: flux(flavour, energy, cosine, anti=anti) for flavour in FLAVOURS}
    if process == "nc":
        arriving, flavour, current = made["e"] + made["mu"], "mu", "nc"
    else:
        flavour, current = process.removesuffix("_cc").removeprefix("nu"), "cc"
        chance = oscillated(energy, cosine, mixing)
        to = FLAVOURS.index(flavour)
        arriving = sum(made[name] * chance[i, to] for i, name in enumerate(FLAVOURS))
    section = cross_section(energy, anti=anti, current=current, flavour=flavour)
    return arriving * section * NUCLEONS * YEAR * 2 * np.pi


def drawn(process, count, rng):
    """Energies, cosines and whether they are antineutrinos, as often as they interact.

    Returns:
        The three, and the interactions per year and m³ of all energies from below.
    """
    edges = np.geomspace(*ENERGIES, 161), np.linspace(-1, 0, 81)
    energy = np.sqrt(edges[0][1:] * edges[0][:-1])[:, None]
    cosine = (edges[1][1:] + edges[1][:-1])[None, :] / 2
    size = np.diff(edges[0])[:, None] * np.diff(edges[1])[None, :]
    rates = np.stack([rate(process, energy, cosine, anti=anti) * size for anti in (False, True)])
    total = rates.sum()
    cell = rng.choice(rates.size, size=count, p=rates.ravel() / total)
    anti, i, j = np.unravel_index(cell, rates.shape)
    energy = edges[0][i] * (edges[0][i + 1] / edges[0][i]) ** rng.random(count)
    cosine = edges[1][j] + np.diff(edges[1])[j] * rng.random(count)
    return energy, cosine, anti == 1, total


def inelasticity(energy, anti, rng, *, lepton_mass=0.0):
    """The share y of the energy that the nucleus gets, of quarks with 17 % of antiquarks.

    Quarks are as likely at each y for neutrinos and fall as (1 - y)² for antineutrinos; of
    antiquarks it is the other way round. What leaves the lepton less than its mass is drawn anew.
    """
    y = np.empty(len(energy))
    left = np.arange(len(energy))
    # Integrals are 1 and 1/3.
    flat = np.where(anti, 0.2 / (0.2 + 1 / 3), 1 / (1 + 0.2 / 3))
    while len(left):
        even = rng.random(len(left)) < flat[left]
        uniform = rng.random(len(left))
        y[left] = np.where(even, uniform, 1 - np.cbrt(uniform))
        left = left[(1 - y[left]) * energy[left] < 1.05 * lepton_mass]
    return y


def scattering_angles(energy, y, rng):
    """Angles of the lepton and of what the nucleus becomes to the neutrino [rad]."""
    x = rng.beta(1.0, 3.0, len(energy))
    half = np.sqrt(np.minimum(NUCLEON * x * y / (2 * (1 - y) * energy), 1.0))
    lepton = 2 * np.arcsin(half)
    transverse = (1 - y) * energy * np.sin(lepton)
    return lepton, np.arctan2(transverse, np.maximum(energy * (1 - (1 - y) * np.cos(lepton)), 0.1))


# ---- decay of the tau ----------------------------------------------------------------------------

DECAYS = {"muon": 0.174, "electron": 0.178, "pion": 0.108, "hadrons": 0.540}


def tau_decay(count, rng):
    """How taus decay, as numbers of `DECAYS`, and the share of their energy that is seen.

    Taus are taken as left-handed and fast: leptons then have the spectrum 4/3 (1 - x³), a pion
    2 (1 - x) (Tsai, Phys. Rev. D 4, 2821). Several hadrons have a beta distribution with the
    mean 0.6, between those of ρ and a₁ of a tau without polarisation.
    """
    chance = np.array(list(DECAYS.values()))
    kind = rng.choice(len(chance), size=count, p=chance / chance.sum())
    grid = np.linspace(0, 1, 2001)
    x = np.interp(rng.random(count), 4 / 3 * grid - grid**4 / 3, grid)
    pion = 1 - np.sqrt(rng.random(count))
    many = rng.beta(3.0, 2.0, count)
    return kind, np.select([kind <= 1, kind == 2], [x, pion], many)
