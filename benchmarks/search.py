"""What searches find: PBT, random search, Optuna's TPE, and a hand-set default.

All on the same engine, network, space, events and number of training steps: a population of PBT; as
many independent members, each trained to the end; and TPE, which asks in small batches for
trainings of that length. What counts is the significance in hard bins: on validation events, from
which the searches take the selection score that they choose by, and on test events, which are
touched once, for the chosen network. HiggsML has few events, so there each trial is trained four
times, and validated on another fold each time; its score is the mean, and so is its significance on
test events; what the four are worth together, as an ensemble, is said besides. Single top is there
twice: with a small network and a short training, and with network, space and length of the main
job.

Further, a search that is killed at random moments must end as an undisturbed one.
"""

import importlib.util
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit
from scipy.stats import binomtest

from benchmarks.peers.arena import compiled_once, say
from benchmarks.table import Row

ROOT = Path(__file__).resolve().parents[1]
HIGGS = ROOT.parent / "shared" / "data" / "events" / "higgsml_15000.csv.gz"
SINGLE_TOP = ROOT / "examples" / "single_top" / "single_top.toml"
# Expected background and signal of the challenge, from its documentation.
HIGGS_YIELDS = np.array([410999.847, 691.989])


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done.

    Attributes:
        seeds: Of the searches.
        members: Of a population.
        rounds: Of a search.
        epochs: Of a round.
        events: Of a sample, at most.
        kills: Of the search that is killed.
        problems: Names of those to take; all by default.
        as_published: Whether the main job is searched for as long as its file says.
    """

    seeds: int = 10
    members: int = 16
    rounds: int = 10
    epochs: int = 2
    events: int = 1_000_000
    kills: int = 10
    problems: tuple[str, ...] = ("single top", "single top, main job", "HiggsML")
    as_published: bool = True


# Populations of two everywhere, so that all searches of a problem share their programs.
QUICK = Size(
    seeds=1,
    members=2,
    rounds=2,
    epochs=1,
    events=3_000,
    kills=1,
    problems=("single top, main job", "HiggsML"),
    as_published=False,
)


def run(*, quick: bool) -> list[Row]:
    """All comparisons."""
    return run_size(QUICK if quick else Size())


def run_size(size: Size) -> list[Row]:
    """The comparisons at any size, for whoever wants some of them."""
    import difftune as dt

    dt.training.use_cpu_cores()
    rows = []
    # Seeds differ in numbers alone.
    with compiled_once() as cache:
        for problem in problems(size):
            if problem.name in size.problems:
                rows += compare(problem)
        if size.kills:
            rows += killed(size, cache)
    return rows


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is searched.

    Attributes:
        name: How it is called in the table.
        job: The task.
        space: What may be chosen.
        size: How much is done.
        folds: That each trial is validated on, one training each; 0 for the validation events.
    """

    name: str
    job: Any
    space: Any
    size: Size
    folds: int = 0


def problems(size: Size) -> Iterator[Problem]:
    """All whose events are there."""
    found = samples(size.events)
    yield Problem(name="single top", job=task(found["single top"]), space=space(), size=size)
    yield main_job(found["single top"], size)
    if "HiggsML" in found:
        job = task(found["HiggsML"])
        # Its validation events are too few to choose by.
        yield Problem(name="HiggsML", job=job, space=space(), size=size, folds=4)


def main_job(events, size: Size) -> Problem:
    """Network, space and length of search of the analysis file."""
    import difftune as dt

    config = dt.job.load(SINGLE_TOP)
    job = task(events)
    recipe = replace(
        job.recipe,
        model=dt.job.build.model(config),
        batch_size=config.training.batch_size,
    )
    job = replace(job, recipe=recipe)
    if size.as_published:
        size = replace(
            size,
            members=config.search.population,
            rounds=config.search.rounds,
            epochs=config.search.epochs_per_round,
        )
    return Problem(
        name="single top, main job", job=job, space=dt.job.build.space(config), size=size
    )


