"""Expected significance, fits, CLs, limits and impacts; differentiable, and in batches."""

from difftune.inference.asimov import asimov_llr, asimov_significance
from difftune.inference.fits import FitResult, Significance, fit
from difftune.inference.hypotest import HypoTest, expected_significance, hypotest
from difftune.inference.impacts import Impacts, impacts
from difftune.inference.limits import UpperLimit, upper_limit
from difftune.inference.problems import FitError
from difftune.inference.solver import Status

__all__ = [
    "FitError",
    "FitResult",
    "HypoTest",
    "Impacts",
    "Significance",
    "Status",
    "UpperLimit",
    "asimov_llr",
    "asimov_significance",
    "expected_significance",
    "fit",
    "hypotest",
    "impacts",
    "upper_limit",
]
