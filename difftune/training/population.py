"""The population: many networks, each with its own hyperparameters, in one compiled program."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from difftune.errors import InputError
from difftune.objectives import Batch, Objective, Significance
from difftune.objectives.base import Function
from difftune.training.batches import Columns, as_batch, epoch_events, stratified_order
from difftune.training.blueprint import Blueprint
from difftune.training.devices import member_devices, over_members, place, runs_one_by_one, seats
from difftune.training.hyperparameters import Recorder, Values, check_known, complete
from difftune.training.member import (
    RUNNING,
    STOPPED,
    EpochRecord,
    Identity,
    Member,
    Shared,
    Snapshot,
    Training,
    choose,
)
from difftune.training.optimizers import Optimizer, adam
from difftune.training.overtraining import OvertrainingCondition, ScoreGap


@dataclass(frozen=True, kw_only=True)
class Population:
    """How a population trains: everything but the numbers that training changes.

    Args:
        blueprint: The network.
        objective: What each member minimises.
        train: Training events.
        validation: Events that scores, early stopping and the choice of the best epoch rest on.
        members: Size of the population.
        batch_size: Events a batch; or all sizes among which the hyperparameter `batch_size`
            chooses, the first being its default. An epoch is a pass over the events whatever the
            size.
        patience: Epochs without a better validation score after which a member stops.
        metric: The validation score, of the form of an objective; larger is better.
        overtraining: Weights that do not meet it are never kept as a member's best, and the
            member is not eligible to be copied.
        optimizer: Makes an optax optimizer of a member's hyperparameters.
        seed: Decides start values, batches and dropout, together with the slot of a member.

    Raises:
        InputError: When the network has another number of outputs than the objective wants, or
            for a batch size below 1.
    """

    blueprint: Blueprint
    objective: Objective
    train: Columns
    validation: Columns
    members: int
    batch_size: int | Sequence[int] = 1024
    patience: int = 10
    metric: Function = field(default_factory=Significance)
    overtraining: OvertrainingCondition = field(default_factory=ScoreGap)
    optimizer: Optimizer = adam
    seed: int = 0

    def __post_init__(self):
        binary = self.objective.outputs == "binary"
        wanted = 1 if binary else len(self.train.signal_process)
        if self.blueprint.outputs != wanted:
            raise InputError(
                f"Blueprint(outputs={self.blueprint.outputs}) does not fit {self.objective}, which "
                f"wants {wanted}: {'one for signal' if binary else 'one for each process'}."
            )
        if not self.sizes or min(self.sizes) < 1:
            raise InputError(f"batch_size={self.batch_size}: every size must be at least 1.")

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes that there are: the default first, none larger than the training events."""
        given = (self.batch_size,) if isinstance(self.batch_size, int) else self.batch_size
        return tuple(dict.fromkeys(min(size, len(self.train.weight)) for size in given))

    @cached_property
    def devices(self) -> list[jax.Device]:
        """The devices that share the members."""
        return member_devices(self.members)

    @cached_property
    def _training(self) -> Training:
        return Training(
            blueprint=self.blueprint,
            objective=self.objective,
            metric=self.metric,
            overtraining=self.overtraining,
            optimizer=self.optimizer,
            patience=self.patience,
            sizes=self.sizes,
        )

    @cached_property
    def _start(self):
        def start(own: Identity, _):
            return self._training.start(own)

        return jax.jit(over_members(start, self.devices))

    @cached_property
    def _epoch(self):
        def epoch(seated: tuple[Member, Identity], shared: Shared):
            return self._training.epoch(*seated, shared)

        mapped = over_members(epoch, self.devices)

        def epoch_of_all(members: Member, others: Identity, shared: Shared):
            return mapped((members, others), shared)

        return jax.jit(epoch_of_all, donate_argnums=0)

    @cached_property
    def _scores(self):
        def member_scores(snapshot: Snapshot, features):
            return self.blueprint.evaluate(snapshot.weights, snapshot.hyperparameters, features)

        return jax.jit(over_members(member_scores, self.devices))

    @cached_property
    def _evaluation(self) -> tuple[Batch, Batch]:
        """The validation events, and a sample of training events of that size, on the device."""
        rng = np.random.default_rng([self.seed, 2])
        rows = stratified_order(self.train.process, rng)[: len(self.validation.weight)]
        everything = np.arange(len(self.validation.weight))
        samples = (as_batch(self.validation, everything, 1.0), as_batch(self.train, rows, 1.0))
        return self._everywhere(samples)

    def _everywhere(self, tree: PyTree) -> PyTree:
        return place(tree, self.devices, by_member=False)

    def _seated(self, tree: PyTree, order: Int[np.ndarray, " seats"]) -> PyTree:
        """Members in the order of the seats; whoever has the number of members is the first."""
        if not np.array_equal(order, np.arange(self.members)):
            order = np.where(order < self.members, order, 0)
            tree = jax.tree.map(lambda leaf: leaf[order], tree)
        return place(tree, self.devices, by_member=True)

    @cached_property
    def _everybody(self) -> Int[np.ndarray, " seats"]:
        """A seat for each member, in their order, and some at the end that are left over."""
        return np.arange(-(-self.members // len(self.devices)) * len(self.devices))

    def _identity(self, given: Values, keys: Array) -> Identity:
        slots = np.arange(self.members, dtype=np.int32)
        return Identity(self.hyperparameters(given), keys, slots)

    def _keys(self, *path: int) -> Array:
        """One key a slot, the same however the members are grouped."""
        key = jax.random.key(self.seed)
        for number in path:
            key = jax.random.fold_in(key, number)
        return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(self.members))

    def hyperparameters(self, given: Values) -> dict[str, Float[Array, " members"]]:
        """All hyperparameters, `[members]` each: what is given, else the defaults.

        Raises:
            InputError: For a batch size that there is not, or one of two values that belong
                together.
        """
        if "batch_size" in given:
            events = len(self.train.weight)
            given = {**given, "batch_size": np.minimum(given["batch_size"], events)}
        return complete(given, self.members, sizes=self.sizes)

    def check(self, names: set[str]) -> None:
        """Traces one step without running it, to refuse hyperparameters that nothing reads.

        Raises:
            InputError: Naming the hyperparameter, and the nearest that exists.
        """
        values = {name: jnp.float32(1.0) for name in complete({}, 1, sizes=self.sizes)}
        recorder = Recorder(values | {name: jnp.float32(1.0) for name in names})
        batch = as_batch(self.train, np.arange(min(len(self.train.weight), 8)), 0.0)
        batch = jax.tree.map(jnp.asarray, batch)
        # Read by the epoch, not by the step.
        recorder.read |= {"batch_size", "plateau_factor", "plateau_patience"}

        def one_step(_):
            own = Identity(recorder, jax.random.key(0), jnp.int32(0))
            member = self._training.start(own)
            random = self.blueprint.random_state(own.key)
            state = (member.weights, member.objective, member.optimizer)
            done = jnp.float32(0.0)
            self._training.step(recorder, member.rate, (state, random), (batch, done))
            self._training.evaluate(member, recorder, batch)
            return 0

        jax.eval_shape(one_step, 0)
        check_known(names, recorder.read)

    def init(self, hyperparameters: Values, *, generation: int = 0) -> Member:
        """A fresh population.

        Args:
            hyperparameters: Values given, `[members]` each.
            generation: Another number gives other start values.
        """
        own = self._identity(hyperparameters, self._keys(0, generation))
        state = self._start(self._seated(own, self._everybody), self._everywhere(jnp.int32(0)))
        return jax.tree.map(lambda leaf: leaf[: self.members], state)

    def inherit(
        self,
        state: Member,
        parents: Int[np.ndarray, " members"],
        restart: Bool[np.ndarray, " members"],
        hyperparameters: Values,
        *,
        generation: int,
    ) -> Member:
        """Starts a round: each member goes on from its parent, or afresh.

        Args:
            state: The population at the end of the last round.
            parents: Slot whose weights and optimizer state a member takes over.
            restart: Members that begin with new start values instead.
            hyperparameters: Values for the new round (a new optimizer state depends on them).
            generation: Number of the round.
        """
        # On the host: it is small, happens between rounds, and leaves no sharding to arrange.
        moving = jax.device_get(state)._asdict()
        # The best stays with its slot: were it inherited too, that of a loser would be forgotten.
        best = moving.pop("best")
        moving = jax.tree.map(lambda a: np.asarray(a)[parents], moving)
        if np.any(restart):
            fresh = self.init(hyperparameters, generation=generation)._asdict()
            del fresh["best"]
            moving = jax.device_get(choose(jnp.asarray(restart), fresh, moving))
        moved = restart | (parents != np.arange(self.members))
        moving["status"] = np.where(moved, np.int32(RUNNING), moving["status"])
        moving["stale"] = np.where(moved, np.int32(0), moving["stale"])
        return Member(best=best, **moving)

    def epoch(
        self, state: Member, hyperparameters: Values, *, epoch: int, epochs: int
    ) -> tuple[Member, EpochRecord]:
        """Trains all members for one pass over the training events, and validates them.

        Args:
            state: The population; its arrays are used up.
            hyperparameters: Values given, `[members]` each.
            epoch: Number of the epoch, from 0.
            epochs: Length of the whole training, for annealing.
        """
        progress = epoch / max(epochs - 1, 1)
        events = epoch_events(self.train, seed=self.seed, epoch=epoch, progress=progress)
        own = self._identity(hyperparameters, self._keys(1, epoch))
        shared = Shared(
            self._everywhere(events),
            *self._evaluation,
            *self._everywhere((jnp.int32(epoch), jnp.int32(epochs))),
        )
        running = np.asarray(state.status) == RUNNING
        if running.all() and len(self._everybody) == self.members:
            # Nobody moves, so nothing passes through the host.
            order = self._everybody
            state = self._epoch(self._seated(state, order), self._seated(own, order), shared)
            return state, state.record
        order = seats(running, len(self.devices), one_by_one=runs_one_by_one(self.devices))
        taken = order < self.members
        before = jax.tree.map(np.asarray, jax.device_get(state))
        seated = self._seated(before, order)
        out = jnp.asarray(np.where(taken, before.status[np.where(taken, order, 0)], STOPPED))
        seated = seated._replace(status=place(out, self.devices, by_member=True))
        after = jax.device_get(self._epoch(seated, self._seated(own, order), shared))

        def back(old: np.ndarray, new: np.ndarray) -> np.ndarray:
            result = old.copy()
            result[order[taken]] = new[taken]
            return result

        state = jax.tree.map(back, before, after)
        return state, state.record

    def scores(self, snapshot: Snapshot, features: Float[np.ndarray, "events inputs"]) -> Array:
        """Logits of all members' best networks.

        Args:
            snapshot: `state.best`.
            features: Transformed features.

        Returns:
            `[members, events]`, or `[members, events, classes]` of multi-class networks.
        """
        scores = self._scores(
            self._seated(snapshot, self._everybody),
            self._everywhere(jnp.asarray(features, jnp.float32)),
        )
        return scores[: self.members]
