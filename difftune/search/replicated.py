"""Several executions of each trial, with other seeds or on other folds, and their mean as score."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.search.named import as_strategy
from difftune.search.proposal import PopulationState, Proposal, Round, Strategy
from difftune.search.space import Space
from difftune.search.uninformed import Random


@takes(strategy=as_strategy)
@dataclass(frozen=True, kw_only=True)
class Replicated(Strategy):
    """Trains each trial of a strategy several times, side by side.

    The strategy sees as many members as it has, each of which is a group of neighbouring slots with
    the same hyperparameters and ancestors. The score of a trial is the mean over its executions,
    less `std_penalty` standard deviations. It is eligible if none has diverged and their
    overtraining is allowed on average: that all are allowed by themselves would be the luck of few.

    The trial that is chosen in the end is the best of those of which each execution has an epoch
    that was allowed by itself; where there is none, the best of those of which most have
    (`difftune.analysis.Tuned.missing` says which lack).

    Size, rounds and epochs are those of the strategy, with `executions` times the members. Of
    several scores the geometric mean counts.

    Args:
        strategy: What proposes.
        executions: Trainings of each trial.
        std_penalty: Standard deviations over the executions that are taken off the mean.
        folds: Whether the executions are validated on different folds, each trained on all others
            (k-fold cross-validation), instead of differing in their seeds. `executions` is then the
            number of folds that are not test folds.

    Raises:
        InputError: For less than two executions, or a negative penalty.
    """

    # The executions of a trial stay side by side.
    keeps_front: ClassVar[bool] = False

    strategy: Strategy = field(default_factory=Random)
    executions: int = 3
    std_penalty: float = 0.0
    folds: bool = False

    def __post_init__(self) -> None:
        if self.executions < 2:
            raise InputError(f"Replicated(executions={self.executions}): must be at least 2.")
        if not self.std_penalty >= 0.0:
            raise InputError(f"Replicated(std_penalty={self.std_penalty}): must be at least 0.")
        inner = self.strategy
        object.__setattr__(self, "population", inner.population * self.executions)
        object.__setattr__(self, "rounds", inner.rounds)
        object.__setattr__(self, "epochs_per_round", inner.epochs_per_round)
        object.__setattr__(self, "minutes", self.minutes or inner.minutes)
        super().__post_init__()

    def lasting(self, rounds: int, space: Space) -> "Replicated":
        """With a strategy of so many rounds."""
        return replace(self, strategy=self.strategy.lasting(rounds, space))

    def isolated(self) -> "Replicated":
        """With a strategy that is alone."""
        return replace(self, strategy=self.strategy.isolated())

    @property
    def training_rounds(self) -> int:
        """Rounds of a training, as many as those of the strategy."""
        return self.strategy.training_rounds

    def by_trial(
        self, score: Float[np.ndarray, " members"], *, least: int | None = None
    ) -> Float[np.ndarray, " trials"]:
        """The score of each trial.

        Args:
            score: Of the executions; not finite where there is none.
            least: Executions that must have one, or the trial has none (NaN); all by default.
        """
        groups = np.reshape(score, (-1, self.executions))
        known = np.isfinite(groups)
        count = known.sum(axis=1)
        enough = count >= (self.executions if least is None else least)
        mean = np.where(known, groups, 0.0).sum(axis=1) / np.maximum(count, 1)
        squares = (np.where(known, groups - mean[:, None], 0.0) ** 2).sum(axis=1)
        spread = np.sqrt(squares / np.maximum(count - 1, 1))
        return np.where(enough, mean - self.std_penalty * spread, np.nan)

    @property
    def _most(self) -> int:
        """More than half of the executions: enough of them to tell what a trial is worth.

        The best epochs are those that were allowed by themselves, of which one execution may have
        had none.
        """
        return self.executions // 2 + 1

    def trial_scores(self, score: Float[np.ndarray, " members"]) -> Float[np.ndarray, " members"]:
        """For each member the score of its trial."""
        trials = self.by_trial(score, least=self._most)
        return np.repeat(np.where(np.isfinite(trials), trials, -np.inf), self.executions)

    def complete(self, score: Float[np.ndarray, " members"]) -> Bool[np.ndarray, " members"]:
        """Members of trials of which each execution has a best epoch.

        Those of other trials are kept and chosen only where there is no such trial: a mean over
        the executions that were lucky enough to be allowed is no fair comparison.
        """
        groups = np.reshape(score, (-1, self.executions))
        return np.repeat(np.all(np.isfinite(groups), axis=1), self.executions)

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """The trials of the strategy, each several times."""
        return self._spread(self.strategy.start(space, rng))

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """What the strategy proposes for the trials."""
        return self._spread(self.strategy.propose(space, self._by_trial_state(state), rng))

    def finish(self, space: Space, state: PopulationState) -> None:
        """Tells the strategy."""
        self.strategy.finish(space, self._by_trial_state(state))

    def _spread(self, proposal: Proposal) -> Proposal:
        each, number = self.executions, np.arange(self.population) % self.executions
        return Proposal(
            parents=np.repeat(proposal.parents, each) * each + number,
            restart=np.repeat(proposal.restart, each),
            hyperparameters={
                name: np.repeat(values, each) for name, values in proposal.hyperparameters.items()
            },
        )

    def _by_trial_state(self, state: PopulationState) -> PopulationState:
        score = self.by_trial(state.selection_score)
        shape, overtraining = (-1, self.executions), state.overtraining
        if overtraining is None:
            allowed = np.all(np.reshape(state.eligible, shape), axis=1)
        else:
            overtraining = np.reshape(overtraining, shape).mean(axis=1)
            allowed = overtraining <= 1.0
        return replace(
            state,
            selection_score=score,
            eligible=np.asarray(np.isfinite(score) & allowed),
            hyperparameters=self._firsts(state.hyperparameters),
            past=self._past(state.past),
            scores=None,
            overtraining=overtraining,
        )

    def _firsts(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: each[:: self.executions] for name, each in values.items()}

    def _past(self, past: Sequence[Round]) -> tuple[Round, ...]:
        return tuple(
            Round(
                parents=each.parents[:: self.executions] // self.executions,
                restart=each.restart[:: self.executions],
                hyperparameters=self._firsts(each.hyperparameters),
                selection_score=self.by_trial(each.selection_score),
                best=self.by_trial(each.best, least=self._most),
            )
            for each in past
        )
