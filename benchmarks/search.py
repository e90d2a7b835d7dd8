"""What searches find: PBT, random search, Optuna's TPE, and a hand-set default.

All on the same engine, network, space, events and number of training steps: a population of PBT; as
many independent members, each trained to the end; and TPE, which asks in small batches for
trainings of that length. What counts is the significance in hard bins: on validation events, from
which the searches take the selection score that they choose by, and on test events, which are
touched once, for the chosen network. HiggsML has few events, so there each trial is trained and
validated on four folds; its figures are means, and what the four are worth as an ensemble is said
besides. Single top is there twice: with a small network and a short training, and with network,
space and length of the main job.

Further, a search that is killed at random moments must end as an undisturbed one.
"""

import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from scipy.stats import binomtest

import difftune as dt
from benchmarks.common import running, samples
from benchmarks.common.running import clocked, say, sizes, taking_part
from benchmarks.common.table import Row, mean


def run(*, quick: bool) -> list[Row]:
    """All comparisons."""
    size = sizes(
        quick,
        seeds=(10, 1),  # of the searches
        # Populations of two everywhere, so that all searches of a problem share their programs.
        members=(16, 2),
        rounds=(10, 2),
        epochs=(2, 1),  # of a round
        events=(1_000_000, 3_000),  # of a sample, at most
        kills=(10, 1),  # of the search that is killed
    )
    dt.use_cpu_cores()
    events, config = events_of(size.events), dt.job.load(samples.SINGLE_TOP)
    job, own = task(events["single top"]), config.search
    model, batch = dt.job.build.model(config), config.training.batch_size
    published = replace(job, recipe=replace(job.recipe, model=model, batch_size=batch))
    length = {"members": own.population, "rounds": own.rounds, "epochs": own.epochs_per_round}
    length = SimpleNamespace(**vars(size) | ({} if quick else length))
    with tempfile.TemporaryDirectory() as cache:
        # Seeds differ in numbers alone, and so what is compiled for one serves all.
        dt.training.use_compilation_cache(cache)
        rows = [] if quick else compare("single top", job, space(), size)
        rows += compare("single top, main job", published, dt.job.build.space(config), length)
        if "HiggsML" in events:
            # Its validation events are too few to choose by.
            rows += compare("HiggsML", task(events["HiggsML"]), space(), size, folds=4)
        return [*rows, killed(size.kills, cache)]


def events_of(most: int) -> dict[str, dt.Events]:
    """The events, by name; those that are not on this machine are left out, and said."""
    found = {"single top": lambda: samples.single_top(varied=False), "HiggsML": samples.higgsml}
    if not samples.HIGGSML.exists():
        say(f"HiggsML is left out: {samples.HIGGSML} is not on this machine")
        del found["HiggsML"]
    return {name: samples.some(make(), most) for name, make in found.items()}


def task(events: dt.Events) -> dt.analysis.Preparation:
    """What is trained: the network and the loss are the same for everybody."""
    # Everybody makes all steps that it may.
    recipe = dt.Recipe(model=dt.models.MLP(hidden=(32, 32)), batch_size=256, patience=10_000)
    return dt.analysis.Preparation(split=dt.analysis.Split(events=events), recipe=recipe)


def space() -> dt.Space:
    """What everybody may choose from."""
    return dt.Space(
        learning_rate=dt.log_uniform(1e-4, 3e-2),
        beta1=dt.uniform(0.8, 0.98),
        dropout=dt.uniform(0.0, 0.5),
        l1=dt.log_uniform(1e-7, 1e-3),
        l2=dt.log_uniform(1e-6, 1e-2),
        signal_weight=dt.log_uniform(0.3, 3.0),
        label_smoothing=dt.uniform(0.0, 0.2),
    )


