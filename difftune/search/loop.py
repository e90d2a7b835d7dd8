"""The loop of every search: propose, train a round, score, keep, and again."""

import abc
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from difftune.errors import DifftuneError, InputError
from difftune.precision import numbers_as_they_come
from difftune.search.budget import Budget
from difftune.search.proposal import Proposal, Strategy, places
from difftune.search.record import Record
from difftune.search.side_by_side import SideBySide
from difftune.search.space import Space
from difftune.search.start import Start
from difftune.training import (
    RUNNING,
    STATUS,
    Checkpoints,
    History,
    Member,
    Population,
    Snapshot,
    choose,
    diverged,
    surroundings,
)
from difftune.training.describing import Definition, describe

logger = logging.getLogger("difftune")


class SearchError(DifftuneError):
    """A search without a result."""


class Progress(NamedTuple):
    """What a round gave, for those who watch.

    `selection_score` is that of the network that is chosen so far, which is what networks are
    compared by: it only grows. `best` is the validation score of the same network, which need not.
    `searches` is the selection score so far of each search, where several run side by side.
    """

    round: int
    rounds: int
    score: np.ndarray
    best: float
    selection_score: float
    running: int
    diverged: int
    seconds: float
    events_per_second: float
    searches: tuple[float, ...] = ()

    def __str__(self) -> str:
        """A line for a person."""
        finite = self.score[np.isfinite(self.score)]
        now = f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "none finite"
        dead = f", {self.diverged} diverged" if self.diverged else ""
        best = f"{self.selection_score:.4g} (score {self.best:.4g})"
        if len(self.searches) > 1:
            best = f"{min(self.searches):.4g} to {max(self.searches):.4g} "
            best += f"of {len(self.searches)} searches"
        return (
            f"round {self.round}/{self.rounds}  best selection score {best}  scores now {now}  "
            f"({self.running} training{dead})  {self.events_per_second:.2g} events/s"
        )


