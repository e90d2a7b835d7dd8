"""A population without networks: what a strategy does when it is played out, in numpy.

A member has one number, its potential, which a function of it and the hyperparameters moves on in
each epoch and turns into a score. So a search of hundreds of rounds takes milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from difftune.search import PopulationState, Proposal, Round, Space, Strategy

Values = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Game:
    """What training does.

    Attributes:
        train: From potentials and hyperparameters to the potentials an epoch later.
        score: Of potentials and hyperparameters.
        eligible: Of hyperparameters; by default all are.
        scores: Several scores of hyperparameters, where there are.
    """

    train: Callable[[np.ndarray, Values], np.ndarray]
    score: Callable[[np.ndarray, Values], np.ndarray]
    eligible: Callable[[Values], np.ndarray] = lambda values: np.ones(
        len(next(iter(values.values()))), bool
    )
    scores: Callable[[Values], np.ndarray] | None = None


@dataclass
class Played:
    """What came of it.

    Attributes:
        proposals: Of each round.
        past: What the strategy was told.
        best: Largest score of an eligible member.
    """

    proposals: list[Proposal]
    past: list[Round]
    best: float

    def population_state(self) -> PopulationState:
        last = self.past[-1]
        return PopulationState(
            round=len(self.past),
            selection_score=last.selection_score,
            eligible=np.isfinite(last.best),
            hyperparameters=last.hyperparameters,
            past=tuple(self.past),
            scores=last.scores,
        )


def play(
    strategy: Strategy, space: Space, game: Game, *, seed: int = 0, resumed: Played | None = None
) -> Played:
    """Plays a search to its end; from where another one was left, if it is given.

    The random numbers of a round are made as in the loop.
    """
    state = np.zeros(strategy.population)
    played = Played([], [], -np.inf)
    for number in range(strategy.rounds):
        rng = np.random.default_rng([seed, 0, number])
        if resumed is not None and number < len(resumed.past):
            proposal = resumed.proposals[number]
        elif number == 0:
            proposal = strategy.start(space, rng)
        else:
            proposal = strategy.propose(space, played.population_state(), rng)
        proposal = replace(proposal, hyperparameters=space.settled(proposal.hyperparameters))
        values = proposal.hyperparameters
        state = np.where(proposal.restart, 0.0, state[proposal.parents])
        eligible, best = game.eligible(values), np.full(len(state), -np.inf)
        for _ in range(strategy.epochs_per_round):
            state = game.train(state, values)
            score = game.score(state, values)
            best = np.maximum(best, np.where(eligible, score, -np.inf))
        played.proposals.append(proposal)
        played.past.append(
            Round(
                parents=proposal.parents,
                restart=proposal.restart,
                hyperparameters=values,
                selection_score=score,
                best=np.where(np.isfinite(best), best, np.nan),
                scores=None if game.scores is None else game.scores(values),
            )
        )
        played.best = max(played.best, float(np.max(best)))
    strategy.finish(space, played.population_state())
    return played


def static(function: Callable[[Values], np.ndarray], **options) -> Game:
    """Training changes nothing: the score is a function of the hyperparameters."""
    return Game(train=lambda state, _: state, score=lambda _, values: function(values), **options)
