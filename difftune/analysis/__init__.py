"""The verbs of an analysis: split the events, tune networks, measure what they are worth."""

from difftune.analysis.measurement import Measurement, chosen_edges, fill_templates, measure
from difftune.analysis.split import Split
from difftune.analysis.tuning import Rank, Task, Tuned, tune

__all__ = [
    "Measurement",
    "Rank",
    "Split",
    "Task",
    "Tuned",
    "chosen_edges",
    "fill_templates",
    "measure",
    "tune",
]
