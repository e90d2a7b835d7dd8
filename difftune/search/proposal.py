"""The one question that every search strategy answers between two rounds.

With several scores members are ranked as in NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6 (2002)
182), whose ranking population-based training with several objectives uses too (arXiv 2306.01436):
first the members that no other one dominates, then those that only these dominate, and so on;
within a layer first those that stand farthest from their neighbours.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from difftune.arguments import Count, Positive
from difftune.errors import InputError
from difftune.search.space import Space


def dominated(scores: Float[np.ndarray, "members scores"]) -> Bool[np.ndarray, " members"]:
    """Whether somebody is better in one score and worse in none.

    Args:
        scores: Larger is better.
    """
    return np.any(_dominates(scores), axis=0)


def places(scores: Float[np.ndarray, "members scores"]) -> Int[np.ndarray, " members"]:
    """The place of each member, from 0 for the first.

    Args:
        scores: Larger is better; finite.
    """
    layer = layers(scores)
    apart = np.zeros(len(scores))
    for number in range(layer.max(initial=-1) + 1):
        own = np.flatnonzero(layer == number)
        apart[own] = _apart(scores[own])
    place = np.empty(len(scores), int)
    place[np.lexsort((-apart, layer))] = np.arange(len(scores))
    return place


def layers(scores: Float[np.ndarray, "members scores"]) -> Int[np.ndarray, " members"]:
    """0 for those that no other one dominates, 1 for those that only layer 0 dominates, and so on.

    Args:
        scores: Larger is better; finite.
    """
    dominates = _dominates(scores)
    layer = np.full(len(scores), -1)
    number = 0
    while np.any(left := layer < 0):
        layer[left & ~dominates[left].any(axis=0)] = number
        number += 1
    return layer


def _dominates(scores: np.ndarray) -> Bool[np.ndarray, "members members"]:
    """Whether the first dominates the second."""
    first, second = scores[:, None], scores[None]
    return np.all(first >= second, axis=-1) & np.any(first > second, axis=-1)


def _apart(scores: np.ndarray) -> Float[np.ndarray, " members"]:
    """The crowding distance: how far the neighbours on both sides are, over all scores."""
    apart = np.zeros(len(scores))
    for column in scores.T:
        order = np.argsort(column, kind="stable")
        ranked = column[order]
        span = ranked[-1] - ranked[0]
        apart[order[[0, -1]]] = np.inf
        if span > 0:
            apart[order[1:-1]] += (ranked[2:] - ranked[:-2]) / span
    return apart


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Which members train next, from which weights, with which hyperparameters.

    Attributes:
        parents: Slot whose weights and optimizer state each member goes on from.
        restart: Members that begin with new start values instead.
        hyperparameters: Value of each hyperparameter for each member.
    """

    parents: Int[np.ndarray, " members"]
    restart: Bool[np.ndarray, " members"]
    hyperparameters: dict[str, Float[np.ndarray, " members"]]


@dataclass(frozen=True, kw_only=True)
class Round:
    """What was proposed for a round, and what came of it.

    Attributes:
        parents: As proposed.
        restart: As proposed.
        hyperparameters: As trained: those of the shape of a network are those of the parent.
        selection_score: Selection score at the end of the round: the validation score, less what
            may be luck (`difftune.training.SelectionRule`); NaN for a member that diverged.
        best: Largest selection score of an epoch of the round in which the member was eligible; NaN
            if it never was.
        scores: All scores of that epoch, where there are several.
    """

    parents: Int[np.ndarray, " members"]
    restart: Bool[np.ndarray, " members"]
    hyperparameters: dict[str, Float[np.ndarray, " members"]]
    selection_score: Float[np.ndarray, " members"]
    best: Float[np.ndarray, " members"]
    scores: Float[np.ndarray, "members scores"] | None = None

    @property
    def moved(self) -> Bool[np.ndarray, " members"]:
        """Slots whose member came from another one, or began afresh."""
        return self.restart | (self.parents != np.arange(len(self.parents)))

    @property
    def fitness(self) -> Float[np.ndarray, " members"]:
        """Fitness of the best epochs of the round, as in `PopulationState`."""
        return _fitness(self.best, self.scores)


@dataclass(frozen=True, kw_only=True)
class PopulationState:
    """How the population stands at the end of a round.

    Attributes:
        round: Number of the round that is to be proposed (1 after the first).
        selection_score: Selection score, larger is better: the validation score, less what may be
            luck (`difftune.training.SelectionRule`); NaN for a member that diverged.
        eligible: Members that may be copied: neither diverged nor, by the mean over the epochs of
            the round, overtrained; one epoch alone fluctuates too much for that.
        hyperparameters: Values of the round that has ended.
        past: All rounds so far, the one that has ended last.
        scores: All scores, where there are several; `selection_score` rests on their geometric
            mean.
        overtraining: That mean, in units of what is allowed.
    """

    round: int
    selection_score: Float[np.ndarray, " members"]
    eligible: Bool[np.ndarray, " members"]
    hyperparameters: dict[str, Float[np.ndarray, " members"]]
    past: Sequence[Round] = ()
    scores: Float[np.ndarray, "members scores"] | None = None
    overtraining: Float[np.ndarray, " members"] | None = None

    @property
    def fitness(self) -> Float[np.ndarray, " members"]:
        """The scores of those that may be chosen, minus infinity for the others.

        Where there are several scores, it is minus the place on the way to the Pareto front.
        """
        return _fitness(np.where(self.eligible, self.selection_score, np.nan), self.scores)

    @property
    def age(self) -> Int[np.ndarray, " members"]:
        """Rounds that each member has trained since it moved into its slot."""
        age = np.zeros(len(self.selection_score), int)
        for each in self.past:
            age = np.where(each.moved, 0, age) + 1
        return age