SAMPLES = ("single top", "HiggsML")


def samples(most: int, names: Collection[str] = SAMPLES) -> dict:
    """The events, by name; those that are not on this machine are left out, and said."""
    import difftune as dt

    config = dt.job.load(SINGLE_TOP)
    # Systematic variations take time to read, and have no part in this.
    plain = config.model_copy(update={"systematics": []})
    found = {"single top": dt.job.build.events(plain)}
    if "HiggsML" in names:
        if HIGGS.exists():
            found["HiggsML"] = higgs()
        else:
            say(f"HiggsML is left out: {HIGGS} is not on this machine")
    return {name: some(events, most) for name, events in found.items() if name in names}


def higgs():
    """The sample of the HiggsML challenge, with the folds of its event numbers."""
    import difftune as dt

    with_names = np.genfromtxt(HIGGS, delimiter=",", names=True, dtype=None, encoding="ascii")
    features = with_names.dtype.names[1:31]
    columns = np.stack([with_names[name].astype(np.float32) for name in features], axis=1)
    events = dt.Events.from_arrays(
        features=np.where(columns == -999, np.nan, columns),
        process=(with_names["Label"] == "s").astype(np.int32),
        weight=with_names["KaggleWeight"].astype(np.float32),
        processes=[dt.Process(name="background"), dt.Process(name="signal", role="signal")],
        feature_names=features,
        event_number=with_names["EventId"],
    )
    return events.scaled(HIGGS_YIELDS / events.yields())


def some(events, most: int):
    """At most so many events, at random, for the same yields."""
    count = len(events.weight)
    if count <= most:
        return events
    mask = np.zeros(count, bool)
    mask[np.random.default_rng(0).permutation(count)[:most]] = True
    part = events.select(mask)
    return part.scaled(events.yields() / part.yields())


def task(events):
    """What is trained: the network and the loss are the same for everybody."""
    import difftune as dt

    return dt.analysis.Preparation(
        split=dt.analysis.Split(events=events),
        recipe=dt.Recipe(
            model=dt.models.MLP(hidden=(32, 32)),
            batch_size=256,
            # Everybody makes all steps that it may.
            patience=10_000,
        ),
    )


def space():
    """What everybody may choose from."""
    import difftune as dt

    return dt.Space(
        learning_rate=dt.log_uniform(1e-4, 3e-2),
        beta1=dt.uniform(0.8, 0.98),
        dropout=dt.uniform(0.0, 0.5),
        l1=dt.log_uniform(1e-7, 1e-3),
        l2=dt.log_uniform(1e-6, 1e-2),
        signal_weight=dt.log_uniform(0.3, 3.0),
        label_smoothing=dt.uniform(0.0, 0.2),
    )


