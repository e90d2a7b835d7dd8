"""MLflow looks on at a search: parameters, scores, stages and the figures of a run.

python examples/watch_mlflow.py [--quick] [--output runs]
difftune run analysis.toml --set general.watcher='"examples/watch_mlflow.py:MLflow"'
mlflow ui --backend-store-uri sqlite:///runs/mlflow.db
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np

import difftune as dt
from difftune.search import Progress, Watcher

try:
    import mlflow
except ImportError:
    mlflow = None


class MLflow(Watcher):
    """One run of MLflow with the scores of each stage by round, and the figures of merit."""

    def __init__(self, folder: Path):
        Path(folder).mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{Path(folder).resolve()}/mlflow.db")
        mlflow.set_experiment("difftune")
        self.run, self.name = mlflow.start_run(run_name=Path(folder).name), "search"

    def stage(self, name: str) -> None:
        """Its name stands before everything that follows."""
        self.name = _name(name)

    def begin(self, members: int, epochs: int, rounds: int | None) -> None:
        """The size of a search."""
        sizes = {"members": members, "epochs_per_round": epochs, "rounds": rounds}
        mlflow.log_params({f"{self.name}/{what}": size for what, size in sizes.items()})

    def __call__(self, progress: Progress) -> None:
        """A round."""
        for what in ("best", "selection_score", "running", "diverged", "events_per_second"):
            mlflow.log_metric(f"{self.name}/{what}", getattr(progress, what), step=progress.round)

    def figure(self, name: str, value: float, uncertainty: float) -> None:
        """A result."""
        mlflow.log_metric(f"figure of merit/{_name(name)}", value)


def _name(text: str) -> str:
    """Only what MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", text)


def events(count: int) -> dt.Events:
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
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder of MLflow")
    given = parser.parse_args()
    if mlflow is None:
        print("this example needs MLflow: pip install mlflow-skinny sqlalchemy alembic")
        sys.exit(0 if given.quick else 1)
    watcher = MLflow(given.output)
    tuned = dt.tune(
        events(2_000 if given.quick else 20_000),
        space={"learning_rate": dt.log_uniform(1e-4, 1e-2)},
        search=dt.search.PBT(population=2 if given.quick else 8, rounds=3, epochs_per_round=1),
        on_round=watcher,
    )
    found = dt.measure(tuned, tuned.split)
    watcher.figure("significance", found.value, float("nan"))
    mlflow.end_run()
    print(f"mlflow ui --backend-store-uri sqlite:///{given.output}/mlflow.db")
