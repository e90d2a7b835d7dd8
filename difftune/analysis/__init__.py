"""The verbs of an analysis: split events, train and tune networks, measure their worth."""

from difftune.analysis.measurement import Measurement, chosen_edges, fill_templates, measure
from difftune.analysis.preparation import Preparation
from difftune.analysis.split import Split
from difftune.analysis.tuned import Rank, Tuned, search_networks
from difftune.analysis.tuning import train, tune

__all__ = [
    "Measurement",
    "Preparation",
    "Rank",
    "Split",
    "Tuned",
    "chosen_edges",
    "fill_templates",
    "measure",
    "search_networks",
    "train",
    "tune",
]
