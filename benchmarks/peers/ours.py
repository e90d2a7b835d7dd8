"""difftune in the competition: the only place that drives it."""

from collections.abc import Callable

import jax
import numpy as np

import difftune as dt
from benchmarks.common import samples
from benchmarks.common.running import clocked
from benchmarks.peers import task
from difftune.training import RUNNING, Columns, Population, adam, optimizer

# One device a core, unless XLA_FLAGS, as set for this process, asks for one with many threads.
dt.use_cpu_cores()


def columns(count: int, *, seed: int = 0) -> Columns:
    """The events of the task."""
    return samples.columns(**task.events(count, seed=seed)._asdict())


def population(
    *, members: int, events: int, batch=1024, width=64, dropout=0.0, general=False, **more
) -> Population:
    """A population for the task; in general, activation and optimizer are a member's choice."""
    activation = task.ACTIVATIONS if general else "relu"
    return Population(
        recipe=samples.every_epoch(
            model=dt.models.MLP(hidden=(width, width), dropout=dropout, activation=activation),
            batch_size=batch if isinstance(batch, int) else tuple(batch),
            optimizer=optimizer(*task.OPTIMIZERS) if general else adam,
            # Nobody stops early: a member that rests would make us look fast.
            patience=1_000_000,
        ),
        train=columns(events),
        validation=columns(task.VALIDATION, seed=1),
        members=members,
        **more,
    )


def make(*, kind: str = "training", **options) -> Callable[[int], float]:
    """A contestant: one of the functions below, by its name."""
    kinds = {each.__name__: each for each in (training, peak, stream, recompiled)}
    return kinds[kind](**options)


def training(*, values: dict[str, list[float]], **options) -> Callable[[int], float]:
    """Epochs of a population with these hyperparameters; returns the mean loss of the last."""
    return epochs_of(population(**options), values)


def epochs_of(trains: Population, values: dict[str, list[float]]) -> Callable[[int], float]:
    """The same of any population."""
    arrays = {name: np.asarray(value, np.float32) for name, value in values.items()}
    trains.check(set(arrays))
    state, done = jax.block_until_ready(trains.init(arrays)), 0

    def run(count: int) -> float:
        nonlocal state, done
        for _ in range(count):
            state, record = trains.epoch(state, arrays, epoch=done, epochs=100)
            done += 1
        jax.block_until_ready(state)
        # Who is out costs nothing, and would make us look fast too.
        assert np.all(np.asarray(state.status) == RUNNING), "a member is out"
        return float(np.mean(record.loss))

    return run


def peak(*, sizes: list[int]) -> Callable[[int], float]:
    """Products of float32 squares on all devices at once; returns the best operations a second."""
    product = jax.jit(lambda a, b: a @ b)
    drawn = {size: jax.random.normal(jax.random.key(size), (size, size)) for size in sizes}
    pairs = {
        size: [jax.device_put((square, square), device) for device in jax.devices()]
        for size, square in drawn.items()
    }

    def once(size: int) -> float:
        both = pairs[size]
        took = clocked(lambda: jax.block_until_ready([product(*pair) for pair in both]))[1]
        return 2.0 * size**3 * len(both) / took

    return lambda count: max(once(size) for _ in range(2 * count) for size in sizes)


def stream(*, floats: int) -> Callable[[int], float]:
    """Reads float32 and writes them; returns the best bytes a second, both ways counted."""
    array = jax.random.normal(jax.random.key(1), (floats,))
    negative = jax.jit(lambda a: -a)
    jax.block_until_ready(negative(array))

    def once() -> float:
        return clocked(lambda: jax.block_until_ready(negative(array)))[1]

    return lambda count: 2.0 * array.nbytes / min(once() for _ in range(10))


def recompiled(*, rounds: int, **options) -> Callable[[int], float]:
    """A search; returns how many programs XLA compiled in its rounds after the second.

    The first round compiles the epoch, the second what copies members.
    """
    heard: list[str] = []
    listen = jax.monitoring.register_event_duration_secs_listener
    listen(lambda event, *_, **__: heard.append(event))
    trains, counts, which = population(**options), [], "/jax/core/compile/backend_compile_duration"

    def run(count: int) -> float:
        for _ in range(count):
            search(trains, rounds, 1, on_round=lambda _: counts.append(heard.count(which)))
        assert counts[0] > 0, "the listener heard of no compilation"
        return counts[rounds - 1] - counts[1]

    return run


def search(trains: Population, rounds: int, epochs: int, **options) -> dt.search.SearchResult:
    """Population-based training of learning rate and dropout."""
    pbt = dt.search.PBT(population=trains.members, rounds=rounds, epochs_per_round=epochs)
    space = dt.Space(learning_rate=dt.log_uniform(1e-4, 1e-2), dropout=dt.uniform(0.0, 0.5))
    return dt.search.run_search(trains, pbt, space, **options)


def job(*, rounds: int, epochs: int, **options) -> float:
    """The whole job, for a process of its own; the significance that it finds."""
    found = search(population(**options), rounds, epochs)
    return float(found.best.score[found.winner])
