"""Four-momenta of objects: from the branches of a collection, their sums, and what they have.

Conventions are those of scikit-hep's `vector`: a mass is negative where the energy is smaller than
the momentum, the azimuth is from -π to π, and nothing at rest has the pseudorapidity 0.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from difftune.data.lists import Array, Momenta, Part, elementwise, total, united

# By coordinate how its branch is called, behind the name of the collection and `_` or `.`.
_MEMBERS = {
    "pt": r"p_?t",
    "eta": r"eta",
    "phi": r"phi",
    "mass": r"m|mass",
    "energy": r"e|energy",
    "px": r"p_?x|momentum\.x|(fp\.)?fx",
    "py": r"p_?y|momentum\.y|(fp\.)?fy",
    "pz": r"p_?z|momentum\.z|(fp\.)?fz",
}
# ROOT's own classes have `fPt`, `fP.fX`, and `fCoordinates.fPt`.
_PATTERNS = {
    name: re.compile(rf"(fcoordinates\.)?f?({pattern})", re.IGNORECASE)
    for name, pattern in _MEMBERS.items()
}
_SETS = (
    ("pt", "eta", "phi", "mass"),
    ("pt", "eta", "phi", "energy"),
    ("px", "py", "pz", "energy"),
    ("px", "py", "pz", "mass"),
)
COORDINATES = ("pt", "eta", "phi", "mass", "energy", "px", "py", "pz")
"""What a four-momentum is made from, and what it has."""


def members_of(collection: str, names: Iterable[str]) -> dict[str, str]:
    """By coordinate the column that holds it for a collection.

    Args:
        collection: What the names of its columns begin with, as in "Jet" for `Jet_pt`.
        names: Of all columns.
    """
    found: dict[str, str] = {}
    for name in names:
        if name.startswith(collection) and name[len(collection) : len(collection) + 1] in (
            "_",
            ".",
        ):
            rest = name[len(collection) + 1 :]
            for coordinate, pattern in _PATTERNS.items():
                if pattern.fullmatch(rest):
                    found.setdefault(coordinate, name)
    return found


def complete_set(coordinates: Iterable[str]) -> tuple[str, ...] | None:
    """The coordinates that make a four-momentum, the first of those that do; None if none do."""
    given = set(coordinates)
    return next((each for each in _SETS if given.issuperset(each)), None)


def lacking(coordinates: Iterable[str]) -> tuple[str, ...]:
    """Which coordinates are lacking most probably."""
    given = set(coordinates)
    nearest = max(_SETS, key=lambda each: len(given.intersection(each)))
    return tuple(name for name in nearest if name not in given)


def made(coordinates: tuple[str, ...], parts: tuple[Part, ...]) -> Part:
    """Four-momenta from coordinates that are a complete set."""

    def component(name: str) -> Array:
        def formula(*values: np.ndarray) -> np.ndarray:
            doubles = (np.asarray(each, np.float64) for each in values)
            return _component(
                name, dict(zip(coordinates, np.broadcast_arrays(*doubles), strict=True))
            )

        return elementwise(formula, *(part.values for part in parts))

    momenta = Momenta(*map(component, ("px", "py", "pz", "energy", "mass")))
    return Part(momenta, united(momenta.px, *(part.absent for part in parts)))


def _component(name: str, given: Mapping[str, np.ndarray]) -> np.ndarray:
    if name in given:
        return given[name]
    match name:
        case "px":
            return given["pt"] * np.cos(given["phi"])
        case "py":
            return given["pt"] * np.sin(given["phi"])
        case "pz":
            return given["pt"] * np.sinh(given["eta"])
    if "pt" in given:
        momentum = given["pt"] * np.cosh(given["eta"])
    else:
        momentum = np.sqrt(given["px"] ** 2 + given["py"] ** 2 + given["pz"] ** 2)
    if name == "mass":
        return _mass(momentum, given["energy"])
    square = given["mass"] * np.abs(given["mass"])
    return np.sqrt(np.maximum(momentum**2 + square, 0))


def combined(operation: Callable[..., np.ndarray], one: Part, other: Part) -> Part:
    """The sum or the difference of four-momenta."""
    pairs = zip(one.values.components[:4], other.values.components[:4], strict=True)
    momenta = _with_mass(*(elementwise(operation, a, b) for a, b in pairs))
    return Part(momenta, united(momenta.px, one.absent, other.absent))


def added(part: Part) -> Part:
    """The sum of the four-momenta of each list."""
    there = part.values.components[:4]
    return Part(_with_mass(*(total(Part(values, part.absent)).values for values in there)))


def member(name: str, part: Part) -> Part:
    """A coordinate of four-momenta, by its name."""
    p = part.values
    if name in ("px", "py", "pz", "energy", "mass"):
        return Part(getattr(p, name), part.absent)
    formulas: dict[str, Callable[..., np.ndarray]] = {"pt": np.hypot, "phi": _phi, "eta": _eta}
    values = (p.px, p.py, p.pz) if name == "eta" else (p.px, p.py)
    return Part(elementwise(formulas[name], *values), part.absent)


def delta_phi(one: Part, other: Part) -> Part:
    """The azimuth from one to the other, from -π to π: of four-momenta or of angles."""
    a, b = (member("phi", p) if isinstance(p.values, Momenta) else p for p in (one, other))
    values = elementwise(_between, a.values, b.values)
    return Part(values, united(values, one.absent, other.absent))


def delta_r(one: Part, other: Part) -> Part:
    """The distance in pseudorapidity and azimuth."""
    eta = [member("eta", part).values for part in (one, other)]
    values = elementwise(lambda a, b, phi: np.hypot(a - b, phi), *eta, delta_phi(one, other).values)
    return Part(values, united(values, one.absent, other.absent))


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (np.asarray(a, np.float64) - b + np.pi) % (2 * np.pi) - np.pi


def _phi(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.arctan2(y, x)


def _eta(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.where(z == 0, 0.0, np.arcsinh(z / np.hypot(x, y)))


def _mass(momentum: np.ndarray, energy: np.ndarray) -> np.ndarray:
    # As a product, which loses less than the difference of squares.
    square = (energy - momentum) * (energy + momentum)
    return np.copysign(np.sqrt(np.abs(square)), square)


def _with_mass(px: Array, py: Array, pz: Array, energy: Array) -> Momenta:
    def mass(x: np.ndarray, y: np.ndarray, z: np.ndarray, e: np.ndarray) -> np.ndarray:
        return _mass(np.sqrt(x**2 + y**2 + z**2), e)

    return Momenta(px, py, pz, energy, elementwise(mass, px, py, pz, energy))
