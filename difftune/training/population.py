"""The population: many networks, each with its own hyperparameters, in one compiled program."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from difftune.errors import InputError
from difftune.objectives import Batch, Objective, Significance
from difftune.objectives.base import Function
from difftune.training.batches import Columns, as_batch, epoch_batches, stratified_order
from difftune.training.blueprint import Blueprint, Weights, kernel_norms
from difftune.training.devices import member_devices, over_members, place
from difftune.training.hyperparameters import (
    Optimizer,
    Recorder,
    Values,
    adam,
    check_known,
    complete,
)
from difftune.training.overtraining import OvertrainingCondition, ScoreGap

RUNNING, STOPPED, DIVERGED = range(3)


class Snapshot(NamedTuple):
    """The best that has been in a slot, by the validation score."""

    weights: Weights
    objective: PyTree
    hyperparameters: dict[str, Array]
    score: Array
    epoch: Array
    slot: Array


class Member(NamedTuple):
    """The training state; in a population each array has a leading member axis."""

    weights: Weights
    objective: PyTree
    optimizer: PyTree
    best: Snapshot
    stale: Array
    status: Array


class EpochRecord(NamedTuple):
    """What one epoch gave, `[members]` each."""

    loss: Float[Array, " members"]
    validation_loss: Float[Array, " members"]
    score: Float[Array, " members"]
    train_score: Float[Array, " members"]
    eligible: Bool[Array, " members"]


def _choose(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` where the condition holds, else `old`; the condition may have a member axis."""

    def pick(a, b):
        shaped = jnp.reshape(condition, condition.shape + (1,) * (a.ndim - condition.ndim))
        return jnp.where(shaped, a, b)

    return jax.tree.map(pick, new, old)


