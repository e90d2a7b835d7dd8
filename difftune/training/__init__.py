"""Populations of networks: the compiled step, epochs, early stopping, checkpoints, devices."""

from difftune.training.batches import Columns, columns, epoch_batches, training_weights
from difftune.training.blueprint import Blueprint, Weights
from difftune.training.checkpoint import Checkpoints
from difftune.training.devices import describe, use_cpu_cores
from difftune.training.history import STATUS, History
from difftune.training.hyperparameters import DEFAULTS, adam
from difftune.training.network import TrainedNetwork
from difftune.training.overtraining import OvertrainingCondition, ScoreGap
from difftune.training.population import DIVERGED, RUNNING, STOPPED, Member, Population, Snapshot

__all__ = [
    "DEFAULTS",
    "DIVERGED",
    "RUNNING",
    "STATUS",
    "STOPPED",
    "Blueprint",
    "Checkpoints",
    "Columns",
    "History",
    "Member",
    "OvertrainingCondition",
    "Population",
    "ScoreGap",
    "Snapshot",
    "TrainedNetwork",
    "Weights",
    "adam",
    "columns",
    "describe",
    "epoch_batches",
    "training_weights",
    "use_cpu_cores",
]
