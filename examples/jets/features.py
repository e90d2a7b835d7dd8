"""Features of jets, from their constituents and the axes of their subjets.

It takes what FastJet found and needs no FastJet: awkward arrays with `pt`, `eta` and `phi`.
"""

from collections.abc import Mapping

import awkward as ak
import numpy as np

RADIUS = 0.8


def apart(one: ak.Array, other: ak.Array) -> tuple[ak.Array, ak.Array]:
    """Differences in eta and, the short way round, in phi."""
    return one.eta - other.eta, (one.phi - other.phi + np.pi) % (2 * np.pi) - np.pi


def subjettiness(constituents: ak.Array, axes: ak.Array) -> ak.Array:
    """N-subjettiness with beta = 1 (arXiv 1011.2268), as many axes as are given.

    Args:
        constituents: Of each jet `[jets, any number]`.
        axes: Of the subjets of each jet `[jets, N]`.

    Returns:
        Of each jet the mean distance to the nearest axis, weighted by transverse momentum and in
        units of the jet's radius.
    """
    pairs = ak.cartesian({"one": constituents, "axis": axes}, nested=True)
    nearest = ak.min(np.hypot(*apart(pairs.one, pairs.axis)), axis=2)
    pt = constituents.pt
    return ak.sum(pt * nearest, axis=1) / ak.sum(pt, axis=1) / RADIUS


def features(
    jets: ak.Array, constituents: ak.Array, axes: Mapping[int, ak.Array]
) -> dict[str, ak.Array]:
    """What is known of each jet as a whole.

    Args:
        jets: With a `mass` in GeV, too.
        constituents: All of each jet `[jets, any number]`.
        axes: By number (1, 2, 3) the axes of so many subjets.
    """
    pt = constituents.pt
    share = pt / ak.sum(pt, axis=1)
    one, two, three = (subjettiness(constituents, axes[number]) for number in (1, 2, 3))
    return {
        "pt": jets.pt,
        "eta": jets.eta,
        "mass": jets.mass,
        "multiplicity": ak.num(pt),
        "dispersion": np.sqrt(ak.sum(share**2, axis=1)),
        "width": ak.sum(share * np.hypot(*apart(constituents, jets)), axis=1),
        "tau21": two / np.maximum(one, 1e-6),
        "tau32": three / np.maximum(two, 1e-6),
    }
