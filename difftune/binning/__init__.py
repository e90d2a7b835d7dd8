"""Choice of bin edges: what a binning is judged by, what it must fulfil, and how it is found."""

from difftune.binning.baselines import equidistant_edges, transformation_d
from difftune.binning.brute import brute_force_edges
from difftune.binning.cells import Cells
from difftune.binning.constraints import Constraints
from difftune.binning.exact import exact_edges
from difftune.binning.figures import Additive, Asimov, FigureOfMerit, Profiled
from difftune.binning.gradient import gradient_edges
from difftune.binning.greedy import greedy_edges
from difftune.binning.learned import LearnedEdges
from difftune.binning.optimise import Binning, optimise_edges
from difftune.binning.yields import Scored, Yields, binned
from difftune.histograms import choose_edges

__all__ = [
    "Additive",
    "Asimov",
    "Binning",
    "Cells",
    "Constraints",
    "FigureOfMerit",
    "LearnedEdges",
    "Profiled",
    "Scored",
    "Yields",
    "binned",
    "brute_force_edges",
    "choose_edges",
    "equidistant_edges",
    "exact_edges",
    "gradient_edges",
    "greedy_edges",
    "optimise_edges",
    "transformation_d",
]
