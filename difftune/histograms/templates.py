"""Templates: the hard histograms of every process and variation in one channel."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError, nearest
from difftune.files import unwritable
from difftune.histograms.fill import Histogram, check_edges


@dataclass(frozen=True, eq=False)
class Template:
    """The histograms of one process in one channel.

    Attributes:
        nominal: The expectation.
        variations: For each systematic uncertainty the histograms at plus and minus one standard
            deviation.
    """

    nominal: Histogram
    variations: Mapping[str, tuple[Histogram, Histogram]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Templates:
    """The templates of one channel, all with the same edges.

    Attributes:
        channel: Name of the channel (region).
        edges: Bin edges.
        processes: Templates of the simulated processes by name.
        signal: Names of the processes that are signal.
        data: Observed histogram, if there is one.
    """

    channel: str
    edges: Float[np.ndarray, " edges"]
    processes: Mapping[str, Template]
    signal: tuple[str, ...]
    data: Histogram | None = None

    def __post_init__(self) -> None:
        """Refuses unknown signals and histograms with other edges."""
        check_edges(self.edges)
        for name in self.signal:
            if name not in self.processes:
                raise InputError(
                    f"Templates of channel {self.channel!r}: signal {name!r} is not among the "
                    f"processes {sorted(self.processes)}.{nearest(name, self.processes)}"
                )
        for place, histogram in self._histograms():
            if not np.array_equal(histogram.edges, self.edges):
                raise InputError(
                    f"Templates of channel {self.channel!r}: {place} has the edges "
                    f"{histogram.edges}, not {self.edges}. Fill all with the same edges."
                )

    def _histograms(self) -> Iterator[tuple[str, Histogram]]:
        """All histograms with their place `process/histogram`."""
        for name, template in self.processes.items():
            yield f"{name}/nominal", template.nominal
            for variation, (up, down) in template.variations.items():
                yield f"{name}/{variation}_up", up
                yield f"{name}/{variation}_down", down
        if self.data is not None:
            yield "data/nominal", self.data

    def names(self, role: Literal["signal", "background"] | None = None) -> tuple[str, ...]:
        """Names of the processes with this role, of all without."""
        return tuple(
            name
            for name in self.processes
            if role is None or (name in self.signal) == (role == "signal")
        )

    def total(self, role: Literal["signal", "background"] | None = None) -> Histogram:
        """Nominal sum over the processes with this role, over all without."""
        chosen = [self.processes[name].nominal for name in self.names(role)]
        return reduce(add, chosen, Histogram.empty(self.edges))

    def write_root(self, path: str | Path, *, append: bool = False) -> None:
        """Writes all histograms as ROOT TH1D with Sumw2.

        They are named `channel/process/nominal` and `channel/process/<variation>_up`, `_down`;
        data are `channel/data/nominal`. uproot, ROOT, TRExFitter and Combine read them.

        Args:
            path: The file.
            append: Whether to add to a file that is there (another channel), not replace it.

        Raises:
            InputError: A name holds a slash, which ROOT takes for a folder; or the file cannot be
                written.
        """
        histograms = list(self._histograms())
        for place in [self.channel, *(place for place, _ in histograms)]:
            if place.count("/") != (place != self.channel):
                raise InputError(f"{place!r}: names of channels and processes cannot hold '/'.")
        # A likelihood without files of ROOT does not wait for it.
        import uproot

        try:
            opened = uproot.update(path) if append else uproot.recreate(path)
            with opened as file:
                for place, histogram in histograms:
                    file[f"{self.channel}/{place}"] = histogram
        except OSError as error:
            raise unwritable(path, error) from error

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists and dictionaries, for JSON."""
        return {
            "channel": self.channel,
            "edges": self.edges.tolist(),
            "signal": list(self.signal),
            "processes": {
                name: {
                    "nominal": template.nominal.to_dict(),
                    "variations": {
                        variation: {"up": up.to_dict(), "down": down.to_dict()}
                        for variation, (up, down) in template.variations.items()
                    },
                }
                for name, template in self.processes.items()
            },
            "data": None if self.data is None else self.data.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Templates":
        """The inverse of `to_dict`."""
        read = Histogram.from_dict
        return cls(
            channel=content["channel"],
            edges=np.asarray(content["edges"], np.float64),
            signal=tuple(content["signal"]),
            processes={
                name: Template(
                    read(template["nominal"]),
                    {
                        variation: (read(pair["up"]), read(pair["down"]))
                        for variation, pair in template["variations"].items()
                    },
                )
                for name, template in content["processes"].items()
            },
            data=None if content["data"] is None else read(content["data"]),
        )


def symmetrised(nominal: Histogram, up: Histogram) -> Histogram:
    """The down variation that mirrors a one-sided one.

    As cabinetry does it, normalisation and shape are mirrored each for itself: with the ratio r of
    the totals, `down = (2 - r) (2 nominal - up / r)`. A plain `2 nominal - up` would mirror the
    shape of a large normalisation change too.

    Args:
        nominal: The expectation.
        up: The one variation that there is.

    Returns:
        The other one, with the variances of `up`.
    """
    ratio = up.sumw.sum() / nominal.sumw.sum() if nominal.sumw.sum() > 0 else 1.0
    if ratio <= 0:
        return Histogram(nominal.edges, 2 * nominal.sumw - up.sumw, up.sumw2)
    mirrored = (2 - ratio) * (2 * nominal.sumw - up.sumw / ratio)
    return Histogram(nominal.edges, mirrored, up.sumw2)
