"""Training without gradients: against gradients, and what a perturbation costs.

The single-top sample in its first 22 variables, networks 30:30 with tanh, five members that differ
in their seeds. Epochs are chosen on validation events; what stands in the table is of test events.
"""

import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from types import SimpleNamespace
from typing import NamedTuple

import jax
import numpy as np

import difftune as dt
from benchmarks.common import running, samples
from benchmarks.common.running import say
from benchmarks.common.table import Row, mean
from difftune.objectives import AUC, AsimovLLR, CrossEntropy
from difftune.training import EvolutionStrategy, Population, Weights

VARIABLES = 22
MODEL = dt.models.MLP(hidden=(30, 30), activation="tanh")
COSINE = {"schedule": 1.0}


def run(*, quick: bool, parts: Sequence[str] = ()) -> list[Row]:
    """Some of `PARTS`; all of them where none is named."""
    dt.use_cpu_cores()
    own = _Own(quick)
    every = ("area", "speed") if quick else tuple(PARTS)
    return [row for name in parts or every for row in PARTS[name](own)]


class _Trained(NamedTuple):
    """What a training gave: weights, seconds without compiling, and its score on test events."""

    weights: Weights
    seconds: float
    test: np.ndarray


class _Own:
    """Sizes, events, and networks that several parts begin from."""

    def __init__(self, quick: bool):
        self.quick = quick
        self.size = running.sizes(
            quick,
            events=(10**6, 6000),
            members=(5, 1),
            perturbations=(256, 8),
            shown=(128, 32),
            refining=(32, 8),
            batch=(8192, 1024),
            adam=(15, 1),
            area=(320, 1),
            area_batch=(2048, 1024),
            hard=(12, 1),
        )

    @cached_property
    def sample(self) -> SimpleNamespace:
        """Training, validation and test events as columns."""
        config = dt.job.load(samples.SINGLE_TOP)
        data = config.data.model_copy(update={"features": config.data.features[:VARIABLES]})
        config = config.model_copy(update={"systematics": [], "data": data})
        events = samples.some(dt.job.build.events(config), self.size.events)
        split = dt.analysis.Split(events=events)
        recipe = samples.every_epoch(model=MODEL).bound_to(events.processes)
        transform = recipe.transform(split.train)
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        columns = {k: recipe.columns(v, split.full_yields, transform) for k, v in parts.items()}
        return SimpleNamespace(processes=events.processes, **columns)

    @cached_property
    def entropy(self) -> _Trained:
        """Adam on cross-entropy, chosen by the area."""
        return self.trained(CrossEntropy(), AUC(), "adam", rate=3e-3, epochs=self.size.adam)

    def trained(
        self, objective, metric, optimizer, *, rate, epochs, batch=1024, start=None, **values
    ) -> _Trained:
        """Members that differ in their seeds; `values` are further hyperparameters."""
        say(f"{objective} by {optimizer}")
        recipe = samples.every_epoch(
            model=MODEL,
            objective=objective,
            metric=metric,
            optimizer=optimizer,
            batch_size=batch,
            patience=10**6,
            hyperparameters={"learning_rate": rate, **COSINE, **values},
        ).bound_to(self.sample.processes)
        parts = {"train": self.sample.train, "validation": self.sample.validation}
        population = Population(recipe=recipe, members=self.size.members, **parts)
        if not self.quick:
            # Once for the programs.
            population.epoch(population.init({}, start=start), {}, epoch=0, epochs=epochs)
        state = population.init({}, start=start)
        began = time.perf_counter()
        trained = population.train_epochs(state, {}, range(epochs))
        for epoch, (after, record) in enumerate(trained, start=1):
            best = after.best
            if epoch % max(1, epochs // 15) == 0:
                say(f"epoch {epoch} of {epochs}: validation {np.mean(record.score):.5f}")
        seconds = time.perf_counter() - began
        best, test = jax.device_get(best), self.sample.test
        scores = np.asarray(population.scores(best, test.features))
        scored = [samples.worth(recipe.metric, each, test) for each in scores]
        return _Trained(best.weights, seconds, np.array(scored))


def _area(own: _Own) -> list[Row]:
    """1 - AUC from random weights, against Adam on cross-entropy."""
    adam = own.entropy
    strategy = EvolutionStrategy(
        perturbations=own.size.perturbations, events=own.size.shown, adaptation=0.0
    )
    found = own.trained(
        AUC(), AUC(), strategy, epochs=own.size.area, batch=own.size.area_batch, **AREA
    )
    return [
        mean("AUC, Adam on cross-entropy", adam.test),
        mean("AUC, evolution on 1 - AUC", found.test),
        mean("Adam's less evolution's", adam.test - found.test, "<= 0.003"),
        Row("time of evolution over that of Adam", found.seconds / adam.seconds),
    ]


AREA = {"rate": 0.02, "sigma": 0.1, "weight_decay": 0.01}
HARD = {"rate": 0.003, "sigma": 0.03}


def _hard(own: _Own) -> list[Row]:
    """Significance in hard bins, from cross-entropy's weights."""
    hard = AsimovLLR(bins=10).hard_limit()
    metric = dt.objectives.MetricOf(objective=hard, power=0.5)
    start, options = own.entropy.weights, {"epochs": own.size.hard, "batch": own.size.batch}
    through = own.trained(
        AsimovLLR(bins=10, straight_through=True), metric, "adam", rate=1e-3, start=start, **options
    )
    strategy = EvolutionStrategy(perturbations=own.size.refining)
    found = own.trained(hard, metric, strategy, start=start, **HARD, **options)
    return [
        mean("Z in hard bins, straight-through gradient", through.test),
        mean("Z in hard bins, evolution", found.test),
        mean("evolution's over straight-through", found.test / through.test, ">= 0.999"),
        Row("time over that of the gradient", found.seconds / through.seconds, "<= 20"),
    ]


class _FullRank(EvolutionStrategy):
    """Each network a full copy, with a random number for each of its weights."""

    def _factors(self, key, leaves):
        keys = jax.random.split(key, len(leaves))
        return [
            (jax.random.normal(each, leaf.shape),) for each, leaf in zip(keys, leaves, strict=True)
        ]


class _Formed(EvolutionStrategy):
    """The same perturbations, with the matrix of each network formed."""

    def _moved(self, leaf, factors, step):
        found = super()._moved(leaf, factors, step)
        return getattr(found, "formed", found)


def _speed(own: _Own) -> list[Row]:
    """A step of 256 perturbations against one of 256 full copies of the network.

    A full copy has all weights of its own. There are two kinds: copies that evolution makes without
    low rank, whose noise is drawn, whose weights are formed, and which go forwards; and copies that
    train by Adam, each forwards and backwards over the batch. All have the same batch, of which
    each pair sees all, or draws a part for itself (`events`), as full copies of evolution then do,
    too. The factor of five is asked for over copies that see the same few events: what all see
    alike costs the same arithmetic in both, and a gradient no more than thrice that. Seconds are of
    a CPU, least of two epochs.
    """
    count, rng, rows = 8 if own.quick else 256, np.random.default_rng(0), []
    for width, batch, shown in SHAPES[: 1 if own.quick else None]:
        batch, shown = (batch // 8, shown // 8) if own.quick else (batch, shown)
        events = max(2 * batch, 1024)
        label = np.arange(events) % 2
        features = rng.normal(size=(events, VARIABLES)) + 0.3 * label[:, None]
        train = samples.columns(features, label, np.ones(events))
        validation = samples.columns(features[:64], label[:64], np.ones(64))

        step = partial(_step, width=width, batch=batch, train=train, validation=validation)
        what = f"22-{width}-{width}-1, batches of {batch}"
        copies = step("adam", count)
        rows.append(Row(f"{what}: a step of {count} networks by Adam, ms", copies))
        for seen in (None, shown):
            options = {"perturbations": count, "events": seen}
            low = step(EvolutionStrategy(**options), 1)
            which = f"{what}, of which a pair sees {'all' if seen is None else seen}"
            rows += [
                Row(f"{which}: a step of {count} perturbations, ms", low),
                Row(f"{which}: full copies by Adam over perturbations", copies / low),
            ]
            if not own.quick:
                full, formed = step(_FullRank(**options), 1), step(_Formed(**options), 1)
                bound, own_copies = ">= 5" if seen == FEW else "", "full copies of evolution"
                rows += [
                    Row(f"{which}: {own_copies} over perturbations", full / low, bound),
                    Row(f"{which}: formed matrices over products", formed / low),
                ]
    return rows


FEW = 16
"""Events of a pair where a full copy costs by its weights, and not by its events."""

SHAPES = ((30, 2048, 128), (256, 128, FEW), (256, 2048, 128))
"""Width, batch, and events of a pair."""


def _step(optimizer: object, members: int, *, width: int, batch: int, **parts) -> float:
    """CPU milliseconds of a step: of the faster of two epochs, once it is compiled."""
    recipe = samples.every_epoch(
        model=dt.models.MLP(hidden=(width, width), activation="tanh"),
        optimizer=optimizer,
        batch_size=batch,
        patience=10**6,
    )
    population, times = Population(recipe=recipe, members=members, **parts), []
    state = population.init({})
    for epoch in range(3):
        began = time.process_time()
        state, _ = population.epoch(state, {}, epoch=epoch, epochs=3)
        jax.block_until_ready(state)
        times.append(time.process_time() - began)
    return 1e3 * min(times[1:]) * batch / len(parts["train"].weight)


PARTS: dict[str, Callable[[_Own], list[Row]]] = {"area": _area, "hard": _hard, "speed": _speed}
