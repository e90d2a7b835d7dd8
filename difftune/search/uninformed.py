"""Strategies that look at no result: random search, a grid, and a schedule that is known."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import ClassVar, cast

import numpy as np
from jaxtyping import Float

from difftune.arguments import Count, takes
from difftune.errors import InputError, nearest
from difftune.search.dimensions import Conditional
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


logger = logging.getLogger("difftune")


@takes()
@dataclass(frozen=True, kw_only=True)
class Grid(Strategy):
    """All combinations, a population of them in each round, each trained for one round.

    Those that differ only in hyperparameters that do not count there (`when`) are one. How many
    there are is said, and has to fit, before anything is trained. Slots that are left over in the
    last round train the first combinations again, from other start values.

    Args:
        points: Values of each hyperparameter, evenly over its range (of the logarithm, for
            log-uniform ones), ends included; one number, or by name, where others have 3. Choices
            and integers of that many values or less are all taken.

    Raises:
        InputError: For less than one point, and at the start if there are more combinations than
            trainings.
    """

    points: Count | Mapping[str, Count] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.points, int | Mapping):
            raise InputError(
                f"Grid(points={self.points!r}): give a whole number, or numbers by name."
            )
        counts = self.points.values() if isinstance(self.points, Mapping) else (self.points,)
        if min(counts, default=1) < 1:
            raise InputError(f"Grid(points={self.points}): must be at least 1.")

    def lasting(self, rounds: int, space: Space) -> "Grid":
        """With as many rounds as the combinations need, if there is time for them."""
        return replace(self, rounds=min(rounds, -(-self.count(space) // self.population)))

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

    def _families(self, space: Space) -> list[tuple[str, list[str]]]:
        """Each hyperparameter without a condition, and those with a condition upon it."""
        conditions = {n: d.on for n, d in space.items() if isinstance(d, Conditional)}
        return [
            (name, [own for own, on in conditions.items() if on == name])
            for name in space
            if name not in conditions
        ]

    def count(self, space: Space) -> int:
        """How many combinations there are."""
        axes = self.axes(space)

        def of_family(name: str, conditional: list[str]) -> int:
            counting = {
                own: cast(Conditional, space[own]).counts(axes[name]) for own in conditional
            }
            return sum(
                prod(len(axes[own]) for own in conditional if counting[own][place])
                for place in range(len(axes[name]))
            )

        return prod(of_family(*family) for family in self._families(space))

    def _rows(self, space: Space) -> list[dict[str, np.ndarray]]:
        """All combinations of each family; those of different families go together freely."""
        axes, families = self.axes(space), []
        for name, conditional in self._families(space):
            rows: dict[str, list[float]] = {each: [] for each in (name, *conditional)}
            for value in axes[name]:
                own = []
                for other in conditional:
                    dimension = cast(Conditional, space[other])
                    counts = bool(dimension.counts(np.array([value]))[0])
                    own.append(axes[other] if counts else np.array([dimension.middle]))
                for combination in product([value], *own):
                    for each, number in zip(rows, combination, strict=True):
                        rows[each].append(float(number))
            families.append({each: np.array(numbers) for each, numbers in rows.items()})
        return families

    def _values(self, space: Space, number: int) -> dict[str, np.ndarray]:
        families = self._rows(space)
        which = (number * self.population + np.arange(self.population)) % self.count(space)
        sizes = [len(next(iter(rows.values()))) for rows in families]
        places = np.unravel_index(which, sizes)
        values = {
            name: column[place]
            for rows, place in zip(families, places, strict=True)
            for name, column in rows.items()
        }
        return {name: values[name] for name in space}

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """The first combinations, after a count of all."""
        if not space:
            raise InputError("Grid: the space is empty; give space=..., or take Random.")
        count, trainings = self.count(space), self.population * self.rounds
        text = " x ".join(
            f"{name} {len(values)}"
            + (" where it counts" if isinstance(space[name], Conditional) else "")
            for name, values in self.axes(space).items()
        )
        if self.minutes is not None:
            logger.info("grid of %d combinations (%s)", count, text)
            return fresh(self._values(space, 0), self.population)
        if count > trainings:
            need = -(-count // self.population)
            raise InputError(
                f"the grid has {count} combinations ({text}), more than population "
                f"{self.population} x rounds {self.rounds} = {trainings} trainings: give "
                f"rounds={need}, or fewer points."
            )
        logger.info("grid of %d combinations (%s), %d trainings", count, text, trainings)
        return fresh(self._values(space, 0), self.population)

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """The next combinations."""
        return fresh(self._values(space, state.round), self.population)

    def finish(self, space: Space, state: PopulationState) -> None:
        """Says what there was no time for."""
        count, trained = self.count(space), state.round * self.population
        if trained < count:
            logger.warning(
                "the time was over after %d of the %d combinations of the grid: give more minutes, "
                "or fewer points.",
                *(trained, count),
            )


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

    def in_epoch(self, epoch: int) -> dict[str, np.ndarray]:
        """The values of all members in an epoch.

        Args:
            epoch: Its number, from the first round on.
        """
        return self._values(epoch // self.epochs_per_round, self.population)

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
