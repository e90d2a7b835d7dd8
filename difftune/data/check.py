"""Checks of what is asked for before reading, and of what came out of it."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from difftune.data.collect import Collection
from difftune.data.events import Events, Process, check_distinct
from difftune.data.ntuples import SENTINELS, is_weight
from difftune.data.plan import Plan
from difftune.data.variations import FeatureVariation, TreeVariation, Variation
from difftune.errors import InputError, nearest

logger = logging.getLogger("difftune")
_FEW = 50


def check_roles(processes: Sequence[Process]) -> None:
    """Checks that there is something to tell apart.

    Raises:
        InputError: No process is signal, or none background.
    """
    for role in ("signal", "background"):
        if not any(p.role == role for p in processes):
            raise InputError(
                f"no process has role {role!r}: give it to at least one of "
                f"{', '.join(p.name for p in processes) or 'the processes (there are none)'}."
            )


def check_request(
    processes: Sequence[Process],
    features: Sequence[str],
    folds: int,
    variations: Sequence[Variation],
    *,
    numbered: bool,
) -> None:
    """Checks arguments of `read` that need no file.

    Raises:
        InputError: A name twice or unknown, no feature, too few folds, or a variation that cannot
            be followed.
    """
    if not features:
        raise InputError("features: at least one is needed.")
    check_distinct("feature", features)
    check_distinct("process", [p.name for p in processes])
    check_distinct("variation", [v.name for v in variations])
    if folds < 2:
        raise InputError(f"folds = {folds}: at least 2 are needed, to train and to check.")
    for variation in variations:
        _check_variation(variation, processes, numbered)


def check_events(events: Events) -> None:
    """Checks that processes and regions have yields, and each fold signal in signal regions.

    Raises:
        InputError: Not so.
    """
    _check_yields(events, "")
    for name, variation in events.variations.items():
        for direction, varied in (("up", variation.up), ("down", variation.down)):
            what = f" (variation {name!r} {direction})"
            if isinstance(varied, Events):
                _check_yields(varied, what)
            elif varied is not None:
                _check_yields(dataclasses.replace(events, weight=varied, variations={}), what)
    _check_regions(events)
    signal = _signal_in_folds(events)
    # One process alone is not told apart from others, nor are those with a number to be learned.
    if events.target is None and len(events.processes) > 1 and not signal.all():
        where = " of signal regions" if events.regions else ""
        without = [int(fold) for fold in np.flatnonzero(signal == 0)]
        raise InputError(
            f"{'folds' if len(without) > 1 else 'fold'} {', '.join(map(str, without))} of "
            f"{events.folds} (numbered from 0) without signal events: signal events{where} in "
            f"each fold are {', '.join(map(str, signal))}. Take fewer folds, or an event_number "
            "that spreads the events over them."
        )


def warn_of_forgotten_weight(plan: Plan) -> None:
    """Warns where no weight is asked for, although a column is called so."""
    columns: dict[str, None] = {}
    unweighted: dict[str, None] = {}
    for stream in plan.streams.values():
        for job in stream.jobs:
            process, weight = plan.request.processes[job.process], job.program.weight
            if job.sample is None and process.role != "data" and not weight.columns:
                kinds = stream.table.kinds
                called = [n for n in kinds if is_weight(n) and kinds[n] == "number"]
                if called:
                    unweighted[process.name] = None
                    columns |= dict.fromkeys(called)
    if unweighted:
        named = sorted(columns, key=len)
        more = f" and {len(named) - 5} more" if len(named) > 5 else ""
        logger.warning(
            "the events of %s are not weighted by any column, although there is %s%s: give it as "
            "`weight` if it is one",
            ", ".join(unweighted),
            ", ".join(map(repr, named[:5])),
            more,
        )


def warn_of_common_sentinels(collection: Collection) -> None:
    """Warns where a value that means "missing" is a large part of a column, and may be a value."""
    counts: dict[tuple[str, float], np.ndarray] = {}
    for collected in collection.values():
        for piece in collected.pieces:
            for key, count in piece.shares.items():
                counts[key] = counts.get(key, 0) + count
    for sentinel in dict.fromkeys(sentinel for _, sentinel in counts):
        parts = []
        for (name, value), (hits, others, larger) in counts.items():
            # Far outside the others it can mean nothing else.
            if value == sentinel and hits >= 0.2 * (hits + others) and larger >= 0.1 * others:
                parts.append(f"{name!r} ({hits} of {hits + others}, {hits / (hits + others):.0%})")
        if parts:
            logger.warning(
                "missing = %g, which other values reach, takes away much of %s%s: if it is a value "
                'there, say so by column, as in missing = {"*" = %g, column = []}',
                sentinel,
                ", ".join(parts[:5]),
                f" and {len(parts) - 5} more columns" if len(parts) > 5 else "",
                sentinel,
            )


def say_undecided(collection: Collection) -> None:
    """Says where conditions have no value, which counts as false; warns where nowhere they have."""
    undecided: Counter[str] = Counter()
    entries: Counter[str] = Counter()
    for (sample, _), collected in collection.items():
        if sample is None:
            undecided.update(collected.undecided)
            entries.update(dict.fromkeys(collected.undecided, collected.entries))
    for condition, count in undecided.items():
        everywhere = count == entries[condition]
        logger.log(
            logging.WARNING if everywhere else logging.INFO,
            "`%s` asks for what is not there in %d of %d entries, which are not selected%s",
            condition,
            count,
            entries[condition],
            ": correct its places in lists" if everywhere else "",
        )


def warn_of_absent_features(events: Events) -> None:
    """Warns where a feature is missing in all events of a process."""
    parts = []
    of_objects = {name for each in events.collections for name in each.columns}
    # Most features are there. The lowest is NaN where one value is.
    for i in np.flatnonzero(np.isnan(_reduced(np.minimum, events))):
        name = events.feature_names[i]
        if name not in of_objects:
            gone = np.isnan(events.features[:, i])
            there = np.bincount(events.process[~gone], minlength=len(events.processes))
            all_of = np.bincount(events.process, minlength=len(events.processes))
            without = np.flatnonzero((there == 0) & (all_of > 0))
            if len(without):
                parts.append(f"{name!r} of {', '.join(events.processes[k].name for k in without)}")
    if parts:
        logger.warning(
            "missing in every event: %s. A network learns from that alone which process it is; "
            "take what all processes have (places in lists count from 0)",
            "; ".join(parts[:8]) + (f"; and {len(parts) - 8} more" if len(parts) > 8 else ""),
        )


def warn_of_few_signal(events: Events) -> None:
    """Warns where folds have too few signal events to train and to judge."""
    signal = _signal_in_folds(events)
    if len(events.processes) > 1 and signal.min() < _FEW:
        logger.warning(
            "only %d signal events in %d folds, %d in the smallest: what is learned and chosen "
            "from so few is mostly chance. Take more events, a looser selection, or fewer folds",
            signal.sum(),
            events.folds,
            signal.min(),
        )


def warn_of_few_background(events: Events) -> None:
    """Warns where a fold has too few events of a process for what it says about the process."""
    parts = []
    for index, process in enumerate(events.processes):
        if process.role != "background":
            continue
        own = np.bincount(events.fold[events.process == index], minlength=events.folds)
        if own.min() < _FEW:
            parts.append(f"{process.name} ({own.sum()}, {own.min()} in the smallest fold)")
    if parts and len(events.processes) > 1:
        logger.warning(
            "few events of %s%s: templates and scores of so few are mostly chance. Merge them with "
            "a process of the same kind, take more events, or fewer folds",
            ", ".join(parts[:5]),
            f" and {len(parts) - 5} more" if len(parts) > 5 else "",
        )


def warn_of_idle_variations(events: Events) -> None:
    """Warns where a variation is the nominal sample, or its two directions are the same."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, variation in events.variations.items():
        for process in variation.processes:
            index = [p.name for p in events.processes].index(process)
            nominal, up, down = (
                None if each is None else _own_values(events, each, index)
                for each in (events.weight, variation.up, variation.down)
            )
            said = [
                f"{way} is the nominal sample"
                for way, varied in (("up", up), ("down", down))
                if varied is not None and nominal is not None and _equal(varied, nominal)
            ]
            if not said and up is not None and down is not None and _equal(up, down):
                said = ["up and down are the same"]
            if said:
                found.setdefault(" and ".join(said), {}).setdefault(name, []).append(process)
    for what, names in found.items():
        listed = [f"{name!r} of {', '.join(processes)}" for name, processes in names.items()]
        logger.warning(
            "%s, event by event, in the variation%s %s%s. Where one does not touch a process, list "
            "those that it does; else correct its columns, trees or files",
            *(what, "s" if len(listed) > 1 else "", "; ".join(listed[:8])),
            f"; and {len(listed) - 8} more" if len(listed) > 8 else "",
        )


