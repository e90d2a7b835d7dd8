"""Who trains next with what: the space, the strategies, and the loop they share."""

from difftune.search.bayes import Optuna
from difftune.search.cmaes import CMAES
from difftune.search.dimensions import Dimension
from difftune.search.evolution import Evolution
from difftune.search.fixed_schedule import FixedSchedule
from difftune.search.grid import Grid
from difftune.search.halving import Halving
from difftune.search.kinds import KINDS as KINDS
from difftune.search.kinds import (
    category,
    choice,
    integer,
    log_integer,
    log_uniform,
    uniform,
    when,
)
from difftune.search.loop import Progress, SearchError, SearchResult, run_search
from difftune.search.named import STRATEGIES as STRATEGIES
from difftune.search.named import as_strategy as as_strategy
from difftune.search.pb2 import PB2
from difftune.search.pbt import PBT
from difftune.search.proposal import PopulationState, Proposal, Round, Strategy, fresh, unchanged
from difftune.search.random import Random
from difftune.search.replicated import Replicated
from difftune.search.space import Space, dense_space

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
    "Space",
    "Strategy",
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
