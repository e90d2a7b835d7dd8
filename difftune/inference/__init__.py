"""Expected significance, fits, CLs and limits."""

from difftune.inference.asimov import asimov_llr, asimov_significance
from difftune.inference.backend import FitError
from difftune.inference.fits import (
    FitResult,
    Significance,
    expected_significance,
    fit,
)
from difftune.inference.limits import HypoTest, UpperLimit, hypotest, upper_limit

__all__ = [
    "FitError",
    "FitResult",
    "HypoTest",
    "Significance",
    "UpperLimit",
    "asimov_llr",
    "asimov_significance",
    "expected_significance",
    "fit",
    "hypotest",
    "upper_limit",
]
