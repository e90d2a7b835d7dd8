"""What tuners find in the same wall time: difftune's PBT, Optuna's TPE and Ray Tune's PBT.

The peers train with PyTorch. All have the same events, transformed once; network, batches,
optimizer, loss and space of `benchmarks.search`; the same cores, one after the other; and the same
seconds from the start of a process, in which it imports, compiles and searches. The peers look for
the best epoch of all trainings on the validation events, as an analyst with these libraries does.
difftune, which trains more in the same time, validates each trial on all folds but the test's, and
takes off two standard errors, its default; what counts is the average of the four networks of its
best trial. What the one of them is worth that was kept from the validation events, as those of the
peers were, is a row of its own. No epoch is excluded as overtrained. What is on a contestant's disk
when its time is over is what it has chosen; this process judges it on the test events.

Contestants that are not installed (`pip install 'difftune[bench]'`) are left out, and named.
"""

import itertools
import math
import os
import pickle
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

import difftune as dt
from benchmarks import search
from benchmarks.common import running, samples
from benchmarks.common.running import say, sizes, taking_part
from benchmarks.common.table import Row, mean
from benchmarks.peers import contest
from benchmarks.peers.contest import Events, Order
from difftune.search.dimensions import LogUniform
from difftune.training import Columns

# Names in the table, and functions of `benchmarks.peers.tuners`.
OURS = "difftune PBT"
CONTESTANTS = {OURS: "difftune", "Optuna TPE + PyTorch": "optuna", "Ray Tune PBT + PyTorch": "ray"}
AWAY = "its validation Z against ours, %"

# Seconds in which a process may end by itself. What it still finds in them does not count.
GRACE = 15.0


def run(*, quick: bool) -> list[Row]:
    """Both samples, all seeds."""
    size = sizes(
        quick,
        seeds=(range(1, 11), (1,)),  # of the searches
        samples=(2, 1),  # single top, and HiggsML where it is there
        events=(1_000_000, 6_000),  # of a sample, at most
        budget=(600.0, 120.0),  # seconds of a contestant
        searches=(math.inf, 1),  # of a contestant; one takes no more than it must
        members=(64, 4),  # population of both forms of PBT; as many at least as there are folds
        rounds=(10, 3),  # of PBT
        epochs=(2, 1),  # of a round; a training has `rounds` times as many
    )
    there = [n for n, who in CONTESTANTS.items() if n == OURS or taking_part(n, who, "torch")]
    results: dict[str, dict[str, dict[int, dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        known = _samples(size, Path(scratch))
        # All samples for each seed, so that an interrupted benchmark has as many of both.
        for seed, sample, one in itertools.product(size.seeds, known, there):
            what = f"{sample.name}, seed {seed}, {one}"
            try:
                found = _result(CONTESTANTS[one], sample, seed, size)
            except running.Failed as failure:
                if one == OURS:
                    raise
                say(f"FAILED {what}: {failure}")
                continue
            results.setdefault(sample.name, {}).setdefault(one, {})[seed] = found
            say(f"{what}: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()))
    return [row for sample, found in results.items() for row in _rows(sample, found)]


class Sample(NamedTuple):
    """Events of which contestants see those in the file."""

    name: str
    job: dt.analysis.Preparation
    path: Path
    validation: Columns  # what networks were chosen by
    test: Columns  # what they are worth


def _samples(size: SimpleNamespace, scratch: Path) -> list[Sample]:
    """The samples, with files for the contestants."""

    def seen(part: Columns, fold: np.ndarray) -> Events:
        return Events(**{name: getattr(part, name) for name in Events._fields} | {"fold": fold})

    found = []
    for name, events in list(search.events_of(size.events).items())[: size.samples]:
        job, path = search.task(events), scratch / f"{len(found)}.events"
        split = job.split
        train, validation, test = (
            job.recipe.columns(part, split.full_yields, job.transform, varied=True)
            for part in (split.train, split.validation, split.test)
        )
        # Numbered from 0 within each part; the validation events are the last fold.
        fold = np.unique(split.train.fold, return_inverse=True)[1].astype(np.int32)
        last = np.full(len(validation.weight), fold.max() + 1, np.int32)
        path.write_bytes(pickle.dumps((seen(train, fold), seen(validation, last))))
        found.append(Sample(name, job, path, validation, test))
    return found


def _result(who: str, sample: Sample, seed: int, size: SimpleNamespace) -> dict[str, float]:
    """Gives a contestant its time, in a folder of its own, and judges what is there at the end."""
    space, recipe = search.space().items(), sample.job.recipe
    folder = Path(tempfile.mkdtemp(dir=sample.path.parent))
    order = Order(
        sample=str(sample.path),
        folder=str(folder),
        seed=seed,
        bounds={n: (float(d.low), float(d.high), isinstance(d, LogUniform)) for n, d in space},
        hidden=recipe.model.hidden,
        batch=recipe.batch_size,
        **{n: getattr(size, n) for n in ("members", "rounds", "epochs", "searches")},
        deadline=time.time() + size.budget,
    )
    # A thread for each process of a peer; difftune takes one device a core whatever this says.
    # Ray would send statistics of its use, and write all results in three formats.
    variables = running.threads(1)
    variables |= {"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    start = partial(running.Child, f"benchmarks.peers.tuners:{who}", variables=variables)
    # Optuna needs a process for each core; the others see to all of them by themselves.
    workers = range(running.cores() if who == "optuna" else 1)
    children = [start(session=True, **order._replace(worker=i)._asdict()) for i in workers]
    try:
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(order.left, 0.0))
        network, epochs = contest.chosen(folder), contest.done(folder)
        broken = [child for child in children if child.process.poll()]
    finally:
        for child in children:
            _end(child.process)
    if broken or network is None:
        raise (broken or children)[0].failed("broke" if broken else "found nothing in time")
    for child in children:
        child.close()

    def worth(score: Callable[[np.ndarray], np.ndarray], events: Columns) -> float:
        """What everybody is judged by; only the order of the scores counts."""
        metric = dt.objectives.Significance(bins=contest.BINS)
        return samples.worth(metric, score(events.features), events)

    validation = worth(network.logits, sample.validation)
    return {
        "test Z": worth(network.average, sample.test),
        "test Z of one network": worth(network.logits, sample.test),
        "validation Z": validation,
        "epochs of one network, thousand": epochs / 1e3,
        AWAY: 100.0 * abs(network.score / validation - 1.0),
    }


def _end(process: subprocess.Popen) -> None:
    """Waits until it has ended, and sees to it: the next contestant needs the cores."""
    for last in (signal.SIGTERM, signal.SIGKILL):
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        # Also what is left of the group of one that has ended.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, last)
    process.wait()


def _rows(sample: str, results: dict[str, dict[int, dict[str, float]]]) -> list[Row]:
    """All figures of a sample."""
    rows = []
    for name, theirs in results.items():
        if name != OURS:
            # Of those seeds in which the peer did not fail.
            pair = [[who[seed]["test Z"] for seed in theirs] for who in (results[OURS], theirs)]
            what = f"{sample}: seeds of {len(theirs)} in which {OURS} beats {name}, test"
            rows.append(search.wins(what, *pair, f">= {-(-8 * len(theirs) // 10)}"))
        found = {key: [one[key] for one in theirs.values()] for key in next(iter(theirs.values()))}
        # Whether all were judged by what they chose by: rounding may move an event to another bin.
        away = max(found.pop(AWAY))
        rows += [mean(f"{sample}: {name}: {what}", values) for what, values in found.items()]
        rows.append(Row(f"{sample}: {name}: {AWAY}, furthest", away, "<= 1"))
    return rows
