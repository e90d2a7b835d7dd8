"""What a search should choose by: conditions on overtraining, and judgements of the score.

Random networks train without early stopping, with the network and the space of `benchmarks.search`.
After each epoch every one of them is measured on validation events, on as many training events, and
on test events. Then all rules choose from the same networks and epochs, those of one search, or of
many together: a faster search sees more, and more of it is luck. What counts is the significance on
test events of what a rule chooses, and by how much validation promised more.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks import search
from benchmarks.peers.arena import say
from benchmarks.table import Row


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done.

    Attributes:
        seeds: Searches of each sample.
        pools: Searches that a rule chooses from together; each divides the number of seeds.
        members: Of a search.
        epochs: Of a training.
        events: Of a sample, at most.
    """

    seeds: Mapping[str, int]
    pools: Mapping[str, tuple[int, ...]]
    members: int = 16
    epochs: int = 20
    events: int = 1_000_000


FULL = Size(
    seeds={"HiggsML": 40, "single top": 5},
    pools={"HiggsML": (1, 5, 20), "single top": (1, 5)},
)
QUICK = Size(
    seeds={"HiggsML": 2, "single top": 2},
    pools={"HiggsML": (1, 2), "single top": (1,)},
    members=4,
    epochs=2,
    events=6_000,
)

Figures = dict[str, np.ndarray]
"""`[epochs, members]` each: score, loss, error of the score on the samples, p-values."""


def run(*, quick: bool) -> list[Row]:
    """Both samples."""
    import difftune as dt

    size = QUICK if quick else FULL
    dt.training.use_cpu_cores()
    rows = []
    for name, events in search.samples(size.events).items():
        found = [*_trained(search.task(events), size.seeds[name], size)]
        say(f"{name}: {len(found)} searches of {size.members} networks, {size.epochs} epochs")
        for pool in size.pools[name]:
            together = [_joined(found[i : i + pool]) for i in range(0, len(found), pool)]
            rows += _rows(f"{name}, best of {pool * size.members} networks", together)
    return rows


# ---- networks ------------------------------------------------------------------------------------


def _trained(job: Any, seeds: int, size: Size) -> Iterator[Figures]:
    """What the networks of each search are like after each epoch."""
    import jax

    import difftune as dt
    from difftune.training import Blueprint, Population, ScoreGap, columns

    parts = [
        columns(part, job.split.full_yields, job.transform)
        for part in (job.split.train, job.split.validation, job.split.test)
    ]
    blueprint = Blueprint(job.model, inputs=parts[0].features.shape[1], outputs=1)
    population = Population(
        blueprint=blueprint,
        objective=job.objective,
        train=parts[0],
        validation=parts[1],
        members=size.members,
        batch_size=job.batch_size,
        patience=size.epochs + 1,
        overtraining=ScoreGap(limit=float("inf")),
    )
    measure = _measure(blueprint, job.objective, parts)
    strategy = dt.search.Random(population=size.members, rounds=1, epochs_per_round=size.epochs)
    for seed in range(1, seeds + 1):
        values = strategy.start(search.space(), np.random.default_rng([seed, 0])).hyperparameters
        mine = population.again(seed=seed)
        state = mine.init(values)
        epochs = []
        for epoch in range(size.epochs):
            state, _ = mine.epoch(state, values, epoch=epoch, epochs=size.epochs)
            weights = jax.device_get(state.weights)
            epochs.append(jax.device_get(measure(weights, mine.hyperparameters(values))))
        yield {name: np.stack([each[name] for each in epochs]) for name in epochs[0]}


def _measure(blueprint: Any, objective: Any, parts: list) -> Callable:
    """A compiled function of the weights and hyperparameters of all networks."""
    import jax
    import jax.numpy as jnp

    from difftune.objectives import Significance
    from difftune.objectives.batch import signal_probability
    from difftune.training import Evidence, Scored, ShapeChi2, ShapeKS
    from difftune.training.batches import as_batch
    from difftune.training.jackknife import with_error

    train, validation, test = parts
    rows = np.random.default_rng(0).permutation(len(train.weight))[: len(validation.weight)]
    some = _with_yields(as_batch(train, rows, 1.0), np.bincount(train.process, train.weight))
    samples = {"train": some} | {
        name: as_batch(part, np.arange(len(part.weight)), 1.0)
        for name, part in (("validation", validation), ("test", test))
    }
    samples = jax.tree.map(jnp.asarray, samples)

    def of_one(given: tuple) -> dict:
        weights, hyperparameters = given
        found, events = {}, {}
        for name, batch in samples.items():
            scores = blueprint.evaluate(weights, hyperparameters, batch.features)

            def significance(batch, scores=scores):
                value = Significance(bins=10)(scores, batch, {}, {})
                return value, value

            found[name], _, found[f"{name} error"] = with_error(significance, batch)
            found[f"{name} loss"] = objective(scores, batch, hyperparameters, {})
            events[name] = Scored(signal_probability(scores, batch), batch.weight, batch.label)
        zero = jnp.float32(0.0)
        evidence = Evidence(zero, zero, zero, zero, events["train"], events["validation"])
        # In units of what p = 0.01 allows, which any other p-value rescales.
        for shape in (ShapeKS(p_value=0.01), ShapeChi2(p_value=0.01)):
            found[type(shape).__name__] = shape.excess(evidence)
        return found

    return jax.jit(lambda *given: jax.lax.map(of_one, given))


