"""The loop of every search: propose, train a round, score, keep, and again."""

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
from difftune.search.proposal import Proposal, Strategy, places
from difftune.search.record import Record
from difftune.search.space import Space
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

    def __str__(self) -> str:
        """A line for a person."""
        finite = self.score[np.isfinite(self.score)]
        now = f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "none finite"
        dead = f", {self.diverged} diverged" if self.diverged else ""
        return (
            f"round {self.round}/{self.rounds}  best selection score {self.selection_score:.4g} "
            f"(score {self.best:.4g})  scores now {now}  "
            f"({self.running} training{dead})  {self.events_per_second:.2g} events/s"
        )


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The result of a search.

    Attributes:
        history: What happened.
        best: Best snapshot of every slot, `[members]` in front, on the host; of several scores
            the networks next to their front instead, as many.
        winner: Number of the best of them by selection score.
    """

    history: History
    best: Snapshot
    winner: int

    @property
    def schedule(self) -> dict[str, np.ndarray]:
        """The hyperparameters that led to the winner, round by round."""
        return self.history.schedule(
            epoch=int(self.best.epoch[self.winner]), member=int(self.best.slot[self.winner])
        )


@numbers_as_they_come()
def run_search(
    population: Population,
    strategy: Strategy,
    space: Space,
    *,
    checkpoints: Checkpoints | None = None,
    on_round: Callable[[Progress], None] | None = None,
    events: Mapping[str, Any] | None = None,
) -> SearchResult:
    """Runs a search to its end, from its last checkpoint if there is one.

    A checkpoint says what its search was defined by, and is refused by any other search.

    Args:
        population: Trains the members.
        strategy: Proposes which members train next, with which hyperparameters.
        space: What the strategy may propose.
        checkpoints: Where to leave a checkpoint after each round, and to resume from; of several
            processes only the first one's count.
        on_round: Called after each round, in the first process.
        events: What defines the events, as `training.fingerprint` describes it: their names, how
            they are made inputs, and whatever else the population does not know. None: the columns
            that the population has.

    Returns:
        History, best snapshot of each member, and the winner.

    Raises:
        InputError: For a hyperparameter that nothing reads or that has no value, a population of
            another size than the strategy wants, checkpoints of another search, or processes that
            were given different ones.
        SearchError: When no member ever met the overtraining condition, or all diverged.
    """
    members, rounds = population.members, strategy.rounds
    epochs = strategy.epochs_per_round
    if strategy.population != members:
        raise InputError(
            f"the strategy wants {strategy.population} members, the population has {members}: "
            "give both the same number."
        )
    several = population.recipe.metric.names
    first = _settled(strategy.start(space, _stream(population, 0)), space)
    population.check(set(first.hyperparameters))

    if checkpoints is not None or population.processes.size > 1:
        defined = definition(population, strategy, space, events)
        population.processes.same(defined)
        checkpoints = None if checkpoints is None else checkpoints.of(defined)
    log, start = Record(), 0
    state: Member | None = None
    kept: Snapshot | None = None
    found = _found(population, checkpoints, first.hyperparameters)
    if found is not None:
        start, (state, kept), past = found
        log = Record.of(past)
        logger.info("resumed after round %d of %d", start, rounds)

    for number in range(start, rounds):
        began = time.monotonic()
        if state is None:
            proposal = first
            values = proposal.hyperparameters
            state = population.init(values)
        else:
            rng = _stream(population, number)
            proposal = _settled(strategy.propose(space, log.population_state(), rng), space)
            proposal = _with_inheritance(proposal, log.values(), population.module_def.inherited)
            values = proposal.hyperparameters
            state = population.inherit(
                state, proposal.parents, proposal.restart, values, generation=number
            )
            if not np.any(state.status == RUNNING):
                logger.info("no member trains any more; the search ends")
                break
        log.proposal(proposal)
        # Where every training is as long as the search, all have begun with it.
        whole = strategy.training_rounds >= rounds
        begun = None if whole else log.begun
        length = min(strategy.training_rounds, rounds) * epochs
        running, trained = int(np.sum(np.asarray(state.status) == RUNNING)), 0
        own = range(log.length, log.length + epochs)
        for after, record in population.train_epochs(
            state, values, own, length=length, begun=begun
        ):
            state = after
            trained += running
            running = int(np.sum(np.asarray(state.status) == RUNNING))
            log.epoch(number, record)
        log.end()
        state = population.collected(state)
        if several and strategy.keeps_front:
            kept = _foremost(state.best, kept)
        else:
            kept = _better(state.best, kept, strategy)
        if checkpoints is not None and population.processes.rank == 0:
            checkpoints.save(number + 1, (state, kept), log.facts())
        if on_round is not None and population.processes.rank == 0:
            seconds = time.monotonic() - began
            status = np.asarray(state.status)
            winner, selection_score = _winner(kept, strategy)
            on_round(
                Progress(
                    round=number + 1,
                    rounds=rounds,
                    score=log.epochs["score"][-1],
                    best=float(kept.score[winner]),
                    selection_score=selection_score,
                    running=int(np.sum(status == RUNNING)),
                    diverged=int(np.sum(diverged(status))),
                    seconds=seconds,
                    events_per_second=trained * len(population.train.weight) / seconds,
                )
            )
    assert state is not None, "a strategy has at least one round"
    assert kept is not None, "what was trained was kept"
    if population.processes.rank == 0:
        strategy.finish(space, log.population_state())
    return _result(state, kept, log, strategy, several)


def definition(
    population: Population,
    strategy: Strategy,
    space: Space,
    events: Mapping[str, Any] | None = None,
) -> Definition:
    """What a search is defined by: all that its numbers depend on, and nothing else.

    Devices, processes, and how much is held in memory at a time are not part of it. The number of
    rounds is, since schedules and annealing run over all of them.

    Args:
        population: As for `run_search`.
        strategy: As for `run_search`.
        space: As for `run_search`.
        events: As for `run_search`.
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


def _winner(best: Snapshot, strategy: Strategy) -> tuple[int, float]:
    """The chosen member, the best execution of the best trial, and its selection score."""
    own = np.asarray(best.selection_score)
    selection_score, whole = strategy.trial_scores(own), strategy.complete(own)
    if whole.any():
        selection_score = np.where(whole, selection_score, -np.inf)
    top = np.max(selection_score)
    return int(np.argmax(np.where(selection_score == top, own, -np.inf))), float(top)


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


def _stream(population: Population, number: int) -> np.random.Generator:
    """The random numbers of a round's proposal; other streams of the seed have other tags."""
    return np.random.default_rng([population.seed, 0, number])


def _result(
    state: Member, best: Snapshot, log: Record, strategy: Strategy, several: tuple[str, ...]
) -> SearchResult:
    history = log.history(np.asarray(state.status), several)
    winner, selection_score = _winner(best, strategy)
    if not np.isfinite(selection_score):
        counts = {name: history.status.count(name) for name in STATUS}
        raise SearchError(
            f"no member of the population ever met the overtraining condition with a finite "
            f"validation score (at the end: {counts}). Relax the condition, lower the learning "
            "rate, or give more training events."
        )
    return SearchResult(history=history, best=best, winner=winner)
