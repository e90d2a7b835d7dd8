"""Losses and metrics: scores and a batch in, a scalar out."""

from difftune.objectives.asimov import AsimovLLR
from difftune.objectives.base import Objective, Scaled, Sum, as_objective
from difftune.objectives.batch import Batch, signal_probability
from difftune.objectives.cross_entropy import CategoricalCrossEntropy, CrossEntropy
from difftune.objectives.metrics import Significance

__all__ = [
    "AsimovLLR",
    "Batch",
    "CategoricalCrossEntropy",
    "CrossEntropy",
    "Objective",
    "Scaled",
    "Significance",
    "Sum",
    "as_objective",
    "signal_probability",
]
