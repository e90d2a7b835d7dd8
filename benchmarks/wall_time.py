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
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks import search
from benchmarks.peers import arena, contest, timed
from benchmarks.peers.arena import say
from benchmarks.peers.contest import Events, Order
from benchmarks.peers.timed import Contestant, Found
from benchmarks.table import Row


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done.

    Attributes:
        seeds: Of the searches. A benchmark that was interrupted goes on with those that are left.
        samples: Names of those of `benchmarks.search` to take.
        events: Of a sample, at most.
        budget: Seconds of a contestant.
        members: Population of both forms of PBT.
        rounds: Of PBT.
        epochs: Of a round; a training has `rounds` times as many.
    """

    seeds: tuple[int, ...] = tuple(range(1, 11))
    samples: tuple[str, ...] = ("single top", "HiggsML")
    events: int = 1_000_000
    budget: float = 600.0
    members: int = 64
    rounds: int = 10
    epochs: int = 2


# As many members as there are folds. Compiling, or starting Ray and importing PyTorch in its
# processes, takes most of this.
QUICK = Size(
    seeds=(1,),
    samples=("single top",),
    events=6_000,
    budget=40.0,
    members=4,
    rounds=3,
    epochs=1,
)


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
    """What a contestant has found for one seed, and what that is worth.

    Attributes:
        found: Its network, with the validation score by its own reckoning, and what it did.
        validation: The same score by ours.
        test: Score on test events, of the average where there are several networks.
        alone: The same of the one network that has the validation score.
    """

    found: Found
    validation: float
    test: float
    alone: float

    def __str__(self) -> str:
        return (
            f"test {self.test:.4f} (one network {self.alone:.4f}), "
            f"validation {self.validation:.4f} (its own reckoning {self.found.network.score:.4f}), "
            f"{self.found.trials} trials, {self.found.epochs} epochs, {self.found.seconds:.1f} s"
        )


def run(*, quick: bool) -> list[Row]:
    """Both samples, all seeds."""
    return run_size(QUICK if quick else Size())


def run_size(size: Size) -> list[Row]:
    """The comparison at any size, for whoever wants some of the seeds, or less time."""
    contestants = [OURS, *(peer for peer in PEERS if peer.installed)]
    results: dict[tuple[str, str], dict[int, Result]] = {}
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        samples = _samples(size, Path(scratch))
        # All samples for each seed, so that an interrupted benchmark has as many of both.
        for seed, sample, one in itertools.product(size.seeds, samples, contestants):
            what = f"{sample.name}, seed {seed}, {one.name}"
            try:
                result = _result(one, sample, seed, size)
            except arena.Failed as failure:
                if one is OURS:
                    raise
                failures.append(f"{what}: {failure}")
                say(f"FAILED {failures[-1]}")
                continue
            results.setdefault((sample.name, one.name), {})[seed] = result
            say(f"{what}: {result}")
    rows = [row for sample in samples for row in _rows(sample.name, results)]
    rows.append(_named("contestants not installed", [p.name for p in PEERS if not p.installed]))
    rows.append(_named("searches that failed", failures))
    return rows


def _named(what: str, names: list[str]) -> Row:
    note = f"({'; '.join(names)})" if names else ""
    return Row(what=what, required="", measured=len(names), spread=note)


# ---- events and selection rule
# ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Events of which contestants see those in the file.

    Attributes:
        name: How it is called in the table.
        job: Split, network and batches.
        path: The file.
        validation: What networks were chosen by.
        test: What they are worth.
    """

    name: str
    job: Any
    path: Path
    validation: Any
    test: Any

    def order(self, size: Size, seed: int) -> Order:
        """What a contestant is told, with a folder of its own."""
        from difftune.search.dimensions import LogUniform

        bounds = {
            name: (float(each.low), float(each.high), isinstance(each, LogUniform))
            for name, each in search.space().items()
        }
        return Order(
            sample=str(self.path),
            folder=tempfile.mkdtemp(dir=self.path.parent),
            seed=seed,
            cores=arena.cores(),
            bounds=bounds,
            hidden=self.job.recipe.model.hidden,
            batch=self.job.recipe.batch_size,
            members=size.members,
            rounds=size.rounds,
            epochs=size.epochs,
        )


