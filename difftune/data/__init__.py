"""Events from ROOT, Parquet and CSV: arrays, weights, folds, variations."""

from difftune.data.check import check_events
from difftune.data.events import Events, Process, VariedSample, VariedWeights
from difftune.data.events import register as register
from difftune.data.events import yield_factors as yield_factors
from difftune.data.pairing import paired
from difftune.data.read import as_events as as_events
from difftune.data.read import read
from difftune.data.regions import Region
from difftune.data.transform import FeatureTransform
from difftune.data.variations import (
    FeatureVariation,
    TreeVariation,
    Variation,
    WeightVariation,
)

__all__ = [
    "Events",
    "FeatureTransform",
    "FeatureVariation",
    "Process",
    "Region",
    "TreeVariation",
    "Variation",
    "VariedSample",
    "VariedWeights",
    "WeightVariation",
    "check_events",
    "paired",
    "read",
]
