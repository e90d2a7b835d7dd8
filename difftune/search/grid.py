"""Grid search: every combination of a few values of each hyperparameter."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from difftune.errors import InputError, nearest
from difftune.search.proposal import Proposal, Standing, Strategy, fresh
from difftune.search.space import Space

logger = logging.getLogger("difftune")


@dataclass(frozen=True, kw_only=True)
class Grid(Strategy):
    """All combinations, a population of them in each round, each trained for one round.

    How many there are is said, and has to fit, before anything is trained. Slots that are left
    over in the last round train the first combinations again, from other start values.

    Args:
        points: Values of each hyperparameter, evenly over its range (of the logarithm, for
            log-uniform ones), ends included; one number, or by name, where others have 3. Choices
            and integers of that many values or less are all taken.

    Raises:
        InputError: For less than one point, and at the start if there are more combinations than
            trainings.
    """

    points: int | Mapping[str, int] = 3

    def __post_init__(self):
        super().__post_init__()
        counts = self.points.values() if isinstance(self.points, Mapping) else (self.points,)
        if min(counts, default=1) < 1:
            raise InputError(f"Grid(points={self.points}): must be at least 1.")

    @property
    def training_rounds(self) -> int:
        """Every round trains anew."""
        return 1

    def axes(self, space: Space) -> dict[str, np.ndarray]:
        """The values of each hyperparameter."""
        given = self.points if isinstance(self.points, Mapping) else dict.fromkeys(space, 0)
        for name in given:
            if name not in space:
                raise InputError(
                    f"Grid(points=...): {name!r} is not in the space.{nearest(name, space)}"
                )
        default = 3 if isinstance(self.points, Mapping) else self.points
        return {
            name: np.asarray(dimension.grid(given.get(name, 0) or default))
            for name, dimension in space.items()
        }

    def count(self, space: Space) -> int:
        """How many combinations there are."""
        return prod(len(values) for values in self.axes(space).values())

    def _values(self, space: Space, number: int) -> dict[str, np.ndarray]:
        axes = self.axes(space)
        which = (number * self.population + np.arange(self.population)) % self.count(space)
        places = np.unravel_index(which, [len(values) for values in axes.values()])
        return {name: axes[name][place] for name, place in zip(axes, places, strict=True)}

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """The first combinations, after a count of all."""
        count, trainings = self.count(space), self.population * self.rounds
        product = " x ".join(f"{name} {len(values)}" for name, values in self.axes(space).items())
        if count > trainings:
            need = -(-count // self.population)
            raise InputError(
                f"the grid has {count} combinations ({product}), more than population "
                f"{self.population} x rounds {self.rounds} = {trainings} trainings: give "
                f"rounds={need}, or fewer points."
            )
        logger.info("grid of %d combinations (%s), %d trainings", count, product, trainings)
        return fresh(self._values(space, 0), self.population)

    def propose(self, space: Space, standing: Standing, rng: np.random.Generator) -> Proposal:
        """The next combinations."""
        return fresh(self._values(space, standing.round), self.population)