def strategies(size: Size) -> dict[str, Callable]:
    """Searches of equal numbers of training steps, by name."""
    import difftune as dt

    length = size.rounds * size.epochs
    batch = max(2, size.members // 4)
    found = {
        "PBT": dt.search.PBT(
            population=size.members, rounds=size.rounds, epochs_per_round=size.epochs
        ),
        "random": dt.search.Random(population=size.members, rounds=1, epochs_per_round=length),
        "TPE": None,
    }
    if not importlib.util.find_spec("optuna"):
        say("TPE is left out: optuna is not installed")
    else:
        found["TPE"] = dt.search.Optuna(
            population=batch, rounds=size.members // batch, epochs_per_round=length
        )
    return {name: strategy for name, strategy in found.items() if strategy is not None}


def judge(tuned, events) -> Callable[[Any, int], np.ndarray]:
    """The validation score, or several, of any network of searches of one task on other events.

    Args:
        tuned: One of these searches.
        events: The events.

    Returns:
        Of a search and the slot of a network.
    """
    import jax

    from difftune.training.member import all_features, apart

    metric, batch = _judge(tuned, events)
    module_def = tuned.module_def

    @jax.jit
    def scored(weights, hyperparameters):
        every = module_def.evaluate(weights, hyperparameters, all_features(batch))
        scores, seen = apart(every, batch)
        return metric(scores, seen, {}, {})

    def measure(tuned, slot: int) -> np.ndarray:
        mine = jax.tree.map(lambda leaf: np.asarray(leaf)[slot], tuned.result.best)
        return np.asarray(scored(mine.weights, mine.hyperparameters))

    return measure


def together(tuned, events) -> float:
    """The validation score, on other events, of the networks of the best trial as an ensemble."""
    import jax.numpy as jnp

    import difftune as dt

    metric, batch = _judge(tuned, events)
    return float(metric(jnp.asarray(logit(dt.Ensemble(tuned.trial).score(events))), batch, {}, {}))


def _judge(tuned, events):
    """The validation metric, and these events as a batch for it."""
    import jax
    import jax.numpy as jnp

    from difftune.training import columns
    from difftune.training.batches import as_batch

    prepared = columns(events, tuned.split.full_yields, tuned.preparation.transform)
    batch = jax.tree.map(jnp.asarray, as_batch(prepared, np.arange(len(prepared.weight)), 1.0))
    return tuned.preparation.recipe.metric.bound_to(events.processes), batch


def compare(problem: Problem) -> list[Row]:
    """Validation and test significance of all searches, and of the default settings."""
    import difftune as dt

    name, job, size, folds = problem.name, problem.job, problem.size, problem.folds

    def wrapped(strategy):
        if not folds:
            return strategy
        return dt.search.Replicated(strategy=strategy, executions=folds, folds=True)

    selection_score: dict[str, list[float]] = {}
    validation: dict[str, list[float]] = {}
    test: dict[str, list[float]] = {}
    ensemble: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    measure = None
    for seed in range(1, size.seeds + 1):
        for kind, strategy in strategies(size).items():
            began = time.perf_counter()
            tuned = dt.analysis.search_networks(job, wrapped(strategy), problem.space, seed=seed)
            seconds.setdefault(kind, []).append(time.perf_counter() - began)
            # The networks of the chosen trial, but such as were never allowed.
            first = tuned.result.winner // max(folds, 1) * max(folds, 1)
            every = range(first, first + max(folds, 1))
            chosen = [slot for slot in every if np.isfinite(tuned.result.best.score[slot])]
            best = tuned.result.best
            selection_score.setdefault(kind, []).append(
                float(np.mean(best.selection_score[chosen]))
            )
            validation.setdefault(kind, []).append(float(np.mean(best.score[chosen])))
            measure = measure or judge(tuned, job.split.test)
            values = [measure(tuned, slot) for slot in chosen]
            test.setdefault(kind, []).append(float(np.mean(values)))
            if folds:
                ensemble.setdefault(kind, []).append(together(tuned, job.split.test))
            print(
                f"{name}, seed {seed}, {kind}: selection score {selection_score[kind][-1]:.3f}, "
                f"validation {validation[kind][-1]:.3f}, test {test[kind][-1]:.3f}, "
                f"{seconds[kind][-1]:.0f} s",
                file=sys.stderr,
            )
    default = dt.analysis.search_networks(
        job,
        dt.search.FixedSchedule(
            population=size.seeds,
            rounds=1,
            epochs_per_round=size.rounds * size.epochs,
            schedule={},
        ),
        dt.Space(),
        seed=1,
    )
    assert measure is not None
    plain = [float(measure(default, slot)) for slot in range(size.seeds)]

    rows = []
    figures = {"selection_score": selection_score, "validation": validation, "test": test}
    if folds:
        figures["test, ensemble"] = ensemble
    for other in [kind for kind in validation if kind != "PBT"]:
        for what, scores in figures.items():
            wins = int(np.sum(np.array(scores["PBT"]) > np.array(scores[other])))
            # What they look for, and what that is worth; not the plain validation score.
            needed = round(0.8 * size.seeds) if what in ("selection_score", "test") else None
            ratio = np.array(scores["PBT"]) / np.array(scores[other])
            chance = binomtest(wins, size.seeds).pvalue
            rows.append(
                Row(
                    what=f"{name}: seeds of {size.seeds} in which PBT beats {other}, {what}",
                    required="" if needed is None else f">= {needed}",
                    measured=wins,
                    spread=f"(Z ratio {spread(ratio)}; p = {chance:.2g})",
                )
            )
    both = {f"{kind}, its {folds} networks as an ensemble": z for kind, z in ensemble.items()}
    for kind, values in (test | both | {"default": plain}).items():
        rows.append(
            Row(
                what=f"{name}: test Z, {kind}",
                required="",
                measured=float(np.mean(values)),
                spread=f"± {deviation(values):.3f} over seeds",
            )
        )
    gain = np.mean(test["PBT"]) / np.mean(plain)
    error = gain * np.hypot(
        *(deviation(x) / np.sqrt(len(x)) / np.mean(x) for x in (test["PBT"], plain))
    )
    rows.append(
        Row(
            what=f"{name}: Z tuned / Z default, test",
            required="",
            measured=float(gain),
            spread=f"± {error:.4f} (seed analysis: 1.39 / 1.33 = 1.045)",
        )
    )
    rows += [
        Row(what=f"{name}: {kind}, s", required="", measured=statistics.median(values))
        for kind, values in seconds.items()
    ]
    return rows


def deviation(values: Sequence[float]) -> float:
    """Standard deviation; unknown of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def spread(values: np.ndarray) -> str:
    """Median and range."""
    return f"{np.median(values):.3f}, {values.min():.3f} to {values.max():.3f}"


# ---- killed at random ----------------------------------------------------------------------------

CHILD = """
import sys, numpy as np, jax
from pathlib import Path
import difftune as dt
from benchmarks import search
folder, out, cache, events = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
dt.training.use_cpu_cores()
jax.config.update("jax_compilation_cache_dir", cache)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
job = search.task(search.some(dt.job.build.events(
    dt.job.load(search.SINGLE_TOP).model_copy(update={"systematics": []})), events))
tuned = dt.analysis.search_networks(job,
    dt.search.PBT(population=4, rounds=30, epochs_per_round=1, quantile=0.5),
    search.space(), seed=7, folder=folder, on_round=lambda p: print("round", flush=True))
history, best = tuned.result.history, tuned.result.best
arrays = jax.tree.leaves((history.score, history.parents, history.hyperparameters, best))
np.savez(out, *[np.asarray(each) for each in arrays])
"""


def killed(size: Size, cache: str) -> list[Row]:
    """A search that is killed so many times at random moments, against an undisturbed one."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        results = []
        kills = 0
        for name, wanted in (("undisturbed", 0), ("killed", size.kills)):
            folder, out = Path(scratch) / name, Path(scratch) / f"{name}.npz"
            while not out.exists():
                command = [sys.executable, "-c", CHILD, folder, out, cache, "3000"]
                child = subprocess.Popen(
                    [str(part) for part in command], stdout=subprocess.PIPE, text=True, cwd=ROOT
                )
                assert child.stdout is not None
                if kills < wanted:
                    for _ in range(chance.randint(0, 3)):
                        child.stdout.readline()
                    # Somewhere in the next round, or in its checkpoint, or before the first.
                    time.sleep(chance.uniform(0.0, 1.0))
                    child.kill()
                    kills += 1
                child.stdout.read()
                if child.wait() not in (0, -9):
                    raise RuntimeError(f"the search ended with {child.returncode}")
            with np.load(out) as arrays:
                results.append([arrays[key] for key in arrays.files])
        different = sum(
            not np.array_equal(a, b, equal_nan=True) for a, b in zip(*results, strict=True)
        )
    return [
        Row(
            what=f"arrays that differ after {kills} kills, of {len(results[0])}",
            required="<= 0",
            measured=different,
        )
    ]
