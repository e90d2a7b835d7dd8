"""Losses and metrics: scores and a batch in, a scalar out."""

from difftune.objectives.adversarial import Adversarial
from difftune.objectives.asimov import AsimovLLR
from difftune.objectives.base import Objective, Scaled, Sum, as_objective
from difftune.objectives.batch import Batch, Variation, Varied, signal_probability
from difftune.objectives.counting import AMS, SOverRootB
from difftune.objectives.cross_entropy import CategoricalCrossEntropy, CrossEntropy
from difftune.objectives.distance_correlation import DistanceCorrelation
from difftune.objectives.fit_metrics import FitScore
from difftune.objectives.fit_model import FitModel
from difftune.objectives.focal import Focal
from difftune.objectives.histogram_variation import HistogramVariation
from difftune.objectives.mean_squared_error import MeanSquaredError
from difftune.objectives.metrics import Separation, Significance
from difftune.objectives.neos import NeosLoss, loss_from_model
from difftune.objectives.nuisance_correlation import NuisanceCorrelation
from difftune.objectives.ranking import CutAMS, CutSignificance, RocArea
from difftune.objectives.regions import Regions
from difftune.objectives.roc_auc import RocAuc
from difftune.objectives.separation import SeparationPower
from difftune.objectives.through_fit import (
    DiscoverySignificance,
    ExpectedCLs,
    ExpectedLimit,
    FisherInformation,
    PoiUncertainty,
    Robustness,
    ThroughFit,
)
from difftune.objectives.tradeoff import Tradeoff, compromise

__all__ = [
    "AMS",
    "Adversarial",
    "AsimovLLR",
    "Batch",
    "CategoricalCrossEntropy",
    "CrossEntropy",
    "CutAMS",
    "CutSignificance",
    "DiscoverySignificance",
    "DistanceCorrelation",
    "ExpectedCLs",
    "ExpectedLimit",
    "FisherInformation",
    "FitModel",
    "FitScore",
    "Focal",
    "HistogramVariation",
    "MeanSquaredError",
    "NeosLoss",
    "NuisanceCorrelation",
    "Objective",
    "PoiUncertainty",
    "Regions",
    "Robustness",
    "RocArea",
    "RocAuc",
    "SOverRootB",
    "Scaled",
    "Separation",
    "SeparationPower",
    "Significance",
    "Sum",
    "ThroughFit",
    "Tradeoff",
    "Variation",
    "Varied",
    "as_objective",
    "compromise",
    "loss_from_model",
    "signal_probability",
]
