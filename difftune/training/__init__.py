"""Populations of networks: the compiled step, epochs, early stopping, checkpoints, devices."""

from difftune.training.applicable import Applicable as Applicable
from difftune.training.applying import apply
from difftune.training.batches import Epochs, batch_at
from difftune.training.batches import all_features as all_features
from difftune.training.batches import apart as apart
from difftune.training.batches import as_batch as as_batch
from difftune.training.batches import evaluation_samples as evaluation_samples
from difftune.training.checkpoint import Checkpoints
from difftune.training.checkpoint import rounds_kept as rounds_kept
from difftune.training.compiled import use_compilation_cache
from difftune.training.cross_fitted import AnyNetwork as AnyNetwork
from difftune.training.cross_fitted import CrossFitted
from difftune.training.cross_fitted import as_network as as_network
from difftune.training.cross_fitted import load_network as load_network
from difftune.training.describing import PACKAGES as PACKAGES
from difftune.training.devices import describe, use_cpu_cores
from difftune.training.ensemble import Ensemble, greedy
from difftune.training.event_weights import (
    NegativeWeights,
    boosted,
    resampled,
    training_weights,
    treated_weights,
)
from difftune.training.evolution import CoordinateParabola, EvolutionStrategy, GradientFree
from difftune.training.fingerprint import differences as differences
from difftune.training.fingerprint import listed as listed
from difftune.training.fingerprint import of_events as of_events
from difftune.training.fingerprint import refuse_other as refuse_other
from difftune.training.fingerprint import surroundings as surroundings
from difftune.training.fingerprint import versions as versions
from difftune.training.given import as_optimizer as as_optimizer
from difftune.training.hyperparameters import DEFAULTS
from difftune.training.jackknife import infinitesimal_jackknife as infinitesimal_jackknife
from difftune.training.judging import directions_of as directions_of
from difftune.training.judging import masked as masked
from difftune.training.module_def import ModuleDef, Weights
from difftune.training.network import TrainedNetwork
from difftune.training.optimizers import OPTIMIZERS as OPTIMIZERS
from difftune.training.optimizers import SCHEDULES, adam, optimizer
from difftune.training.optimizers import Optimizer as Optimizer
from difftune.training.overtraining import CONDITIONS as CONDITIONS
from difftune.training.overtraining import (
    AllOf,
    AnyCondition,
    Condition,
    Evidence,
    LossGap,
    OvertrainingCondition,
    ScoredSample,
    ScoreGap,
    ShapeChi2,
    ShapeKS,
)
from difftune.training.overtraining import as_condition as as_condition
from difftune.training.packing import digest as digest
from difftune.training.population import Population
from difftune.training.processes import Processes, SingleProcess, connect
from difftune.training.recipe import Recipe
from difftune.training.recipe import as_recipe as as_recipe
from difftune.training.recipe import batch_size_for as batch_size_for
from difftune.training.recipe import default_metric as default_metric
from difftune.training.recipe import learns_targets as learns_targets
from difftune.training.replicas import Replicas
from difftune.training.replicas import bootstrap_count as bootstrap_count
from difftune.training.sample import Columns, columns
from difftune.training.selection_rule import AS_SCORED, SelectionRule
from difftune.training.state import (
    RUNNING,
    STATUS,
    STOPPED,
    EpochRecord,
    History,
    Member,
    Snapshot,
    diverged,
)
from difftune.training.state import choose as choose
from difftune.training.storage import store, stored
from difftune.training.trees import LIBRARIES as LIBRARIES
from difftune.training.trees import BoostedTrees
from difftune.training.trees import as_library as as_library

__all__ = [
    "AS_SCORED",
    "DEFAULTS",
    "RUNNING",
    "SCHEDULES",
    "STATUS",
    "STOPPED",
    "AllOf",
    "AnyCondition",
    "BoostedTrees",
    "Checkpoints",
    "Columns",
    "Condition",
    "CoordinateParabola",
    "CrossFitted",
    "Ensemble",
    "EpochRecord",
    "Epochs",
    "Evidence",
    "EvolutionStrategy",
    "GradientFree",
    "History",
    "LossGap",
    "Member",
    "ModuleDef",
    "NegativeWeights",
    "OvertrainingCondition",
    "Population",
    "Processes",
    "Recipe",
    "Replicas",
    "ScoreGap",
    "ScoredSample",
    "SelectionRule",
    "ShapeChi2",
    "ShapeKS",
    "SingleProcess",
    "Snapshot",
    "TrainedNetwork",
    "Weights",
    "adam",
    "apply",
    "batch_at",
    "boosted",
    "columns",
    "connect",
    "describe",
    "diverged",
    "greedy",
    "optimizer",
    "resampled",
    "store",
    "stored",
    "training_weights",
    "treated_weights",
    "use_compilation_cache",
    "use_cpu_cores",
]
