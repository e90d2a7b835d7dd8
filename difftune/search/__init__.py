"""Searches for hyperparameters: the space, the strategies, and the loop that they share."""

from difftune.search.bayes import Optuna
from difftune.search.dimensions import Choice as Choice
from difftune.search.dimensions import Dimension
from difftune.search.dimensions import Integer as Integer
from difftune.search.dimensions import inner as inner
from difftune.search.evolution import CMAES, Evolution
from difftune.search.halving import Halving
from difftune.search.loop import Progress, SearchError, SearchResult, Watcher, run_search
from difftune.search.named import STRATEGIES as STRATEGIES
from difftune.search.named import as_strategy as as_strategy
from difftune.search.pbt import PB2, PBT
from difftune.search.proposal import PopulationState, Proposal, Round, Strategy, fresh, unchanged
from difftune.search.proposal import dominated as dominated
from difftune.search.replicated import Replicated
from difftune.search.side_by_side import SideBySide
from difftune.search.space import KINDS as KINDS
from difftune.search.space import (
    Space,
    category,
    choice,
    dense_space,
    integer,
    log_integer,
    log_uniform,
    uniform,
    when,
)
from difftune.search.uninformed import FixedSchedule, Grid, Random

__all__ = [
    "CMAES",
    "PB2",
    "PBT",
    "Dimension",
    "Evolution",
    "FixedSchedule",
    "Grid",
    "Halving",
    "Optuna",
    "PopulationState",
    "Progress",
    "Proposal",
    "Random",
    "Replicated",
    "Round",
    "SearchError",
    "SearchResult",
    "SideBySide",
    "Space",
    "Strategy",
    "Watcher",
    "category",
    "choice",
    "dense_space",
    "fresh",
    "integer",
    "log_integer",
    "log_uniform",
    "run_search",
    "unchanged",
    "uniform",
    "when",
]
