"""The compiled programs of a population, made to fit the memory of the devices."""

import json
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from difftune.objectives import Metric
from difftune.precision import numbers_as_they_come
from difftune.sharing import may_share
from difftune.training.batches import Part
from difftune.training.describing import describe
from difftune.training.devices import over_members, place, runs_one_by_one
from difftune.training.judging import Judged, Score
from difftune.training.member import MemberTrainer
from difftune.training.module_def import Weights
from difftune.training.state import EpochClock, Member, MemberInputs, Snapshot

logger = logging.getLogger("difftune")

_GIB = 2**30


def device_memory(devices: Sequence[jax.Device]) -> int | None:
    """Bytes that the smallest of the devices has; None where it does not say, as a CPU."""
    told = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [limit for limit in told if limit]
    return min(known) if known else None


@dataclass(frozen=True, kw_only=True)
class Program:
    """A function of one member, compiled for the members of a population.

    Members that run side by side do so in as large groups as fit.

    Args:
        name: What it does, for messages.
        function: `(state, own, shared) -> result`, trees of arrays of one member, and of what all
            see.
        devices: What the members are shared out over.
        memory: Bytes that it may take on a device; None if there is no limit.
        donate: Whether the arrays of the state may be used up.
        one_by_one: Whether the members of a device run one after the other; None chooses by
            platform.
        of_one: Whether it is compiled for one member of each device, which take turns: the same
            program however many there are. For members that run one after the other.
    """

    name: str
    function: Callable[[Any, Any, Any], Any]
    devices: Sequence[jax.Device]
    memory: int | None = None
    donate: bool = False
    one_by_one: bool | None = None
    of_one: bool = False
    _compiled: dict[tuple[Any, ...], Callable[..., Any]] = field(default_factory=dict, repr=False)

    @numbers_as_they_come()
    def __call__(self, state: PyTree, own: PyTree, shared: PyTree) -> PyTree:
        """The function of all members; state, own and result have a leading axis of slots."""
        # Leaves alone: what a compiler says about them cannot always be put into our classes.
        leaves, trees = zip(*map(jax.tree.flatten, (state, own, shared)), strict=True)
        rows = leaves[1][0].shape[0] // len(self.devices)
        if self.of_one and rows > 1:
            return self._in_turn(state, own, shared, rows)
        kind = rows, trees, self.memory and tuple(np.shape(leaf) for leaf in chain(*leaves))
        if kind not in self._compiled:
            self._compiled[kind] = self._fitting(rows, leaves, trees)
        return self._compiled[kind](*leaves)

    def _in_turn(self, state: PyTree, own: PyTree, shared: PyTree, rows: int) -> PyTree:
        """One member of each device after the other."""
        members = jax.device_get((state, own))
        found = []
        for row in range(rows):
            turn = jax.tree.map(lambda leaf, row=row: leaf[row::rows], members)
            mine, known = place(turn, self.devices, by_member=True)
            found.append(self(mine, known, shared))
        return jax.tree.map(
            lambda *each: np.stack(each, axis=1).reshape(-1, *each[0].shape[1:]), *found
        )

    def _in_groups_of(self, group: int | None, trees: Sequence[Any]) -> Any:
        def each(placed: tuple[Any, Any], shared: Any) -> Any:
            return self.function(*placed, shared)

        mapped = over_members(each, self.devices, one_by_one=self.one_by_one, group=group)

        def of_leaves(*leaves: list[Any]) -> Any:
            state, own, shared = map(jax.tree.unflatten, trees, leaves)
            return mapped((state, own), shared)

        return jax.jit(of_leaves, donate_argnums=0 if self.donate else ())

    def _fitting(self, rows: int, leaves: Sequence[Any], trees: Sequence[Any]) -> Any:
        alone = self.one_by_one
        if self.memory is None or (runs_one_by_one(self.devices) if alone is None else alone):
            return self._in_groups_of(None, trees)
        group, wanted = rows, None
        while True:
            program = self._in_groups_of(group if group < rows else None, trees)
            needs = _bytes(program.lower(*leaves).compile().memory_analysis())
            wanted = needs if wanted is None else wanted
            if needs <= self.memory or group == 1:
                break
            group = -(-group // 2)
        if group < rows:
            logger.warning(
                "%s: %d members at a time, not all %d of a device at once, which would take "
                "%.1f of its %.1f GiB",
                *(self.name, group, rows, wanted / _GIB, self.memory / _GIB),
            )
        return program


def _bytes(analysis: Any) -> int:
    """What a program takes at once: arguments and results, and what it works with."""
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def ahead(items: Iterable[Any]) -> Iterator[Any]:
    """The items, each made in another thread while the one before is being used."""
    source = iter(items)
    end = object()
    with ThreadPoolExecutor(max_workers=1) as maker:
        coming = maker.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = maker.submit(next, source, end)
            yield item


def _score_of(
    metric: Metric, error: bool, devices: tuple[jax.Device, ...], definition: str
) -> Program:
    """The program of a score."""
    del definition
    return Program(name="validation", function=Score(metric, error), devices=devices, of_one=True)


# The same for all networks: a fit takes long to compile.
_known_score_of = lru_cache(maxsize=8)(_score_of)


@dataclass(frozen=True, kw_only=True, eq=False)
class Programs:
    """What is compiled once for a population, and for all that differ in data and chance alone.

    Attributes:
        trainer: What one member does.
        devices: Those that share the members.
        memory: Bytes that a program may take on a device.
    """

    trainer: MemberTrainer
    devices: Sequence[jax.Device]
    memory: int | None
    found_read: dict[Hashable, frozenset[str]] = field(default_factory=dict)
    """Hyperparameters that a step was found to read."""

    def _of(self, name: str, function: Callable[..., object], *, donate: bool = False) -> Program:
        return Program(
            name=name, function=function, devices=self.devices, memory=self.memory, donate=donate
        )

    @cached_property
    def start(self) -> Program:
        """Makes members, from random start values or from given ones."""

        def start(weights: Weights | None, own: MemberInputs, _: None) -> Member:
            return self.trainer.start(own, weights)

        return self._of("start", start)

    @cached_property
    def train(self) -> Program:
        """Trains members on a part of the events."""

        def train(member: Member, own: MemberInputs, shared: tuple[Part, EpochClock]) -> Member:
            return self.trainer.train(member, own, *shared)

        return self._of("training", train, donate=True)

    @cached_property
    def finish(self) -> Program:
        """Validates members at the end of an epoch."""

        def finish(member: Member, own: MemberInputs, shared: tuple[Any, ...]) -> Member:
            return self.trainer.finish(member, own, *shared)

        return self._of("validation", finish, donate=True)

    def validated(self, member: Member, own: MemberInputs, samples: Any, clock: EpochClock) -> Any:
        """Members at the end of an epoch, validated.

        Where the score may be shared with other networks it has a program of its own. On devices
        whose members run side by side that would be another one for each number of members.

        Args:
            member: All of them.
            own: Their identities.
            samples: Both samples, as for `MemberTrainer.finish`.
            clock: The time.
        """
        apart = self.trainer.judged_apart and runs_one_by_one(self.devices)
        if not apart or isinstance(samples, tuple):
            return self.finish(member, own, (samples, clock))
        logits = self._logits(member, own, samples)
        found = self._score(logits, (member.status, own.view, own.inputs), samples)
        known = Judged(logits, *place(found, self.devices, by_member=True))
        return self._conclude(member, (own, known), (samples, clock))

    @cached_property
    def _score(self) -> Program:
        """The score of both samples."""
        metric = self.trainer.metric
        wanted = metric, self.trainer.wants_error, tuple(self.devices)
        # A user's may have become another one by what it refers to, and still be equal.
        definition = "" if may_share(metric) else json.dumps(describe(metric))
        try:
            return _known_score_of(*wanted, definition)
        except TypeError:
            # Of one that cannot be compared.
            return _score_of(*wanted, definition)

    @cached_property
    def _logits(self) -> Program:
        """Scores both samples."""
        return self._of("validation", self.trainer.logits)

    @cached_property
    def _conclude(self) -> Program:
        """Validates members of which logits and score are known."""

        def conclude(
            member: Member, own: tuple[MemberInputs, Judged], shared: tuple[Any, EpochClock]
        ) -> Member:
            (identity, known), (samples, clock) = own, shared
            return self.trainer.finish(member, identity, samples, clock, known)

        return self._of("validation", conclude, donate=True)

    @cached_property
    def scores(self) -> Program:
        """Scores events by the best networks of members."""

        def scores(_: None, best: Snapshot, features: Float[Array, "events inputs"]) -> Array:
            own = best.weights, best.hyperparameters, best.inputs
            return self.trainer.scored(*own, [features])[0]

        return self._of("scores", scores)


# Of those that are equal: the next training of a recipe compiles nothing.
known_programs = lru_cache(maxsize=16)(
    lambda trainer, devices, memory: Programs(trainer=trainer, devices=devices, memory=memory)
)
