"""Hard and differentiable histograms, and templates."""

from difftune.histograms.compare import auc as auc
from difftune.histograms.compare import auc_influence as auc_influence
from difftune.histograms.compare import chi2_p_value as chi2_p_value
from difftune.histograms.compare import effective_count as effective_count
from difftune.histograms.compare import ks_p_value as ks_p_value
from difftune.histograms.compare import roc_curve as roc_curve
from difftune.histograms.compare import separation as separation
from difftune.histograms.compare import separation_power as separation_power
from difftune.histograms.compare import weighted_correlation as weighted_correlation
from difftune.histograms.compare import weighted_ks as weighted_ks
from difftune.histograms.fill import KERNELS as KERNELS
from difftune.histograms.fill import Histogram, histogram, soft_histogram, yields
from difftune.histograms.fill import in_blocks as in_blocks
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