def _samples(size: Size, scratch: Path) -> list[Sample]:
    """The samples, with files for the contestants."""
    from difftune.training import Columns, columns

    def seen(part: Columns, fold: np.ndarray) -> Events:
        return Events(
            part.features, part.process, part.label, part.weight, part.training_weight, fold
        )

    found = []
    everything = search.samples(size.events, names=size.samples)
    for number, name in enumerate(everything):
        job, path = search.task(everything[name]), scratch / f"{number}.npz"
        train, validation, test = (
            columns(part, job.split.full_yields, job.transform)
            for part in (job.split.train, job.split.validation, job.split.test)
        )
        # Numbered from 0 within each part; the validation events are the last fold.
        fold = _folds(job.split.train)
        last = np.full(len(validation.weight), fold.max() + 1, np.int32)
        contest.store(path, seen(train, fold), seen(validation, last))
        sizes = ", ".join(f"{len(part.weight)}" for part in (train, validation, test))
        say(f"{name}: {sizes} events to train, to validate, to test")
        found.append(Sample(name=name, job=job, path=path, validation=validation, test=test))
    return found


def _folds(events: Any) -> np.ndarray:
    return np.unique(events.fold, return_inverse=True)[1].astype(np.int32)


def _significance(logits: Callable[[np.ndarray], np.ndarray], events: Any) -> float:
    """What everybody is judged by."""
    import jax.numpy as jnp

    import difftune as dt
    from difftune.training.batches import as_batch

    batch = as_batch(events, np.arange(len(events.weight)), 1.0)
    scores = jnp.asarray(logits(events.features))
    return float(dt.objectives.Significance(bins=contest.BINS)(scores, batch, {}, {}))


def _result(one: Contestant, sample: Sample, seed: int, size: Size) -> Result:
    found = timed.found(one, sample.order(size, seed), size.budget)
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
    rows = []
    for name, theirs in mine.items():
        if name != OURS.name:
            rows += _duel(f"{sample}: ", mine[OURS.name], name, theirs)
    for name, found in mine.items():
        rows += _figures(f"{sample}: {name}", list(found.values()))
    return rows


def _duel(where: str, ours: dict[int, Result], name: str, theirs: dict[int, Result]) -> list[Row]:
    """In how many seeds difftune is better than a peer, of those in which that did not fail."""
    seeds = sorted(theirs)
    rows = []
    for kind in KINDS:
        a, b = (np.array([getattr(who[seed], kind) for seed in seeds]) for who in (ours, theirs))
        wins = int(np.sum(a > b))
        chance = binomtest(wins, len(seeds)).pvalue
        # The winner's validation score promises too much, whoever it is; the test decides.
        required = f">= {-(-8 * len(seeds) // 10)}" if kind == "test" else ""
        rows.append(
            Row(
                what=(
                    f"{where}seeds of {len(seeds)} in which {OURS.name} beats {name}, "
                    + KINDS[kind]
                ),
                required=required,
                measured=wins,
                spread=f"(Z ratio {search.spread(a / b)}; p = {chance:.2g})",
            )
        )
    return rows


def _figures(who: str, found: list[Result]) -> list[Row]:
    """Mean and spread of what a contestant found and did."""
    rows = []
    for what, values in (
        ("test Z", [each.test for each in found]),
        ("test Z of one network", [each.alone for each in found]),
        ("validation Z", [each.validation for each in found]),
        ("trials", [each.found.trials for each in found]),
        ("epochs of one network, thousand", [each.found.epochs / 1e3 for each in found]),
    ):
        error = f"± {np.std(values, ddof=1):.3g} over {len(found)} seeds" if found[1:] else ""
        mean = float(np.mean(values))
        rows.append(Row(what=f"{who}: {what}", required="", measured=mean, spread=error))
    longest = max(each.found.seconds for each in found)
    rows.append(Row(what=f"{who}: longest search, s", required="", measured=longest))
    # Whether all were judged by what they chose by: rounding may move an event to another bin.
    furthest = max(abs(each.found.network.score / each.validation - 1.0) for each in found)
    what = f"{who}: its validation Z against ours, furthest, %"
    rows.append(Row(what=what, required="<= 1", measured=100.0 * furthest))
    return rows
