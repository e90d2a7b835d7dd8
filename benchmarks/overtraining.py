"""What a search should choose by: conditions on overtraining, and judgements of the score.

Random networks train without early stopping, with the network and the space of `benchmarks.search`.
The events that are not for the test are dealt out at random to training (half of them), validation
and a stand-in for the test, again and again, since most of what is to be seen depends on which
events validate. After each epoch every network is measured on the validation events, on as many
training events, and on the others; then validation events and others change places. All rules
choose from the same networks and epochs, those of one search, or of several together: a faster
search sees more, and more of it is luck. What counts is the significance on the other events of
what a rule chooses, and by how much validation promised more.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

import difftune as dt
from benchmarks import search
from benchmarks.common import samples
from benchmarks.common.running import compiled_once, say, sizes
from benchmarks.common.table import Row
from difftune.objectives import Significance, signal_probability
from difftune.training import Evidence, Population, ScoredSample, SelectionRule, ShapeChi2, ShapeKS
from difftune.training.batches import as_batch
from difftune.training.jackknife import infinitesimal_jackknife

Figures = dict[str, np.ndarray]
"""`[epochs, members]` each: score, loss and error of the score of each sample, shape tests."""


def run(*, quick: bool) -> list[Row]:
    """Both samples."""
    size = sizes(
        quick,
        # How often the events of each sample are dealt out; others are left out.
        splits=({"single top": 6, "HiggsML": 16}, {"single top": 1}),
        # Of each split, which a rule chooses from one by one and together.
        searches=({"single top": 1, "HiggsML": 5}, {"single top": 2}),
        members=(16, 2),  # of a search
        epochs=(20, 2),  # of a training
        events=(1_000_000, 3_000),  # of a sample, at most
    )
    dt.use_cpu_cores()
    rows = []
    # Splits differ in numbers alone.
    with compiled_once():
        for name, events in search.events_of(size.events, names=size.splits).items():
            single, together = [], []
            for split in range(size.splits[name]):
                found = [*_trained(events, split, size.searches[name], size)]
                say(f"{name}: split {split + 1} of {size.splits[name]}")
                single += [way for each in found for way in _both_ways(each)]
                together += _both_ways(_joined(found))
            rows += _rows(f"{name}, best of {size.members} networks", single)
            if size.searches[name] > 1:
                number = size.members * size.searches[name]
                rows += _rows(f"{name}, best of {number} networks", together)
    return rows


# ---- networks ------------------------------------------------------------------------------------


def _trained(
    events: dt.Events, number: int, searches: int, size: SimpleNamespace
) -> Iterator[Figures]:
    """What the networks of each search of a split are like after each epoch."""
    job = search.task(events)
    split, recipe = job.split, job.recipe
    inside = events.in_folds((*split.train_folds, *split.validation_folds)).simulated
    parts = [
        recipe.columns(part, split.full_yields, job.transform, varied=True)
        for part in _dealt(inside, number)
    ]
    population = Population(
        recipe=samples.every_epoch(
            model=recipe.model, batch_size=recipe.batch_size, patience=size.epochs + 1
        ),
        train=parts[0],
        validation=parts[1],
        members=size.members,
    )
    measure = _measure(population.module_def, recipe.objective)
    batches = _batches(*parts, split.full_yields)
    strategy = dt.search.Random(population=size.members, rounds=1, epochs_per_round=size.epochs)
    for seed in range(searches):
        rng = np.random.default_rng([number, seed])
        values = strategy.start(search.space(), rng).hyperparameters
        mine = population.again(seed=1000 * number + seed)
        state = mine.init(values)
        epochs = []
        for epoch in range(size.epochs):
            state, _ = mine.epoch(state, values, epoch=epoch, epochs=size.epochs)
            weights = jax.device_get(state.weights)
            found = measure((weights, mine.hyperparameters(values)), batches)
            epochs.append(jax.device_get(found))
        yield {name: np.stack([each[name] for each in epochs]) for name in epochs[0]}


def _dealt(events, number: int) -> list:
    """Half of the events of each process, and two quarters, at random."""
    draw, part = np.random.default_rng(number), np.zeros(len(events.weight), int)
    for process in range(len(events.processes)):
        mine = draw.permutation(np.flatnonzero(events.process == process))
        quarter = len(mine) // 4
        part[mine[:quarter]], part[mine[quarter : 2 * quarter]] = 1, 2
    return [events.select(part == which) for which in range(3)]


def _batches(train, validation, other, expected: np.ndarray) -> dict:
    """The batches that networks are measured on; of training as many events as of validation."""
    # The same fraction of each process.
    counts = np.bincount(validation.process, minlength=len(expected))
    rows = [np.flatnonzero(train.process == n)[:count] for n, count in enumerate(counts)]
    some = as_batch(train, np.concatenate(rows), 1.0)
    scale = expected / np.bincount(some.process, some.weight, len(expected))
    some = replace(some, weight=(some.weight * scale[some.process]).astype(np.float32))
    whole = {"validation": samples.whole(validation), "other": samples.whole(other)}
    return {"train": jax.tree.map(jnp.asarray, some)} | whole


def _measure(module_def, objective) -> Callable:
    """A compiled function of weights and hyperparameters of all networks, and of the samples."""

    def of_one(given: tuple, samples: dict) -> dict:
        weights, hyperparameters = given
        found, events = {}, {}
        for name, batch in samples.items():
            scores = module_def.evaluate(weights, hyperparameters, batch.features)

            def significance(batch, scores=scores):
                value = Significance(bins=10)(scores, batch, {}, {})
                return value, value

            found[name], _, found[f"{name} error"] = infinitesimal_jackknife(significance, batch)
            found[f"{name} loss"] = objective(scores, batch, hyperparameters, {})
            events[name] = ScoredSample(
                signal_probability(scores, batch), batch.weight, batch.label
            )
        zero = jnp.float32(0.0)
        for name in ("validation", "other"):
            evidence = Evidence(zero, zero, zero, zero, events["train"], events[name])
            # In units of what p = 0.01 allows, which any other p-value rescales.
            for shape in (ShapeKS(p_value=0.01), ShapeChi2(p_value=0.01)):
                found[f"{name} {type(shape).__name__}"] = shape.excess(evidence)
        return found

    return jax.jit(lambda given, samples: jax.lax.map(lambda one: of_one(one, samples), given))


def _joined(searches: list[Figures]) -> Figures:
    """Several searches as one."""
    return {name: np.concatenate([each[name] for each in searches], axis=1) for name in searches[0]}


def _both_ways(found: Figures) -> list[Figures]:
    """As it is, and with the other events for validation."""
    names = {"validation": "other", "other": "validation"}
    words = {name: name.split() for name in found}
    swapped = {" ".join([names.get(n[0], n[0]), *n[1:]]): found[name] for name, n in words.items()}
    return [found, swapped]


# ---- rules ---------------------------------------------------------------------------------------


def _rules(x: Figures) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What networks and epochs are compared by, and which of them may be chosen, by rule."""
    score, errors = x["validation"], x["validation error"]
    gap = x["train"] / score - 1.0
    error = np.hypot(x["train error"], errors) / score

    def judged(sigmas: float, memory: float) -> np.ndarray:
        rule = SelectionRule(n_sigma=sigmas, ema_decay=memory)
        trend, found = rule.start, []
        for each in zip(score, errors, strict=True):
            value, trend = rule.after(trend, *each)
            found.append(np.asarray(value))
        return np.stack(found)

    every = np.ones(score.shape, bool)
    rules = {"no condition": (judged(0.0, 0.0), every)}
    for limit in (0.05, 0.1, 0.2):
        rules[f"score gap {limit:g}"] = (score, gap <= limit)
    for sigmas in (1, 2):
        rules[f"score gap 0.1 + {sigmas} errors"] = (score, gap <= 0.1 + sigmas * error)
    loss = x["train loss"]
    for limit in (0.05, 0.1, 0.2):
        rules[f"loss gap {limit:g}"] = (score, x["validation loss"] - loss <= limit * abs(loss))
    for kind, name in (("ShapeKS", "KS"), ("ShapeChi2", "chi2")):
        log_p = x[f"validation {kind}"] * np.log(0.01)
        for p in (0.05, 0.001):
            rules[f"{name} p > {p:g}"] = (score, log_p >= np.log(p))
    for sigmas, memory in ((0, 0.7), (1, 0.7), (2, 0.0), (2, 0.5), (2, 0.7), (2, 0.8), (3, 0.7)):
        rules[f"less {sigmas} errors, memory {memory:g}"] = (judged(sigmas, memory), every)
    name = "default: score gap 0.1 + 1 error; less 2 errors, memory 0.7"
    return rules | {name: (judged(2, 0.7), gap <= 0.1 + error)}


