"""Trainings of a round, by one contestant in a process of its own; prints seconds a training."""

import json
import sys
import time

import numpy as np

from benchmarks.peers import task


def main() -> None:
    job = json.loads(sys.argv[1])
    events, epochs, batch = job["events"], job["epochs"], job["batch"]
    who, trainings = job["who"], job["trainings"]
    if who == "PyTorch":
        from benchmarks.peers import pytorch

        def once() -> None:
            pytorch.one_by_one(form="fused", batch=batch, events=events * 4 // 5, width=64)(epochs)

    elif who == "Keras":
        from benchmarks.peers import keras_fit

        def once() -> None:
            keras_fit.make(batch=batch, events=events * 4 // 5, width=64)(epochs)

    else:
        print(ours(events, epochs, batch, trainings, together=who == "difftune"))
        return
    once()
    began = time.perf_counter()
    for _ in range(trainings):
        once()
    print((time.perf_counter() - began) / trainings)


def ours(events: int, epochs: int, batch: int, trainings: int, *, together: bool) -> float:
    """Seconds a training, compiling and validation included where all are one population."""
    import difftune as dt
    from difftune import selection
    from difftune.training import Replicas

    # One after the other may use all cores for each, as JAX does when it is told nothing.
    if together:
        dt.use_cpu_cores()
    drawn = task.events(events)
    study = selection.Study(
        events=dt.Events.from_arrays(
            drawn.features,
            1 - drawn.label,
            drawn.weight,
            feature_names=[f"x{i}" for i in range(task.INPUTS)],
            processes=[dt.Process(name="s", role="signal"), dt.Process(name="b")],
        ),
        recipe=dt.Recipe(model=dt.models.MLP(hidden=(64, 64)), batch_size=batch, patience=1000),
        epochs=epochs,
        seeds=1,
        test_folds=(),
    )
    _ = study.columns
    without = ~np.eye(task.INPUTS, dtype=bool)
    if together:
        began = time.perf_counter()
        selection.train(study, without[: max(trainings // study.folds, 1)])
        return (time.perf_counter() - began) / trainings
    population, began = None, 0.0
    for number in range(trainings + 1):
        alone = Replicas(
            inputs=without[:1], fold=np.array([number % study.folds]), seed=np.array([number])
        )
        # The program is compiled once, by a training that does not count.
        population = population.again(replicas=alone) if population else study.population(alone, 1)
        population.run({}, epochs=epochs)
        began = began or time.perf_counter()
    return (time.perf_counter() - began) / trainings


if __name__ == "__main__":
    main()
