"""Losses and metrics: scores and a batch in, a scalar out."""

from difftune.objectives.asimov import AsimovLLR
from difftune.objectives.base import Objective, Scaled, Sum, as_objective
from difftune.objectives.batch import Batch, Variation, Varied, signal_probability
from difftune.objectives.cross_entropy import CategoricalCrossEntropy, CrossEntropy
from difftune.objectives.fit_model import FitModel
from difftune.objectives.metrics import Significance
from difftune.objectives.through_fit import (
    DiscoverySignificance,
    ExpectedCLs,
    ExpectedLimit,
    FisherInformation,
    PoiUncertainty,
    ThroughFit,
)

__all__ = [
    "AsimovLLR",
    "Batch",
    "CategoricalCrossEntropy",
    "CrossEntropy",
    "DiscoverySignificance",
    "ExpectedCLs",
    "ExpectedLimit",
    "FisherInformation",
    "FitModel",
    "Objective",
    "PoiUncertainty",
    "Scaled",
    "Significance",
    "Sum",
    "ThroughFit",
    "Variation",
    "Varied",
    "as_objective",
    "signal_probability",
]