class Watcher(abc.ABC):
    """Looks on: called after each round, as a plain function is, and where it wants to at more.

    What it does not override says nothing.
    """

    def stage(self, name: str) -> None:  # noqa: B027
        """Called before each stage: a search, one of its stages, the network to compare with.

        Args:
            name: What it is called in the log.
        """

    def begin(self, members: int, epochs: int, rounds: int | None) -> None:  # noqa: B027
        """Called before the first round that is trained.

        Args:
            members: That train side by side.
            epochs: Of a round.
            rounds: Of the search; None where that depends on the time they take.
        """

    @abc.abstractmethod
    def __call__(self, progress: Progress) -> None:
        """Called after each round."""

    def epoch(self, number: int, epochs: int, rounds: int) -> None:  # noqa: B027
        """Called after each epoch.

        Args:
            number: Of the epoch in the search, from 1.
            epochs: Of a round.
            rounds: Of the search.
        """

    def figure(self, name: str, value: float, uncertainty: float) -> None:  # noqa: B027
        """Called with each figure that a run measures in the end: a line of its ladder.

        Args:
            name: The step, such as "hyperparameters tuned".
            value: Its figure of merit.
            uncertainty: Of the value.
        """


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The result of a search.

    Attributes:
        history: What happened.
        best: Best snapshot of every slot, `[members]` in front, on the host; of several scores
            the networks next to their front instead, as many.
        winner: Number of the best of them by selection score.
        rounds: How many were planned in the end, which schedules and annealing ran over.
    """

    history: History
    best: Snapshot
    winner: int
    rounds: int

    @property
    def schedule(self) -> dict[str, np.ndarray]:
        """The hyperparameters that led to the winner, round by round."""
        return self.history.schedule(
            epoch=int(self.best.epoch[self.winner]), member=int(self.best.slot[self.winner])
        )

    def apart(self, strategy: SideBySide) -> tuple["SearchResult", ...]:
        """The results of searches that ran side by side, each as if it had been alone.

        Args:
            strategy: What they ran with.
        """
        winners = strategy.winners(np.asarray(self.best.selection_score))
        parts = []
        for number, winner in enumerate(winners):
            own = strategy.slots(number)
            best = jax.tree.map(lambda leaf, own=own: leaf[own], self.best)
            parts.append(
                SearchResult(
                    history=self.history.of(own),
                    best=best._replace(slot=best.slot - own.start),
                    winner=winner - own.start,
                    rounds=self.rounds,
                )
            )
        return tuple(parts)


@numbers_as_they_come()
def run_search(
    population: Population,
    strategy: Strategy,
    space: Space,
    *,
    checkpoints: Checkpoints | None = None,
    on_round: Callable[[Progress], None] | None = None,
    events: Mapping[str, Any] | None = None,
    start: Snapshot | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """Runs a search to its end, from its last checkpoint if there is one.

    A checkpoint says what its search was defined by, and is refused by any other search.

    Args:
        population: Trains the members.
        strategy: Proposes which members train next, with which hyperparameters.
        space: What the strategy may propose.
        checkpoints: Where to leave a checkpoint after each round, and to resume from; of several
            processes only the first one's count.
        on_round: Called after each round, in the first process; a `Watcher` after each epoch, too.
        events: What defines the events, as `training.fingerprint` describes it: their names, how
            they are made inputs, and whatever else the population does not know. None: the columns
            that the population has.
        start: What every member begins from, such as the best of a search with another objective;
            also those that the strategy lets begin afresh. What the objective trains itself and
            the state of the optimizer begin anew. None for random start values.
        clock: Gives the time in seconds, for a strategy with `minutes`.

    Returns:
        History, best snapshot of each member, and the winner.

    Raises:
        InputError: For a hyperparameter that nothing reads or that has no value, a population of
            another size than the strategy wants, start weights of other networks, checkpoints of
            another search, or processes that were given different ones.
        SearchError: When no member ever met the overtraining condition, or all diverged.
    """
    members, epochs = population.members, strategy.epochs_per_round
    if strategy.population != members:
        raise InputError(
            f"the strategy wants {strategy.population} members, the population has {members}: "
            "give both the same number."
        )
    several = population.recipe.metric.names
    first = _settled(strategy.start(space, _stream(population, 0)), space)
    begin = None if start is None else Start.of(start, population, set(first.hyperparameters))
    population.check(set(first.hyperparameters) | set(begin.names if begin else ()))

    if checkpoints is not None or population.processes.size > 1:
        defined = definition(population, strategy, space, events, begin)
        population.processes.same(defined)
        checkpoints = None if checkpoints is None else checkpoints.of(defined)
    log, done = Record(), 0
    budget = Budget(strategy, space, population.processes, clock=clock)
    state: Member | None = None
    kept: Snapshot | None = None
    found = _found(population, checkpoints, _values(first, begin, log))
    if found is not None:
        done, (state, kept), past = found
        log = Record.of(past)
        budget = Budget(strategy, space, population.processes, clock=clock, **past[-1]["time"])
    strategy = budget.planned(done)
    if done:
        logger.info("resumed after round %d of %d", done, strategy.rounds)
    weights = None if begin is None else begin.weights
    if isinstance(on_round, Watcher) and population.processes.rank == 0 and done < strategy.rounds:
        on_round.begin(members, epochs, strategy.rounds if strategy.minutes is None else None)

    number = done
    while number < strategy.rounds:
        began = clock()
        if state is None:
            proposal, values = first, _values(first, begin, log)
            state = population.init(values, start=weights)
        else:
            rng = _stream(population, number)
            proposal = _settled(strategy.propose(space, log.population_state(), rng), space)
            proposal = _with_inheritance(proposal, log.values(), population.module_def.inherited)
            values, moved = _values(proposal, begin, log), (proposal.parents, proposal.restart)
            state = population.inherit(state, *moved, values, generation=number, start=weights)
            if not np.any(state.status == RUNNING):
                logger.info("no member trains any more; the search ends")
                break
        given = {name: values[name] for name in proposal.hyperparameters}
        log.proposal(replace(proposal, hyperparameters=given))
        running, trained = int(np.sum(np.asarray(state.status) == RUNNING)), 0
        for within in range(epochs):
            # Where every training is as long as the search, all have begun with it.
            rounds = strategy.rounds
            begun = None if strategy.training_rounds >= rounds else log.begun
            length = min(strategy.training_rounds, rounds) * epochs
            now = clock()
            state, record = population.epoch(
                state, values, epoch=log.length, epochs=length, begun=begun
            )
            record = jax.device_get(record)
            trained += running
            running = int(np.sum(np.asarray(state.status) == RUNNING))
            log.epoch(number, record)
            if isinstance(on_round, Watcher) and population.processes.rank == 0:
                on_round.epoch(number * epochs + within + 1, epochs, rounds)
            if budget.over:
                logger.info("the time is over: %d of %d epochs of the round", within + 1, epochs)
                break
            if not running and strategy.rounds == 1:
                # A plain training, and nothing comes after it.
                break
            if number == done and within:
                # Unlike the epoch before, this one was not compiled.
                budget.took(clock() - now, rounds=1 / epochs)
                strategy = budget.planned(number + (within + 1) / epochs)
        log.end()
        state = population.collected(state)
        if several and strategy.keeps_front:
            kept = _foremost(state.best, kept)
        else:
            kept = _better(state.best, kept, strategy)
        seconds = clock() - began
        if number > done or epochs == 1 or budget.pace is None:
            budget.took(seconds, compiled=number == done)
        if checkpoints is not None and population.processes.rank == 0:
            checkpoints.save(number + 1, (state, kept), log.facts() | {"time": budget.facts})
        strategy = budget.planned(number + 1)
        if on_round is not None and population.processes.rank == 0:
            rate = trained * len(population.train.weight) / seconds
            on_round(_progress(number + 1, strategy, log, state, kept, seconds, rate))
        number += 1
    assert state is not None, "a strategy has at least one round"
    assert kept is not None, "what was trained was kept"
    if population.processes.rank == 0:
        strategy.finish(space, log.population_state())
    return _result(state, kept, log, strategy, several)


def _progress(
    number: int,
    strategy: Strategy,
    log: Record,
    state: Member,
    kept: Snapshot,
    seconds: float,
    rate: float,
) -> Progress:
    """Where a search is after so many rounds, the last of which took these seconds."""
    status, selection = np.asarray(state.status), np.asarray(kept.selection_score)
    trials, winner = strategy.trial_scores(selection), strategy.winner(selection)
    return Progress(
        round=number,
        rounds=strategy.rounds,
        score=log.epochs["score"][-1],
        best=float(kept.score[winner]),
        selection_score=float(trials[winner]),
        searches=tuple(float(trials[each]) for each in strategy.winners(selection)),
        running=int(np.sum(status == RUNNING)),
        diverged=int(np.sum(diverged(status))),
        seconds=seconds,
        events_per_second=rate,
    )


def definition(
    population: Population,
    strategy: Strategy,
    space: Space,
    events: Mapping[str, Any] | None = None,
    start: Start | None = None,
) -> Definition:
    """What a search is defined by: all that its numbers depend on, and nothing else.

    Devices, processes, and how much is held in memory at a time are not part of it. The number of
    rounds is, since schedules and annealing run over all of them.

    Args:
        population: As for `run_search`.
        strategy: As for `run_search`.
        space: As for `run_search`.
        events: As for `run_search`.
        start: What it begins from.
    """
    if events is None:
        parts = {"training": population.train, "validation": population.validation}
        events = {name: describe(part) for name, part in parts.items()}
    return {
        "seed": population.seed,
        "events": dict(events),
        "strategy": describe(strategy),
        # In their order, since random numbers are drawn in it.
        "space": {"order": list(space), **describe(dict(space))},
        "hyperparameters": describe({n: float(value) for n, value in population.fixed.items()}),
        "model": describe(population.module_def.model),
        **{
            name: describe(getattr(population.recipe, name))
            for name in (
                *("objective", "metric", "optimizer", "overtraining", "selection_rule"),
                "patience",
            )
        },
        "sizes": describe(population.sizes),
        "replicas": describe(population.replicas),
        **({} if start is None else {"start": start.definition}),
        **surroundings(),
    }


def _found(
    population: Population, checkpoints: Checkpoints | None, values: Mapping[str, np.ndarray]
) -> tuple[int, tuple[Member, Snapshot], list[Any]] | None:
    """The newest checkpoint of the first process, for all of them."""
    processes = population.processes
    if checkpoints is None and processes.size == 1:
        return None
    structure = jax.eval_shape(lambda: population.init(values))
    like = (structure, structure.best)
    mine = checkpoints if processes.rank == 0 else None
    found = processes.agreed(lambda: None if mine is None else mine.newest(like))
    step, tree, past = found or (0, (), [])
    (step, past), leaves = processes.of_first((step, past), jax.tree.leaves(tree))
    if step == 0:
        return None
    return step, jax.tree.unflatten(jax.tree.structure(like), leaves), past


def _better(new: Snapshot, old: Snapshot | None, strategy: Strategy) -> Snapshot:
    """The better one of each slot; the best of a loser must outlive it."""
    if old is None:
        return jax.tree.map(np.array, new)
    owns = [np.asarray(each.selection_score) for each in (new, old)]
    selection_scores, whole = (
        [of(own) for own in owns] for of in (strategy.trial_scores, strategy.complete)
    )
    better = (whole[0] & ~whole[1]) | (
        (whole[0] == whole[1]) & (selection_scores[0] > selection_scores[1])
    )
    return jax.tree.map(np.asarray, choose(jnp.asarray(better), new, old))


def _foremost(new: Snapshot, old: Snapshot | None) -> Snapshot:
    """As many of both as there are members: those next to the front, and the best compromise."""
    if old is None:
        return jax.tree.map(np.array, new)
    pool = jax.tree.map(lambda *each: np.concatenate(each), new, old)
    # A member that was not bettered in this round is there twice.
    _, first = np.unique(np.stack([pool.slot, pool.epoch]), axis=1, return_index=True)
    able = first[np.isfinite(pool.score[first])]
    place = np.full(len(pool.score), len(pool.score))
    place[able] = places(pool.scores[able])
    if len(able):
        place[able[np.argmax(pool.selection_score[able])]] = -1
    # Those that count for nothing come last, and fill the rest.
    order = np.argsort(place, kind="stable")[: len(old.score)]
    return jax.tree.map(lambda leaf: leaf[order], pool)


def _settled(proposal: Proposal, space: Space) -> Proposal:
    """With what does not count at its middle."""
    return replace(proposal, hyperparameters=space.settled(proposal.hyperparameters))


def _with_inheritance(
    proposal: Proposal, before: Mapping[str, np.ndarray], inherited: Collection[str]
) -> Proposal:
    """What belongs to weights, as the width of a layer, comes from the parent with them."""
    values = {
        name: np.where(proposal.restart, value, before[name][proposal.parents])
        if name in inherited
        else value
        for name, value in proposal.hyperparameters.items()
    }
    return replace(proposal, hyperparameters=values)


def _values(proposal: Proposal, start: Start | None, log: Record) -> dict[str, np.ndarray]:
    """All hyperparameters of a round."""
    if start is None:
        return proposal.hyperparameters
    return start.values(proposal.hyperparameters, log.origin(proposal.parents, proposal.restart))


def _stream(population: Population, number: int) -> np.random.Generator:
    """The random numbers of a round's proposal; other streams of the seed have other tags."""
    return np.random.default_rng([population.seed, 0, number])


def _result(
    state: Member, best: Snapshot, log: Record, strategy: Strategy, several: tuple[str, ...]
) -> SearchResult:
    history = log.history(np.asarray(state.status), several)
    own = np.asarray(best.selection_score)
    trials, winners = strategy.trial_scores(own), strategy.winners(own)
    failed = [number for number, each in enumerate(winners) if not np.isfinite(trials[each])]
    if failed:
        status, where = history.status, "the population"
        if isinstance(strategy, SideBySide):
            status = status[strategy.slots(failed[0])]
            where = f"{strategy.each} {failed[0]}"
        counts = {name: status.count(name) for name in STATUS}
        raise SearchError(
            f"no member of {where} ever met the overtraining condition with a finite "
            f"validation score (at the end: {counts}). Relax the condition, lower the learning "
            "rate, or give more training events."
        )
    return SearchResult(
        history=history, best=best, winner=strategy.winner(own), rounds=strategy.rounds
    )