def strategies(size: SimpleNamespace) -> dict[str, dt.search.Strategy]:
    """Searches of equal numbers of training steps, by name."""
    members, rounds, epochs = size.members, size.rounds, size.epochs
    long = {"epochs_per_round": rounds * epochs}
    found = {
        "PBT": dt.search.PBT(population=members, rounds=rounds, epochs_per_round=epochs),
        "random": dt.search.Random(population=members, rounds=1, **long),
    }
    if taking_part("TPE", "optuna"):
        batch = max(2, members // 4)
        found["TPE"] = dt.search.Optuna(population=batch, rounds=members // batch, **long)
    return found


def judge(job: dt.analysis.Preparation) -> Callable[[Any], float]:
    """Gives a network, or several together, the validation score on test events."""
    events = job.split.test
    prepared = job.recipe.columns(events, job.split.full_yields, job.transform, varied=True)
    metric = job.recipe.metric.bound_to(events.processes)
    # Of scores in [0, 1], since only their order counts.
    return lambda network: samples.worth(metric, network.score(events), prepared)


def compare(name: str, job: dt.analysis.Preparation, space, size, folds: int = 0) -> list[Row]:
    """Validation and test significance of all searches, and of the default settings.

    With folds, each trial is validated on each of them.
    """
    # Of each figure the values of each search, one a seed.
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    # As many networks of the same length, with hand-set hyperparameters.
    hand_set = samples.once(size.seeds, size.rounds * size.epochs)
    plain = dt.analysis.search_networks(job, hand_set, dt.Space(), seed=1)
    worth = judge(job)
    for seed in range(1, size.seeds + 1):
        for kind, strategy in strategies(size).items():
            if folds:
                strategy = dt.search.Replicated(strategy=strategy, executions=folds, folds=True)
            search = partial(dt.analysis.search_networks, job, strategy, space, seed=seed)
            tuned, took = clocked(search)
            # The networks of the chosen trial, but such as were never allowed.
            best, chosen = tuned.result.best, sorted(set(tuned.executions) - set(tuned.missing))
            figures = {
                "selection_score": np.mean(best.selection_score[chosen]),
                "validation": np.mean(best.score[chosen]),
                "test": np.mean([worth(network) for network in tuned.trial]),
            }
            if folds:
                figures["test, ensemble"] = worth(dt.Ensemble(tuned.trial))
            say(f"{name}, seed {seed}, {kind}: test {figures['test']:.3f}, {took:.0f} s")
            for what, value in figures.items():
                found[what][kind].append(float(value))
    test, rows = found["test"], []
    for other in [kind for kind in test if kind != "PBT"]:
        # What they look for, and what that is worth; not the plain validation score.
        for what in ("selection_score", "test"):
            title = f"{name}: seeds of {size.seeds} in which PBT beats {other}, {what}"
            pair = found[what]["PBT"], found[what][other]
            rows.append(wins(title, *pair, f">= {round(0.8 * size.seeds)}"))
    test["default"] = [worth(network) for network in plain.networks]
    for what, scores in found.items():
        rows += [mean(f"{name}: {what}, {kind}", values) for kind, values in scores.items()]
    ours, default = np.array(test["PBT"]), np.array(test["default"])
    gain, relative = ours.mean() / default.mean(), [np.nan]
    if size.seeds > 1:
        relative = [x.std(ddof=1) / np.sqrt(len(x)) / x.mean() for x in (ours, default)]
    spread = f"± {gain * np.linalg.norm(relative):.4f}"
    return [*rows, Row(f"{name}: Z tuned / Z default, test", float(gain), "", spread)]


def wins(what: str, ours: list[float], theirs: list[float], required: str) -> Row:
    """In how many pairs ours is larger, and how likely that is by chance."""
    ratio = np.array(ours) / np.array(theirs)
    count = int(np.sum(ratio > 1))
    words = f"(Z ratio {np.median(ratio):.3f}, p = {binomtest(count, len(ratio)).pvalue:.2g})"
    return Row(what, count, required, words)


def search_on(folder: str, out: str, cache: str) -> None:
    """A search that goes on from what is in a folder, in a process of its own."""
    dt.use_cpu_cores()
    dt.training.use_compilation_cache(cache)
    tuned = dt.analysis.search_networks(
        task(samples.some(samples.single_top(varied=False), 3000)),
        dt.search.PBT(population=4, rounds=30, epochs_per_round=1, quantile=0.5),
        space(),
        seed=7,
        folder=Path(folder),
        on_round=lambda _: running.answer("round"),
    )
    history, best = tuned.result.history, tuned.result.best
    arrays = jax.tree.leaves((history.score, history.parents, history.hyperparameters, best))
    np.savez(out, *[np.asarray(each) for each in arrays])


def killed(times: int, cache: str) -> Row:
    """A search that is killed so many times at random moments, against an undisturbed one."""
    chance, kills, results = random.Random(0), 0, []
    with tempfile.TemporaryDirectory() as scratch:
        for name, wanted in (("undisturbed", 0), ("killed", times)):
            out = Path(scratch) / f"{name}.npz"
            paths = {"folder": f"{scratch}/{name}", "out": str(out), "cache": cache}
            while not out.exists():
                child = running.Child("benchmarks.search:search_on", **paths)
                if kills < wanted:
                    for _ in range(chance.randint(0, 3)):
                        child.process.stdout.readline()
                    # Somewhere in the next round, or in its checkpoint, or before the first.
                    time.sleep(chance.uniform(0.0, 1.0))
                    child.close()
                    kills += 1
                else:
                    child.result()
            with np.load(out) as arrays:
                results.append([arrays[key] for key in arrays.files])
    different = sum(not np.array_equal(a, b, equal_nan=True) for a, b in zip(*results, strict=True))
    return Row(f"arrays that differ after {kills} kills, of {len(results[0])}", different, "<= 0")
