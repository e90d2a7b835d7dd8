"""The analysis file: what a TOML configuration may say, and what is wrong with it if it errs."""

from difftune.config.analysis import Config, General
from difftune.config.loading import check, load
from difftune.config.measurement import (
    Data,
    FeatureSystematic,
    Fit,
    NormalisationSystematic,
    NormFactor,
    Sample,
    TreeSystematic,
    WeightSystematic,
)
from difftune.config.tuning import Comparison, Model, Objective, Range, Search, Training

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
