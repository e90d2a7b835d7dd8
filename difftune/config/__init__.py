"""The analysis file: what a TOML configuration may say, and what is wrong with it if it errs."""

from difftune.config.loading import check, load
from difftune.config.sections import (
    Comparison,
    Config,
    Data,
    FeatureSystematic,
    Fit,
    General,
    Model,
    NormalisationSystematic,
    NormFactor,
    Objective,
    Range,
    Sample,
    Search,
    Training,
    TreeSystematic,
    WeightSystematic,
)

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
    "Range",
    "Sample",
    "Search",
    "Training",
    "TreeSystematic",
    "WeightSystematic",
    "check",
    "load",
]
