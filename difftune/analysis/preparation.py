"""Events, split and made into what a recipe trains on."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from difftune.analysis.split import Split
from difftune.data import FeatureTransform
from difftune.errors import InputError
from difftune.search import Choice, Replicated, Space, Strategy, inner
from difftune.training import Population, Processes, Recipe, Replicas, SingleProcess, of_events
from difftune.training.describing import Definition, describe


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """A recipe with the events that it is for: makes the populations of searches.

    Attributes:
        split: The events by purpose.
        recipe: How each member is trained.
        processes: Those that share the members.

    Raises:
        InputError: When there is no signal.
    """

    split: Split
    recipe: Recipe = field(default_factory=Recipe)
    processes: Processes = field(default_factory=SingleProcess)

    def __post_init__(self) -> None:
        if not any(self.signal_process):
            raise InputError("no process has the role 'signal'; mark at least one.")

    @cached_property
    def transform(self) -> FeatureTransform:
        """The transform of the features, learned on the training events."""
        return self.recipe.transform(self.split.train)

    @property
    def signal_process(self) -> tuple[float, ...]:
        """1 for each process that is signal."""
        return tuple(float(p.role == "signal") for p in self.split.events.processes)

    def batch_sizes(self, space: Space) -> tuple[int, ...]:
        """All sizes of batches that may occur, the default first.

        Raises:
            InputError: When the space has more than a choice of them, or one that is no size.
        """
        if "batch_size" not in space:
            return self.recipe.batch_sizes
        searched = inner(space["batch_size"])
        if not isinstance(searched, Choice):
            raise InputError(
                f"batch_size = {searched}: each size is compiled for itself, so name the few that "
                "are worth it: choice(256, 512, 1024)."
            )
        return tuple(int(size) for size in searched.options)

    def population(self, strategy: Strategy, seed: int, space: Space) -> Population:
        """A population for these events, the strategy and the batch sizes of the space.

        Raises:
            InputError: When the executions of a trial are not as many as there are folds.
        """
        split = self.split
        recipe = replace(self.recipe, batch_size=self.batch_sizes(space))
        recipe = recipe.bound_to(split.events.processes)
        replicas, validation = self._replicas(strategy), None
        if replicas.fold is None:
            train, validation = (
                recipe.columns(events, split.full_yields, self.transform)
                for events in (split.train, split.validation)
            )
        else:
            inside = np.sort((*split.train_folds, *split.validation_folds))
            events = split.part(*inside.tolist())
            train = recipe.columns(events, split.full_yields, self.transform, fold=True)
        return Population(
            recipe=recipe,
            train=train,
            validation=validation,
            members=strategy.population,
            replicas=replicas,
            seed=seed,
            processes=self.processes,
        )

    def _replicas(self, strategy: Strategy) -> Replicas:
        """What the executions of a trial differ in."""
        if not isinstance(strategy, Replicated):
            return Replicas()
        number = np.arange(strategy.population, dtype=np.int32) % strategy.executions
        if not strategy.folds:
            # The same seeds for all trials, so that they differ in the hyperparameters alone.
            return Replicas(seed=number)
        folds = len(self.split.train_folds) + len(self.split.validation_folds)
        if strategy.executions != folds:
            raise InputError(
                f"Replicated(executions={strategy.executions}, folds=True): {folds} folds are not "
                f"for the test, so give executions={folds}."
            )
        return Replicas(fold=number)

    def check(self, strategy: Strategy, space: Space, *, seed: int) -> None:
        """Everything that `search_networks` checks before it trains.

        Raises:
            InputError: For a hyperparameter that nothing reads or that has no value, or sizes of
                batches that cannot be.
        """
        if both := sorted(set(space) & set(self.recipe.hyperparameters)):
            raise InputError(
                f"hyperparameter {both[0]!r} is both searched and fixed; leave out one of the two."
            )
        values = strategy.start(space, np.random.default_rng(0)).hyperparameters
        self.population(strategy, seed, space).check(set(values))

    @property
    def definition(self) -> Definition:
        """What the events and their way into the network are defined by."""
        split = self.split
        return {
            **of_events(split.events),
            "validation_folds": sorted(split.validation_folds),
            "test_folds": sorted(split.test_folds),
            "impute": self.recipe.impute,
            "missing_indicators": self.recipe.missing_indicators,
            "negative_weights": self.recipe.negative_weights,
            "transform": describe(self.transform),
        }
