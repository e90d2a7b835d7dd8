"""Losses and scores by name, and what users write for one, as what is plainly meant."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from difftune.binning import Constraints
from difftune.objectives.adversarial import Adversarial
from difftune.objectives.base import Metric, Objective, ScoreLoss, as_objective
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
from difftune.objectives.regression import Bias, GaussianNLL, Huber, Quantile, Resolution
from difftune.objectives.scores import MetricOf, MultiObjective, as_metric
from difftune.objectives.through_fit import (
    DiscoverySignificance,
    ExpectedCLs,
    ExpectedLimit,
    PoiUncertainty,
    Robustness,
    ThroughFit,
)
from difftune.registry import Entry, Registry

OBJECTIVES = Registry(
    "objective",
    "an objective of difftune.objectives",
    {
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
        "poi_uncertainty": PoiUncertainty,
        "expected_cls": ExpectedCLs,
        "discovery_significance": DiscoverySignificance,
        "expected_limit": ExpectedLimit,
        "huber": Huber,
        "quantile": Quantile,
        "gaussian_nll": GaussianNLL,
    },
)
NARROW = 1e-3
"""Width of the kernel where bins are to be all but hard."""


def _metric_of(loss: Objective, power: float) -> MetricOf:
    return MetricOf(objective=loss, power=power)


def _of_fit(loss: type[ThroughFit], power: float, says: str, **fixed: Any) -> Entry:
    """The metric that a loss through the fit is, in hard bins that can be measured in."""
    hard = {
        "bandwidth": (NARROW, NARROW),
        "kernel": "logistic",
        "straight_through": False,
        "constraints": Constraints(),
    }
    return Entry(loss, fixed=hard | fixed, then=partial(_metric_of, power=power), says=says)


METRICS = Registry(
    "metric",
    "a score of difftune.objectives",
    {
        "significance": Significance,
        "separation": Separation,
        "roc_area": AUC,
        "cut_significance": CutSignificance,
        "cut_ams": CutAMS,
        "resolution": Resolution,
        "bias": Bias,
        "discovery_significance": _of_fit(
            DiscoverySignificance, 0.5, "Expected significance, uncertainties included.", form="log"
        ),
        "poi_precision": _of_fit(
            PoiUncertainty, 1.0, "1 / σ(μ), all nuisance parameters profiled."
        ),
        "limit_strength": _of_fit(ExpectedLimit, 1.0, "1 / the expected upper limit on μ."),
        "robustness": _of_fit(
            Robustness, 1.0, "σ(μ) if nuisance parameters were known, over σ(μ)."
        ),
    },
)


# What needs no gradient may be minimised as it is.
OBJECTIVES |= {
    name: Entry(
        METRICS[name],
        then=ScoreLoss,
        says=f"Minus the score `{name}`, for an optimizer that needs no gradient.",
    )
    for name in ("significance", "separation", "roc_area", "cut_significance", "cut_ams")
}


def objective_from(given: Any) -> Objective:
    """An objective: by name, of a class without brackets, or cross-entropy for None.

    Raises:
        InputError: For a score, and for what is no objective.
    """
    if given is None:
        return CrossEntropy()
    if isinstance(given, str):
        given = OBJECTIVES.named(given, "objective")
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
        given = METRICS.named(given, "metric")
    return as_metric(given)
