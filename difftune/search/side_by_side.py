"""Independent searches side by side on the members of one population."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Shaped

from difftune.arguments import said, takes
from difftune.errors import InputError
from difftune.search.named import as_strategy
from difftune.search.proposal import PopulationState, Proposal, Round, Strategy
from difftune.search.space import Space


def as_strategies(given: Any) -> tuple[Strategy, ...]:
    """Strategies, each also by its name.

    Raises:
        InputError: For what is no sequence of them.
    """
    if isinstance(given, (str, Strategy)) or not isinstance(given, Iterable):
        raise InputError(
            f"SideBySide(strategies={said(given)}): give one for each search, as in "
            "strategies=(PBT(),) * 5."
        )
    return tuple(as_strategy(each) for each in given)


@takes(strategies=as_strategies)
@dataclass(frozen=True, kw_only=True)
class SideBySide(Strategy):
    """Several searches, none of which knows of the others, as one program.

    Search k has the slots from k times the population of a strategy on. It proposes from what its
    own members have done, with random numbers of its own, so that its proposals are the same
    whatever other searches there are, and how many. For cross-fitting, where no choice for a fold
    may have seen it.

    Size is that of all strategies together, rounds and epochs are those of each.

    Args:
        strategies: What proposes in each search, all of one size and length. One that learns from
            searches elsewhere does so no more (`Strategy.isolated`).
        each: What a search stands for, in messages: `"fold"` for those of cross-fitting.

    Raises:
        InputError: For no strategy, or those of different size or length.
    """

    # Each search keeps its own.
    keeps_front: ClassVar[bool] = False

    strategies: tuple[Strategy, ...]
    each: str = "search"

    def __post_init__(self) -> None:
        if not self.strategies:
            raise InputError("SideBySide(strategies=()): give at least one strategy.")
        alone = tuple(strategy.isolated() for strategy in self.strategies)
        first = alone[0]
        for name in ("population", "rounds", "epochs_per_round", "training_rounds", "minutes"):
            values = [getattr(strategy, name) for strategy in alone]
            if len(set(values)) > 1:
                raise InputError(
                    f"SideBySide(strategies=...): {name} is {values}; searches side by side are of "
                    "one size and length."
                )
        object.__setattr__(self, "strategies", alone)
        object.__setattr__(self, "population", first.population * len(alone))
        object.__setattr__(self, "rounds", first.rounds)
        object.__setattr__(self, "epochs_per_round", first.epochs_per_round)
        object.__setattr__(self, "minutes", first.minutes)
        super().__post_init__()

    def lasting(self, rounds: int, space: Space) -> "SideBySide":
        """With so many rounds of each."""
        each = tuple(strategy.lasting(rounds, space) for strategy in self.strategies)
        return replace(self, strategies=each)

    @property
    def training_rounds(self) -> int:
        """Rounds of a training, as many as in each search."""
        return self.strategies[0].training_rounds

    def slots(self, search: int) -> slice:
        """The members of a search."""
        size = self.strategies[0].population
        return slice(search * size, (search + 1) * size)

    def _joined(
        self, of: Callable[[Strategy, slice], Shaped[np.ndarray, " some"]]
    ) -> Shaped[np.ndarray, " members"]:
        each = enumerate(self.strategies)
        return np.concatenate([of(strategy, self.slots(number)) for number, strategy in each])

    def trial_scores(self, score: Float[np.ndarray, " members"]) -> Float[np.ndarray, " members"]:
        """Those of each search."""
        return self._joined(lambda strategy, own: strategy.trial_scores(score[own]))

    def complete(self, score: Float[np.ndarray, " members"]) -> Bool[np.ndarray, " members"]:
        """Those of each search."""
        return self._joined(lambda strategy, own: strategy.complete(score[own]))

    def winners(self, score: Float[np.ndarray, " members"]) -> tuple[int, ...]:
        """The chosen member of each search."""
        return tuple(
            self.slots(number).start + strategy.winner(score[self.slots(number)])
            for number, strategy in enumerate(self.strategies)
        )

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """The first round of each search."""
        return self._together(
            [
                strategy.start(space, own)
                for strategy, own in zip(self.strategies, self._streams(rng), strict=True)
            ]
        )

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """A later round of each search."""
        streams = self._streams(rng)
        return self._together(
            [
                strategy.propose(space, self._own_state(state, number), streams[number])
                for number, strategy in enumerate(self.strategies)
            ]
        )

    def finish(self, space: Space, state: PopulationState) -> None:
        """Tells each strategy what became of its own search."""
        for number, strategy in enumerate(self.strategies):
            strategy.finish(space, self._own_state(state, number))

    def _streams(self, rng: np.random.Generator) -> list[np.random.Generator]:
        """Random numbers of each search; those of the first ones do not depend on how many."""
        return rng.spawn(len(self.strategies))

    def _together(self, proposals: list[Proposal]) -> Proposal:
        names = list(proposals[0].hyperparameters)
        if any(set(each.hyperparameters) != set(names) for each in proposals):
            raise InputError(
                "SideBySide(strategies=...): the strategies propose different hyperparameters; "
                "searches side by side are for one space."
            )
        return Proposal(
            parents=np.concatenate(
                [each.parents + self.slots(number).start for number, each in enumerate(proposals)]
            ),
            restart=np.concatenate([each.restart for each in proposals]),
            hyperparameters={
                name: np.concatenate([each.hyperparameters[name] for each in proposals])
                for name in names
            },
        )

    def _own_state(self, state: PopulationState, search: int) -> PopulationState:
        """How the population of one search stands."""
        own = self.slots(search)

        def of(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[own]

        def of_round(each: Round) -> Round:
            return replace(
                each,
                parents=each.parents[own] - own.start,
                restart=each.restart[own],
                hyperparameters={name: v[own] for name, v in each.hyperparameters.items()},
                selection_score=each.selection_score[own],
                best=each.best[own],
                scores=of(each.scores),
            )

        return replace(
            state,
            selection_score=state.selection_score[own],
            eligible=state.eligible[own],
            hyperparameters={name: v[own] for name, v in state.hyperparameters.items()},
            past=tuple(of_round(each) for each in state.past),
            scores=of(state.scores),
            overtraining=of(state.overtraining),
        )
