"""TensorBoard looks on at a search: scores, rounds, stages and the figures of a run.

    python examples/watch_tensorboard.py [--quick] [--output runs/tensorboard]
    difftune run analysis.toml --set general.watcher='"examples/watch_tensorboard.py:TensorBoard"'
    tensorboard --logdir runs

Needs tensorboardX, which writes what TensorBoard reads, without TensorFlow or PyTorch.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import difftune as dt
from difftune.search import Progress, Watcher

try:
    from tensorboardX import SummaryWriter
except ImportError:
    SummaryWriter = None


class TensorBoard(Watcher):
    """Writes scalars and the scores of all members, stage by stage."""

    def __init__(self, folder: Path):
        self.writer, self.name = SummaryWriter(str(Path(folder) / "tensorboard")), "search"

    def stage(self, name: str) -> None:
        """Its name stands before everything that follows."""
        self.name = name.replace(" ", "_")

    def __call__(self, progress: Progress) -> None:
        """A round."""
        for what in ("best", "selection_score", "running", "diverged", "events_per_second"):
            self.writer.add_scalar(f"{self.name}/{what}", getattr(progress, what), progress.round)
        scores = np.asarray(progress.score)
        self.writer.add_histogram(
            f"{self.name}/scores", scores[np.isfinite(scores)], progress.round
        )
        self.writer.flush()

    def figure(self, name: str, value: float, uncertainty: float) -> None:
        """A result."""
        self.writer.add_scalar(f"figure_of_merit/{name.replace(' ', '_')}", value)
        self.writer.flush()


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
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder of TensorBoard")
    given = parser.parse_args()
    if SummaryWriter is None:
        print("this example needs tensorboardX: pip install tensorboardX tensorboard")
        sys.exit(0 if given.quick else 1)
    watcher = TensorBoard(given.output)
    tuned = dt.tune(
        events(2_000 if given.quick else 20_000),
        space={"learning_rate": dt.log_uniform(1e-4, 1e-2)},
        search=dt.search.PBT(population=2 if given.quick else 8, rounds=3, epochs_per_round=1),
        on_round=watcher,
    )
    found = dt.measure(tuned, tuned.split)
    watcher.figure("significance", found.value, float("nan"))
    print(f"tensorboard --logdir {given.output}")
