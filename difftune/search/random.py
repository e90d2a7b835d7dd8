"""Random search: the baseline that every other strategy has to beat."""

from dataclasses import dataclass

import numpy as np

from difftune.arguments import takes
from difftune.search.proposal import PopulationState, Proposal, Strategy, fresh, unchanged
from difftune.search.space import Space


@takes()
@dataclass(frozen=True, kw_only=True)
class Random(Strategy):
    """Independent draws, each trained to the end (Bergstra and Bengio, JMLR 13, 281)."""

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """One draw per member."""
        return fresh(space.sample(rng, self.population), self.population)

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """All members go on."""
        return unchanged(state)