class _Own(NamedTuple):
    """The rows of a process in a sample, nominal or varied, and their weights."""

    sample: Events
    rows: Int[np.ndarray, " own"]
    weight: Float[np.ndarray, " own"]


def _own_values(events: Events, sample: Any, index: int) -> _Own:
    varied = sample if isinstance(sample, Events) else events
    weight = varied.weight if isinstance(sample, Events) else sample
    rows = np.flatnonzero(np.asarray(varied.process) == index)
    return _Own(varied, rows, np.asarray(weight)[rows])


def _equal(one: _Own, other: _Own) -> bool:
    """Whether features and weights are the same, event by event."""
    if not np.array_equal(one.weight, other.weight):
        return False
    if one.sample is other.sample:
        return True
    pairs = ((np.asarray(each.sample.features), each.rows) for each in (one, other))
    (a, rows), (b, others) = pairs
    return all(
        np.array_equal(x[rows], y[others], equal_nan=True) for x, y in zip(a.T, b.T, strict=True)
    )


def warn_of_sentinels(events: Events) -> None:
    """Warns where the lowest value of a feature looks like a missing one that was not declared."""
    low = _reduced(np.fmin, events)  # NaN counts for nothing
    for i, (name, lowest) in enumerate(zip(events.feature_names, low, strict=True)):
        if lowest in SENTINELS:
            count = int((events.features[:, i] == lowest).sum())
            logger.warning(
                "feature %r is %g in %d of %d events: if that means missing, say missing = %g",
                name,
                lowest,
                count,
                len(events),
                lowest,
            )


