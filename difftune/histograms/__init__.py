"""Hard and differentiable histograms, the choice of bin edges, and templates."""

from difftune.histograms.edges import choose_edges, quantile_edges
from difftune.histograms.hard import Histogram, histogram, yields
from difftune.histograms.soft import soft_histogram
from difftune.histograms.templates import Template, Templates, symmetrised

__all__ = [
    "Histogram",
    "Template",
    "Templates",
    "choose_edges",
    "histogram",
    "quantile_edges",
    "soft_histogram",
    "symmetrised",
    "yields",
]
