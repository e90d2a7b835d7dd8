"""Tuning on several processes: `mpirun -n 2 python examples/cluster/tune.py`, or with `srun`."""

import numpy as np

import difftune as dt
from difftune.training import connect

processes = connect()

rng = np.random.default_rng(1)
signal = rng.random(20_000) < 0.5
events = dt.Events.from_arrays(
    rng.normal(0.5 * signal[:, None], 1.0, (20_000, 4)),
    (~signal).astype(int),
    np.where(signal, 50.0, 2000.0) / 10_000,
    feature_names=["a", "b", "c", "d"],
    processes=[dt.Process(name="signal", role="signal"), dt.Process(name="background")],
)
tuned = dt.tune(
    events,
    space=dt.search.Space(learning_rate=dt.search.log_uniform(1e-4, 1e-2)),
    search=dt.search.PBT(population=8, rounds=3, epochs_per_round=2),
    processes=processes,
)
if processes.rank == 0:
    print(f"{processes.size} processes: {tuned.ranking[0]}")