def _reduced(reduce: np.ufunc, events: Events) -> Float[np.ndarray, " features"]:
    """The lowest value of each feature, or the like; many events side by side are faster."""
    features, width = np.asarray(events.features), 256
    whole = len(features) // width * width
    wide = features[:whole].reshape(-1, width * features.shape[1])
    low = reduce.reduce(wide, axis=0, initial=np.inf).reshape(width, -1)
    return np.asarray(reduce.reduce(np.concatenate([low, features[whole:]]), axis=0))


def _signal_in_folds(events: Events) -> Int[np.ndarray, " folds"]:
    """Signal events of each fold, of signal regions."""
    trained = events.in_regions("signal") if events.regions else events
    return np.bincount(trained.fold[trained.label == 1], minlength=events.folds)


def _check_regions(events: Events) -> None:
    """Refuses a region without simulated events."""
    simulated = [i for i, process in enumerate(events.processes) if process.role != "data"]
    for index, region in enumerate(events.regions):
        mine = np.asarray(events.process)[np.asarray(events.region) == index]
        if not np.isin(mine, simulated).any():
            raise InputError(
                f"region {region.name!r}: its selection `{region.selection}` keeps no simulated "
                "events. Loosen it, or leave the region out."
            )


def _check_yields(events: Events, what: str) -> None:
    present = np.bincount(events.process, minlength=len(events.processes))
    for process, entries, total in zip(events.processes, present, events.yields(), strict=True):
        if entries and total <= 0:
            how = "is zero" if total == 0 else "is negative"
            raise InputError(
                f"process {process.name!r}{what}: the sum of weights of its {entries} events {how} "
                f"({total:g}), so it has no expected yield. Correct the weight expression"
                + (f" `{process.weight}`" if process.weight else "")
                + ", loosen the selection, or merge it with another process."
            )


def _check_variation(variation: Variation, processes: Sequence[Process], numbered: bool) -> None:
    known = [p.name for p in processes if p.role != "data"]
    if variation.processes is not None:
        if isinstance(variation.processes, str) or not variation.processes:
            raise InputError(
                f"variation {variation.name!r}: processes = {variation.processes!r} is not a list "
                "of names of processes."
            )
        for name in variation.processes:
            if name not in known:
                raise InputError(
                    f"variation {variation.name!r}: there is no simulated process {name!r}."
                    f"{nearest(name, known)} Known: {', '.join(known)}."
                )
    if isinstance(variation, TreeVariation):
        if not numbered:
            raise InputError(
                f"variation {variation.name!r} has events of its own, which must be in the folds "
                "of their nominal ones: give event_number."
            )
        if variation.up == "{tree}" and variation.files_up is None:
            raise InputError(
                f"variation {variation.name!r}: the tree is the nominal one. Say what varies with "
                "`up`, as in '{tree}_jes_up', or with `files_up`."
            )
    if isinstance(variation, FeatureVariation) and not variation.up:
        raise InputError(f"variation {variation.name!r}: `up` is empty, nothing varies.")
