"""Bins of an objective: equidistant ones, or with edges that are trained along with the network."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from difftune.arguments import said
from difftune.binning import LearnedEdges
from difftune.errors import InputError
from difftune.objectives.regions import Regions

Bins = int | LearnedEdges | Regions
"""So many equidistant bins on [0, 1], bins whose edges are parameters of the objective, or regions.

Regions are for objectives that ask the network for as many outputs.
"""


def number_of(bins: Bins) -> int:
    """How many bins there are."""
    if isinstance(bins, Regions):
        return bins.regions
    return bins.bins if isinstance(bins, LearnedEdges) else bins


def check_bins(bins: Any, name: str, *, regions: bool = False) -> None:
    """Refuses bins that no objective can use.

    Args:
        bins: What the user gave.
        name: Of the class that it was given to.
        regions: Whether that can use regions.

    Raises:
        InputError: For fewer than two, or edges on another range than that of the score.
    """
    if not isinstance(bins, int | np.integer | LearnedEdges | Regions) or isinstance(bins, bool):
        raise InputError(
            f"{name}(bins={said(bins)}): give a whole number of bins, or for trained edges "
            "difftune.binning.LearnedEdges(bins=10)."
        )
    if isinstance(bins, Regions) and not regions:
        raise InputError(
            f"{name}(bins={bins}) bins a score, and regions are outputs of a network: give them to "
            "FitModel, for an objective through the fit (without systematics, PoiUncertainty)."
        )
    if number_of(bins) < 2:  # type: ignore[arg-type]
        raise InputError(f"{name}(bins={bins}): at least 2 bins are needed.")
    if isinstance(bins, LearnedEdges) and (bins.low, bins.high) != (0.0, 1.0):
        raise InputError(
            f"{name}(bins={bins}): the score lies between 0 and 1, and so must the edges: leave "
            "out low and high."
        )


def start_edges(bins: Bins, key: Array) -> dict[str, PyTree]:
    """Start values of trained edges, under the name `edges`; nothing for equidistant ones.

    Args:
        bins: The bins.
        key: This member's random key.
    """
    return {"edges": bins.init(key)} if isinstance(bins, LearnedEdges) else {}


def edges_of(bins: Bins, parameters: PyTree, dtype) -> Float[Array, " edges"]:
    """The edges, from 0 to 1.

    Args:
        bins: The bins.
        parameters: What `start_edges` gave, trained since.
        dtype: Of the result.

    Raises:
        InputError: Regions have none.
    """
    if isinstance(bins, Regions):
        raise InputError(f"bins={bins}: regions have no edges.")
    if isinstance(bins, LearnedEdges):
        return bins(parameters["edges"]).astype(dtype)
    return jnp.linspace(0.0, 1.0, bins + 1, dtype=dtype)