@dataclass(frozen=True, kw_only=True)
class Strategy(abc.ABC):
    """A search strategy: how large, how long, and two pure functions.

    What it needs of the past is in the population state, so a search that is resumed goes the way
    that it would have gone.

    Args:
        population: Number of members that train side by side.
        rounds: Number of rounds.
        epochs_per_round: Epochs that a member trains between two proposals.
        minutes: Wall time of the search in place of `rounds`: as many are trained as fit, by how
            long the first ones take, compilation included. What is running when the time is over
            counts. A search that is resumed has what it had left.

    Raises:
        InputError: For a number below 1, or a time that is not positive.
    """

    keeps_front: ClassVar[bool] = True
    """Whether of several scores the networks next to the Pareto front are kept, whatever their
    slots; else the best of each slot."""

    population: Count = 16
    rounds: Count = 10
    epochs_per_round: Count = 4
    minutes: Positive | None = None

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name in ("population", "rounds", "epochs_per_round"):
            if getattr(self, name) < 1:
                raise InputError(f"{kind}({name}={getattr(self, name)}): must be at least 1.")
        if self.minutes is not None and not 0.0 < self.minutes < np.inf:
            raise InputError(f"{kind}(minutes={self.minutes}): must be above 0.")

    @property
    def training_rounds(self) -> int:
        """Rounds of a training from start values to its end, for schedules and annealing.

        Where it is less than all rounds, the clock of a member starts when it begins afresh.
        """
        return self.rounds

    def lasting(self, rounds: int, space: Space) -> "Strategy":
        """This strategy with another number of rounds, as its time allows.

        Args:
            rounds: How many.
            space: What it may propose.
        """
        return replace(self, rounds=rounds)

    def isolated(self) -> "Strategy":
        """This strategy for a search that must know of no other, so that two can be compared."""
        return self

    def trial_scores(self, score: Float[np.ndarray, " members"]) -> Float[np.ndarray, " members"]:
        """What members are kept and chosen by: their selection scores, or those of what they are
        part of.

        Args:
            score: Largest selection score of each; minus infinity where there is none.
        """
        return score

    def complete(self, score: Float[np.ndarray, " members"]) -> Bool[np.ndarray, " members"]:
        """Members that may be chosen before all others, whatever their selection scores.

        Args:
            score: As for `trial_scores`.
        """
        return np.isfinite(self.trial_scores(score))

    def winner(self, score: Float[np.ndarray, " members"]) -> int:
        """The chosen member: the best execution of the best trial.

        Args:
            score: As for `trial_scores`.
        """
        trial, whole = self.trial_scores(score), self.complete(score)
        if whole.any():
            trial = np.where(whole, trial, -np.inf)
        return int(np.argmax(np.where(trial == np.max(trial), score, -np.inf)))

    def winners(self, score: Float[np.ndarray, " members"]) -> tuple[int, ...]:
        """The chosen member of each search, where independent ones run side by side; else one.

        Args:
            score: As for `trial_scores`.
        """
        return (self.winner(score),)

    @abc.abstractmethod
    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """The first round."""

    @abc.abstractmethod
    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """A later round."""

    def finish(self, space: Space, state: PopulationState) -> None:  # noqa: B027
        """Called once the last round has ended; for strategies that keep a record of their own."""


def _fitness(score: np.ndarray, scores: np.ndarray | None) -> Float[np.ndarray, " members"]:
    """What members are ranked by; minus infinity where the score is not finite."""
    able = np.isfinite(score)
    if scores is None:
        return np.where(able, score, -np.inf)
    fitness = np.full(len(score), -np.inf)
    fitness[able] = -places(scores[able]).astype(float)
    return fitness


def fresh(hyperparameters: dict[str, Float[np.ndarray, " members"]], members: int) -> Proposal:
    """All members begin with new start values."""
    return Proposal(
        parents=np.arange(members),
        restart=np.ones(members, bool),
        hyperparameters=hyperparameters,
    )


def unchanged(state: PopulationState) -> Proposal:
    """All members go on as before."""
    members = len(state.selection_score)
    return Proposal(
        parents=np.arange(members),
        restart=np.zeros(members, bool),
        hyperparameters=state.hyperparameters,
    )
