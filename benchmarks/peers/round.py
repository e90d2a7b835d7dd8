"""Trainings of a round of elimination, each contestant in a process of its own."""

import importlib

import numpy as np

from benchmarks.common.running import clocked
from benchmarks.peers import task


def peer(*, module: str, trainings: int, events: int, epochs: int, batch: int, **more) -> float:
    """Seconds of a training by another module of this package, one after the other."""
    make = importlib.import_module(f"benchmarks.peers.{module}").make

    def train() -> None:
        make(batch=batch, events=events * 4 // 5, width=64, **more)(epochs)

    train()
    return clocked(lambda: [train() for _ in range(trainings)])[1] / trainings


def ours(*, trainings: int, events: int, epochs: int, batch: int, together: bool) -> float:
    """Seconds of a training, compiling and validation included where all are one population."""
    import difftune as dt
    from difftune import selection
    from difftune.training import Replicas

    # One after the other may use all cores for each, as JAX does when it is told nothing.
    if together:
        dt.use_cpu_cores()
    drawn = task.events(events)
    study = selection.Study(
        dt.Events.from_arrays(
            drawn.features,
            1 - drawn.label,
            drawn.weight,
            feature_names=[f"x{i}" for i in range(task.INPUTS)],
            processes=[dt.Process(name="s", role="signal"), dt.Process(name="b")],
        ),
        dt.Recipe(model=dt.models.MLP(hidden=(64, 64)), batch_size=batch, patience=1000),
        epochs=epochs,
        seeds=1,
        test_folds=(),
    )
    _ = study.columns
    without = ~np.eye(task.INPUTS, dtype=bool)
    if together:
        some = without[: max(trainings // study.folds, 1)]
        return clocked(lambda: selection.train(study, some))[1] / trainings
    population = None

    def train(number: int) -> None:
        nonlocal population
        alone = Replicas(
            inputs=without[:1], fold=np.array([number % study.folds]), seed=np.array([number])
        )
        population = population.again(replicas=alone) if population else study.population(alone, 1)
        population.run({}, epochs=epochs)

    # The program is compiled once, by a training that does not count.
    train(0)
    return clocked(lambda: [train(1 + number) for number in range(trainings)])[1] / trainings
