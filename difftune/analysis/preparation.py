"""Events, split and made into what a recipe trains on."""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.split import Split
from difftune.data import Events, FeatureTransform
from difftune.errors import InputError, nearest
from difftune.objectives import Prediction
from difftune.search import (
    Choice,
    Replicated,
    SearchResult,
    SideBySide,
    Space,
    Strategy,
    inner,
)
from difftune.training import (
    Columns,
    Population,
    Processes,
    Recipe,
    Replicas,
    SingleProcess,
    learns_targets,
    of_events,
)
from difftune.training.describing import Definition, describe


@dataclass(frozen=True, kw_only=True)
class Prepared(abc.ABC):
    """A recipe with the events that it is for: makes the populations of searches.

    Attributes:
        split: The events by purpose.
        regions: Those whose events networks are trained on, by name or role, where events have
            regions.
        recipe: How each member is trained.
        processes: Those that share the members.

    Raises:
        InputError: When there is no signal, or no background; of a network that learns targets,
            when the events have none.
    """

    split: Any
    regions: Sequence[str] = ("signal",)
    recipe: Recipe = field(default_factory=Recipe)
    processes: Processes = field(default_factory=SingleProcess)

    def __post_init__(self) -> None:
        events = self.split.events
        learns_targets(self.recipe.objective, events)
        if isinstance(self.recipe.objective.outputs, Prediction):
            return
        for role in ("signal", "background"):
            if not any(process.role == role for process in self.split.events.processes):
                raise InputError(f"no process has the role {role!r}; mark at least one.")

    @cached_property
    def sample(self) -> Any:
        """The split of the events that networks are trained on."""
        limited = self.split.events.regions or tuple(self.regions) != ("signal",)
        return self.split.in_regions(*self.regions) if limited else self.split

    @property
    @abc.abstractmethod
    def transform(self) -> FeatureTransform:
        """The transform of the features."""

    @abc.abstractmethod
    def _data(self, recipe: Recipe, strategy: Any) -> tuple[Columns, Columns | None, Replicas]:
        """Training events, validation events, and what each member sees of them."""

    @abc.abstractmethod
    def apart(
        self, strategy: Any, result: SearchResult
    ) -> Iterator[tuple["Preparation", Strategy, SearchResult]]:
        """Each search of one split that a search was made of, as if it had been alone.

        Args:
            strategy: What was run.
            result: What it gave.
        """

    @property
    @abc.abstractmethod
    def _purposes(self) -> Definition:
        """Which events serve for what."""

    def columns(
        self, recipe: Recipe, events: Events, share: float = 1.0, **options: Any
    ) -> Columns:
        """Events as the training wants them.

        Networks may learn from events of control regions, too. What fills the bins of the score is
        of signal regions, as the measurement has it, so the others have a physics weight of 0.

        Args:
            recipe: How each member is trained.
            events: Some of the events of the sample.
            share: Of the full yields that they stand for.
            options: As `Recipe.columns` takes them.
        """
        sample, transform = self.sample, self.transform
        found = recipe.columns(events, share * sample.full_yields, transform, **options)
        asked = set(self.regions)
        roles = {each.role for each in events.regions if asked & {each.name, each.role}}
        if not {"signal"} < roles:
            return found
        yields = share * sample.in_regions("signal").full_yields
        counted = recipe.columns(events.weighted_in("signal"), yields, transform, **options)
        return counted._replace(training_weight=found.training_weight)

    @property
    def signal_process(self) -> tuple[float, ...]:
        """1 for each process that is signal."""
        return tuple(float(p.role == "signal") for p in self.split.events.processes)

    def _inputs(self, unused: Sequence[str]) -> Bool[np.ndarray, " inputs"]:
        """Network inputs that are left without some variables.

        Raises:
            InputError: When one is no feature, or none is left.
        """
        names = self.split.events.feature_names
        for name in unused:
            if name not in names:
                raise InputError(f"unused: there is no feature {name!r}.{nearest(name, names)}")
        return self.transform.without(*(names.index(name) for name in unused)).used

    def batch_sizes(self, space: Space) -> tuple[int, ...]:
        """All sizes of batches that may occur, the default first; none if the events decide.

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

    def population(self, strategy: Any, seed: int, space: Space) -> Population:
        """A population for these events, the strategy and the batch sizes of the space.

        Raises:
            InputError: When the executions of a trial are not as many as there are folds.
        """
        recipe = replace(self.recipe, batch_size=self.batch_sizes(space) or None)
        recipe = recipe.bound_to(self.split.events.processes)
        train, validation, replicas = self._data(recipe, strategy)
        return Population(
            recipe=recipe,
            train=train,
            validation=validation,
            members=strategy.population,
            replicas=replicas,
            seed=seed,
            processes=self.processes,
        )

    def check(self, strategy: Any, space: Space, *, seed: int) -> None:
        """Everything that `search_networks` checks before it trains.

        Raises:
            InputError: For a hyperparameter that nothing reads or that has no value, or sizes of
                batches that cannot be.
        """
        self.checked(strategy, space, seed=seed)

    def checked(
        self, strategy: Any, space: Space, *, seed: int, started: bool = False
    ) -> Population:
        """The population, once all is found to be right.

        Args:
            strategy: As for `population`.
            space: As for `population`.
            seed: As for `population`.
            started: Whether a stage before may have the hyperparameters that are missing, so that
                they are for the search to check.

        Raises:
            InputError: As `check`.
        """
        if both := sorted(set(space) & set(self.recipe.hyperparameters)):
            raise InputError(
                f"hyperparameter {both[0]!r} is both searched and fixed; leave out one of the two."
            )
        values = strategy.start(space, np.random.default_rng(0)).hyperparameters
        population = self.population(strategy, seed, space)
        if not started:
            population.check(set(values))
        return population

    @property
    def definition(self) -> Definition:
        """What the events and their way into the network are defined by."""
        return {
            **of_events(self.sample.events),
            **self._purposes,
            "impute": self.recipe.impute,
            "missing_indicators": self.recipe.missing_indicators,
            "negative_weights": self.recipe.negative_weights,
            "transform": describe(self.transform),
        }


@dataclass(frozen=True, kw_only=True)
class Preparation(Prepared):
    """A recipe with events of which one part trains, one validates and one is left alone.

    Attributes:
        split: The events by purpose.
        given_transform: The transform of the features, where it is not learned on the training
            events.
        unused: Features that networks do not see.
    """

    split: Split
    given_transform: FeatureTransform | None = None
    unused: tuple[str, ...] = ()

    @cached_property
    def transform(self) -> FeatureTransform:
        """The transform of the features, learned on the training events unless it is given."""
        if self.given_transform is not None:
            return self.given_transform
        return self.recipe.transform(self.sample.train)

    def apart(
        self, strategy: Strategy, result: SearchResult
    ) -> Iterator[tuple["Preparation", Strategy, SearchResult]]:
        """The one search."""
        yield self, strategy, result

    def _data(self, recipe: Recipe, strategy: Strategy) -> tuple[Columns, Columns | None, Replicas]:
        split, replicas = self.sample, self._replicas(strategy)
        if replicas.fold is None:
            train, validation = (
                self.columns(recipe, events) for events in (split.train, split.validation)
            )
            return train, validation, replicas
        inside = np.sort((*split.train_folds, *split.validation_folds))
        events = split.part(*inside.tolist())
        return self.columns(recipe, events, fold=True), None, replicas

    def _replicas(self, strategy: Strategy) -> Replicas:
        """What the executions of a trial differ in, and what all of them do not see."""
        inputs = None
        if self.unused:
            inputs = np.tile(self._inputs(self.unused), (strategy.population, 1))
        if not isinstance(strategy, Replicated):
            return Replicas(inputs=inputs)
        number = np.arange(strategy.population, dtype=np.int32) % strategy.executions
        if not strategy.folds:
            # The same seeds for all trials, so that they differ in the hyperparameters alone.
            return Replicas(seed=number, inputs=inputs)
        folds = len(self.split.train_folds) + len(self.split.validation_folds)
        if strategy.executions != folds:
            raise InputError(
                f"Replicated(executions={strategy.executions}, folds=True): {folds} folds are not "
                f"for the test, so give executions={folds}."
            )
        return Replicas(fold=number, inputs=inputs)

    @property
    def _purposes(self) -> Definition:
        return {
            "validation_folds": sorted(self.split.validation_folds),
            "test_folds": sorted(self.split.test_folds),
            **({"unused": list(self.unused)} if self.unused else {}),
        }


@dataclass(frozen=True, kw_only=True)
class CrossPreparation(Prepared):
    """A recipe with events that are cross-fitted: a search for each fold, side by side.

    Each fold is made into columns by itself and stands for its share of the yields, so that nothing
    of a fold, not even the sum of its weights, is in what the search that holds it out sees. The
    exception is the transform of the features: median and spread of each over all simulated events,
    the weights within each process as they are. It sees no labels, and is the same for all folds.

    Attributes:
        split: The events, each fold of which is measured by networks that have not seen it.
        unused: For each fold the features that its networks do not see; without any they see all.

    Raises:
        InputError: When these are not of as many folds.
    """

    split: CrossFit
    unused: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unused and len(self.unused) != self.split.folds:
            raise InputError(
                f"unused features for {len(self.unused)} folds of {self.split.folds}: give them "
                "for each fold."
            )

    @cached_property
    def transform(self) -> FeatureTransform:
        """The transform of the features, learned on all simulated events, without labels."""
        return self.recipe.transform(self.sample.events.simulated)

    def rotation(self, fold: int) -> Preparation:
        """The preparation of the search for one fold.

        Args:
            fold: The one that is held out.
        """
        return Preparation(
            split=self.split.rotation(fold),
            regions=self.regions,
            recipe=self.recipe,
            processes=self.processes,
            given_transform=self.transform,
            unused=self.unused[fold] if self.unused else (),
        )

    def strategy(self, strategies: Strategy | Sequence[Strategy]) -> SideBySide:
        """Searches side by side, one for each fold.

        Args:
            strategies: Of each fold, or one for all.

        Raises:
            InputError: When there are not as many as folds, or one wants folds for itself.
        """
        if isinstance(strategies, Strategy):
            strategies = (strategies,) * self.split.folds
        if len(strategies) != self.split.folds:
            raise InputError(
                f"{len(strategies)} strategies for {self.split.folds} folds: give one for each, or "
                "one for all."
            )
        if any(isinstance(each, Replicated) and each.folds for each in strategies):
            raise InputError(
                "Replicated(folds=True): in cross-fitting the folds tell the searches apart; leave "
                "it out, and the executions differ in their seeds."
            )
        return SideBySide(strategies=tuple(strategies), each="fold")

    def apart(
        self, strategy: SideBySide, result: SearchResult
    ) -> Iterator[tuple[Preparation, Strategy, SearchResult]]:
        """The search for each fold."""
        each = zip(strategy.strategies, result.apart(strategy), strict=True)
        for fold, (own, found) in enumerate(each):
            yield self.rotation(fold), own, found

    def _data(
        self, recipe: Recipe, strategy: SideBySide
    ) -> tuple[Columns, Columns | None, Replicas]:
        folds = self.sample.folds
        simulated = self.sample.events.simulated
        parts = [
            self.columns(recipe, simulated.in_folds([fold]), 1 / folds) for fold in range(folds)
        ]
        return _in_folds(parts), None, self._replicas(strategy)

    def _replicas(self, strategy: SideBySide) -> Replicas:
        """What the searches see, and what their executions differ in."""
        first = strategy.strategies[0]
        search, number = np.divmod(np.arange(strategy.population), first.population)
        seed = None
        if isinstance(first, Replicated):
            # The same seeds for all trials of a search, so that these differ in the
            # hyperparameters alone; not for all searches, whose spread would lack their part.
            seed = search * first.executions + number % first.executions
        inputs = None
        if any(self.unused):
            inputs = np.stack([self._inputs(names) for names in self.unused])[search]
        return Replicas(
            fold=(search + 1) % self.split.folds, held_out=search, seed=seed, inputs=inputs
        )

    @property
    def _purposes(self) -> Definition:
        unused = {"unused": list(map(list, self.unused))} if any(self.unused) else {}
        return {"cross_fit": self.split.folds, **unused}


def _in_folds(parts: Sequence[Columns]) -> Columns:
    """Columns of folds, one after the other, as those of all events."""
    first = parts[0]
    numbers = [np.full(len(part.weight), i, np.int32) for i, part in enumerate(parts)]
    # What is of all events is that of the first part.
    plain = [
        part._replace(signal_process=np.zeros(0), fold=None, layout=None, link=None)
        for part in parts
    ]
    whole = jax.tree.map(lambda *each: np.concatenate(each), *plain)
    return whole._replace(
        signal_process=first.signal_process,
        fold=np.concatenate(numbers),
        layout=first.layout,
        link=first.link,
    )
