"""One member's training: the steps of an epoch, its scores, and what becomes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from difftune.models import FIRST_ROW
from difftune.objectives import (
    Batch,
    Column,
    Metric,
    Objective,
    signal_probability,
)
from difftune.training.averaging import averaged, averaging
from difftune.training.batches import Part, batch_at, taken, whole_batch
from difftune.training.buckets import Bucket, bucket_numbers, in_bucket
from difftune.training.chunks import Stretch, in_chunks, mean_over_tiles, tiles
from difftune.training.evolution import GradientFree, from_losses, side_by_side
from difftune.training.judging import Judged, directions_of, judged, masked, of_view
from difftune.training.module_def import ModuleDef, Weights
from difftune.training.optimizers import Optimizer, clipped, penalised, rate_factor
from difftune.training.overtraining import Condition, Evidence, ScoredSample
from difftune.training.replicas import bootstrap_count
from difftune.training.selection_rule import AS_SCORED, SelectionRule
from difftune.training.state import (
    LOSS_NOT_FINITE,
    RUNNING,
    SCORE_NOT_FINITE,
    STOPPED,
    WEIGHTS_NOT_FINITE,
    EpochClock,
    EpochRecord,
    Member,
    MemberInputs,
    Snapshot,
    choose,
)

EVALUATED = 65536
"""Events that a network keeps activations of at a time while it is validated."""

_STEPS = 2**16
"""What the keys of steps are folded with begins there: below are those of a network's streams."""

_WIDER = 2
"""Times as many events of few objects as of many are in a part at most: what is left over of a
part is computed with room for more objects."""

CACHED = 4
"""Tiles of a chunk: a loop over chunks costs more than one over tiles, as it may skip some."""


