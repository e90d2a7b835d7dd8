"""What tuners find in the same wall time: difftune's PBT, Optuna's TPE and Ray Tune's PBT.

The peers train with PyTorch. All have the same events, transformed once; the same network, batches,
optimizer, loss and space of seven hyperparameters as `benchmarks.search`; the same cores, one
contestant after the other; and the same seconds from the start of a process, in which it imports,
compiles and searches until they are over. All choose by the same figure, each in its own way. The
peers look for the best epoch of all trainings on the validation events, as an analyst with these
libraries does. difftune, which trains more in the same time, validates each trial on all folds of
the same events, the test events excepted, and takes off two standard errors, its default; what
counts is the average of the four networks of its best trial, an option of its analysis file. What
the one of them is worth that was kept from the validation events, as those of the peers were, is a
row of its own. No epoch is excluded as overtrained. A training has the same number of epochs
everywhere; how many are made is what a contestant's speed decides. What is on its disk when the
time is over is what it has chosen; this process judges it, with the test events that no contestant
has seen, by one function.

Contestants that are not installed (`pip install 'difftune[bench]'`) are left out, and named.
"""

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

import difftune as dt
from benchmarks import search
from benchmarks.common import running, samples
from benchmarks.common.running import say, sizes
from benchmarks.common.table import Row, mean, named
from benchmarks.peers import contest, timed
from benchmarks.peers.contest import Events, Order
from benchmarks.peers.timed import Contestant, Found
from difftune.search.dimensions import LogUniform
from difftune.training import Columns

OURS = Contestant(name="difftune PBT", who="difftune")
PEERS = (
    Contestant(
        name="Optuna TPE + PyTorch", who="optuna", packages=("optuna", "torch"), each_core=True
    ),
    Contestant(name="Ray Tune PBT + PyTorch", who="ray", packages=("ray", "torch")),
)