def _rows(where: str, pools: list[Figures]) -> list[Row]:
    """Significance on other events of what each rule chooses from each pool."""
    rows = []
    plain: np.ndarray | None = None
    rules = [_rules(pool) for pool in pools]
    for name in rules[0]:
        found, promised, excluded = [], [], []
        for pool, (score, allowed) in zip(pools, (each[name] for each in rules), strict=True):
            excluded.append(1.0 - allowed.mean())
            if allowed.any():
                score = np.where(allowed, score, -np.inf)
                best = np.unravel_index(np.argmax(score), score.shape)
                found.append(pool["other"][best])
                promised.append(pool["validation"][best])
        words = f"{np.mean(excluded):.0%} of epochs excluded"
        if not found:
            rows.append(Row(f"{where}: {name}", 0.0, "", words))
            continue
        words = f"promised / found {np.mean(promised) / np.mean(found):.2f}; {words}"
        if len(found) > 1:
            words = f"± {_error(found):.3f} over {len(found)}; {words}"
        if plain is None:
            plain = np.array(found)
        elif len(found) == len(plain) > 1:
            change = np.array(found) / plain - 1.0
            words += f"; {np.mean(change):+.1%} ± {_error(change):.1%} of no condition"
        rows.append(Row(f"{where}: {name}, Z", float(np.mean(found)), "", words))
    return rows


def _error(values) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5)