@dataclass(frozen=True, kw_only=True)
class MemberTrainer:
    """How each member trains. The attributes are those of `Population`; sizes are of batches."""

    module_def: ModuleDef
    objective: Objective
    metric: Metric
    overtraining: Condition
    optimizer: Optimizer
    patience: int
    sizes: Sequence[int]
    chunk: int | None = None
    selection_rule: SelectionRule = AS_SCORED
    tile: int | None = None
    """Events of a batch that are looked at at a time, where the loss is a mean over them."""
    buckets: tuple[Bucket, ...] = ()
    """Networks with less room for objects, where members run one after the other."""

    @property
    def _optimizer(self) -> Optimizer:
        return averaging(self.optimizer)

    @property
    def wants_error(self) -> bool:
        """Whether something wants the statistical error of the score."""
        return self.overtraining.wants_errors or self.selection_rule.wants_errors

    def _nothing(self) -> EpochRecord:
        """The record of an epoch that gave nothing."""
        nan = jnp.float32(jnp.nan)
        return EpochRecord(
            nan, nan, nan, nan, nan, nan, jnp.zeros((), bool), nan, self._several(jnp.nan)
        )

    def _several(self, value: float) -> Array | None:
        """A value for each score, if the metric gives several."""
        names = self.metric.names
        return jnp.full(len(names), value, jnp.float32) if names else None

    def start(self, own: MemberInputs, weights: Weights | None = None) -> Member:
        """A member before its first epoch.

        Args:
            own: Its identity.
            weights: What it begins with; None for random start values.
        """
        weights_key, objective_key = jax.random.split(own.key)
        if weights is None:
            weights = self.module_def.init(weights_key, own.hyperparameters, inputs=own.inputs)
        objective = self.objective.init(objective_key)
        return Member(
            weights=weights,
            objective=objective,
            optimizer=self._optimizer(own.hyperparameters).init((weights.parameters, objective)),
            best=Snapshot(
                weights,
                objective,
                own.hyperparameters,
                score=jnp.float32(-jnp.inf),
                selection_score=jnp.float32(-jnp.inf),
                epoch=jnp.int32(-1),
                slot=own.slot,
                inputs=own.inputs,
                scores=self._several(-jnp.inf),
            ),
            trend=self.selection_rule.start,
            record=self._nothing(),
            stale=jnp.int32(0),
            rate=jnp.float32(1.0),
            status=jnp.int32(RUNNING),
        )

    def train(self, member: Member, own: MemberInputs, part: Part, clock: EpochClock) -> Member:
        """Trains on a part of an epoch; a member that is out stays as it is."""
        return jax.lax.cond(
            member.status == RUNNING,
            partial(self._train, own=own, part=part, clock=clock),
            lambda member: member,
            member,
        )

    def _train(self, member: Member, *, own: MemberInputs, part: Part, clock: EpochClock) -> Member:
        trained, loss = self._pass(member, own, part, clock)
        sound = jnp.stack(
            [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((trained[0], trained[1]))]
        ).all()
        # What a member was before the part that broke it is what stays of it.
        finite = jnp.isfinite(loss) & sound
        weights, objective, optimizer = choose(
            finite, trained, (member.weights, member.objective, member.optimizer)
        )
        status = jnp.where(jnp.isfinite(loss), WEIGHTS_NOT_FINITE, LOSS_NOT_FINITE)
        before = jnp.where(part.begins == 0, 0.0, member.record.loss)
        so_far = member.record._replace(loss=before + part.length * loss)
        return member._replace(
            weights=weights,
            objective=objective,
            optimizer=optimizer,
            record=choose(finite, so_far, self._nothing()),
            status=jnp.where(finite, RUNNING, status).astype(jnp.int32),
        )

    def finish(
        self,
        member: Member,
        own: MemberInputs,
        samples: Batch | tuple[Batch, Batch],
        clock: EpochClock,
        known: "Judged | None" = None,
    ) -> Member:
        """Scores a member at the end of an epoch, on validation and on training events.

        Args:
            member: After its last step.
            own: Its identity.
            samples: Both samples as one batch with an axis of two in front, then one of the views
                of the folds if there are any; or two batches of different sizes.
            clock: The time.
            known: What other programs have found already.
        """
        return jax.lax.cond(
            member.status == RUNNING,
            partial(self._finish, own=own, samples=samples, clock=clock, known=known),
            lambda member: member,
            member,
        )

    @property
    def judged_apart(self) -> bool:
        """Whether the score has a program of its own, which other networks share."""
        return self.metric.varied and not self.metric.of_member

    def logits(self, member: Member, own: MemberInputs, samples: Batch) -> list[Array]:
        """Logits of both samples in each direction; zeros of a member that is out.

        Args:
            member: After its last step.
            own: Its identity.
            samples: As for `finish`, in one batch.
        """
        both = of_view(samples, own.view)

        def found() -> list[Array]:
            return jax.lax.map(lambda each: self._network(member, own, directions_of(each)), both)

        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(found))
        return jax.lax.cond(member.status == RUNNING, found, lambda: nothing)

    def _finish(
        self,
        member: Member,
        *,
        own: MemberInputs,
        samples: Any,
        clock: EpochClock,
        known: "Judged | None",
    ) -> Member:
        validated, compared = self._both(member, own, samples, known)
        validation_loss, score, scores, error, hard_loss, scored = validated
        train_loss, train_score, _, train_error, _, seen = compared
        evidence = Evidence(
            train_score,
            score,
            train_loss,
            validation_loss,
            seen,
            scored,
            train_error=train_error,
            validation_error=error,
        )

        running = jnp.isfinite(score) & jnp.isfinite(validation_loss)
        status = jnp.where(running, RUNNING, SCORE_NOT_FINITE)
        beyond = self.overtraining.excess(evidence).astype(jnp.float32)
        eligible = running & (beyond <= 1.0)
        selection_score, trend = self.selection_rule.after(member.trend, score, error)
        better = eligible & (selection_score > member.best.selection_score)
        now = Snapshot(
            averaged(member.weights, member.optimizer),
            member.objective,
            own.hyperparameters,
            score,
            selection_score,
            clock.epoch,
            own.slot,
            own.inputs,
            scores,
        )
        stale = jnp.where(better, 0, member.stale + 1)
        nan = jnp.where(running, 0.0, jnp.nan)
        return member._replace(
            best=choose(better, now, member.best),
            trend=trend,
            record=EpochRecord(
                member.record.loss + nan,
                validation_loss + nan,
                hard_loss + nan,
                score + nan,
                selection_score + nan,
                train_score + nan,
                eligible,
                beyond + nan,
                None if scores is None else scores + nan,
            ),
            stale=stale,
            rate=self._rate(member.rate, stale, own.hyperparameters),
            status=jnp.where(running & (stale >= self.patience), STOPPED, status).astype(jnp.int32),
        )

    def _both(
        self,
        member: Member,
        own: MemberInputs,
        samples: Batch | tuple[Batch, Batch],
        known: "Judged | None",
    ) -> tuple[Any, ...]:
        """What `evaluate` gives for both samples."""
        if isinstance(samples, tuple):
            validation, comparison = samples
            return self.evaluate(member, own, validation), self.evaluate(member, own, comparison)
        both = of_view(samples, own.view)
        every = None
        if known is None and both.weight.shape[1] > self._evaluated and not both.varied_features:
            # Here, since the loop would copy the features of a sample.
            features = jnp.asarray(both.features)
            (scores,) = self._network(member, own, [features.reshape(-1, features.shape[-1])])
            every = Judged([scores.reshape(2, -1, *scores.shape[1:])])
        # A loop of two, for what takes long to compile, as a fit, to be compiled once.
        found = jax.lax.map(
            lambda each: self.evaluate(member, own, each[0], known=each[1]),
            (both, known if every is None else every),
        )
        return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], found) for i in (0, 1))

    def _network(
        self, member: Member, own: MemberInputs, features: Sequence[Column]
    ) -> list[Array]:
        """Logits of what a member is now in each direction."""
        weights = averaged(member.weights, member.optimizer)
        return self.scored(weights, own.hyperparameters, own.inputs, features)

    def scored(
        self,
        weights: Weights,
        hyperparameters: Mapping[str, Array],
        inputs: Array | None,
        features: Sequence[Column],
    ) -> list[Array]:
        """Logits in each direction, in evaluation mode, of a network with these weights.

        Args:
            weights: Of the network.
            hyperparameters: Of the member.
            inputs: 1 for each input that it uses, 0 for the others; None for all.
            features: Of the events in each direction.
        """

        def network(network: ModuleDef, some: Array, nothing: PyTree) -> tuple[Array, PyTree]:
            return network.evaluate(weights, hyperparameters, some), nothing

        # Without variations the loop over chunks that stay in the cache gains nothing.
        most = self._evaluated
        if self.tile is not None and len(features) > 1:
            most = min(most, CACHED * self.tile)
        return self._in_chunks(network, features, (), most, self.buckets, inputs)[0]

    def _in_chunks(
        self,
        network: Callable[[ModuleDef, Array, PyTree], tuple[Array, PyTree]],
        features: Sequence[Column],
        carry: PyTree,
        most: int | None,
        buckets: Sequence[Bucket],
        inputs: Array | None = None,
    ) -> tuple[list[Array], PyTree]:
        """As `in_chunks`, with events of a size side by side and each chunk in its bucket."""

        def of_some(some: Array, carry: PyTree) -> tuple[Array, PyTree]:
            some = some if inputs is None else some * inputs
            if not buckets:
                return network(self.module_def, some, carry)
            return in_bucket(buckets, some, lambda module_def, x: network(module_def, x, carry))

        if not buckets or most is None or len(features[0]) <= most:
            return in_chunks(of_some, features, carry, most)
        order = jnp.argsort(bucket_numbers(buckets, features[0]), stable=True)
        back = jnp.argsort(order)
        ordered = [jnp.asarray(each)[order] for each in features]
        scores, carry = in_chunks(of_some, ordered, carry, most)
        return [each[back] for each in scores], carry

    @staticmethod
    def _rate(rate: Array, stale: Array, hyperparameters: Mapping[str, Array]) -> Array:
        if "plateau_factor" not in hyperparameters:
            return rate
        wait = jnp.maximum(jnp.round(hyperparameters["plateau_patience"]), 1)
        due = (stale > 0) & (stale % wait == 0)
        return jnp.where(due, rate * hyperparameters["plateau_factor"], rate)

    def _pass(
        self, member: Member, own: MemberInputs, part: Part, clock: EpochClock
    ) -> tuple[PyTree, Array]:
        """All steps of a part, in batches of the member's own size; the mean loss."""

        def in_batches_of(size: int, starts: Any) -> tuple[PyTree, Array]:
            if starts is None:
                mine = jnp.zeros(1, jnp.int32)
            else:
                mine = jnp.asarray(starts)[0 if own.view is None else own.view]
            steps = mine.shape[0]
            along = part.begins + part.length * jnp.arange(steps) / steps
            done = (own_epoch(own, clock) + along) / clock.epochs
            if own.begun is not None:
                # A search may let a member go on for longer than planned.
                done = jnp.minimum(done, 1.0)

            def step(carry: PyTree, inputs: tuple[Array, Array]) -> tuple[PyTree, Array]:
                start, done = inputs
                batch = self._seen(own, part, None if starts is None else start, size)
                if own.begun is not None:
                    batch = replace(batch, progress=own_progress(own, clock))
                key = jax.random.fold_in(own.key, _STEPS + start)
                return self.step(own.hyperparameters, member.rate, carry, (batch, done, key))

            state = (member.weights, member.objective, member.optimizer)
            carry = (state, self.module_def.random_state(own.key))
            (state, _), losses = jax.lax.scan(step, carry, (mine, done))
            return state, losses.mean()

        branches = [
            partial(in_batches_of, size, starts)
            for size, starts in zip(self.sizes, part.starts, strict=True)
        ]
        if len(branches) == 1:
            return branches[0]()
        # Each size has its own loop, so a batch is as large as it says, and costs that much.
        distance = jnp.abs(jnp.asarray(self.sizes) - own.hyperparameters["batch_size"])
        return jax.lax.switch(jnp.argmin(distance), branches)

    def _seen(self, own: MemberInputs, part: Part, start: Array | None, size: int) -> Batch:
        """A batch as the member sees it: from a place on, or all events of its view."""
        if start is None:
            assert part.whole is not None, "made for batches of all events"
            batch = whole_batch(part.events, part.whole, own.view)
            number = jnp.asarray(part.number)[jnp.asarray(part.whole.rows)[own.view]]
        else:
            batch = batch_at(part.events, start, size)
            number = jax.lax.dynamic_slice_in_dim(part.number, start, size)
        batch = masked(batch, own.inputs)
        if own.bootstrap is None:
            return batch
        return batch.counted(bootstrap_count(own.bootstrap, number))

    def step(
        self,
        hyperparameters: Any,
        rate: Array,
        carry: PyTree,
        inputs: tuple[Batch, Array, Array],
    ) -> tuple[PyTree, Array]:
        """One step of the optimizer, on a batch, with what is done of the training and a key."""
        (weights, objective, state), random = carry
        batch, done, key = inputs
        balance = jnp.where(batch.label == 1, hyperparameters["signal_weight"], 1.0)
        batch = replace(batch, training_weight=batch.training_weight * balance)

        trained = (weights.parameters, objective)
        learning_rate = hyperparameters["learning_rate"] * rate * rate_factor(hyperparameters, done)
        optimizer = self._optimizer(hyperparameters | {"learning_rate": learning_rate})
        loss = partial(self._loss_at, hyperparameters=hyperparameters, batch=batch)
        buffers, events = weights.buffers, batch.weight.shape[0]
        if isinstance(self.optimizer, GradientFree):
            group = side_by_side(self.optimizer.events or events, one_by_one=self.tile is not None)
            value, (buffers, random), updates, state = from_losses(
                optimizer,
                loss,
                trained,
                (buffers, random),
                state,
                batch=batch,
                key=key,
                group=group,
            )
        else:
            parts = tiles(events, self.tile) if self._event_by_event else 1
            if parts > 1:
                value, gradient, random = self._in_tiles(
                    trained, buffers, random, hyperparameters, batch, parts
                )
            else:
                (value, (buffers, random)), gradient = jax.value_and_grad(loss, has_aux=True)(
                    trained, (buffers, random)
                )
            gradient = (penalised(gradient[0], trained[0], hyperparameters), gradient[1])
            gradient = clipped(gradient, hyperparameters)
            updates, state = optimizer.update(gradient, state, trained)
        updates = (updates[0], self.objective.scale_updates(updates[1], hyperparameters))
        parameters, objective = jax.tree.map(lambda p, u: p + u, trained, updates)
        return ((Weights(parameters, buffers), objective, state), random), value

    @property
    def _evaluated(self) -> int:
        """Events that the network keeps activations of at a time while it is validated.

        With buckets these are few, so that few wait for one that has many objects.
        """
        most = max(EVALUATED // self.module_def.rows, 1)
        return min(most, CACHED * self.tile) if self.buckets and self.tile is not None else most

    @property
    def _event_by_event(self) -> bool:
        """Whether a batch may be looked at in parts: no event knows of the others."""
        return self.objective.mean_over_events and self._network_by_event

    @property
    def _network_by_event(self) -> bool:
        return getattr(self.module_def.model, "event_by_event", False)

    @property
    def _chunk(self) -> int | None:
        """Events that the network keeps activations of at a time: as many as stay in the cache.

        With buckets always: an event is computed twice then, but for few objects.
        """
        if self.tile is None or not self._network_by_event:
            return self.chunk
        if self.chunk is None:
            return CACHED * self.tile if self.buckets else None
        return min(self.chunk, CACHED * self.tile)

    def _in_tiles(
        self,
        trained: PyTree,
        buffers: PyTree,
        random: PyTree,
        hyperparameters: Any,
        batch: Batch,
        parts: int,
    ) -> tuple[Array, PyTree, PyTree]:
        """Loss and its gradient, and the random streams after the batch."""

        def of_part(
            network: ModuleDef, inputs: np.ndarray | slice, part: Batch, start: Array
        ) -> tuple[PyTree, PyTree]:
            features = jnp.asarray(part.features)[:, inputs]

            def loss(trained: PyTree) -> tuple[Array, PyTree]:
                parameters, objective = trained
                # Each part begins with the streams of the batch, and drops what is its own.
                scores, _, after = network.train(
                    Weights(parameters, buffers),
                    hyperparameters | {FIRST_ROW: start},
                    features,
                    random,
                )
                return self._loss([scores], part, hyperparameters, objective), after

            (value, after), gradient = jax.value_and_grad(loss, has_aux=True)(trained)
            return (value, gradient), after

        events = batch.weight.shape[0]
        size = events // parts
        stretches = [Stretch(partial(of_part, self.module_def, slice(None)), events, size)]
        if self.buckets:
            # Events of a size side by side, so that most parts have little that is empty.
            numbers = bucket_numbers(self.buckets, batch.features)
            batch = taken(batch, jnp.argsort(numbers, stable=True))
            stretches = [
                Stretch(
                    partial(of_part, bucket.module_def, np.asarray(bucket.inputs)),
                    jnp.sum(numbers <= number),
                    size * self._wider(bucket),
                )
                for number, bucket in enumerate(self.buckets)
            ]
        (value, gradient), after = mean_over_tiles(stretches, batch, random)
        return value, gradient, after

    def _wider(self, bucket: Bucket) -> int:
        """How many times as many events a part has where each has few objects."""
        share = self.module_def.rows // bucket.module_def.rows
        return min(max(share // 2, 1), _WIDER)

    def _loss_at(
        self, trained: PyTree, streams: PyTree, *, hyperparameters: Any, batch: Batch
    ) -> tuple[Array, PyTree]:
        """Loss, and what the network hands on: buffers and random streams."""
        parameters, objective = trained

        def network(network: ModuleDef, some: Array, streams: PyTree) -> tuple[Array, PyTree]:
            weights = Weights(parameters, streams[0])
            scores, *streams = network.train(weights, hyperparameters, some, streams[1])
            return scores, tuple(streams)

        buckets = self.buckets if self._network_by_event else ()
        scores, after = self._in_chunks(
            network, directions_of(batch), streams, self._chunk, buckets
        )
        return self._loss(scores, batch, hyperparameters, objective), after

    def _loss(
        self,
        scores: Sequence[Array],
        batch: Batch,
        hyperparameters: Mapping[str, Array],
        objective: PyTree,
    ) -> Array:
        """The loss of scores in each direction, as the network gives them in training mode."""
        own, *others = scores
        if not self.module_def.submodels:
            return self.objective(own, batch.scored(others), hyperparameters, objective)
        together = self.module_def.together
        batch = batch.scored([together(each) for each in others])

        def loss(own: Array) -> Array:
            return self.objective(own, batch, hyperparameters, objective)

        # What counts events in bins is for what is counted: the score of all submodels together.
        if not self.objective.mean_over_events:
            return loss(together(own))
        return jnp.mean(jax.vmap(loss, in_axes=1)(own))

    def evaluate(
        self,
        member: Member,
        own: MemberInputs,
        batch: Batch,
        *,
        known: "Judged | None" = None,
    ) -> tuple[Any, ...]:
        """A member on one sample.

        Args:
            member: The member.
            own: Its identity.
            batch: The sample.
            known: What has been found already.

        Returns:
            Loss; score; all scores if there are several; the error of the score if something wants
            it; loss in hard bins; the events if the condition sees them.
        """
        scores, *others = (
            self._network(member, own, directions_of(batch)) if known is None else known.logits
        )
        batch, hyperparameters = masked(batch, own.inputs), own.hyperparameters
        batch = batch.scored(others)
        # The member's signal weight is part of its loss, not of the yardstick.
        loss = self.objective(scores, batch, hyperparameters, member.objective)
        hard = self.objective.hard_limit()
        if hard == self.objective:
            hard_loss = loss
        else:
            hard_loss = hard(scores, batch, hyperparameters, member.objective)

        if known is None or known.score is None:
            value, measured, error = judged(
                self.metric, scores, batch, self.wants_error, hyperparameters, member.objective
            )
        else:
            value, measured, error = known.score, known.score, known.error
        several = measured if jnp.ndim(measured) else None
        scored = None
        if self.overtraining.sees_events:
            weight, label = jnp.asarray(batch.weight), jnp.asarray(batch.label)
            scored = ScoredSample(signal_probability(scores, batch), weight, label)
        return loss, value, several, error, hard_loss, scored


def own_epoch(own: MemberInputs, clock: EpochClock) -> Array:
    """How many epochs a member has behind it."""
    return clock.epoch if own.begun is None else clock.epoch - own.begun


def own_progress(own: MemberInputs, clock: EpochClock) -> Float[Array, ""]:
    """How much of its training a member has behind it, from 0 to 1."""
    progress = own_epoch(own, clock) / jnp.maximum(clock.epochs - 1, 1)
    return jnp.clip(progress, 0.0, 1.0).astype(jnp.float32)
