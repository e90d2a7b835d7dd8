"""Tuning: events, model, objective, space and strategy in; the best network out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from difftune.analysis.given import TASK, TUNE
from difftune.analysis.interruption import explained
from difftune.analysis.progress import RoundLog
from difftune.analysis.split import Split
from difftune.arguments import takes
from difftune.data import Events, FeatureTransform
from difftune.errors import InputError
from difftune.models import MLP, Model
from difftune.objectives import CrossEntropy, Objective, Significance, as_metric, as_objective
from difftune.objectives.base import logits_of
from difftune.search import (
    PBT,
    FixedSchedule,
    Progress,
    Replicated,
    SearchResult,
    Space,
    Strategy,
    run_search,
)
from difftune.search.dimensions import Choice, inner
from difftune.search.front import dominated
from difftune.seeds import derived
from difftune.training import (
    RUNNING,
    STATUS,
    AnyCondition,
    Checkpoints,
    ModuleDef,
    NegativeWeights,
    Population,
    Processes,
    Replicas,
    ScoreGap,
    SelectionRule,
    SingleProcess,
    TrainedNetwork,
    adam,
    columns,
)
from difftune.training.checkpoint import rounds_kept
from difftune.training.describing import Definition, describe
from difftune.training.fingerprint import of_events
from difftune.training.optimizers import Optimizer

logger = logging.getLogger("difftune")


@takes(**TASK)
@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that defines the training, but not who trains with what.

    Attributes:
        split: The events.
        model: Makes the network.
        objective: What is minimised.
        fixed: Hyperparameters that are not searched.
        batch_size: Events a batch, or several such numbers, where the search does not choose it.
        chunk: Events that the network keeps activations of at a time; None for whole batches.
        patience: Epochs without improvement until a member stops.
        metric: Validation score.
        overtraining: Condition on training and validation score.
        selection_rule: What epochs and members are compared by.
        negative_weights: Treatment of negative weights in the training.
        optimizer: Makes the optimizer.
        impute: What replaces missing values: `"median"`, `"mean"` or a number.
        missing_indicators: Whether the network also learns which values were missing.
        processes: Those that share the members.

    Raises:
        InputError: When there is no signal, or a value is out of range.
    """

    split: Split
    model: Model = field(default_factory=MLP)
    objective: Objective = field(default_factory=CrossEntropy)
    fixed: Mapping[str, float] = field(default_factory=dict)
    batch_size: int | tuple[int, ...] = 1024
    chunk: int | None = None
    patience: int = 10
    metric: Any = field(default_factory=Significance)
    overtraining: AnyCondition = field(default_factory=ScoreGap)
    selection_rule: SelectionRule = field(default_factory=SelectionRule)
    negative_weights: NegativeWeights = "keep"
    optimizer: Optimizer = adam
    impute: str | float = "median"
    missing_indicators: bool = False
    processes: Processes = field(default_factory=SingleProcess)

    def __post_init__(self):
        if not any(self.signal_process):
            raise InputError("no process has the role 'signal'; mark at least one.")
        if self.patience < 1:
            raise InputError(f"patience={self.patience}: must be at least 1.")

    @cached_property
    def transform(self) -> FeatureTransform:
        """The transform of the features, learned on the training events."""
        train = self.split.train
        return FeatureTransform.fit(
            train.features,
            train.weight,
            impute=self.impute,
            indicators=self.missing_indicators,
            names=train.feature_names,
            sentinels=[dict(train.sentinels).get(name, ()) for name in train.feature_names],
        )

    @property
    def signal_process(self) -> tuple[float, ...]:
        """1 for each process that is signal."""
        return tuple(float(p.role == "signal") for p in self.split.events.processes)

    def batch_sizes(self, space: Space) -> tuple[int, ...]:
        """All sizes of batches that may occur, the default first.

        Raises:
            InputError: When the space has more than a choice of them, or one that is no size.
        """
        given = self.fixed.get("batch_size", self.batch_size)
        own = tuple(given) if isinstance(given, Sequence) else (given,)
        searched = inner(space["batch_size"]) if "batch_size" in space else None
        if searched is not None and not isinstance(searched, Choice):
            raise InputError(
                f"batch_size = {searched}: each size is compiled for itself, so name the few that "
                "are worth it: choice(256, 512, 1024)."
            )
        sizes = own if searched is None else searched.options
        for size in sizes:
            if size < 1 or size != int(size):
                raise InputError(
                    f"batch_size={size:g}: must be a whole number of events, 1 or more."
                )
        return tuple(int(size) for size in sizes)

    def population(self, strategy: Strategy, seed: int, space: Space) -> Population:
        """A population for this task, the strategy and the batch sizes of the space.

        Raises:
            InputError: When the executions of a trial are not as many as there are folds.
        """
        sizes = self.batch_sizes(space)
        outputs = logits_of(self.objective.outputs, len(self.split.events.processes))
        full, processes = self.split.full_yields, self.split.events.processes
        metric = as_metric(self.metric).bound_to(processes)
        varied = self.objective.varied or metric.varied

        def prepared(events: Events, *, fold: bool = False):
            negative = self.negative_weights
            return columns(
                events, full, self.transform, negative=negative, varied=varied, fold=fold
            )

        replicas, validation = self._replicas(strategy), None
        if replicas.fold is None:
            train, validation = prepared(self.split.train), prepared(self.split.validation)
        else:
            inside = np.sort((*self.split.train_folds, *self.split.validation_folds))
            train = prepared(self.split.part(*inside.tolist()), fold=True)
            # Numbered without the test folds.
            train = train._replace(fold=np.searchsorted(inside, train.fold).astype(np.int32))
        return Population(
            module_def=ModuleDef(self.model, inputs=train.features.shape[1], outputs=outputs),
            objective=self.objective.bound_to(processes),
            train=train,
            validation=validation,
            members=strategy.population,
            replicas=replicas,
            batch_size=sizes,
            chunk=self.chunk,
            patience=self.patience,
            metric=metric,
            overtraining=self.overtraining,
            selection_rule=self.selection_rule,
            optimizer=self.optimizer,
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
        """Everything that `search` checks before it trains.

        Raises:
            InputError: For a hyperparameter that nothing reads or that has no value, or sizes of
                batches that cannot be.
        """
        if both := sorted(set(space) & set(self.fixed)):
            raise InputError(
                f"hyperparameter {both[0]!r} is both searched and fixed; leave out one of the two."
            )
        values = strategy.start(space, np.random.default_rng(0)).hyperparameters
        self.population(strategy, seed, space).check({*values, *self.fixed})

    @property
    def definition(self) -> Definition:
        """What the events and their way into the network are defined by."""
        split = self.split
        return {
            **of_events(split.events),
            "validation_folds": sorted(split.validation_folds),
            "test_folds": sorted(split.test_folds),
            "impute": self.impute,
            "missing_indicators": self.missing_indicators,
            "negative_weights": self.negative_weights,
            "transform": describe(self.transform),
        }

    def search(
        self,
        strategy: Strategy,
        space: Space,
        *,
        seed: int,
        folder: Path | None = None,
        on_round: Callable[[Progress], None] | None = None,
    ) -> "Tuned":
        """Runs a strategy on this task; see `tune`."""
        alone, first = self.processes.size == 1, self.processes.rank == 0

        def checked() -> tuple[Population, Checkpoints | None]:
            self.check(strategy, space, seed=seed)
            kept = Checkpoints(folder) if folder and first else None
            return self.population(strategy, seed, space), kept

        population, checkpoints = self.processes.agreed(checked)
        result = run_search(
            population,
            strategy,
            space,
            fixed=self.fixed,
            checkpoints=checkpoints,
            on_round=on_round,
            events=None if checkpoints is None and alone else self.definition,
        )
        tuned = Tuned(
            task=self,
            strategy=strategy,
            space=space,
            module_def=population.module_def,
            result=result,
            seed=seed,
        )
        if self.processes.rank == 0:
            tuned._say_what_is_missing()
        return tuned


@dataclass(frozen=True, kw_only=True)
class Rank:
    """A network's place: its number, validation score, epoch, and hyperparameters then.

    Of several scores, `score` is the geometric mean of `scores`. `selection_score` is what it was
    compared by (`difftune.training.SelectionRule`). `status` is that of its member in this epoch;
    where no epoch was ever allowed, that of the slot at the end (`Tuned.result.history.status` has
    these).
    """

    member: int
    score: float
    selection_score: float
    epoch: int
    status: str
    hyperparameters: dict[str, float]
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What tuning gives.

    Attributes:
        task: What was trained.
        strategy: How the search went about it.
        space: What it could choose from.
        module_def: Structure of the networks.
        result: History and best snapshots.
        seed: Seed of the run.
    """

    task: Task
    strategy: Strategy
    space: Space
    module_def: ModuleDef
    result: SearchResult
    seed: int

    @property
    def split(self) -> Split:
        """The events by purpose."""
        return self.task.split

    @property
    def networks(self) -> list[TrainedNetwork]:
        """The best network of each member, but those of which no epoch was allowed (`missing`).

        That of a certain member is `choosing(member).network`.
        """
        able = np.flatnonzero(np.isfinite(self.result.best.score))
        return [self._network(slot) for slot in able.tolist()]

    @property
    def missing(self) -> tuple[int, ...]:
        """Members without a network: no epoch of theirs ever met the overtraining condition."""
        return tuple(np.flatnonzero(~np.isfinite(self.result.best.score)).tolist())

    @property
    def network(self) -> TrainedNetwork:
        """The network with the largest selection score."""
        return self._network(self.result.winner)

    @property
    def trial(self) -> list[TrainedNetwork]:
        """The networks of the trial with the largest selection score, for a
        `difftune.training.Ensemble`.

        With `Replicated` these are its executions; else there is one. A trial of which each
        execution has a network comes before all others. Where there is no such trial, those of
        `missing` are not among them.
        """
        missing = self.missing
        return [self._network(number) for number in self.executions if number not in missing]

    @property
    def executions(self) -> range:
        """Members of the trial with the largest selection score: its executions with `Replicated`,
        else one.
        """
        each = self.strategy.executions if isinstance(self.strategy, Replicated) else 1
        first = self.result.winner // each * each
        return range(first, first + each)

    def _say_what_is_missing(self) -> None:
        """Warns of networks that somebody who asked for several does not get."""
        asked = self.executions if isinstance(self.strategy, Replicated) else range(0)
        if isinstance(self.strategy, FixedSchedule):
            asked = range(self.strategy.population)
        lacking = sorted(set(asked) & set(self.missing))
        if lacking:
            logger.warning(
                "%d of %d trainings never met the overtraining condition and have no network: "
                "members %s. Relax the condition, or give more training events.",
                len(lacking),
                len(asked),
                ", ".join(map(str, lacking)),
            )

    @property
    def ranking(self) -> list[Rank]:
        """The members by selection score, the best first."""
        order = np.argsort(-np.asarray(self.result.best.selection_score), kind="stable")
        return [self._rank(number) for number in order.tolist()]

    @property
    def pareto_front(self) -> list[Rank]:
        """The networks that no other one beats in all validation scores, by the first of them.

        Of a single score this is the best one.
        """
        best = self.result.best
        several = best.score[:, None] if best.scores is None else best.scores
        able = np.flatnonzero(np.isfinite(best.score))
        foremost = able[~dominated(np.asarray(several)[able])]
        order = foremost[np.argsort(-np.asarray(several)[foremost, 0], kind="stable")]
        return [self._rank(number) for number in order.tolist()]

    def choosing(self, member: int) -> "Tuned":
        """The same search with another network chosen, such as one of the front.

        Args:
            member: Its number, `Rank.member`.

        Raises:
            InputError: There is none that may be chosen.
        """
        score = self.result.best.score
        if not 0 <= member < len(score) or not np.isfinite(score[member]):
            raise InputError(
                f"choosing({member}): no network of this number may be chosen; take the `member` "
                "of one in `ranking` or `pareto_front`."
            )
        return replace(self, result=replace(self.result, winner=member))

    def _rank(self, number: int) -> Rank:
        best, history = self.result.best, self.result.history
        several = () if best.scores is None else best.scores[number].tolist()
        kept = np.isfinite(best.score[number])
        return Rank(
            member=number,
            score=float(best.score[number]),
            selection_score=float(best.selection_score[number]),
            epoch=int(best.epoch[number]),
            # A network is kept of an epoch in which its member trained; what became of the slot
            # later is not said of it.
            status=STATUS[RUNNING] if kept else history.status[int(best.slot[number])],
            hyperparameters={
                name: float(values[number])
                for name, values in best.hyperparameters.items()
                if name in history.hyperparameters
            },
            scores=dict(zip(history.score_names, several, strict=True)),
        )

    def retrain(
        self,
        seeds: int,
        *,
        folder: Path | None = None,
        on_round: Callable[[Progress], None] | None = None,
    ) -> "Tuned":
        """Trains the winner's schedule of hyperparameters again, from other start values.

        The spread of the results is the part that chance has in a single one.

        Args:
            seeds: How many times, as one population.
            folder: Where to leave checkpoints.
            on_round: Called after each round.
        """
        schedule = self.result.schedule
        strategy = FixedSchedule(
            population=seeds,
            rounds=self.strategy.training_rounds,
            epochs_per_round=self.strategy.epochs_per_round,
            schedule=schedule,
        )
        fixed = {name: v for name, v in self.task.fixed.items() if name not in schedule}
        sizes = schedule.get("batch_size", self.task.batch_sizes(self.space))
        sizes = tuple(dict.fromkeys(int(size) for size in sizes))
        task = replace(self.task, fixed=fixed, batch_size=sizes)
        seed = derived(self.seed, "retrain")
        with _explained(folder):
            return task.search(strategy, Space(), seed=seed, folder=folder, on_round=on_round)

    def _network(self, slot: int) -> TrainedNetwork:
        return TrainedNetwork.from_snapshot(
            self.result.best,
            slot,
            self.module_def,
            self.task.transform,
            feature_names=self.split.events.feature_names,
            signal_process=self.task.signal_process,
            objective=self.task.objective,
        )


@takes(**TUNE)
def tune(
    events: Events | Split,
    *,
    model: Model | None = None,
    objective: Objective | Callable | None = None,
    space: Space | None = None,
    search: Strategy | None = None,
    seed: int = 1,
    hyperparameters: Mapping[str, float] | None = None,
    batch_size: int = 1024,
    chunk: int | None = None,
    patience: int = 10,
    metric: Any | None = None,
    overtraining: AnyCondition | None = None,
    selection_rule: SelectionRule | None = None,
    negative_weights: NegativeWeights = "keep",
    optimizer: Optimizer = adam,
    impute: str | float = "median",
    missing_indicators: bool = False,
    validation_folds: Sequence[int] = (3,),
    test_folds: Sequence[int] = (4,),
    checkpoints: Path | None = None,
    on_round: Callable[[Progress], None] | None = None,
    processes: Processes | None = None,
) -> Tuned:
    """Tunes a network on events, by training a population of them.

    Args:
        events: From `difftune.read`, or `Events.from_arrays`; or a `Split` of them, whose folds
            then count.
        model: Makes the network: `difftune.models.MLP(...)`, or a Flax module class.
        objective: What each member minimises: one of `difftune.objectives`, a sum of them, or a
            function `(scores, batch, hyperparameters, parameters) -> scalar`; built-in ones also
            by the name that they have in the analysis file.
        space: Hyperparameters to search, also as a mapping by name. None: only the random start
            values differ.
        search: The strategy, with its population, rounds and epochs a round; or its name, such as
            `"pbt"`, for one of default size.
        seed: Decides everything random.
        hyperparameters: Values that are not searched.
        batch_size: Events a batch, where neither space nor hyperparameters have `batch_size`; as
            many as there are, or more, for all of them in one.
        chunk: Events that the network keeps activations of at a time, where a batch has more: the
            gradient is that of the whole batch, in bounded memory.
        patience: Epochs without a larger selection score until a member stops.
        metric: Validation score, of the form of an objective; larger is better. The stat-only
            Asimov significance by default. With a `MultiObjective` of several, `Tuned.pareto_front`
            has the networks that no other one beats in all.
        overtraining: Condition that a network must meet to be chosen.
        selection_rule: What epochs and members are compared by: the validation score less two
            standard errors, averaged over about three epochs, by default.
        negative_weights: `"keep"`, `"absolute"` or `"resample"`, in the training only
            (`difftune.training.treated_weights`).
        optimizer: Makes an optax optimizer from a member's hyperparameters; or the name of a kind,
            or of several among which each member has its own (`difftune.training.optimizer`).
        impute: What replaces missing values: `"median"`, `"mean"` or a number.
        missing_indicators: Whether the network also learns which values were missing.
        validation_folds: Folds that choices rest on.
        test_folds: Folds that are left alone until the result.
        checkpoints: Folder for checkpoints; a search found there is continued, if it is the same
            in everything that defines its numbers.
        on_round: Called with the `Progress` of each round; a line of the log by default
            (`logging.basicConfig(level="INFO")` shows it).
        processes: Those that share the members, from `difftune.training.connect`; all call this
            with the same arguments, and all get the same result.

    Returns:
        The networks, their ranking, and the history of the search.

    Raises:
        InputError: When an argument does not fit, or the checkpoints are those of another search,
            before anything is trained.
    """
    if isinstance(events, Split):
        split = events
    else:
        split = Split(
            events=events, validation_folds=tuple(validation_folds), test_folds=tuple(test_folds)
        )
    task = Task(
        split=split,
        model=model or MLP(),
        objective=as_objective(objective or CrossEntropy()),
        fixed=dict(hyperparameters or {}),
        batch_size=batch_size,
        chunk=chunk,
        patience=patience,
        metric=metric or Significance(),
        overtraining=overtraining or ScoreGap(),
        selection_rule=selection_rule or SelectionRule(),
        negative_weights=negative_weights,
        optimizer=optimizer,
        impute=impute,
        missing_indicators=missing_indicators,
        processes=processes or SingleProcess(),
    )
    with _explained(checkpoints):
        return task.search(
            search or PBT(),
            space or Space(),
            seed=seed,
            folder=checkpoints,
            on_round=on_round or RoundLog("search"),
        )


def _explained(folder: Path | None) -> AbstractContextManager[None]:
    """Says what is kept where a search with checkpoints is interrupted."""
    if folder is None:
        return nullcontext()

    def kept() -> str:
        rounds = rounds_kept(folder)
        if not rounds:
            return f"No round had ended, so there is no checkpoint in {folder} yet."
        return (
            f"The rounds up to {rounds} are kept in {folder}; the same call with the same folder "
            "goes on from there."
        )

    return explained(kept)
