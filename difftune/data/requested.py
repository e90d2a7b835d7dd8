"""What users give for events and for the arguments of `read`, as what is plainly meant."""

import os
from functools import partial
from typing import Any

from difftune.arguments import said, several, whole
from difftune.data.events import Events, Process
from difftune.data.given import as_expression, as_files, as_names
from difftune.data.variations import FeatureVariation, TreeVariation, WeightVariation
from difftune.errors import InputError

PROCESS = 'Process(name="signal", role="signal", files="signal.root")'
VARIATION = 'WeightVariation("btag", up="weight_btag_up")'


def as_events(given: Any) -> Events:
    """Events; anything else is answered by how they are made.

    Raises:
        InputError: With the call that makes events of it.
    """
    if isinstance(given, Events):
        return given
    if isinstance(given, str | os.PathLike):
        raise InputError(
            f"events = {given!r} is a path, and columns, weights and roles are to be said: "
            f"events = dt.read({given!r}, processes=[dt.Process(...)], features=[...], "
            'weight="weight").'
        )
    remedy = (
        "give what dt.read(...) returns; of arrays dt.Events.from_arrays(features, process, "
        "weight, feature_names=..., processes=...) makes events."
    )
    raise InputError(f"events = {said(given)}: these are no events; {remedy}")


def as_processes(given: Any) -> tuple[Process, ...]:
    """One or several processes."""
    return several(given, Process, "processes", PROCESS)


def as_variations(given: Any) -> tuple[Any, ...]:
    """One or several variations; None for none."""
    kinds = (WeightVariation, TreeVariation, FeatureVariation)
    return () if given is None else several(given, kinds, "variations", VARIATION)


READ: dict[str, Any] = {
    "files": as_files,
    "processes": as_processes,
    "features": partial(as_names, what="features"),
    "weight": partial(as_expression, what="weight", needed=True),
    "selection": partial(as_expression, what="selection"),
    "folds": lambda given: whole(given, f"folds = {said(given)}", remedy="5 by default"),
    "variations": as_variations,
}
"""Of `read`."""
