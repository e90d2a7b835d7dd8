"""The verbs of an analysis: split events, train and tune networks, measure their worth."""

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.interruption import Terminated as Terminated
from difftune.analysis.interruption import exit_code as exit_code
from difftune.analysis.interruption import explained as explained
from difftune.analysis.measurement import Measurement, chosen_edges, fill_templates, measure
from difftune.analysis.measurement import check_model as check_model
from difftune.analysis.preparation import Preparation
from difftune.analysis.progress import LogFile as LogFile
from difftune.analysis.progress import RoundLog as RoundLog
from difftune.analysis.split import Split
from difftune.analysis.tuned import Rank, Tuned, search_networks
from difftune.analysis.tuning import train, tune

__all__ = [
    "CrossFit",
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
