"""Regions of the phase space: which events are measured together, and in which observable."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import isfinite
from typing import Any

from difftune.arguments import is_number, said, several, takes
from difftune.data.variations import as_expression, as_name
from difftune.errors import InputError, nearest

ROLES = ("signal", "control", "validation")
SCORE, COUNT = "score", "count"
_ONE_BIN = (0.0, 1.0)


def _as_edges(given: Any) -> tuple[float, ...] | None:
    """Edges, from anything that gives them one by one."""
    if given is None:
        return None
    try:
        edges = tuple(given)
    except TypeError:
        edges = ()
    if len(edges) < 2 or not all(is_number(edge) and isfinite(edge) for edge in edges):
        raise InputError(
            f"edges = {said(given)}: give two or more finite numbers, as in edges=[0, 50, 100]; "
            "what lies outside is counted in the outer bins."
        )
    return tuple(float(edge) for edge in edges)


@takes(
    name=partial(as_name, what="Region"),
    selection=partial(as_expression, what="selection", needed=True),
    observable=partial(as_expression, what="observable"),
    edges=_as_edges,
)
@dataclass(frozen=True, kw_only=True)
class Region:
    """A region of the phase space, which is a channel of the fit.

    Attributes:
        name: Its name, which is that of the channel.
        selection: Expression that its events fulfil, besides the common selection and that of
            their process. No event is in two regions, and one that is in none is not kept.
        role: What it is for: "signal", where networks are trained and the signal is measured;
            "control", which the fit takes in to determine backgrounds; "validation", which is never
            fitted, and shows whether what was fitted elsewhere holds there.
        observable: What its bins are of: "score", that of the network (by default for the signal);
            "count", one bin of all its events (by default elsewhere); or an expression of columns,
            with `edges`.
        edges: Bin edges; what lies outside is counted in the outer bins. Those of the score are
            chosen as all others are where they are not given.
    """

    name: str
    selection: str
    role: str = "signal"
    observable: str | None = None
    edges: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Puts in what is the default of its role, and refuses bins that cannot be."""
        if self.role not in ROLES:
            raise InputError(
                f"region {self.name!r}: role {said(self.role)} is none of {', '.join(ROLES)}."
                + nearest(str(self.role), ROLES)
            )
        if self.observable is None:
            object.__setattr__(self, "observable", SCORE if self.role == "signal" else COUNT)
        if self.edges is not None and any(low >= high for low, high in pairwise(self.edges)):
            raise InputError(f"region {self.name!r}: edges {list(self.edges)} do not increase.")
        if self.observable == COUNT:
            if self.edges not in (None, _ONE_BIN):
                raise InputError(
                    f"region {self.name!r} has edges, but counts its events in one bin: give the "
                    'observable that they are of, as in observable="mass_lb", or leave them out.'
                )
            object.__setattr__(self, "edges", _ONE_BIN)
        if self.edges is None and not self.scored:
            raise InputError(
                f"region {self.name!r}: observable {self.observable!r} needs edges, as in "
                "edges=[0, 50, 100]."
            )

    @property
    def scored(self) -> bool:
        """Whether its observable is the score of the network."""
        return self.observable == SCORE

    @property
    def expression(self) -> str | None:
        """The observable, where that is an expression."""
        return None if self.observable in (SCORE, COUNT) else self.observable

    @property
    def constant(self) -> float:
        """What stands for the observable of an event where it is no expression."""
        return float("nan") if self.scored else 0.5

    @property
    def fitted(self) -> bool:
        """Whether the fit takes it in."""
        return self.role != "validation"


def as_regions(given: Any) -> tuple[Region, ...]:
    """One or several regions, of distinct names; None for none.

    Raises:
        InputError: For anything else, or without a signal region.
    """
    if given is None:
        return ()
    example = 'Region(name="signal_region", selection="n_bjets == 1")'
    regions = several(given, Region, "regions", example)
    names = [region.name for region in regions]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"region {twice[0]!r} is given more than once: names must be distinct.")
    if regions and not any(region.role == "signal" for region in regions):
        raise InputError(
            f"no region has role 'signal': give it to at least one of {', '.join(names)}."
        )
    return regions
