"""Who trains next with what: the space, the strategies, and the loop they share."""

from difftune.search.loop import Progress, SearchError, SearchResult, run_search
from difftune.search.pbt import PBT
from difftune.search.proposal import Proposal, Round, Standing, Strategy, fresh, unchanged
from difftune.search.random import Random
from difftune.search.replay import Replay
from difftune.search.space import Dimension, Space, choice, integer, log_uniform, uniform

__all__ = [
    "PBT",
    "Dimension",
    "Progress",
    "Proposal",
    "Random",
    "Replay",
    "Round",
    "SearchError",
    "SearchResult",
    "Space",
    "Standing",
    "Strategy",
    "choice",
    "fresh",
    "integer",
    "log_uniform",
    "run_search",
    "unchanged",
    "uniform",
]
