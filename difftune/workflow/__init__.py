"""The whole chain: read, tune, bin, fit, report."""

from difftune.workflow.chain import Outcome, check, run
from difftune.workflow.measurement import Measurement, chosen_edges, fill_templates, measure
from difftune.workflow.split import Split
from difftune.workflow.tuning import Rank, Task, Tuned, tune

__all__ = [
    "Measurement",
    "Outcome",
    "Rank",
    "Split",
    "Task",
    "Tuned",
    "check",
    "chosen_edges",
    "fill_templates",
    "measure",
    "run",
    "tune",
]
