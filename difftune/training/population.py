"""The population: many networks, each with its own hyperparameters, in one compiled program."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from difftune.errors import InputError
from difftune.forks import refuse_fork
from difftune.objectives import Batch
from difftune.precision import numbers_as_they_come
from difftune.sharing import may_share
from difftune.training.averaging import averaged
from difftune.training.batches import (
    Epochs,
    View,
    as_batch,
    evaluation_samples,
    folds_of,
    of_shape,
    trained_on,
)
from difftune.training.buckets import Bucket, buckets_of
from difftune.training.devices import (
    host_array,
    member_devices,
    place,
    runs_one_by_one,
    slot_assignment,
    tile_of,
)
from difftune.training.evolution import GradientFree
from difftune.training.hyperparameters import UsageTracker, Values, check_known, complete
from difftune.training.member import MemberTrainer
from difftune.training.module_def import ModuleDef, Weights, fitting
from difftune.training.processes import Processes, SingleProcess
from difftune.training.programs import Programs, ahead, device_memory, known_programs
from difftune.training.recipe import Recipe, batch_size_for
from difftune.training.replicas import Replicas
from difftune.training.sample import Columns, check_same_variations
from difftune.training.state import (
    RUNNING,
    STOPPED,
    EpochClock,
    EpochRecord,
    Member,
    MemberInputs,
    Snapshot,
    choose,
)
from difftune.training.traced import users_code


@dataclass(frozen=True, kw_only=True)
class Population:
    """How a population trains: a recipe with events and members, but not what training changes.

    Args:
        recipe: How each member is trained, for the processes of these events (`Recipe.bound_to`).
        train: Training events.
        validation: Events that scores, early stopping and the choice of the best epoch rest on;
            None where the replicas have folds.
        members: Size of the population.
        replicas: What each member sees of events and inputs, where that differs.
        seed: Decides start values, batches and dropout, together with the slot of a member.
        memory: Bytes that the training may take on a device; None asks the device. Members that do
            not fit side by side train in groups, one after the other.
        part: Training events that are on a device at a time; None for all, or as many as fit. The
            others come while these are being trained on, from memory or from disk (`store`).
        processes: Those that share the members; all do the same with a population of the same
            arguments. From `difftune.training.connect`.

    Raises:
        InputError: When events and replicas do not fit together, when training and validation
            events have not the same variations where these count, or for more processes than
            members.
    """

    recipe: Recipe
    train: Columns
    validation: Columns | None
    members: int
    replicas: Replicas = field(default_factory=Replicas)
    seed: int = 0
    memory: int | None = None
    part: int | None = None
    processes: Processes = field(default_factory=SingleProcess)

    def __post_init__(self) -> None:
        refuse_fork()
        self.replicas.check(self.members, self.module_def.inputs, folds_of(self.train))
        if (self.validation is None) != (self.replicas.fold is not None):
            raise InputError(
                "Population(validation=...): give validation events; or None, and with "
                "Replicas(fold=...) the fold of the training events to validate each member on."
            )
        if self.part is not None and self.part < 1:
            raise InputError(f"Population(part={self.part}): give at least one event.")
        if self.recipe.varied and self.validation is not None:
            check_same_variations(self.train, self.validation)
        _ = self._epochs, self._own

    @cached_property
    def module_def(self) -> ModuleDef:
        """The network of each member."""
        return self.recipe.module_def(self.train)

    @cached_property
    def _own(self) -> Int[np.ndarray, " own"]:
        """Slots of the members that this process trains."""
        return self.processes.share(self.members)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes that there are: the default first, none larger than the training events."""
        given = self.recipe.batch_sizes
        if not given:
            given = (batch_size_for(min(trained_on(self._judged, self._views[0]))),)
        sizes = self._able(np.asarray(given)).tolist()
        return tuple(dict.fromkeys(int(size) for size in sizes))

    def _able(self, size: Any) -> np.ndarray:
        """Batch sizes as they can be: all events of a member in one, or those of one fold at most.

        A batch of less than all events is of one fold, which small samples have few events in.
        """
        events = trained_on(self._judged, self._views[0])
        folds = self._judged.fold
        most = np.min(np.bincount(folds)) if folds is not None and self.part is None else np.inf
        return np.where(np.asarray(size) >= min(events), max(events), np.minimum(size, most))

    @cached_property
    def _views(self) -> tuple[list[View], Int[np.ndarray, " members"] | None]:
        """The views of the folds that there are, and which of them each member has."""
        return self.replicas.views(folds_of(self.train))

    @cached_property
    def _epochs(self) -> Epochs:
        events = len(self.train.weight)
        held = self.part
        if held is None and self._memory is not None:
            # A third for what is there, a third for what is coming.
            size = sum(np.dtype(c.dtype).itemsize * c.size for c in jax.tree.leaves(self._seen))
            held = int(events * self._memory / (3 * size))
        parts = max(1, -(-events // (held or events)))
        views = self._views[0]
        return Epochs(data=self._seen, sizes=self.sizes, seed=self.seed, views=views, parts=parts)

    @cached_property
    def _seen(self) -> Columns:
        """Training events as the steps see them: variations cost, so only if the loss has them."""
        judged = self._judged
        return judged if self.recipe.objective.varied else judged._replace(variations={})

    @cached_property
    def _judged(self) -> Columns:
        """Training events as the validation sees them: with folds and variations if these count."""
        seen = self.train if self.replicas.fold is not None else self.train._replace(fold=None)
        return seen if self.recipe.varied else seen._replace(variations={})

    @cached_property
    def _memory(self) -> int | None:
        return device_memory(self.devices) if self.memory is None else self.memory

    @cached_property
    def devices(self) -> list[jax.Device]:
        """The devices that share the members of this process."""
        return member_devices(len(self._own))

    @cached_property
    def programs(self) -> Programs:
        """What is compiled; populations that differ in data and chance alone share it (`again`)."""
        recipe = self.recipe
        objective = recipe.objective.with_variations(sorted(self._judged.variations))
        if isinstance(recipe.optimizer, GradientFree):
            # What needs no gradient needs no smearing.
            objective = objective.hard_limit()
        trainer = MemberTrainer(
            module_def=self.module_def,
            objective=objective,
            metric=recipe.metric,
            overtraining=recipe.overtraining,
            selection_rule=recipe.selection_rule,
            optimizer=recipe.optimizer,
            patience=recipe.patience,
            sizes=self.sizes,
            chunk=recipe.chunk,
            tile=tile_of(self.devices, self.module_def.rows),
            buckets=self._buckets,
        )
        programs_of = known_programs if may_share(trainer) else Programs
        return programs_of(trainer=trainer, devices=tuple(self.devices), memory=self._memory)

    @property
    def _buckets(self) -> tuple[Bucket, ...]:
        """Networks of several sizes, where members run one after the other.

        Side by side each of them would have to wait for the largest.
        """
        if not runs_one_by_one(self.devices):
            return ()
        return buckets_of(self.module_def, self.train.features)

    @cached_property
    def _evaluation(self) -> Batch | tuple[Batch, Batch]:
        """Validation events, and a sample of training events of that size, on the devices."""
        validation = self.validation
        if validation is not None and not self.recipe.varied:
            validation = validation._replace(variations={})
        samples = evaluation_samples(self._judged, validation, seed=self.seed, views=self._views[0])
        if samples[0].weight.shape == samples[1].weight.shape:
            samples = jax.tree.map(_stacked, *samples)
            if self.validation is not None:
                # The same numbers where the devices have them: they need not be there twice.
                shared = self.validation._replace(features=samples.features[0])
                object.__setattr__(self, "validation", shared)
        return self._everywhere(samples)

    def _everywhere(self, tree: PyTree) -> PyTree:
        return place(tree, self.devices, by_member=False)

    def _by_slot(self, tree: PyTree, order: Int[np.ndarray, " slots"]) -> PyTree:
        """Members in the order of the slots; a seat that is left over takes the first one."""
        if not np.array_equal(order, np.arange(self.members)):
            order = np.where(order < self.members, order, 0)
            tree = jax.tree.map(lambda leaf: leaf[order], tree)
        return place(tree, self.devices, by_member=True)

    @cached_property
    def _all_slots(self) -> Int[np.ndarray, " slots"]:
        """A slot for each member, in their order, and some at the end that are left over."""
        return np.arange(-(-self.members // len(self.devices)) * len(self.devices))

    def _identity(
        self, given: Values, keys: Array, begun: Int[np.ndarray, " members"] | None = None
    ) -> MemberInputs:
        def column(values: np.ndarray | None, dtype: type) -> np.ndarray | None:
            return None if values is None else np.asarray(values, dtype)

        return MemberInputs(
            hyperparameters=self.hyperparameters(given),
            key=keys,
            slot=np.arange(self.members, dtype=np.int32),
            view=column(self._views[1], np.int32),
            inputs=column(self.replicas.inputs, np.float32),
            bootstrap=column(self.replicas.bootstrap, np.int32),
            begun=column(begun, np.int32),
        )

    def _keys(self, *path: int) -> Array:
        """One key a slot, or a seed, the same however the members are grouped."""
        key = jax.random.key(self.seed)
        for number in path:
            key = jax.random.fold_in(key, number)
        seeds = np.arange(self.members) if self.replicas.seed is None else self.replicas.seed
        return jax.vmap(partial(jax.random.fold_in, key))(jnp.asarray(seeds))

    def hyperparameters(self, given: Values) -> dict[str, Float[Array, " members"]]:
        """All hyperparameters, `[members]` each: given ones, those of the recipe, else defaults.

        Raises:
            InputError: For a batch size that there is not, or one of two values that belong
                together.
        """
        fixed = {n: np.full(self.members, float(v)) for n, v in self.fixed.items()}
        given = {**fixed, **given}
        if "batch_size" in given:
            given = {**given, "batch_size": self._able(given["batch_size"])}
        return complete(given, self.members, sizes=self.sizes)

    @property
    def fixed(self) -> dict[str, float]:
        """Hyperparameters of the recipe; of several batch sizes the default."""
        values = dict(self.recipe.hyperparameters)
        if "batch_size" in values:
            values["batch_size"] = self.recipe.batch_sizes[0]
        return values

    def check(self, names: set[str]) -> None:
        """Refuses hyperparameters that nothing reads.

        Args:
            names: Hyperparameters that will be given, besides those of the recipe.

        Raises:
            InputError: Naming the hyperparameter, and the nearest that exists.
        """
        check_known(names | set(self.recipe.hyperparameters), self.read(names))

    def read(self, names: set[str]) -> set[str]:
        """What a training reads, found by tracing one step without running it.

        Args:
            names: Hyperparameters that will be given, besides those of the recipe.

        Raises:
            InputError: When one that is read is missing.
        """
        names = names | set(self.recipe.hyperparameters)
        values = {name: jnp.float32(1.0) for name in complete({}, 1, sizes=self.sizes)}
        tracker = UsageTracker(values | {name: jnp.float32(1.0) for name in names})
        rows = np.arange(min(len(self.train.weight), 8))
        batch, judged = (
            jax.tree.map(jnp.asarray, as_batch(data, rows, 0.0))
            for data in (self._seen, self._judged)
        )
        # A step through a fit takes seconds to trace, and more than one asks.
        asked = frozenset(names), jax.tree.structure((batch, judged))
        if asked in self.programs.found_read:
            return set(self.programs.found_read[asked])
        # Read by the epoch, not by the step.
        tracker.read |= {"batch_size", "plateau_factor", "plateau_patience"}
        # Here, since it makes networks, whose numbers must not be of the trace.
        trainer = self.programs.trainer

        def one_step(_: Any) -> int:
            own = MemberInputs(tracker, jax.random.key(0), jnp.int32(0))
            member = trainer.start(own)
            random = self.module_def.random_state(own.key)
            state = (member.weights, member.objective, member.optimizer)
            inputs = (batch, jnp.float32(0.0), own.key)
            trainer.step(tracker, member.rate, (state, random), inputs)
            trainer.evaluate(member, own, judged)
            return 0

        with users_code("the training (objective, metric, optimizer, condition or network)"):
            jax.eval_shape(one_step, 0)
        self.programs.found_read[asked] = frozenset(tracker.read)
        return tracker.read

    def again(
        self,
        *,
        train: Columns | None = None,
        seed: int | None = None,
        replicas: Replicas | None = None,
    ) -> "Population":
        """The same training of other events, from another seed, or of other parts of the data.

        Nothing that is compiled already is compiled anew. A state of this population goes on in
        that one: for instance with weights that depend on what has been learned (`boosted`); and a
        study of many sets of inputs, one after the other, costs its trainings alone.

        Args:
            train: Training events; as many for the programs to fit.
            seed: Seed.
            replicas: In the form of those of this population.

        Raises:
            InputError: When the replicas do not hold what these hold, or do not fit.
        """
        if replicas is not None:
            form, given = (
                sorted(name for name, value in vars(each).items() if value is not None)
                for each in (self.replicas, replicas)
            )
            if form != given:
                raise InputError(f"Population.again: give Replicas of {form}, not of {given}.")
        result = replace(
            self,
            train=self.train if train is None else train,
            seed=self.seed if seed is None else seed,
            replicas=self.replicas if replicas is None else replicas,
        )
        kind = type(self)
        shared = [kind.module_def, kind.programs]
        shared = shared if result.sizes == self.sizes else []
        if train is None and seed is None and result._views[0] == self._views[0]:
            shared += [kind._seen, kind._judged, kind._epochs, kind._evaluation]
        for each in shared:
            # Where a cached property keeps its value.
            name = each.attrname  # type: ignore[attr-defined]
            result.__dict__[name] = getattr(self, name)
        return result

    def init(
        self, hyperparameters: Values, *, generation: int = 0, start: Weights | None = None
    ) -> Member:
        """A fresh population.

        Args:
            hyperparameters: Values given, `[members]` each.
            generation: Another number gives other start values.
            start: Weights of all members, in place of random ones.

        Raises:
            InputError: For start weights of other networks.
        """
        own = self._identity(hyperparameters, self._keys(0, generation))
        if start is not None:
            wanted = jax.eval_shape(lambda: self.init(hyperparameters)).weights
            start = self._by_slot(fitting(start, wanted), self._all_slots)
        state = self.programs.start(start, self._by_slot(own, self._all_slots), None)
        return jax.tree.map(lambda leaf: leaf[: self.members], state)

    @numbers_as_they_come()
    def inherit(
        self,
        state: Member,
        parents: Int[np.ndarray, " members"],
        restart: Bool[np.ndarray, " members"],
        hyperparameters: Values,
        *,
        generation: int,
        start: Weights | None = None,
    ) -> Member:
        """Starts a round: each member goes on from its parent, or afresh.

        The best snapshot of a slot counts no more when another member moves in: to keep
        it, take it before.

        Args:
            state: The population at the end of the last round.
            parents: Slot whose weights and optimizer state a member takes over.
            restart: Members that begin with new start values instead.
            hyperparameters: Values for the new round (a new optimizer state depends on them).
            generation: Number of the round.
            start: Weights of all members, from which those that restart begin; None for random
                ones.
        """
        # On the host: it is small, happens between rounds, and leaves no sharding to arrange.
        moving = jax.device_get(state)._asdict()
        best = moving.pop("best")
        moving = jax.tree.map(lambda a: np.asarray(a)[parents], moving)
        if np.any(restart):
            fresh = self.init(hyperparameters, generation=generation, start=start)._asdict()
            del fresh["best"]
            moving = jax.device_get(choose(jnp.asarray(restart), fresh, moving))
        moved = restart | (parents != np.arange(self.members))
        # A member that moves in is measured by what it does itself, also by early stopping.
        nothing = np.float32(-np.inf)
        best = best._replace(
            score=np.where(moved, nothing, best.score),
            selection_score=np.where(moved, nothing, best.selection_score),
        )
        moving["status"] = np.where(moved, np.int32(RUNNING), moving["status"])
        moving["stale"] = np.where(moved, np.int32(0), moving["stale"])
        return Member(best=best, **moving)

    @numbers_as_they_come()
    def epoch(
        self,
        state: Member,
        hyperparameters: Values,
        *,
        epoch: int,
        epochs: int,
        begun: Int[np.ndarray, " members"] | None = None,
    ) -> tuple[Member, EpochRecord]:
        """Trains all members for one pass over the training events, and validates them.

        Args:
            state: The population; its arrays are used up.
            hyperparameters: Values given, `[members]` each.
            epoch: Number of the epoch, from 0.
            epochs: Length of a training, for schedules and annealing.
            begun: Epoch in which the training of each member began; None if all began with the
                first.
        """
        own = self._identity(hyperparameters, self._keys(1, epoch), begun)
        clock = self._everywhere(EpochClock(jnp.int32(epoch), jnp.int32(epochs)))
        progress = epoch / max(epochs - 1, 1)

        # Before the events of the epoch are there: making it takes memory of its own.
        evaluation = self._evaluation

        def trained(state: Member, order: Int[np.ndarray, " slots"]) -> Member:
            parts = map(self._everywhere, self._epochs.parts_of(epoch, progress=progress))
            for number, part in enumerate(ahead(parts) if self._epochs.parts > 1 else parts):
                # Dropout must not begin anew in each part.
                keys = self._keys(1, epoch, number) if number else own.key
                placed = self._by_slot(own._replace(key=keys), order)
                state = self.programs.train(state, placed, (part, clock))
            # What was trained on goes before the validation takes memory of its own.
            jax.block_until_ready(state)
            del part
            gc.collect(0)
            return self.programs.validated(state, self._by_slot(own, order), evaluation, clock)

        running = np.asarray(state.status) == RUNNING
        alone = self.processes.size == 1
        if alone and running.all() and len(self._all_slots) == self.members:
            # No member moves, so nothing passes through the host.
            state = trained(self._by_slot(state, self._all_slots), self._all_slots)
            return state, state.record
        mine, alternate = self._own, runs_one_by_one(self.devices)
        order = slot_assignment(running[mine], len(self.devices), one_by_one=alternate)
        taken = order < len(mine)
        order = np.where(taken, mine[np.where(taken, order, 0)], self.members)
        before = jax.tree.map(np.asarray, jax.device_get(state))
        placed = self._by_slot(before, order)
        out = jnp.asarray(np.where(taken, before.status[np.where(taken, order, 0)], STOPPED))
        placed = placed._replace(status=place(out, self.devices, by_member=True))
        after = jax.device_get(trained(placed, order))

        def back(old: np.ndarray, new: np.ndarray) -> np.ndarray:
            result = old.copy()
            result[order[taken]] = new[taken]
            return result

        state = jax.tree.map(back, before, after)
        # How the members do is for all to know; what they are waits for the end of the round.
        known = (state.record, state.status)
        record, status = self.processes.merged(known, self.members)
        return state._replace(record=record, status=status), record

    def train_epochs(
        self,
        state: Member,
        hyperparameters: Values,
        epochs: range,
        *,
        length: int | None = None,
        begun: Int[np.ndarray, " members"] | None = None,
    ) -> Iterator[tuple[Member, EpochRecord]]:
        """Trains epoch by epoch, with hyperparameters that stay as they are.

        Args:
            state: The population; its arrays are used up.
            hyperparameters: Values given, `[members]` each.
            epochs: Numbers of the epochs.
            length: Epochs of a whole training, for schedules and annealing; by default these end
                with the last one.
            begun: Epoch in which the training of each member began; None if all began with the
                first.

        Yields:
            After each epoch the population, and the record on the host.
        """
        length = epochs.stop if length is None else length
        for epoch in epochs:
            state, record = self.epoch(
                state, hyperparameters, epoch=epoch, epochs=length, begun=begun
            )
            yield state, jax.device_get(record)

    def collected(self, state: Member) -> Member:
        """The population on the host, each member as the process that trains it has it.

        Args:
            state: After an epoch, when it is right in the members of this process only.
        """
        return self.processes.merged(jax.device_get(state), self.members)

    @numbers_as_they_come()
    def run(
        self, hyperparameters: Values, *, epochs: int, start: Weights | None = None
    ) -> tuple[Member, EpochRecord]:
        """Trains a population to its end, with hyperparameters that do not change.

        Args:
            hyperparameters: Values given, `[members]` each.
            epochs: Length of the training; less where all members stop before.
            start: Weights of all members to start from, such as `best.weights` of a training of
                the same networks with another objective; None for new ones.

        Returns:
            The population, and the records of its epochs, `[epochs, members]` each.

        Raises:
            InputError: For a hyperparameter that nothing reads, or a value that there is not; for
                start weights of other networks.
        """
        self.check(set(hyperparameters))
        state, records = self.init(hyperparameters, start=start), []
        for after, record in self.train_epochs(state, hyperparameters, range(epochs)):
            state = after
            records.append(record)
            if not np.any(np.asarray(state.status) == RUNNING):
                break
        return self.collected(state), jax.tree.map(lambda *each: np.stack(each), *records)

    @numbers_as_they_come()
    def refitted(
        self,
        best: Snapshot,
        train: Columns | None = None,
        *,
        values: Callable[[int], Values] | None = None,
    ) -> Snapshot:
        """Networks trained anew on the events that validated them, too.

        Each makes as many passes as its best epoch took, and its schedule has ended with them.
        Nothing is validated, and nothing compiled that trained before: an epoch shows as many
        events as one did, another part of all of them each time.

        Args:
            best: Of each member; its hyperparameters are those of its best epoch.
            train: Training and validation events; None where the replicas have folds.
            values: The hyperparameters in each epoch of the training before, where these were not
                always those of the best one.

        Returns:
            The same with the new weights, and with what the objective trained. A member without a
            best epoch stays as it is, as does one that diverges now.
        """
        data = None
        if train is not None:
            data = train if self.recipe.objective.varied else train._replace(variations={})
        before, every = self._epochs, self._epochs.with_validation(data)
        shapes = list(before.parts_of(0, progress=0.0))
        passes, found = np.asarray(best.epoch) + 1, best
        for passed in np.unique(passes[passes > 0]).tolist():
            epochs = max(1, round(passed * every.trained / before.trained))
            kept = {name: np.asarray(v) for name, v in best.hyperparameters.items()}
            state = self.init(kept if values is None else values(0))
            mine = passes == passed
            state = state._replace(status=jnp.where(jnp.asarray(mine), RUNNING, STOPPED))
            state = self._by_slot(state, self._all_slots)
            for epoch in range(epochs):
                hyperparameters = kept if values is None else values(epoch * passed // epochs)
                clock = self._everywhere(EpochClock(jnp.int32(epoch), jnp.int32(epochs)))
                progress = epoch / max(epochs - 1, 1)
                for number, part in enumerate(every.parts_of(epoch, progress=progress)):
                    shown = self._everywhere(of_shape(part, shapes[number]))
                    own = self._identity(hyperparameters, self._keys(3, epoch, number))
                    own = self._by_slot(own, self._all_slots)
                    state = self.programs.train(state, own, (shown, clock))
            made = jax.tree.map(
                lambda leaf: np.asarray(leaf)[: self.members], jax.device_get(state)
            )
            new = found._replace(
                weights=averaged(made.weights, made.optimizer), objective=made.objective
            )
            done = jnp.asarray(mine & (made.status == RUNNING))
            found = jax.device_get(choose(done, new, found))
        return found

    @numbers_as_they_come()
    def scores(self, snapshot: Snapshot, features: Float[np.ndarray, "events inputs"]) -> Array:
        """Logits of all members' best networks.

        Args:
            snapshot: `state.best`.
            features: Transformed features.

        Returns:
            `[members, events]`, or `[members, events, classes]` of multi-class networks.
        """
        scores = self.programs.scores(
            None,
            self._by_slot(snapshot, self._all_slots),
            self._everywhere(jnp.asarray(features, jnp.float32)),
        )
        return scores[: self.members]


def _stacked(*both: np.ndarray) -> np.ndarray:
    """Arrays of one shape under a new axis, in memory that the devices can use."""
    result = host_array((len(both), *both[0].shape), both[0].dtype)
    return np.stack(both, out=result)
