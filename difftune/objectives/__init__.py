"""Losses and metrics: scores and a batch in, a scalar out.

A loss is minimised; of a metric, larger is better. Where a figure has both, the metric has its
plain name and the loss ends in `Loss`: `AUC` and `AUCLoss`, `Separation` and `SeparationLoss`.
"""

from difftune.objectives.adversarial import Adversarial
from difftune.objectives.base import Function as Function
from difftune.objectives.base import (
    Metric,
    NumpyLoss,
    Objective,
    Scaled,
    ScoreLoss,
    Sum,
    as_objective,
)
from difftune.objectives.base import logits_of as logits_of
from difftune.objectives.batch import Batch, Variation, Varied, signal_probability
from difftune.objectives.batch import Column as Column
from difftune.objectives.batch import changed as changed
from difftune.objectives.batch import signal_logit as signal_logit
from difftune.objectives.binned import Separation, SeparationLoss, Significance
from difftune.objectives.bins import Regions
from difftune.objectives.counting import AMSLoss, AsimovLLR, SOverRootB
from difftune.objectives.decorrelation import (
    DistanceCorrelation,
    HistogramVariation,
    NuisanceCorrelation,
)
from difftune.objectives.fit_model import FitModel
from difftune.objectives.link import LOG_VARIANCE as LOG_VARIANCE
from difftune.objectives.link import Link, Prediction
from difftune.objectives.named import METRICS as METRICS
from difftune.objectives.named import OBJECTIVES as OBJECTIVES
from difftune.objectives.named import metric_from as metric_from
from difftune.objectives.named import objective_from as objective_from
from difftune.objectives.neos import NeosLoss, loss_from_model
from difftune.objectives.pointwise import (
    CategoricalCrossEntropy,
    CrossEntropy,
    Focal,
    MeanSquaredError,
)
from difftune.objectives.ranking import AUC, AUCLoss, CutAMS, CutSignificance
from difftune.objectives.regression import (
    Bias,
    GaussianNLL,
    Huber,
    Precision,
    Quantile,
    Regression,
    Resolution,
)
from difftune.objectives.scores import MetricOf, MultiObjective, as_metric, geometric_mean
from difftune.objectives.through_fit import (
    DiscoverySignificance,
    ExpectedCLs,
    ExpectedLimit,
    FisherInformation,
    PoiUncertainty,
    Robustness,
    ThroughFit,
)

__all__ = [
    "AUC",
    "AMSLoss",
    "AUCLoss",
    "Adversarial",
    "AsimovLLR",
    "Batch",
    "Bias",
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
    "Focal",
    "GaussianNLL",
    "HistogramVariation",
    "Huber",
    "Link",
    "MeanSquaredError",
    "Metric",
    "MetricOf",
    "MultiObjective",
    "NeosLoss",
    "NuisanceCorrelation",
    "NumpyLoss",
    "Objective",
    "PoiUncertainty",
    "Precision",
    "Prediction",
    "Quantile",
    "Regions",
    "Regression",
    "Resolution",
    "Robustness",
    "SOverRootB",
    "Scaled",
    "ScoreLoss",
    "Separation",
    "SeparationLoss",
    "Significance",
    "Sum",
    "ThroughFit",
    "Variation",
    "Varied",
    "as_metric",
    "as_objective",
    "geometric_mean",
    "loss_from_model",
    "signal_probability",
]
