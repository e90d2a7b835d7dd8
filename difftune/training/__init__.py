"""Populations of networks: the compiled step, epochs, early stopping, checkpoints, devices."""

from difftune.training.batches import Columns, batches_of, columns, epoch_events, training_weights
from difftune.training.blueprint import Blueprint, Weights
from difftune.training.checkpoint import Checkpoints
from difftune.training.devices import describe, use_cpu_cores
from difftune.training.history import History
from difftune.training.hyperparameters import DEFAULTS
from difftune.training.member import (
    RUNNING,
    STATUS,
    STOPPED,
    EpochRecord,
    Member,
    Snapshot,
    diverged,
)
from difftune.training.network import TrainedNetwork
from difftune.training.optimizers import adam, optimizer
from difftune.training.overtraining import OvertrainingCondition, ScoreGap
from difftune.training.population import Population
from difftune.training.schedules import SCHEDULES

__all__ = [
    "DEFAULTS",
    "RUNNING",
    "SCHEDULES",
    "STATUS",
    "STOPPED",
    "Blueprint",
    "Checkpoints",
    "Columns",
    "EpochRecord",
    "History",
    "Member",
    "OvertrainingCondition",
    "Population",
    "ScoreGap",
    "Snapshot",
    "TrainedNetwork",
    "Weights",
    "adam",
    "batches_of",
    "columns",
    "describe",
    "diverged",
    "epoch_events",
    "optimizer",
    "training_weights",
    "use_cpu_cores",
]
