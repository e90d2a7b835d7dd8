"""Losses and scores by name, and what users write for one, as what is plainly meant."""

from collections.abc import Mapping
from typing import Any

from difftune.errors import InputError, nearest
from difftune.objectives.adversarial import Adversarial
from difftune.objectives.base import Metric, Objective, as_objective
from difftune.objectives.binned import Separation, SeparationLoss, Significance
from difftune.objectives.counting import AMSLoss, AsimovLLR, SOverRootB
from difftune.objectives.decorrelation import (
    DistanceCorrelation,
    HistogramVariation,
    NuisanceCorrelation,
)
from difftune.objectives.pointwise import (
    CategoricalCrossEntropy,
    CrossEntropy,
    Focal,
    MeanSquaredError,
)
from difftune.objectives.ranking import AUC, AUCLoss, CutAMS, CutSignificance
from difftune.objectives.scores import MultiObjective, as_metric
from difftune.objectives.through_fit import (
    DiscoverySignificance,
    ExpectedCLs,
    ExpectedLimit,
    PoiUncertainty,
    Robustness,
    ThroughFit,
)

OBJECTIVES: dict[str, type[Objective]] = {
    "cross_entropy": CrossEntropy,
    "categorical_cross_entropy": CategoricalCrossEntropy,
    "focal": Focal,
    "mean_squared_error": MeanSquaredError,
    "roc_auc": AUCLoss,
    "separation_power": SeparationLoss,
    "asimov_llr": AsimovLLR,
    "s_over_root_b": SOverRootB,
    "ams": AMSLoss,
    "distance_correlation": DistanceCorrelation,
    "adversarial": Adversarial,
    "histogram_variation": HistogramVariation,
    "nuisance_correlation": NuisanceCorrelation,
}
THROUGH_FIT: dict[str, type[ThroughFit]] = {
    "poi_uncertainty": PoiUncertainty,
    "expected_cls": ExpectedCLs,
    "discovery_significance": DiscoverySignificance,
    "expected_limit": ExpectedLimit,
}
METRICS: dict[str, type[Metric]] = {
    "significance": Significance,
    "separation": Separation,
    "roc_area": AUC,
    "cut_significance": CutSignificance,
    "cut_ams": CutAMS,
}
FIT_SCORES: dict[str, tuple[type[ThroughFit], float]] = {
    "discovery_significance": (DiscoverySignificance, 0.5),
    "poi_precision": (PoiUncertainty, 1.0),
    "limit_strength": (ExpectedLimit, 1.0),
    "robustness": (Robustness, 1.0),
}


def objective_from(given: Any) -> Objective:
    """An objective: by name, of a class without brackets, or cross-entropy for None.

    Raises:
        InputError: For a score, and for what is no objective.
    """
    if given is None:
        return CrossEntropy()
    every = OBJECTIVES | THROUGH_FIT
    if isinstance(given, str):
        if given not in every:
            raise InputError(
                f"objective={given!r} is unknown.{nearest(given, every)} Choose one of "
                f"{', '.join(every)}, or give an objective of difftune.objectives."
            )
        given = every[given]
    return as_objective(given)


def metric_from(given: Any) -> Metric:
    """A metric: by name, or as `as_metric` takes it; several make a `MultiObjective`.

    Raises:
        InputError: For a loss, and for what is no score.
    """
    if given is None:
        return Significance()
    if isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
        given = {name: name for name in given}
    if isinstance(given, Mapping):
        return MultiObjective({str(name): metric_from(score) for name, score in given.items()})
    if isinstance(given, str):
        if given not in METRICS:
            raise InputError(
                f"metric={given!r} is unknown.{nearest(given, METRICS)} Choose one of "
                f"{', '.join(METRICS)}, or give a score of difftune.objectives."
            )
        given = METRICS[given]
    return as_metric(given)
