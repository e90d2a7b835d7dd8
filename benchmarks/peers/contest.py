"""The rules of `benchmarks.wall_time`: what a contestant gets, and what it must leave behind.

Needs numpy alone. A contestant may be stopped at any moment, so the best network that it has is
always on disk, and what it has done is written down as it does it.
"""

import os
import pickle
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

BINS = 10


class Events(NamedTuple):
    """Columns of transformed events; `training_weight` is that of the loss, of mean one.

    `weight` sums to the expected yield of each process, `label` is 1 for signal, `fold` is numbered
    from 0 over both samples, of which the last one validates.
    """

    features: np.ndarray
    process: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    training_weight: np.ndarray
    fold: np.ndarray


class Order(NamedTuple):
    """What a contestant is told, as JSON."""

    sample: str  # the file of training and validation events, pickled
    folder: str  # for its network, and whatever else it writes
    seed: int
    bounds: Mapping[str, tuple[float, float, bool]]  # lowest, highest, in equal steps of logarithms
    hidden: Sequence[int]  # units of each hidden layer
    batch: int
    members: int  # of PBT
    rounds: int  # of PBT, between which it decides who goes on
    epochs: int  # of a round; a training has `rounds` times as many, whoever makes it
    searches: float  # after so many it ends, though there is time left
    deadline: float  # in seconds since 1970
    worker: int = 0  # where a contestant is several processes

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.time()


@cache
def events(path: str) -> tuple[Events, Events]:
    """Training and validation events of a file; read once in a process."""
    return pickle.loads(Path(path).read_bytes())


def significance(score: np.ndarray, of: Events) -> float:
    """Asimov significance without systematics in bins of equal class-balanced |weight|.

    What `difftune.objectives.Significance` computes, for those who do not have it, here of a
    discriminant in [0, 1]. A network whose numbers are not finite has none.
    """
    if not np.isfinite(score).all():
        return 0.0
    order = np.argsort(score)
    cumulative = np.cumsum(np.abs(of.training_weight[order], dtype=np.float64))
    inner = np.searchsorted(cumulative, np.arange(1, BINS) / BINS * cumulative[-1])
    # An event on an edge belongs to the bin above.
    place = np.searchsorted(score[order][inner], score, side="right")
    b, s = (np.bincount(place, of.weight * (of.label == k), BINS) for k in (0, 1))
    filled = (s > 0.0) & (b > 0.0)
    s, b = s[filled], b[filled]
    return float(np.sqrt(2.0 * np.sum((s + b) * np.log1p(s / b) - s)))


class Network(NamedTuple):
    """A network that was chosen: its score; bias and kernel of each layer; what it was chosen by.

    The last is the score itself, but for difftune, which also has `others` to average with: the
    networks of the same trial that were kept from other events than the validation events.
    """

    score: float
    layers: list[np.ndarray]
    selection_score: float
    others: tuple[list[np.ndarray], ...] = ()

    def logits(self, features: np.ndarray, layers: list[np.ndarray] | None = None) -> np.ndarray:
        """Logits of events, of this network alone or of one of the others."""
        layers, x = layers or self.layers, features
        *hidden, (bias, kernel) = zip(layers[::2], layers[1::2], strict=True)
        for offset, own in hidden:
            x = np.maximum(x @ own + offset, 0.0)
        return (x @ kernel + bias)[:, 0]

    def average(self, features: np.ndarray) -> np.ndarray:
        """The mean discriminant of this network and the others."""
        from scipy.special import expit

        every = (self.layers, *self.others)
        return np.mean([expit(self.logits(features, each)) for each in every], axis=0)


_kept: dict[str, float] = {}


def keep(folder: str, network: Network) -> None:
    """Leaves a network on disk, unless this process has left one there that is worth more."""
    if network.selection_score > _kept.get(folder, -np.inf):
        # Whoever is killed in the middle leaves the old one.
        beside = Path(folder) / f"{os.getpid()}.part"
        beside.write_bytes(pickle.dumps(network))
        beside.replace(beside.with_suffix(".network"))
        _kept[folder] = network.selection_score


def chosen(folder: Path) -> Network | None:
    """The best network that a contestant has left, by its own reckoning."""
    found = [pickle.loads(path.read_bytes()) for path in folder.glob("*.network")]
    return max(found, key=lambda network: network.selection_score, default=None)


def note(folder: str, epochs: int) -> None:
    """Adds what has been done: epochs of one network, with the validation."""
    # Short lines that are appended do not mix, whoever else writes.
    with (Path(folder) / "done").open("a") as file:
        print(epochs, file=file)


def done(folder: Path) -> int:
    """Epochs of all processes of a contestant."""
    path = folder / "done"
    return sum(map(int, path.read_text().split())) if path.exists() else 0