@dataclass(frozen=True, kw_only=True)
class Population:
    """How a population trains: everything but the numbers that training changes.

    Args:
        blueprint: The network.
        objective: What each member minimises.
        train: Training events.
        validation: Events that scores, early stopping and the choice of the best epoch rest on.
        members: Size of the population.
        batch_size: The largest batch; a member's `batch_size` may be smaller, and uses that much
            of each. Batch statistics of a normalisation layer see the whole of it.
        patience: Epochs without a better validation score after which a member stops.
        metric: The validation score, of the form of an objective; larger is better.
        overtraining: Weights that do not meet it are never kept as a member's best, and the
            member is not eligible to be copied.
        optimizer: Makes an optax optimizer of a member's hyperparameters.
        seed: Decides start values, batches and dropout, together with the slot of a member.

    Raises:
        InputError: When the network has another number of outputs than the objective wants.
    """

    blueprint: Blueprint
    objective: Objective
    train: Columns
    validation: Columns
    members: int
    batch_size: int = 1024
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

    # ---- one member ----------------------------------------------------------------------------

    def _init_member(self, inputs, _):
        hyperparameters, key, slot = inputs
        weights_key, objective_key = jax.random.split(key)
        weights = self.blueprint.init(weights_key)
        objective = self.objective.init(objective_key)
        trained = (weights.parameters, objective)
        best = Snapshot(
            weights,
            objective,
            hyperparameters,
            score=jnp.float32(-jnp.inf),
            epoch=jnp.int32(-1),
            slot=slot,
        )
        optimizer = self.optimizer(hyperparameters).init(trained)
        return Member(weights, objective, optimizer, best, jnp.int32(0), jnp.int32(RUNNING))

    def _own_share(self, batch: Batch, hyperparameters: Mapping[str, Array]) -> Batch:
        """The part of the largest batch that a member uses, still standing for the full yield."""
        largest = batch.weight.shape[0]
        size = jnp.clip(jnp.round(hyperparameters["batch_size"]), 1, largest)
        share = jnp.where(jnp.arange(largest) < size, largest / size, 0.0)
        balance = jnp.where(batch.label == 1, hyperparameters["signal_weight"], 1.0)
        return replace(
            batch,
            weight=batch.weight * share,
            training_weight=batch.training_weight * share * balance,
        )

    def _loss(self, trained, buffers, random, hyperparameters, batch):
        parameters, objective = trained
        scores, buffers, random = self.blueprint.train(
            Weights(parameters, buffers), hyperparameters, batch.features, random
        )
        loss = self.objective(scores, batch, hyperparameters, objective)
        l1, l2 = kernel_norms(parameters)
        penalty = hyperparameters["l1"] * l1 + hyperparameters["l2"] * l2
        return loss + penalty, (loss, buffers, random)

    def _step(self, hyperparameters, carry, batch: Batch):
        member, random = carry
        batch = self._own_share(batch, hyperparameters)
        trained = (member.weights.parameters, member.objective)
        (total, (loss, buffers, random)), gradient = jax.value_and_grad(self._loss, has_aux=True)(
            trained, member.weights.buffers, random, hyperparameters, batch
        )
        updates, optimizer = self.optimizer(hyperparameters).update(
            gradient, member.optimizer, trained
        )
        parameters, objective = jax.tree.map(lambda p, u: p + u, trained, updates)
        finite = jnp.isfinite(total) & jnp.all(
            jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(updates)])
        )
        running = member.status == RUNNING
        new = member._replace(
            weights=Weights(parameters, buffers), objective=objective, optimizer=optimizer
        )
        member = _choose(running & finite, new, member)
        status = jnp.where(running & ~finite, DIVERGED, member.status)
        return (member._replace(status=status), random), loss

    def _evaluate(self, member: Member, hyperparameters, batch: Batch):
        scores = self.blueprint.evaluate(member.weights, hyperparameters, batch.features)
        # The member's signal weight is part of its loss, not of the yardstick.
        loss = self.objective(scores, batch, hyperparameters, member.objective)
        return loss, self.metric(scores, batch, hyperparameters, member.objective)

    def _epoch_member(self, inputs, shared):
        member, hyperparameters, key, slot = inputs
        batches, validation, comparison, epoch = shared
        was_running = member.status == RUNNING
        random = self.blueprint.random_state(key)
        (member, _), losses = jax.lax.scan(
            partial(self._step, hyperparameters), (member, random), batches
        )
        validation_loss, score = self._evaluate(member, hyperparameters, validation)
        _, train_score = self._evaluate(member, hyperparameters, comparison)

        lost = was_running & ~(jnp.isfinite(score) & jnp.isfinite(validation_loss))
        status = jnp.where(lost, DIVERGED, member.status)
        eligible = (status != DIVERGED) & self.overtraining(train_score, score)
        better = (status == RUNNING) & eligible & (score > member.best.score)
        now = Snapshot(member.weights, member.objective, hyperparameters, score, epoch, slot)
        best = _choose(better, now, member.best)
        stale = jnp.where(better, 0, member.stale + was_running)
        status = jnp.where((status == RUNNING) & (stale >= self.patience), STOPPED, status)
        member = member._replace(best=best, stale=stale, status=status)
        nan = jnp.where(status == DIVERGED, jnp.nan, 0.0)
        measured = (losses.mean(), validation_loss, score, train_score)
        return member, EpochRecord(*(value + nan for value in measured), eligible)

    # ---- the population ------------------------------------------------------------------------

    @cached_property
    def devices(self) -> list[jax.Device]:
        """The devices that share the members."""
        return member_devices(self.members)

    @cached_property
    def _init(self):
        return jax.jit(over_members(self._init_member, self.devices))

    @cached_property
    def _epoch(self):
        mapped = over_members(self._epoch_member, self.devices)

        def epoch(state: Member, others: tuple, shared: tuple):
            return mapped((state, *others), shared)

        return jax.jit(epoch, donate_argnums=0)

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
        return place(samples, self.devices, by_member=False)

    def _keys(self, *path: int) -> Array:
        """One key a slot, the same however the members are grouped."""
        key = jax.random.key(self.seed)
        for number in path:
            key = jax.random.fold_in(key, number)
        return jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(self.members))

    def hyperparameters(self, given: Values) -> dict[str, Float[Array, " members"]]:
        """All hyperparameters, `[members]` each: what is given, else the defaults."""
        return complete(given, self.members, batch_size=self.batch_size)

    def check(self, names: set[str]) -> None:
        """Traces one step without running it, to refuse hyperparameters that nothing reads.

        Raises:
            InputError: Naming the hyperparameter, and the nearest that exists.
        """
        values = {name: jnp.float32(1.0) for name in complete({}, 1, batch_size=1)}
        recorder = Recorder(values | {name: jnp.float32(1.0) for name in names})
        batch = as_batch(self.train, np.arange(min(len(self.train.weight), 8)), 0.0)
        key = jax.random.key(0)

        def one_step(_):
            member = self._init_member((dict(recorder), key, jnp.int32(0)), None)
            random = self.blueprint.random_state(key)
            self._step(recorder, (member, random), jax.tree.map(jnp.asarray, batch))
            self._evaluate(member, recorder, jax.tree.map(jnp.asarray, batch))
            return 0

        jax.eval_shape(one_step, 0)
        check_known(names, recorder.read)

    def init(self, hyperparameters: Values, *, generation: int = 0) -> Member:
        """A fresh population.

        Args:
            hyperparameters: Values given, `[members]` each.
            generation: Another number gives other start values.
        """
        full = self.hyperparameters(hyperparameters)
        keys = self._keys(0, generation)
        members = (full, keys, jnp.arange(self.members, dtype=jnp.int32))
        return self._init(
            place(members, self.devices, by_member=True),
            place(jnp.int32(0), self.devices, by_member=False),
        )

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
            moving = jax.device_get(_choose(jnp.asarray(restart), fresh, moving))
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
        batches = epoch_batches(
            self.train,
            min(self.batch_size, len(self.train.weight)),
            seed=self.seed,
            epoch=epoch,
            progress=epoch / max(epochs - 1, 1),
        )
        slots = jnp.arange(self.members, dtype=jnp.int32)
        full = self.hyperparameters(hyperparameters)
        return self._epoch(
            place(state, self.devices, by_member=True),
            place((full, self._keys(1, epoch), slots), self.devices, by_member=True),
            (
                place(batches, self.devices, by_member=False),
                *self._evaluation,
                place(jnp.int32(epoch), self.devices, by_member=False),
            ),
        )

    def scores(self, snapshot: Snapshot, features: Float[np.ndarray, "events inputs"]) -> Array:
        """Logits of all members' best networks.

        Args:
            snapshot: `state.best`.
            features: Transformed features.

        Returns:
            `[members, events]`, or `[members, events, classes]` of multi-class networks.
        """
        return self._scores(
            place(snapshot, self.devices, by_member=True),
            place(jnp.asarray(features, jnp.float32), self.devices, by_member=False),
        )
