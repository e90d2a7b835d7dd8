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
from difftune.binning.learned import LearnedEdges, learned_in, trained_edges
from difftune.binning.optimise import Binning, optimise_edges
from difftune.binning.rules import (
    RULES,
    BinningRule,
    EqualSignal,
    Exact,
    GivenEdges,
    Gradient,
    Learned,
    UserBinning,
    as_binning,
)

__all__ = [
    "RULES",
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
    "as_binning",
    "binned",
    "brute_force_edges",
    "choose_edges",
    "equidistant_edges",
    "exact_edges",
    "gradient_edges",
    "greedy_edges",
    "learned_in",
    "optimise_edges",
    "quantile_edges",
    "trained_edges",
    "transformation_d",
]