def _with_yields(batch: Any, expected: np.ndarray) -> Any:
    """The batch with the expected yield of each process."""
    have = np.bincount(batch.process, batch.weight, len(expected))
    return replace(batch, weight=(batch.weight * (expected / have)[batch.process]).astype("f4"))


def _joined(searches: list[Figures]) -> Figures:
    """Several searches as one."""
    return {name: np.concatenate([each[name] for each in searches], axis=1) for name in searches[0]}


# ---- rules ---------------------------------------------------------------------------------------

Rule = Callable[[Figures], tuple[np.ndarray, np.ndarray]]
"""What networks and epochs are compared by, and which of them may be chosen."""


def _rules() -> dict[str, Rule]:
    everything = {"no condition": _judged(0.0, 0.0)}
    for limit in (0.05, 0.1, 0.2):
        everything[f"score gap {limit:g}"] = _if(lambda x, y=limit: _gap(x) <= y)
    for sigmas in (1, 2):
        name = f"score gap 0.1 + {sigmas} errors"
        everything[name] = _if(lambda x, k=sigmas: _gap(x) <= 0.1 + k * _gap_error(x))
    for limit in (0.05, 0.1, 0.2):
        name = f"loss gap {limit:g}"
        everything[name] = _if(
            lambda x, y=limit: x["validation loss"] - x["train loss"] <= y * abs(x["train loss"])
        )
    for kind, name in (("ShapeKS", "KS"), ("ShapeChi2", "chi2")):
        for p in (0.05, 0.001):
            everything[f"{name} p > {p:g}"] = _if(
                lambda x, kind=kind, p=p: x[kind] * np.log(0.01) >= np.log(p)
            )
    for sigmas, memory in ((0, 0.7), (1, 0.7), (2, 0.0), (2, 0.5), (2, 0.7), (2, 0.8), (3, 0.7)):
        everything[f"less {sigmas} errors, memory {memory:g}"] = _judged(sigmas, memory)

    def default(x: Figures) -> tuple[np.ndarray, np.ndarray]:
        return _judged(2, 0.7)(x)[0], _gap(x) <= 0.1 + _gap_error(x)

    return everything | {"default: score gap 0.1 + 1 error; less 2 errors, memory 0.7": default}


def _gap(x: Figures) -> np.ndarray:
    return x["train"] / x["validation"] - 1.0


def _gap_error(x: Figures) -> np.ndarray:
    return np.hypot(x["train error"], x["validation error"]) / x["validation"]


def _if(allowed: Callable[[Figures], np.ndarray]) -> Rule:
    return lambda x: (x["validation"], allowed(x))


def _judged(sigmas: float, memory: float) -> Rule:
    def rule(x: Figures) -> tuple[np.ndarray, np.ndarray]:
        from difftune.training import Judgement

        judgement = Judgement(sigmas=sigmas, memory=memory)
        trend, merits = judgement.start, []
        for score, error in zip(x["validation"], x["validation error"], strict=True):
            merit, trend = judgement.after(trend, score, error)
            merits.append(np.asarray(merit))
        return np.stack(merits), np.ones(x["validation"].shape, bool)

    return rule


def _rows(where: str, pools: list[Figures]) -> list[Row]:
    """Test significance of what each rule chooses from each pool."""
    rows = []
    plain: np.ndarray | None = None
    for name, rule in _rules().items():
        test, promised, excluded = [], [], []
        for pool in pools:
            merit, allowed = rule(pool)
            excluded.append(1.0 - allowed.mean())
            if not allowed.any():
                continue
            best = np.unravel_index(np.argmax(np.where(allowed, merit, -np.inf)), merit.shape)
            test.append(pool["test"][best])
            promised.append(pool["validation"][best])
        words = f"{np.mean(excluded):.0%} of epochs excluded"
        if not test:
            rows.append(Row(what=f"{where}: {name}", required="", measured=0.0, spread=words))
            continue
        words = f"validation / test {np.mean(promised) / np.mean(test):.2f}; {words}"
        if len(test) > 1:
            words = f"± {np.std(test, ddof=1) / len(test) ** 0.5:.3f} over {len(test)}; {words}"
        if plain is None:
            plain = np.array(test)
        elif len(test) == len(plain) > 1:
            change = np.array(test) / plain - 1.0
            error = np.std(change, ddof=1) / len(change) ** 0.5
            words += f"; {np.mean(change):+.1%} ± {error:.1%} of no condition"
        rows.append(
            Row(
                what=f"{where}: {name}, test Z",
                required="",
                measured=float(np.mean(test)),
                spread=words,
            )
        )
    return rows
