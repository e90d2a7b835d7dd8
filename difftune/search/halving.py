"""Successive halving (arXiv 1502.07943) and Hyperband (arXiv 1603.06560) in a population."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge
from jaxtyping import Int

from difftune.arguments import Count, takes
from difftune.errors import InputError
from difftune.search.proposal import PopulationState, Proposal, Strategy, fresh
from difftune.search.space import Space


@takes()
@dataclass(frozen=True, kw_only=True)
class Halving(Strategy):
    """Many begin, few are trained to the end; the slots of losers are given to new draws.

    A training is judged when it is 1, `factor`, `factor`², ... rounds long. The best of
    `factor` that came that far go on, and the slot of any other gets a new draw from the space. So
    the population stays full, and a later one is judged against all that have come as far
    before, as in asynchronous successive halving (arXiv 1810.05934). A training that is `longest`
    rounds long is done, and makes place too. No training begins that has no time to outlive its
    first comparison.

    Args:
        factor: One of so many goes on.
        longest: Rounds of the longest training; None for half of all, so that those that begin
            later can be done, too.
        brackets: Hyperband: that many groups of slots, of which the second spares its members the
            first comparison, the third the first two, and so on. A guard against hyperparameters
            that begin slowly.

    Raises:
        InputError: For a number out of range.
    """

    factor: Annotated[int, Ge(2)] = 3
    longest: Count | None = None
    brackets: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor < 2:
            raise InputError(f"Halving(factor={self.factor}): must be at least 2.")
        if self.longest is not None and not 1 <= self.longest <= self.rounds:
            raise InputError(f"Halving(longest={self.longest}): must be 1 to rounds={self.rounds}.")
        most = len(self._rungs(0)) + 1
        if not 1 <= self.brackets <= min(most, self.population):
            raise InputError(
                f"Halving(brackets={self.brackets}): must be 1 to {min(most, self.population)}; "
                f"trainings of {self.training_rounds} rounds are judged {most - 1} times."
            )

    def lasting(self, rounds: int, space: Space) -> "Halving":
        """With trainings and brackets that fit into so many rounds."""
        longest = None if self.longest is None else min(self.longest, rounds)
        same = replace(self, rounds=rounds, longest=longest, brackets=1)
        return replace(same, brackets=min(self.brackets, len(same._rungs(0)) + 1))

    @property
    def training_rounds(self) -> int:
        """Rounds of the longest training."""
        return max(1, self.rounds // 2) if self.longest is None else self.longest

    def _rungs(self, bracket: int) -> list[int]:
        """Lengths at which a bracket judges."""
        rungs, length = [], self.factor**bracket
        while length < self.training_rounds:
            rungs.append(length)
            length *= self.factor
        return rungs

    @property
    def bracket(self) -> Int[np.ndarray, " members"]:
        """Bracket of each slot: equal numbers of slots, as each gets the same share of the time."""
        return np.arange(self.population) % self.brackets

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """Independent draws."""
        return fresh(space.sample(rng, self.population), self.population)

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """Those that are judged and found wanting make place, and those that are done."""
        *_, (age, fitness) = _lives(state)
        out = age >= self.training_rounds
        for bracket in range(self.brackets):
            mine = self.bracket == bracket
            for rung in self._rungs(bracket):
                judged = mine & (age == rung)
                # All scores at this length so far, those of this round among them.
                scores = np.concatenate([f[mine & (a == rung)] for a, f in _lives(state)])
                places = -(-len(scores) // self.factor)
                bar = np.sort(scores)[::-1][min(places, len(scores)) - 1] if len(scores) else 0.0
                out |= judged & ~((fitness >= bar) & np.isfinite(fitness))
            # Who diverged is not waited for.
            out |= mine & ~np.isfinite(state.selection_score)
            rungs = self._rungs(bracket) or [0]
            out &= ~mine | (self.rounds - state.round > rungs[0])
        values = {name: array.copy() for name, array in state.hyperparameters.items()}
        drawn = space.sample(rng, self.population)
        for name in space:
            values[name][out] = drawn[name][out]
        return Proposal(parents=np.arange(self.population), restart=out, hyperparameters=values)


def _lives(state: PopulationState) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Length of each training at the end of each round, and its best score of that round."""
    age = np.zeros(len(state.selection_score), int)
    for each in state.past:
        age = np.where(each.restart, 0, age) + 1
        yield age, np.where(np.isfinite(each.best), each.best, -np.inf)
