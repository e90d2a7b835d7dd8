"""Expected significance, fits, CLs, limits and impacts; differentiable, and in batches."""

from difftune.inference.effects import Effects, effects
from difftune.inference.examine import Examination, examine, moved_far
from difftune.inference.exclusion import (
    Discovery,
    Exclusion,
    SignalGrid,
    discovery,
    exclusion,
    signal_grid,
)
from difftune.inference.expected import AsimovProblem as AsimovProblem
from difftune.inference.expected import asimov_at as asimov_at
from difftune.inference.expected import asimov_llr, asimov_significance
from difftune.inference.expected import covariance as covariance
from difftune.inference.expected import likelihood_ratio_at as likelihood_ratio_at
from difftune.inference.expected import median_limit as median_limit
from difftune.inference.expected import variance_where_known as variance_where_known
from difftune.inference.fits import FitResult, SignificanceTest, fit
from difftune.inference.goodness import ChannelFit, GoodnessOfFit, goodness_of_fit
from difftune.inference.groups import GroupedImpacts, ImpactGroup, grouped_impacts
from difftune.inference.hypotest import HypoTest, expected_significance, hypotest
from difftune.inference.hypotest import root as root
from difftune.inference.impacts import Impacts, impacts
from difftune.inference.injection import Injection, injection
from difftune.inference.intervals import (
    Contours,
    MinosErrors,
    ProfileScan,
    contours,
    minos,
    profile,
)
from difftune.inference.limits import UpperLimit, upper_limit
from difftune.inference.minima import at_value as at_value
from difftune.inference.minima import envelope as envelope
from difftune.inference.prediction import Prediction, Yields, predictions
from difftune.inference.prediction import carried_over as carried_over
from difftune.inference.problems import FitError
from difftune.inference.solver import Status
from difftune.inference.solver import deviance as deviance
from difftune.inference.solver import expand as expand
from difftune.inference.solver import minimise as minimise
from difftune.inference.toys import ToyInterval, feldman_cousins, limit_from_toys

__all__ = [
    "ChannelFit",
    "Contours",
    "Discovery",
    "Effects",
    "Examination",
    "Exclusion",
    "FitError",
    "FitResult",
    "GoodnessOfFit",
    "GroupedImpacts",
    "HypoTest",
    "ImpactGroup",
    "Impacts",
    "Injection",
    "MinosErrors",
    "Prediction",
    "ProfileScan",
    "SignalGrid",
    "SignificanceTest",
    "Status",
    "ToyInterval",
    "UpperLimit",
    "Yields",
    "asimov_llr",
    "asimov_significance",
    "contours",
    "discovery",
    "effects",
    "examine",
    "exclusion",
    "expected_significance",
    "feldman_cousins",
    "fit",
    "goodness_of_fit",
    "grouped_impacts",
    "hypotest",
    "impacts",
    "injection",
    "limit_from_toys",
    "minos",
    "moved_far",
    "predictions",
    "profile",
    "signal_grid",
    "upper_limit",
]
