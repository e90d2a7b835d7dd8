"""Varied samples brought into the rows of the nominal events."""

import dataclasses
import logging
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from difftune.data.events import Array, Events, VariedSample, VariedWeights

logger = logging.getLogger("difftune")


def paired(events: Events) -> Events:
    """The events with all varied samples in the same rows as the nominal one.

    Events of equal process and number are one row. One that a variation does not hold has the
    varied weight 0 and its nominal features; one that only a variation holds is a row at the end,
    of nominal weight 0, with the features that it has there. So every sum of weights over events is
    what it was before.

    Events whose number is not known, or not the only one of its kind in the process, are not
    paired: they are rows of their own in each sample. A message of the log says how many.

    Args:
        events: Nominal events and their variations.

    Returns:
        Events in which the samples of each `VariedSample` have as many rows as the nominal one.
    """
    samples = [
        (f"variation {name!r} {direction}", sample)
        for name, varied in events.variations.items()
        if isinstance(varied, VariedSample)
        for direction, sample in (("up", varied.up), ("down", varied.down))
        if sample is not None
    ]
    if not samples:
        return events
    rows = _rows([("the nominal sample", events), *samples])
    everything = [events, *(sample for _, sample in samples)]
    more = len(rows.first) - len(events)

    def first(column: str) -> np.ndarray:
        return np.concatenate([np.asarray(getattr(each, column)) for each in everything])[
            rows.first
        ]

    def padded(weight: Array) -> np.ndarray:
        return np.concatenate([np.asarray(weight), np.zeros(more, np.float32)])

    nominal = dataclasses.replace(
        events,
        features=first("features"),
        process=first("process"),
        weight=padded(events.weight),
        fold=first("fold"),
        number=None,
        region=None if events.region is None else first("region"),
        observable=None if events.observable is None else first("observable"),
        target=None if events.target is None else first("target"),
        variations={},
    )
    places = iter(rows.places[1:])

    def aligned(sample: Events, touched: Bool[np.ndarray, " rows"]) -> Events:
        place = next(places)
        features, weight = nominal.features.copy(), np.where(touched, 0, nominal.weight)
        features[place], weight[place] = sample.features, sample.weight
        result = dataclasses.replace(nominal, features=features, weight=weight)
        if nominal.region is None or nominal.observable is None:
            return result
        # A variation may take an event into another region.
        region, observable = nominal.region.copy(), nominal.observable.copy()
        region[place], observable[place] = sample.region, sample.observable
        return dataclasses.replace(result, region=region, observable=observable)

    variations: dict[str, VariedWeights | VariedSample] = {}
    for name, varied in events.variations.items():
        if isinstance(varied, VariedWeights):
            down = None if varied.down is None else padded(varied.down)
            variations[name] = dataclasses.replace(varied, up=padded(varied.up), down=down)
            continue
        indices = [i for i, p in enumerate(events.processes) if p.name in varied.processes]
        touched = np.isin(nominal.process, indices)
        up = aligned(varied.up, touched)
        down_sample = None if varied.down is None else aligned(varied.down, touched)
        variations[name] = dataclasses.replace(varied, up=up, down=down_sample)
    return dataclasses.replace(nominal, variations=variations)


class _Rows(NamedTuple):
    """Which events are the same.

    Attributes:
        first: For each row the first event that is in it, counted through all samples.
        places: For each sample the rows of its events.
    """

    first: Int[np.ndarray, " rows"]
    places: list[Int[np.ndarray, " events"]]


def _rows(samples: list[tuple[str, Events]]) -> _Rows:
    """Rows in the order in which the samples, one after the other, bring them up."""
    process = np.concatenate([np.asarray(each.process) for _, each in samples])
    number = np.zeros(len(process), np.int64)
    # 0 for events that are known by their number; all others are told apart by their place.
    apart = np.arange(1, len(process) + 1)
    begin = 0
    for what, each in samples:
        end = begin + len(each)
        if each.number is not None:
            number[begin:end] = each.number
        known = _known(what, each)
        apart[begin:end][known] = 0
        number[begin:end][~known] = 0
        begin = end
    order = np.lexsort((apart, number, process))
    keys = np.stack([process, number, apart])[:, order]
    begins = np.ones(len(order), bool)
    begins[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    # The sort is stable: an event that others follow is the first of the samples.
    first = order[begins]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    row = np.empty(len(order), np.int64)
    row[order] = rank[np.cumsum(begins) - 1]
    ends = np.cumsum([len(each) for _, each in samples])[:-1]
    return _Rows(np.sort(first), np.split(row, ends))


def _known(what: str, events: Events) -> Bool[np.ndarray, " events"]:
    """Events that are the only ones of their number in their process."""
    if events.number is None:
        logger.info("%s: no event numbers, so its events are not paired", what)
        return np.zeros(len(events), bool)
    process, number = np.asarray(events.process), np.asarray(events.number)
    order = np.lexsort((number, process))
    same = np.zeros(len(order) + 1, bool)
    same[1:-1] = (np.diff(process[order]) == 0) & (np.diff(number[order]) == 0)
    known = np.empty(len(order), bool)
    known[order] = ~(same[1:] | same[:-1])
    if not known.all():
        names = [events.processes[i].name for i in np.unique(process[~known])]
        logger.info(
            "%s: %d of %d events have a number that is not theirs alone (%s) and are not paired",
            what,
            (~known).sum(),
            len(known),
            ", ".join(names),
        )
    return known