KINDS = {"test": "test", "alone": "test, one network", "validation": "validation"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a contestant has found for one seed, and what that is worth by our reckoning."""

    found: Found
    validation: float
    test: float  # of the average, where there are several networks
    alone: float  # of the one network that has the validation score

    def __str__(self) -> str:
        return (
            f"test {self.test:.4f} (one network {self.alone:.4f}), "
            f"validation {self.validation:.4f} (its own reckoning {self.found.network.score:.4f}), "
            f"{self.found.trials} trials, {self.found.epochs} epochs, {self.found.seconds:.1f} s"
        )


def run(*, quick: bool) -> list[Row]:
    """Both samples, all seeds."""
    size = sizes(
        quick,
        seeds=(range(1, 11), (1,)),  # of the searches
        samples=(("single top", "HiggsML"), ("single top",)),
        events=(1_000_000, 6_000),  # of a sample, at most
        # Compiling, or starting Ray and importing PyTorch in its processes, takes most of 40 s.
        budget=(600.0, 40.0),  # seconds of a contestant
        members=(64, 4),  # population of both forms of PBT; as many at least as there are folds
        rounds=(10, 3),  # of PBT
        epochs=(2, 1),  # of a round; a training has `rounds` times as many
    )
    there = [peer for peer in PEERS if running.installed(*peer.packages)]
    results: dict[tuple[str, str], dict[int, Result]] = {}
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        known = _samples(size, Path(scratch))
        # All samples for each seed, so that an interrupted benchmark has as many of both.
        for seed, sample, one in itertools.product(size.seeds, known, [OURS, *there]):
            what = f"{sample.name}, seed {seed}, {one.name}"
            try:
                result = _result(one, sample, seed, size)
            except running.Failed as failure:
                if one is OURS:
                    raise
                failures.append(f"{what}: {failure}")
                say(f"FAILED {failures[-1]}")
                continue
            results.setdefault((sample.name, one.name), {})[seed] = result
            say(f"{what}: {result}")
    rows = [row for sample in known for row in _rows(sample.name, results)]
    missing = [peer.name for peer in PEERS if peer not in there]
    rows.append(named("contestants not installed", missing))
    return [*rows, named("searches that failed", failures)]


# ---- events and selection rule -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Events of which contestants see those in the file."""

    name: str
    job: dt.analysis.Preparation
    path: Path
    validation: Columns  # what networks were chosen by
    test: Columns  # what they are worth


def _samples(size: SimpleNamespace, scratch: Path) -> list[Sample]:
    """The samples, with files for the contestants."""

    def seen(part: Columns, fold: np.ndarray) -> Events:
        return Events(
            part.features, part.process, part.label, part.weight, part.training_weight, fold
        )

    found = []
    for name, events in search.events_of(size.events, names=size.samples).items():
        job, path = search.task(events), scratch / f"{len(found)}.events"
        split = job.split
        train, validation, test = (
            job.recipe.columns(part, split.full_yields, job.transform, varied=True)
            for part in (split.train, split.validation, split.test)
        )
        # Numbered from 0 within each part; the validation events are the last fold.
        fold = np.unique(split.train.fold, return_inverse=True)[1].astype(np.int32)
        last = np.full(len(validation.weight), fold.max() + 1, np.int32)
        contest.store(path, seen(train, fold), seen(validation, last))
        counts = ", ".join(f"{len(part.weight)}" for part in (train, validation, test))
        say(f"{name}: {counts} events to train, to validate, to test")
        found.append(Sample(name=name, job=job, path=path, validation=validation, test=test))
    return found


def _significance(logits: Callable[[np.ndarray], np.ndarray], events: Columns) -> float:
    """What everybody is judged by."""
    metric, scores = dt.objectives.Significance(bins=contest.BINS), logits(events.features)
    return float(metric(jnp.asarray(scores), samples.whole(events), {}, {}))


def _result(one: Contestant, sample: Sample, seed: int, size: SimpleNamespace) -> Result:
    """Gives a contestant its order, with a folder of its own, and judges what it found."""
    space = search.space().items()
    bounds = {n: (float(d.low), float(d.high), isinstance(d, LogUniform)) for n, d in space}
    order = Order(
        sample=str(sample.path),
        folder=tempfile.mkdtemp(dir=sample.path.parent),
        seed=seed,
        cores=running.cores(),
        bounds=bounds,
        hidden=sample.job.recipe.model.hidden,
        batch=sample.job.recipe.batch_size,
        members=size.members,
        rounds=size.rounds,
        epochs=size.epochs,
    )
    found = timed.found(one, order, size.budget)
    network = found.network
    return Result(
        found=found,
        validation=_significance(network.logits, sample.validation),
        test=_significance(network.average, sample.test),
        alone=_significance(network.logits, sample.test),
    )


# ---- rows ----------------------------------------------------------------------------------------


def _rows(sample: str, results: dict[tuple[str, str], dict[int, Result]]) -> list[Row]:
    """All figures of a sample."""
    mine = {name: found for (of, name), found in results.items() if of == sample}
    ours, rows = mine[OURS.name], []
    for name, theirs in mine.items():
        # Of those seeds in which the peer did not fail.
        for kind, words in KINDS.items() if name != OURS.name else ():
            pair = [[getattr(who[seed], kind) for seed in theirs] for who in (ours, theirs)]
            # The winner's validation score promises too much, whoever it is; the test decides.
            bound = f">= {-(-8 * len(theirs) // 10)}" if kind == "test" else ""
            what = f"{sample}: seeds of {len(theirs)} in which {OURS.name} beats {name}, {words}"
            rows.append(search.wins(what, *pair, bound))
    for name, found in mine.items():
        rows += _figures(f"{sample}: {name}", list(found.values()))
    return rows


def _figures(who: str, found: list[Result]) -> list[Row]:
    """Mean and spread of what a contestant found and did."""
    figures = {
        "test Z": [each.test for each in found],
        "test Z of one network": [each.alone for each in found],
        "validation Z": [each.validation for each in found],
        "trials": [each.found.trials for each in found],
        "epochs of one network, thousand": [each.found.epochs / 1e3 for each in found],
    }
    rows = [mean(f"{who}: {what}", values) for what, values in figures.items()]
    rows.append(Row(f"{who}: longest search, s", max(each.found.seconds for each in found)))
    # Whether all were judged by what they chose by: rounding may move an event to another bin.
    furthest = max(abs(each.found.network.score / each.validation - 1.0) for each in found)
    what = f"{who}: its validation Z against ours, furthest, %"
    return [*rows, Row(what, 100.0 * furthest, "<= 1")]
