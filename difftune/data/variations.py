"""Systematic variations as the user states them to `read`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from difftune.arguments import takes
from difftune.data.given import PROCESSES

Direction = Literal["up", "down"]
Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@takes(**PROCESSES)
@dataclass(frozen=True)
class WeightVariation:
    """The same events with other weights.

    Attributes:
        name: Name of the uncertainty; one name in several channels or files is one uncertainty.
        up: Expression that takes the place of the whole weight; `{weight}` in it stands for the
            nominal weight of the process, as in `"{weight} * btag_up"`.
        down: The same for the other direction; None if the variation is one-sided.
        processes: Names of the processes it applies to; None for every simulated one.
    """

    name: str
    up: str
    down: str | None = None
    processes: Sequence[str] | None = None


@takes(**PROCESSES)
@dataclass(frozen=True)
class TreeVariation:
    """Another sample of events: another tree of the same files, or other files.

    Attributes:
        name: Name of the uncertainty.
        up: Name of the tree; `{tree}` in it stands for the nominal tree of the process.
        down: The same for the other direction; None (with `files_down` None) if one-sided.
        processes: Names of the processes it applies to; None for every simulated one.
        files_up: Globs of the files that hold the varied sample, an alternative generator for
            instance; None for the nominal ones.
        files_down: The same for the other direction.
    """

    name: str
    up: str = "{tree}"
    down: str | None = None
    processes: Sequence[str] | None = None
    files_up: Files | None = None
    files_down: Files | None = None


@takes(**PROCESSES)
@dataclass(frozen=True)
class FeatureVariation:
    """Other values of some columns of the same entries, such as recalibrated momenta.

    The selection, the weight and derived features are evaluated with the varied columns too, so
    events can enter and leave.

    Attributes:
        name: Name of the uncertainty.
        up: For each varied column (or derived name) the expression that takes its place, as in
            `{"jet_pt": "jet_pt_jes_up"}` or `{"jet_pt": "1.02 * jet_pt"}`.
        down: The same for the other direction; None if the variation is one-sided.
        processes: Names of the processes it applies to; None for every simulated one.
    """

    name: str
    up: Mapping[str, str]
    down: Mapping[str, str] | None = None
    processes: Sequence[str] | None = None


Variation = WeightVariation | TreeVariation | FeatureVariation
