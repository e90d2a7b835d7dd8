"""Bayesian and other sequential search by the samplers of Optuna, in batches."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from difftune.arguments import takes
from difftune.errors import InputError, nearest
from difftune.files import unwritable
from difftune.search.dimensions import (
    Category,
    Choice,
    Dimension,
    Integer,
    LogUniform,
    inner,
)
from difftune.search.proposal import PopulationState, Proposal, Round, Strategy, fresh
from difftune.search.space import Space

SAMPLERS = ("tpe", "gp", "random")


@takes(journal=lambda given: None if given is None else Path(given))
@dataclass(frozen=True, kw_only=True)
class Optuna(Strategy):
    """A sampler of Optuna asks for a population at a time; each member is trained anew.

    A member's value is its best score of the round (all scores of that epoch, where there are
    several); a trial that was never eligible has failed.
    The study is made anew from the history for every round, so nothing is hidden, and a search
    that is resumed goes the way it would have gone.

    Args:
        sampler: `"tpe"` (tree of Parzen estimators), `"gp"` (Gaussian process; wants PyTorch, and
            takes long) or `"random"`; or a function of a seed that makes any sampler of Optuna
            that needs no more than parameters and values of the past trials.
            TPE is set up for batches: each parameter by itself, as together they settled on a
            category early, and with the constant liar, so that those of a batch keep apart.
        journal: File of a study that is kept up to date, to be opened in optuna-dashboard; the
            trials of a search are added to those that are there.
        study: Name of the study in that file.
        shared: Whether the sampler also learns from the trials that others have written to the
            journal: independent jobs with the same space and different seeds, which then make one
            study. What it asks for depends on which jobs were there first, so such a search cannot
            be repeated to the same numbers.
        inherit: Whether a trial goes on from the weights of the best eligible member of the round
            before, instead of being trained anew.

    Raises:
        InputError: Without the package, for an unknown sampler, or a shared study without a
            journal.
    """

    sampler: str | Callable[[int], Any] = "tpe"
    journal: Path | None = None
    study: str = "difftune"
    shared: bool = False
    inherit: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.sampler, str) and self.sampler not in SAMPLERS:
            raise InputError(
                f"Optuna(sampler={self.sampler!r}) is unknown.{nearest(self.sampler, SAMPLERS)} "
                f"Choose one of {', '.join(SAMPLERS)}, or give a function of a seed."
            )
        if self.shared and self.journal is None:
            raise InputError(
                "Optuna(shared=True): jobs share a study through its file; give journal='FILE' on "
                "a disk that all of them see."
            )
        _package()

    @property
    def training_rounds(self) -> int:
        """One, unless weights are inherited."""
        return self.rounds if self.inherit else 1

    def isolated(self) -> "Optuna":
        """Without the study that others write, too."""
        return replace(self, shared=False, journal=None) if self.shared else self

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """What the sampler asks for when it knows nothing."""
        return fresh(self._ask(space, (), rng), self.population)

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """What it asks for next."""
        self._write(space, state)
        values = self._ask(space, state.past, rng)
        best = int(np.argmax(state.fitness))
        if not self.inherit or not np.isfinite(state.fitness[best]):
            return fresh(values, self.population)
        return Proposal(
            parents=np.full(self.population, best),
            restart=np.zeros(self.population, bool),
            hyperparameters=values,
        )

    def finish(self, space: Space, state: PopulationState) -> None:
        """The last round goes into the journal, too."""
        self._write(space, state)

    def _ask(
        self, space: Space, past: Sequence[Round], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        optuna = _package()
        known = _trials(space, past)
        if self.shared:
            known += self._others(space, past)
        study = optuna.create_study(
            directions=_directions(known), sampler=self._sampler(int(rng.integers(2**31)))
        )
        study.add_trials(known)
        distributions = {name: _distribution(space[name]) for name in space}
        asked = [study.ask(distributions) for _ in range(self.population)]
        return {
            name: np.array([_value(space[name], trial.params[name]) for trial in asked])
            for name in space
        }

    def _sampler(self, seed: int) -> Any:
        samplers = _package().samplers
        if not isinstance(self.sampler, str):
            return self.sampler(seed)
        if self.sampler == "tpe":
            # A first batch is random anyway; the second may use it.
            return samplers.TPESampler(
                seed=seed,
                multivariate=False,
                constant_liar=True,
                n_startup_trials=min(10, self.population),
            )
        if self.sampler == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=min(10, self.population))
        return samplers.RandomSampler(seed=seed)

    def _journal(self) -> Any:
        """What the studies on disk are kept in."""
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        assert self.journal is not None
        path = Path(self.journal)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(path)))
        except OSError as error:
            raise unwritable(path, error) from error

    def _others(self, space: Space, past: Sequence[Round]) -> list[Any]:
        """Trials of the journal that are not of this search.

        Raises:
            InputError: When they are of another space.
        """
        own = {trial.user_attrs["key"] for trial in _trials(space, past)}
        optuna, journal = _package(), self._journal()
        if self.study not in optuna.get_all_study_names(journal):
            return []
        found = optuna.load_study(study_name=self.study, storage=journal).get_trials(deepcopy=False)
        others = [trial for trial in found if trial.user_attrs.get("key") not in own]
        wanted = {name: _distribution(space[name]) for name in space}
        for trial in others:
            if trial.distributions != wanted:
                differ = sorted(
                    name
                    for name in wanted.keys() | trial.distributions
                    if wanted.get(name) != trial.distributions.get(name)
                )
                raise InputError(
                    f"{self.journal} holds trials of another space: {differ[0]!r} is "
                    f"{trial.distributions.get(differ[0])} there and "
                    f"{wanted.get(differ[0])} here. Give the same space, or another study=."
                )
        return others

    def _write(self, space: Space, state: PopulationState) -> None:
        """Adds the round that has ended to the journal, unless it is there."""
        if self.journal is None:
            return
        known = _trials(space, state.past)
        study = _package().create_study(
            storage=self._journal(),
            study_name=self.study,
            directions=_directions(known),
            load_if_exists=True,
        )
        there = {trial.user_attrs.get("key") for trial in study.get_trials(deepcopy=False)}
        study.add_trials([trial for trial in known if trial.user_attrs["key"] not in there])


def _directions(trials: list[Any]) -> list[str]:
    """One for each score of a trial."""
    return ["maximize"] * max((trial.user_attrs.get("scores", 1) for trial in trials), default=1)


def _trials(space: Space, past: Sequence[Round]) -> list[Any]:
    """The trainings of all rounds as finished trials."""
    optuna = _package()
    distributions = {name: _distribution(space[name]) for name in space}
    trials = []
    for number, each in enumerate(past):
        for member, value in enumerate(each.best.tolist()):
            params = {
                name: _parameter(space[name], float(each.hyperparameters[name][member]))
                for name in space
            }
            # Equal hyperparameters and value in the same slot and round: the same training.
            key = f"{number}/{member}/{value!r}/{sorted(params.items())!r}"
            done = np.isfinite(value)
            values = [value] if each.scores is None else each.scores[member].tolist()
            states = optuna.trial.TrialState
            trials.append(
                optuna.trial.create_trial(
                    params=params,
                    distributions=distributions,
                    values=values if done else None,
                    state=states.COMPLETE if done else states.FAIL,
                    user_attrs={
                        "round": number,
                        "member": member,
                        "key": key,
                        "scores": len(values),
                    },
                )
            )
    return trials


def _distribution(dimension: Dimension) -> Any:
    """An ordered choice is an integer, its place; what has no order is a category."""
    distributions, dimension = _package().distributions, inner(dimension)
    if isinstance(dimension, Category):
        return distributions.CategoricalDistribution(dimension.names or dimension.options)
    if isinstance(dimension, Choice):
        return distributions.IntDistribution(0, len(dimension.options) - 1)
    if isinstance(dimension, Integer):
        return distributions.IntDistribution(dimension.low, dimension.high, log=dimension.log)
    low, high = (float(x) for x in dimension.from_unit(np.array([0.0, 1.0])))
    return distributions.FloatDistribution(low, high, log=isinstance(dimension, LogUniform))


def _value(dimension: Dimension, parameter: Any) -> float:
    dimension = inner(dimension)
    if isinstance(dimension, Category):
        return dimension.options[(dimension.names or dimension.options).index(parameter)]
    return dimension.options[parameter] if isinstance(dimension, Choice) else float(parameter)


def _parameter(dimension: Dimension, value: float) -> Any:
    dimension = inner(dimension)
    if isinstance(dimension, Category):
        return (dimension.names or dimension.options)[dimension.options.index(value)]
    if isinstance(dimension, Choice):
        return dimension.options.index(value)
    if isinstance(dimension, Integer):
        return int(value)
    low, high = (float(x) for x in dimension.from_unit(np.array([0.0, 1.0])))
    return min(max(value, low), high)


def _package() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError(
            "the search by Optuna needs the package optuna: pip install 'difftune[optuna]'."
        ) from None
    # One line per trial would drown the lines of the rounds.
    optuna.logging.set_verbosity(logging.WARNING)
    return optuna
