"""The channels of a measurement: what the events of each region are binned in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.discriminant import binned_score
from difftune.analysis.figure import statistics
from difftune.analysis.scorer import Scoring
from difftune.analysis.split import Split
from difftune.data import Events, Region, VariedWeights
from difftune.errors import InputError, nearest
from difftune.histograms import Histogram, Template, Templates, histogram, symmetrised

Observable = Callable[[Events], Float[np.ndarray, " events"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Channel:
    """A region, with what its events are binned in.

    Attributes:
        name: That of the region.
        region: The region; None where all events are in one.
        observable: Gives events the value that is binned.
        edges: Bin edges.
    """

    name: str
    region: Region | None = None
    observable: Observable
    edges: Float[np.ndarray, " edges"]

    @property
    def role(self) -> str:
        """What the region is for."""
        return "signal" if self.region is None else self.region.role

    def inside(self, events: Events) -> Events:
        """Those of the events that are in the region."""
        return events if self.region is None else events.in_regions(self.name)

    def templates(self, events: Events, observed: Events | None) -> Templates:
        """Templates for every process that has events here, and for every variation.

        Args:
            events: Simulated events of all regions, which stand for the full yields.
            observed: Observed ones; None if there are none anywhere.
        """
        events, edges = self.inside(events), self.edges
        values = self.observable(events)
        nominal = self._by_process(events, values, events.weight)
        variations: dict[str, dict[str, tuple[Histogram, Histogram]]]
        variations = {name: {} for name in nominal}
        for systematic in events.variations:
            up = self._varied(events, values, systematic, "up")
            down = self._varied(events, values, systematic, "down")
            assert up is not None, "every variation has an upward side"
            for name in events.variations[systematic].processes:
                if name not in nominal:
                    continue
                high = up.get(name, Histogram.empty(edges))
                if down is None:
                    low = symmetrised(nominal[name], high)
                else:
                    low = down.get(name, Histogram.empty(edges))
                variations[name][systematic] = (high, low)
        data = None
        if observed is not None:
            mine = self.inside(observed)
            data = histogram(self.observable(mine), mine.weight, edges)
        return Templates(
            channel=self.name,
            edges=np.asarray(edges, np.float64),
            processes={
                name: Template(nominal=nominal[name], variations=variations[name])
                for name in nominal
            },
            signal=tuple(name for name in events.names("signal") if name in nominal),
            data=data,
        )

    def _varied(
        self,
        events: Events,
        values: Float[np.ndarray, " events"],
        name: str,
        side: Literal["up", "down"],
    ) -> dict[str, Histogram] | None:
        """The histograms of one side of a variation; None of one that it does not have."""
        variation = events.variations[name]
        if isinstance(variation, VariedWeights):
            # The events are the nominal ones, and so are their values, which take long to find.
            weight = variation.up if side == "up" else variation.down
            return None if weight is None else self._by_process(events, values, weight)
        sample = events.varied(name, side)
        if sample is None:
            return None
        return self._by_process(sample, self.observable(sample), sample.weight)

    def _by_process(
        self, events: Events, values: Float[np.ndarray, " events"], weight: Any
    ) -> dict[str, Histogram]:
        """One histogram per process that has events."""
        found = {}
        for index, process in enumerate(events.processes):
            mine = np.asarray(events.process) == index
            if mine.any():
                found[process.name] = histogram(values[mine], weight[mine], self.edges)
        return found


def _column(events: Events) -> Float[np.ndarray, " events"]:
    """The observable that events bring along."""
    return np.asarray(events.observable)


def filled(channels: Sequence[Channel], split: Split | CrossFit) -> list[Templates]:
    """Templates of all channels.

    The test events stand for the full yields of each process over all regions together.

    Args:
        channels: The channels.
        split: Gives the events.
    """
    events, observed = split.test, split.events.observed
    return [channel.templates(events, observed if len(observed) else None) for channel in channels]


def constant_templates(sample: Split | CrossFit) -> tuple[Templates, ...]:
    """Templates of fitted regions that no network changes, for a fit within the training.

    Of a split they are made without the test events, with the statistics that the measurement will
    have; of cross-fitted events with all, since no network learns from what is the same for all.

    Args:
        sample: The events by purpose.
    """
    constant = [region for region in sample.events.regions if region.fitted and not region.scored]
    if not constant:
        return ()
    events, factor = sample.test, 1.0
    if isinstance(sample, Split):
        events = sample.part(*sample.train_folds, *sample.validation_folds)
        factor = statistics(events, sample.test)
    channels = [single_channel(_column, sample, None, region.name) for region in constant]
    return tuple(_with_statistics(each.templates(events, None), factor) for each in channels)


def _with_statistics(templates: Templates, factor: float) -> Templates:
    """The templates with a factor on the variance of the nominal yields."""
    processes = {
        name: replace(own, nominal=replace(own.nominal, sumw2=factor * own.nominal.sumw2))
        for name, own in templates.processes.items()
    }
    return replace(templates, processes=processes)


def single_channel(
    observable: Observable,
    split: Split | CrossFit,
    edges: Float[np.ndarray, " edges"] | None,
    name: str,
) -> Channel:
    """A channel of the score, or of what its region says instead.

    Args:
        observable: Gives events a score.
        split: Gives the events.
        edges: Bin edges; None for those that the region says.
        name: Of the channel: of one of the regions, where there are any.

    Raises:
        InputError: There is no such region, or there are no edges.
    """
    region = _region(split.events.regions, name)
    if region is not None and not region.scored:
        observable = _column
    given = region.edges if edges is None and region is not None else edges
    if given is None:
        raise InputError(f"channel {name!r}: the score has no bins; give edges.")
    return Channel(name=name, region=region, observable=observable, edges=np.asarray(given))


def _region(regions: Sequence[Region], name: str) -> Region | None:
    """The region of a name; None where there are none."""
    if not regions:
        return None
    names = [region.name for region in regions]
    if name not in names:
        raise InputError(
            f"there is no region {name!r}.{nearest(name, names)} Known: {', '.join(names)}."
        )
    return regions[names.index(name)]


def channels_of(
    network: Scoring,
    split: Split | CrossFit,
    *,
    channel: str,
    binning: Any,
    **uncertainties: Any,
) -> tuple[Channel, ...]:
    """The channels of all regions, with bins from training and validation events.

    Each signal region has bins of its own. Other regions that are binned in the score have those of
    the first signal region, so that what they say is about the same bins.

    Args:
        network: Gives the scores.
        split: Gives the events.
        channel: Name of the one channel, where events have no regions.
        binning: As in `measure`; or by name of the region.
        **uncertainties: As of `binned_score`.

    Raises:
        InputError: For bins of a region that is not binned in the score, or where a region is that
            has no bins to share.
    """
    regions = split.events.regions
    rules = _rules(binning, regions, channel)
    if not regions:
        found = binned_score(network, split, binning=rules[channel], **uncertainties)
        return (Channel(name=channel, observable=found.score, edges=found.edges),)
    scored = {}
    for region in regions:
        own = region.edges if region.edges is not None else rules.get(region.name)
        if region.scored and (own is not None or region.role == "signal"):
            inside = split.in_regions(region.name)
            scored[region.name] = binned_score(network, inside, binning=own, **uncertainties)
    shared = next((scored[r.name] for r in regions if r.role == "signal" and r.scored), None)

    def one(region: Region) -> Channel:
        if not region.scored:
            return single_channel(_column, split, None, region.name)
        found = scored.get(region.name, shared)
        if found is None:
            raise InputError(
                f"region {region.name!r} is binned in the score as the signal regions are, and "
                "none of these is: give it edges."
            )
        return Channel(name=region.name, region=region, observable=found.score, edges=found.edges)

    return tuple(map(one, regions))


def _rules(binning: Any, regions: Sequence[Region], channel: str) -> dict[str, Any]:
    """The way to choose edges of each region that is binned in the score."""
    signal = [r.name for r in regions if r.role == "signal" and r.scored] or [channel]
    if not isinstance(binning, Mapping):
        return dict.fromkeys(signal, binning)
    known = [region.name for region in regions if region.scored] or [channel]
    for name in binning:
        if name not in known:
            raise InputError(
                f"binning: no region {name!r} is binned in the score.{nearest(name, known)} Those "
                f"that are: {', '.join(known)}."
            )
    return dict.fromkeys(signal) | dict(binning)
