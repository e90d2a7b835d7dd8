"""The job: an analysis file in, a run directory with the whole analysis out."""

from difftune.job.config import (
    Comparison,
    Condition,
    Config,
    General,
    Metric,
    Model,
    Objective,
    Optimizer,
    Range,
    Search,
    Training,
)
from difftune.job.loading import from_dict, load
from difftune.job.measured_sections import (
    Binning,
    Data,
    FeatureSystematic,
    Fit,
    NormalisationSystematic,
    NormFactor,
    Sample,
    TreeSystematic,
    WeightSystematic,
)
from difftune.job.outcome import Outcome
from difftune.job.run import check, run

__all__ = [
    "Binning",
    "Comparison",
    "Condition",
    "Config",
    "Data",
    "FeatureSystematic",
    "Fit",
    "General",
    "Metric",
    "Model",
    "NormFactor",
    "NormalisationSystematic",
    "Objective",
    "Optimizer",
    "Outcome",
    "Range",
    "Sample",
    "Search",
    "Training",
    "TreeSystematic",
    "WeightSystematic",
    "check",
    "from_dict",
    "load",
    "run",
]
