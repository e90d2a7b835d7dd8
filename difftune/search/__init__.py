"""Who trains next with what: the space, the strategies, and the loop they share."""

from difftune.search.bayes import Optuna
from difftune.search.cmaes import CMAES
from difftune.search.dimensions import Dimension
from difftune.search.evolution import Evolution
from difftune.search.grid import Grid
from difftune.search.halving import Halving
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
from difftune.search.pb2 import PB2
from difftune.search.pbt import PBT
from difftune.search.proposal import Proposal, Round, Standing, Strategy, fresh, unchanged
from difftune.search.random import Random
from difftune.search.repeated import Repeated
from difftune.search.replay import Replay
from difftune.search.space import Space, dense_space

__all__ = [
    "CMAES",
    "PB2",
    "PBT",
    "Dimension",
    "Evolution",
    "Grid",
    "Halving",
    "Optuna",
    "Progress",
    "Proposal",
    "Random",
    "Repeated",
    "Replay",
    "Round",
    "SearchError",
    "SearchResult",
    "Space",
    "Standing",
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
