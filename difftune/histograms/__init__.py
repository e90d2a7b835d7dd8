"""Hard and differentiable histograms, the choice of bin edges, and templates."""

from difftune.histograms.edges import choose_edges, quantile_edges
from difftune.histograms.hard import Histogram, histogram, yields
from difftune.histograms.soft import soft_histogram

__all__ = [
    "Histogram",
    "choose_edges",
    "histogram",
    "quantile_edges",
    "soft_histogram",
    "yields",
]
