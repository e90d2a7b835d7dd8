"""Choice of bin edges: what a binning is judged by, what it must fulfil, and how it is found."""

from difftune.binning.cells import Cells
from difftune.binning.edges import choose_edges, equidistant_edges, quantile_edges, transformation_d
from difftune.binning.exact import brute_force_edges, exact_edges, greedy_edges
from difftune.binning.figures import (
    Additive,
    Asimov,
    Constraints,
    FigureOfMerit,
    Profiled,
    Scored,
    Yields,
    binned,
)
from difftune.binning.gradient import gradient_edges
from difftune.binning.joining import joined as joined
from difftune.binning.learned import LearnedEdges
from difftune.binning.learned import learned_in as learned_in
from difftune.binning.learned import trained_edges as trained_edges
from difftune.binning.optimise import Binning, optimise_edges
from difftune.binning.rules import RULES as RULES
from difftune.binning.rules import (
    BinningRule,
    EqualSignal,
    Exact,
    GivenEdges,
    Gradient,
    Learned,
    UserBinning,
)
from difftune.binning.rules import as_binning as as_binning

__all__ = [
    "Additive",
    "Asimov",
    "Binning",
    "BinningRule",
    "Cells",
    "Constraints",
    "EqualSignal",
    "Exact",
    "FigureOfMerit",
    "GivenEdges",
    "Gradient",
    "Learned",
    "LearnedEdges",
    "Profiled",
    "Scored",
    "UserBinning",
    "Yields",
    "binned",
    "brute_force_edges",
    "choose_edges",
    "equidistant_edges",
    "exact_edges",
    "gradient_edges",
    "greedy_edges",
    "optimise_edges",
    "quantile_edges",
    "transformation_d",
]
