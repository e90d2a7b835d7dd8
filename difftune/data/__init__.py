"""Events from ROOT, Parquet and CSV: arrays, weights, folds, variations."""

from difftune.data import ntuples as ntuples
from difftune.data.categories import with_categories as with_categories
from difftune.data.check import check_events
from difftune.data.describing import processes_text as processes_text
from difftune.data.entries import completed as completed
from difftune.data.entries import entries as entries
from difftune.data.entries import program_of as program_of
from difftune.data.entries import tables_of as tables_of
from difftune.data.events import Events, Process, VariedSample, VariedWeights
from difftune.data.events import yield_factors as yield_factors
from difftune.data.friends import Friend
from difftune.data.friends import as_defaults as as_defaults
from difftune.data.friends import as_friends as as_friends
from difftune.data.names import DataTable as DataTable
from difftune.data.objects import Collection, Objects
from difftune.data.objects import as_objects as as_objects
from difftune.data.objects import collections_of as collections_of
from difftune.data.objects import there as there
from difftune.data.pairing import paired
from difftune.data.parts import Part
from difftune.data.read import as_events as as_events
from difftune.data.read import read
from difftune.data.reading import Reading as Reading
from difftune.data.regions import Region
from difftune.data.sources import resolve as resolve
from difftune.data.sums import Normalisation, SumOfWeights
from difftune.data.targets import TargetScaling as TargetScaling
from difftune.data.targets import TargetTransform
from difftune.data.targets import check_targets as check_targets
from difftune.data.transform import FeatureTransform
from difftune.data.variations import (
    FeatureVariation,
    TreeVariation,
    Variation,
    WeightVariation,
)
from difftune.data.variations import as_files as as_files

__all__ = [
    "Collection",
    "Events",
    "FeatureTransform",
    "FeatureVariation",
    "Friend",
    "Normalisation",
    "Objects",
    "Part",
    "Process",
    "Region",
    "SumOfWeights",
    "TargetTransform",
    "TreeVariation",
    "Variation",
    "VariedSample",
    "VariedWeights",
    "WeightVariation",
    "check_events",
    "paired",
    "read",
]
