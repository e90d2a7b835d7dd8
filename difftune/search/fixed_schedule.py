"""Trains a known schedule of hyperparameters again, from other start values."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from difftune.arguments import takes
from difftune.search.proposal import PopulationState, Proposal, Strategy, fresh, unchanged
from difftune.search.space import Space


@takes()
@dataclass(frozen=True, kw_only=True)
class FixedSchedule(Strategy):
    """Every member follows one schedule; the members differ in their random numbers only.

    This tells how much of a result is the hyperparameters' and how much is luck.

    Args:
        schedule: Value of each hyperparameter in each round; the last one stays.
    """

    keeps_front: ClassVar[bool] = False

    schedule: dict[str, Float[np.ndarray, " rounds"]]

    def _values(self, number: int, members: int) -> dict[str, np.ndarray]:
        return {
            name: np.full(members, values[min(number, len(values) - 1)])
            for name, values in self.schedule.items()
        }

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """The first values of the schedule."""
        return fresh(self._values(0, self.population), self.population)

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """The next values, the same weights."""
        members = len(state.selection_score)
        going_on = unchanged(state)
        return Proposal(
            parents=going_on.parents,
            restart=going_on.restart,
            hyperparameters=self._values(state.round, members),
        )
