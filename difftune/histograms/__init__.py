"""Hard and differentiable histograms, and templates."""

from difftune.histograms.compare import auc as auc
from difftune.histograms.compare import effective_count as effective_count
from difftune.histograms.compare import roc_curve as roc_curve
from difftune.histograms.compare import weighted_ks as weighted_ks
from difftune.histograms.hard import Histogram, histogram, yields
from difftune.histograms.soft import KERNELS as KERNELS
from difftune.histograms.soft import in_blocks as in_blocks
from difftune.histograms.soft import soft_histogram
from difftune.histograms.templates import Template, Templates, symmetrised

__all__ = [
    "Histogram",
    "Template",
    "Templates",
    "histogram",
    "soft_histogram",
    "symmetrised",
    "yields",
]
