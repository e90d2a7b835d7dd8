"""A process of a job: runs a search of the toy and prints what all processes know at its end.

`python -m tests.training.process_worker ENGINE FOLDER [DIES]`: DIES is the round after which the
process with the highest number kills itself, once the checkpoint of that round is written. With
`TEST_SEARCH=cross_fitted` in the environment it is a cross-fitted search in two stages.
"""

import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

import difftune as dt
from difftune.models import MLP
from difftune.objectives import Focal
from difftune.search import PBT, Space, log_uniform, run_search, uniform
from difftune.training import Checkpoints, ScoreGap, connect
from difftune.training.devices import use_cpu_cores

# Odd, so that the processes do not have equally many; round 2 copies members between processes.
STRATEGY = PBT(population=5, rounds=4, epochs_per_round=2, quantile=0.4)
SPACE = Space(learning_rate=log_uniform(1e-3, 1e-1), dropout=uniform(0.0, 0.3))


def digest(tree) -> str:
    """A name for the exact numbers of a tree."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()


def search(processes, folder: Path | None, on_round=None):
    """The search, as any of the processes sees it."""
    from tests.training import toy

    # So wide that XLA splits the sum over the events of a batch among its threads.
    population = toy.population(
        members=STRATEGY.population,
        processes=processes,
        model=MLP(hidden=(128, 128)),
        train=toy.columns(512),
        batch_size=256,
        patience=100,
        seed=int(os.environ.get("TEST_SEED", "5")),
    )
    checkpoints = Checkpoints(folder) if folder else None
    return run_search(population, STRATEGY, SPACE, checkpoints=checkpoints, on_round=on_round)


def summary(result) -> dict:
    """What must not depend on how many processes there are."""
    return {
        "winner": result.winner,
        "score": result.history.score.tolist(),
        "parents": result.history.parents.tolist(),
        "best": digest(result.best),
    }


def cross_fitted(processes, folder: Path) -> list[dict]:
    """What each fold's search gives, of cross-entropy and then through the fit."""
    from tests.analysis.test_cross_fit import sample

    recipe = dt.Recipe(
        model=MLP(hidden=(16,)), batch_size=100, overtraining=ScoreGap(limit=float("inf"))
    )
    # Members of a fold are in both processes: nine are shared by two, then three.
    tuned = dt.tune(
        dt.CrossFit(events=sample(size=900)),
        recipe,
        space=SPACE,
        search=PBT(population=3, rounds=3, epochs_per_round=1, quantile=0.4),
        stages=[
            dt.Stage(
                name="focal",
                recipe=replace(recipe, objective=Focal(), batch_size=900),
                search=dt.search.Random(population=1, rounds=2, epochs_per_round=2),
            )
        ],
        checkpoints=folder,
        processes=processes,
    )
    return [
        {"before": summary(fold.before.result), "after": summary(fold.result)}
        for fold in tuned.folds
    ]


def main() -> None:
    """Runs it."""
    engine, folder, *dies = sys.argv[1:]
    use_cpu_cores(1)
    if "TEST_COORDINATOR" in os.environ:
        rank, size = int(os.environ["TEST_RANK"]), int(os.environ["TEST_SIZE"])
        jax.distributed.initialize(
            os.environ["TEST_COORDINATOR"], size, rank, heartbeat_timeout_seconds=10
        )
    processes = connect(engine)
    if dies and processes.rank == processes.size - 1:
        merged, after = processes.merged, int(dies[0])
        # Of each epoch how the members do, of each round the members.
        left = after * (STRATEGY.epochs_per_round + 1) + 2

        def deadly(tree, members):
            nonlocal left
            left -= 1
            if left == 0:
                while not (Path(folder) / str(after)).is_dir():
                    time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGKILL)
            return merged(tree, members)

        processes.merged = deadly
    if os.environ.get("TEST_SEARCH") == "cross_fitted":
        found = cross_fitted(processes, Path(folder))
    else:
        found = summary(search(processes, Path(folder)))
    print("RESULT" + json.dumps([processes.rank, processes.size, found]), flush=True)


if __name__ == "__main__":
    main()
