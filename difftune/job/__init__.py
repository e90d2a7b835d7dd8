"""The job: an analysis file in, a run directory with the whole analysis out."""

from difftune.job.config import Config, General
from difftune.job.loading import from_dict, load
from difftune.job.measured_sections import (
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
from difftune.job.trained_sections import Comparison, Model, Objective, Range, Search, Training

__all__ = [
    "Comparison",
    "Config",
    "Data",
    "FeatureSystematic",
    "Fit",
    "General",
    "Model",
    "NormFactor",
    "NormalisationSystematic",
    "Objective",
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
