"""Hard and differentiable histograms, and templates."""

from difftune.histograms.hard import Histogram, histogram, yields
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
