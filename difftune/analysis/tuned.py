"""What tuning gives: networks, their ranking, and the search that found them."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Int

from difftune.analysis.greedy import greedy_members
from difftune.analysis.interruption import explained
from difftune.analysis.preparation import CrossPreparation, Preparation, Prepared
from difftune.analysis.split import Split
from difftune.errors import InputError, nearest
from difftune.search import (
    FixedSchedule,
    Progress,
    Replicated,
    SearchResult,
    SideBySide,
    Space,
    Strategy,
    dominated,
    run_search,
)
from difftune.seeds import derived
from difftune.training import (
    RUNNING,
    STATUS,
    Applicable,
    Checkpoints,
    Ensemble,
    History,
    ModuleDef,
    Population,
    Snapshot,
    TrainedNetwork,
    rounds_kept,
)

logger = logging.getLogger("difftune")

TOGETHER = ("network", "trial", "trials", "greedy")
"""Which networks of a search decide together (`Tuned.ensemble`)."""

SIZES = {"trials": 3, "greedy": 20}
"""How many trials, and most networks with their multiplicity, there are in an ensemble."""


@dataclass(frozen=True, kw_only=True)
class Rank:
    """A network's place: its number, validation score, epoch, and hyperparameters then.

    Epochs count from the first stage on, as in `Tuned.history`.

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
class Tuned(Applicable):
    """The result of tuning: networks, their ranking, and the history of the search.

    Attributes:
        preparation: The events and the recipe.
        strategy: How the search went about it, with the rounds that it had time for.
        space: What it could choose from.
        module_def: Structure of the networks.
        result: History and best snapshots.
        seed: Seed of the run.
        before: The stage that this one began from, if there was one.
    """

    preparation: Preparation
    strategy: Strategy
    space: Space
    module_def: ModuleDef
    result: SearchResult
    seed: int
    before: "Tuned | None" = None

    @property
    def split(self) -> Split:
        """The events by purpose."""
        return self.preparation.split

    @cached_property
    def history(self) -> History:
        """What happened, from the first stage on."""
        own, before = self.result.history, self.before
        if before is None:
            return own
        best, networks = before.result.best, before._beginning(self.strategy)
        carried = {
            name: np.asarray(best.hyperparameters[name])[networks]
            for name in before.history.hyperparameters
            if name in best.hyperparameters
        }
        # What this stage fixes does not follow the weights.
        recipe = self.preparation.recipe
        fixed: dict[str, float] = dict(recipe.hyperparameters)
        if recipe.batch_sizes:
            fixed["batch_size"] = recipe.batch_sizes[0]
        for name in set(carried) & set(fixed):
            carried[name] = np.full(len(networks), fixed[name], carried[name].dtype)
        # Epochs of the stage before, as its own history of all stages counts them.
        passed = len(before.history.epoch) - len(before.result.history.epoch)
        return before.history.then(
            own,
            parents=np.asarray(best.slot)[networks],
            epochs=passed + np.asarray(best.epoch)[networks],
            carried=carried,
        )

    def start(self, strategy: Strategy) -> Snapshot:
        """What the members of a next stage begin from: the best of each member of this one.

        A member without a network goes on from the chosen one. A stage of another size goes on from
        the best trials, each as often as the others.

        Args:
            strategy: Of the next stage.
        """
        slots = self._beginning(strategy)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[slots], self.result.best)

    def _beginning(self, strategy: Strategy) -> Int[np.ndarray, " members"]:
        """Member that each one of a next stage begins from."""
        score = np.asarray(self.result.best.selection_score)
        members = np.arange(len(score))
        if strategy.population != len(score):
            each, next_each = _executions(self.strategy), _executions(strategy)
            each = each if each == next_each else 1
            # Executions stay side by side, each with its own seed.
            trials = self.strategy.trial_scores(score) if each > 1 else score
            order = np.argsort(-trials[::each], kind="stable")
            trial = np.resize(order, -(-strategy.population // each))
            members = (trial[:, None] * each + np.arange(each)).ravel()[: strategy.population]
        return np.where(np.isfinite(score[members]), members, self.result.winner)

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

    def ensemble(self, kind: str = "greedy", *, size: int | None = None) -> Ensemble:
        """Networks of this search that decide together, from one to all of them.

        Args:
            kind: `"network"` for the chosen one alone; `"trial"` for the executions of its trial
                (`Replicated`); `"trials"` for all executions of the best trials, all alike; or
                `"greedy"` for those of all networks that together are best on the validation
                events, chosen one after the other, also repeatedly, by the search's score less its
                error (Caruana et al., ICML 2004). With `Replicated(folds=True)` whole trials are
                chosen, by the mean over the folds.
            size: Of `"trials"` their number, 3 by default; of `"greedy"` most networks (trials),
                each as often as it counts, 20 by default.

        Raises:
            InputError: There is no such kind, or the size does not belong to it.
        """
        if kind not in TOGETHER:
            raise InputError(
                f"ensemble({kind!r}): give one of {', '.join(TOGETHER)}."
                f"{nearest(str(kind), TOGETHER)}"
            )
        if size is not None and (kind not in SIZES or size < 1):
            raise InputError(
                f"ensemble({kind!r}, size={size}): give a number from 1 on, and to "
                f"{' and '.join(SIZES)} alone."
            )
        if kind == "network":
            return Ensemble((self.network,))
        if kind == "greedy":
            counts = greedy_members(
                self.preparation,
                self.strategy,
                self.module_def,
                self.result.best,
                winner=self.result.winner,
                size=size or SIZES[kind],
            )
            networks = tuple(map(self._network, counts))
            return Ensemble(
                networks, None if len(set(counts.values())) == 1 else tuple(counts.values())
            )
        return Ensemble(tuple(self._trials(1 if kind == "trial" else size or SIZES[kind])))

    @property
    def trial(self) -> list[TrainedNetwork]:
        """The networks of the trial with the largest selection score.

        With `Replicated` these are its executions; else there is one. A trial of which each
        execution has a network comes before all others. Where there is no such trial, those of
        `missing` are not among them, and a warning says so.
        """
        return self._trials(1)

    def _trials(self, count: int) -> list[TrainedNetwork]:
        """The networks of the best trials, that of the chosen network first."""
        each = _executions(self.strategy)
        score = np.asarray(self.result.best.selection_score)
        scores, whole = self.strategy.trial_scores(score), self.strategy.complete(score)
        order = np.lexsort((-scores, ~whole))
        trials = dict.fromkeys([self.result.winner // each, *(order // each).tolist()])
        members = [
            number
            for trial in list(trials)[:count]
            for number in range(trial * each, (trial + 1) * each)
        ]
        there = [number for number in members if number not in self.missing]
        if len(there) < len(members):
            logger.warning(
                "%d networks decide together, not %d: members %s never met the overtraining "
                "condition and have none.",
                len(there),
                len(members),
                ", ".join(str(number) for number in members if number not in there),
            )
        return [self._network(number) for number in there]

    @property
    def executions(self) -> range:
        """Members of the trial with the largest selection score: its executions with `Replicated`,
        else one.
        """
        each = _executions(self.strategy)
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
        passed = len(self.history.epoch) - len(history.epoch)
        several = () if best.scores is None else best.scores[number].tolist()
        kept = np.isfinite(best.score[number])
        return Rank(
            member=number,
            score=float(best.score[number]),
            selection_score=float(best.selection_score[number]),
            epoch=int(best.epoch[number]) + (passed if kept else 0),
            # A network is kept of an epoch in which its member trained; what became of the slot
            # later is not said of it.
            status=STATUS[RUNNING] if kept else history.status[int(best.slot[number])],
            hyperparameters={
                name: float(values[number])
                for name, values in best.hyperparameters.items()
                if name in self.history.hyperparameters
            },
            scores=dict(zip(history.score_names, several, strict=True)),
        )

    def retrain(
        self,
        seeds: int,
        *,
        refit: bool = False,
        folder: Path | None = None,
        on_round: Callable[[Progress], None] | None = None,
    ) -> "Tuned":
        """Trains the winner's schedule of hyperparameters again, from other start values.

        Of a later stage, the stages before it are trained again first.

        The spread of the results is the part that chance has in a single one.

        Args:
            seeds: How many times, as one population.
            refit: Whether they are then trained once more, on the events that validated them, too,
                with the same schedule, for as many passes as the best epoch had made. Scores and
                epochs stay those of the networks before.
            folder: Where to leave checkpoints.
            on_round: Called after each round.

        Raises:
            InputError: When a later stage is to be refitted.
        """
        start, own_folder = None, folder
        if refit and self.before is not None:
            raise InputError(
                "retrain(refit=True): this is a stage that began from the networks of another one, "
                "which would have to learn from the validation events first; leave out refit."
            )
        if self.before is not None:
            # The stages before it are part of its training.
            best, winner = self.result.best, self.result.winner
            line = self.result.history.line_of_descent(
                epoch=int(best.epoch[winner]), member=int(best.slot[winner])
            )
            ancestor = int(self.before._beginning(self.strategy)[next(iter(line.values()))])
            start = self.before.choosing(ancestor).retrain(
                seeds, folder=None if folder is None else folder / "before", on_round=on_round
            )
            own_folder = None if folder is None else folder / "last"
        schedule = self.result.schedule
        strategy = FixedSchedule(
            population=seeds,
            rounds=self.strategy.training_rounds,
            epochs_per_round=self.strategy.epochs_per_round,
            schedule=schedule,
        )
        recipe = self.preparation.recipe
        fixed = {n: v for n, v in recipe.hyperparameters.items() if n not in schedule}
        sizes = schedule.get("batch_size", self.preparation.batch_sizes(self.space))
        sizes = tuple(dict.fromkeys(int(size) for size in sizes))
        recipe = replace(recipe, hyperparameters=fixed, batch_size=sizes or None)
        preparation, seed = replace(self.preparation, recipe=recipe), derived(self.seed, "retrain")
        started = start is not None
        population = preparation.checked(strategy, Space(), seed=seed, started=started)
        with explained_search(own_folder):
            found = search_networks(
                preparation,
                strategy,
                Space(),
                seed=seed,
                folder=own_folder,
                on_round=on_round,
                start=start,
                population=population,
            )
        if refit:
            (found,) = refitted_together((found,), population, values=strategy.in_epoch)
        return found

    def _network(self, slot: int) -> TrainedNetwork:
        return TrainedNetwork.from_snapshot(
            self.result.best,
            slot,
            self.module_def,
            self.preparation.transform,
            feature_names=self.split.events.feature_names,
            signal_process=self.preparation.signal_process,
            objective=self.preparation.recipe.objective,
            reading=self.split.events.reading,
        )


def _executions(strategy: Strategy) -> int:
    """Members of a trial."""
    return strategy.executions if isinstance(strategy, Replicated) else 1


def refitted_together(
    trained: Sequence[Tuned],
    population: Population,
    *,
    values: Callable[[int], dict[str, np.ndarray]] | None = None,
) -> tuple[Tuned, ...]:
    """Networks trained anew on the events that validated them, too (`Population.refitted`).

    What is known of them stays: scores and epochs are those of the networks before.

    Args:
        trained: What a search gave; of cross-fitted events, for each fold.
        population: That it was made with.
        values: The hyperparameters in each epoch, where these are not those of the best one.
    """
    best = jax.tree.map(lambda *each: np.concatenate(each), *(each.result.best for each in trained))
    train = None
    if population.validation is not None:
        preparation = trained[0].preparation
        sample = preparation.sample
        events = sample.part(*sample.train_folds, *sample.validation_folds)
        train = preparation.columns(population.recipe, events)
    best, begin, found = population.refitted(best, train, values=values), 0, []
    for each in trained:
        end = begin + len(each.result.best.score)
        own = jax.tree.map(lambda leaf, begin=begin, end=end: leaf[begin:end], best)
        own = own._replace(slot=each.result.best.slot)
        found.append(replace(each, result=replace(each.result, best=own)))
        begin = end
    return tuple(found)


def search_networks(
    preparation: Preparation,
    strategy: Strategy,
    space: Space,
    *,
    seed: int,
    folder: Path | None = None,
    on_round: Callable[[Progress], None] | None = None,
    start: Tuned | None = None,
    population: Population | None = None,
) -> Tuned:
    """Runs a strategy on prepared events.

    Args:
        preparation: The events and the recipe.
        strategy: Proposes who trains next with what.
        space: What the strategy may propose.
        seed: Decides everything random.
        folder: Where to leave checkpoints, and to resume from.
        on_round: Called after each round.
        start: The stage before, of the same networks, which this one goes on from.
        population: Of the same preparation and size, so that nothing is compiled anew.

    Raises:
        InputError: As `tune`.
    """
    (found,) = _searched(
        preparation,
        strategy,
        space,
        seed=seed,
        folder=folder,
        on_round=on_round,
        start=None if start is None else [start],
        ready=population,
    )
    return found


def search_each_fold(
    preparation: CrossPreparation,
    strategy: Strategy | Sequence[Strategy],
    space: Space,
    *,
    seed: int,
    folder: Path | None = None,
    on_round: Callable[[Progress], None] | None = None,
    start: Sequence[Tuned] | None = None,
    population: Population | None = None,
) -> tuple[Tuned, ...]:
    """Runs a search for each fold, which it does not see; all of them side by side.

    Args:
        preparation: The events and the recipe.
        strategy: Of each fold, or one for all. Its size is that of the search of one fold.
        space: What the strategies may propose.
        seed: Decides everything random.
        folder: Where to leave checkpoints, and to resume from.
        on_round: Called after each round, of all folds at once.
        start: The stage before of each fold, in their order.
        population: As for `search_networks`.

    Returns:
        For each fold what tuning with its rotation of the folds gives.

    Raises:
        InputError: As `tune`.
        SearchError: When a fold has no network; names it.
    """
    if start is not None:
        folds = [tuple(each.split.test_folds) for each in start]
        if folds != [(fold,) for fold in range(preparation.split.folds)]:
            raise InputError(
                f"start=...: these are the searches for the folds {folds}; give the result of the "
                "stage before, one for each fold, in their order."
            )
    return _searched(
        preparation,
        preparation.strategy(strategy),
        space,
        seed=seed,
        folder=folder,
        on_round=on_round,
        start=start,
        ready=population,
    )


def _searched(
    preparation: Prepared,
    strategy: Strategy,
    space: Space,
    *,
    seed: int,
    folder: Path | None,
    on_round: Callable[[Progress], None] | None,
    start: Sequence[Tuned] | None,
    ready: Population | None,
) -> tuple[Tuned, ...]:
    """What a search gives; of one for all folds, what it gives for each of them."""
    processes, begin = preparation.processes, None
    if start is not None:
        together = strategy.strategies if isinstance(strategy, SideBySide) else [strategy]
        starts = zip(start, together, strict=True)
        begin = jax.tree.map(
            lambda *each: np.concatenate(each), *(each.start(own) for each, own in starts)
        )

    def checked() -> tuple[Population, Checkpoints | None]:
        if ready is None:
            started = begin is not None
            population = preparation.checked(strategy, space, seed=seed, started=started)
        else:
            population = ready.again(seed=seed)
        return population, Checkpoints(folder) if folder and processes.rank == 0 else None

    population, checkpoints = processes.agreed(checked)
    known = checkpoints is None and processes.size == 1
    result = run_search(
        population,
        strategy,
        space,
        checkpoints=checkpoints,
        on_round=on_round,
        events=None if known else preparation.definition,
        start=begin,
    )
    if strategy.minutes is not None:
        strategy = strategy.lasting(result.rounds, space)
    found = tuple(
        Tuned(
            preparation=own,
            strategy=each,
            space=space,
            module_def=population.module_def,
            result=its_result,
            seed=seed,
            before=None if start is None else start[number],
        )
        for number, (own, each, its_result) in enumerate(preparation.apart(strategy, result))
    )
    if processes.rank == 0:
        for each in found:
            each._say_what_is_missing()
    return found


def explained_search(folder: Path | None) -> AbstractContextManager[None]:
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
