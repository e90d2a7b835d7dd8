"""The verbs of an analysis: split events, train and tune networks, measure their worth."""

from difftune.analysis.automatic import Auto, Standing, auto
from difftune.analysis.boosting import train_trees
from difftune.analysis.bootstrap import bootstrapped
from difftune.analysis.categories import categorised
from difftune.analysis.channels import constant_templates as constant_templates
from difftune.analysis.closure import Closure, closure
from difftune.analysis.contest import Contestant
from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.discriminant import Discriminant, binned_score
from difftune.analysis.figure import FIGURES, Figure, Merit
from difftune.analysis.figure import as_figure as as_figure
from difftune.analysis.figure import fit_model as fit_model
from difftune.analysis.figure import statistics as statistics
from difftune.analysis.interruption import Terminated as Terminated
from difftune.analysis.interruption import exit_code as exit_code
from difftune.analysis.interruption import explained as explained
from difftune.analysis.ladder import Ladder, Step
from difftune.analysis.measurement import Measurement, fill_templates, measure
from difftune.analysis.measurement import check_model as check_model
from difftune.analysis.noise import VariationNoise, variation_noise
from difftune.analysis.preparation import CrossPreparation as CrossPreparation
from difftune.analysis.preparation import Preparation
from difftune.analysis.progress import LogFile as LogFile
from difftune.analysis.progress import RoundLog as RoundLog
from difftune.analysis.progress import watching as watching
from difftune.analysis.pruning import NOISE as NOISE
from difftune.analysis.pruning import Effect, Treatment
from difftune.analysis.residuals import Residuals, Spread, residuals
from difftune.analysis.split import Split
from difftune.analysis.stages import AnyTuned as AnyTuned
from difftune.analysis.stages import CrossTuned, Stage
from difftune.analysis.stages import check_stage as check_stage
from difftune.analysis.stages import in_stages as in_stages
from difftune.analysis.stages import prepared as prepared
from difftune.analysis.stages import search_stage as search_stage
from difftune.analysis.tuned import Rank, Tuned, search_networks
from difftune.analysis.tuned import search_each_fold as search_each_fold
from difftune.analysis.tuning import train, tune
from difftune.analysis.variables import Elimination, Variables, select_variables
from difftune.analysis.variables import without as without

__all__ = [
    "FIGURES",
    "Auto",
    "Closure",
    "Contestant",
    "CrossFit",
    "CrossTuned",
    "Discriminant",
    "Effect",
    "Elimination",
    "Figure",
    "Ladder",
    "Measurement",
    "Merit",
    "Preparation",
    "Rank",
    "Residuals",
    "Split",
    "Spread",
    "Stage",
    "Standing",
    "Step",
    "Treatment",
    "Tuned",
    "Variables",
    "VariationNoise",
    "auto",
    "binned_score",
    "bootstrapped",
    "categorised",
    "closure",
    "fill_templates",
    "measure",
    "residuals",
    "search_networks",
    "select_variables",
    "train",
    "train_trees",
    "tune",
    "variation_noise",
]
