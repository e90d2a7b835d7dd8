"""Tuning on several processes: `mpirun -n 2 python examples/cluster/tune.py`, or with `srun`."""

import argparse

import numpy as np

import difftune as dt
from difftune.training import connect


def blobs(count):
    rng = np.random.default_rng(1)
    signal = rng.random(count) < 0.5
    return dt.Events.from_arrays(
        rng.normal(0.5 * signal[:, None], 1.0, (count, 4)),
        (~signal).astype(int),
        np.where(signal, 50.0, 2000.0) / (count / 2),
        feature_names=["a", "b", "c", "d"],
        processes=[dt.Process(name="signal", role="signal"), dt.Process(name="background")],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few events and members: it works")
    quick = parser.parse_args().quick
    processes = connect()
    tuned = dt.tune(
        blobs(4_000 if quick else 20_000),
        space=dt.search.Space(learning_rate=dt.search.log_uniform(1e-4, 1e-2)),
        search=dt.search.PBT(population=4 if quick else 8, rounds=3, epochs_per_round=2),
        processes=processes,
    )
    if processes.rank == 0:
        print(f"{processes.size} processes: {tuned.ranking[0]}")
