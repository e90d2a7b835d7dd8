"""The batches of an epoch: which events, in which order, and which of them a member sees."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from difftune.data import yield_factors
from difftune.errors import InputError
from difftune.objectives import Batch, Column, changed
from difftune.training.devices import host_array
from difftune.training.sample import Columns


def stratified_order(
    process: Int[np.ndarray, " events"], rng: np.random.Generator
) -> Int[np.ndarray, " events"]:
    """A random order in which every stretch has each process in its share.

    The k-th event of a process (in random order) is put at a random place of the k-th of its equal
    intervals, so that a stretch holds the expected number of events of a process to within one
    interval at either end: batches without the fluctuation of the process mix.
    """
    place = np.empty(len(process))
    for index in np.unique(process):
        (mine,) = np.nonzero(process == index)
        place[rng.permutation(mine)] = (np.arange(len(mine)) + rng.random(len(mine))) / len(mine)
    return np.argsort(place, kind="stable")


def chosen(column: Column, rows: Int[np.ndarray, " events"] | None) -> np.ndarray:
    """Rows of a column, in memory that the devices can use; None for the column itself."""
    if rows is None:
        return np.asarray(column)
    result = host_array((len(rows), *column.shape[1:]), column.dtype)
    # Any mode but the default one writes straight into the result.
    return np.take(column, rows, axis=0, out=result, mode="clip")


def as_batch(data: Columns, rows: Int[np.ndarray, " events"] | None, progress: float) -> Batch:
    """The chosen rows as a batch.

    A batch stands for the full yield: the physics weights are scaled by the inverse of the share
    of the events that it holds.

    Args:
        data: All events.
        rows: Row numbers; None for all events, whose columns are then not copied.
        progress: Fraction of the training that is done, from 0 to 1.
    """
    events = len(data.weight)
    share = np.float32(events / max(events if rows is None else len(rows), 1))

    def weight(column: Column) -> Column:
        result = chosen(column, rows)
        return result if rows is None else np.multiply(result, share, out=result)

    return Batch(
        features=chosen(data.features, rows),
        process=chosen(data.process, rows),
        label=chosen(data.label, rows),
        weight=weight(data.weight),
        training_weight=chosen(data.training_weight, rows),
        signal_process=data.signal_process,
        progress=np.asarray(progress, np.float32),
        variations=changed(
            data.variations, weight=weight, features=lambda column: chosen(column, rows)
        ),
        target=None if data.target is None else chosen(data.target, rows),
        link=data.link,
    )


def batch_at(events: Batch, start: Any, size: int) -> Batch:
    """Events of the columns from a place on, as a batch of the full yield.

    Args:
        events: Of a part of an epoch.
        start: Place of the first one.
        size: How many; a number that is known while tracing.
    """
    count = events.weight.shape[0]
    if size == count:
        return events

    def cut(column: Any) -> Array:
        return jax.lax.dynamic_slice_in_dim(jnp.asarray(column), start, size)

    return replace(
        events,
        features=cut(events.features),
        process=cut(events.process),
        label=cut(events.label),
        weight=cut(events.weight) * np.float32(count / size),
        training_weight=cut(events.training_weight),
        variations=changed(
            events.variations,
            weight=lambda column: cut(column) * np.float32(count / size),
            features=cut,
        ),
        target=None if events.target is None else cut(events.target),
    )


def taken(batch: Batch, rows: Int[Array, " some"]) -> Batch:
    """Some events of a batch, in another order; of their variations nothing.

    Args:
        batch: The batch.
        rows: Which events.
    """
    return of_each_column(batch, lambda column: jnp.take(jnp.asarray(column), rows, axis=0))


def of_each_column(batch: Batch, some: Callable[[Any], Array]) -> Batch:
    """A batch of what a function takes of each column; of its variations nothing."""
    return replace(
        batch,
        features=some(batch.features),
        process=some(batch.process),
        label=some(batch.label),
        weight=some(batch.weight),
        training_weight=some(batch.training_weight),
        variations={},
        target=None if batch.target is None else some(batch.target),
    )


def resampled(batch: Batch, rows: Int[Array, " some"], factor: Float[Array, " some"]) -> Batch:
    """Some events of a batch, with their weights and those of their variations times a factor.

    Args:
        batch: The batch.
        rows: Which events, some perhaps more than once.
        factor: With which these stand for all of them.
    """

    def some(column: Any) -> Array:
        return jnp.take(jnp.asarray(column), rows, axis=0)

    return replace(
        taken(batch, rows),
        weight=some(batch.weight) * factor,
        training_weight=some(batch.training_weight) * factor * (len(rows) / len(batch.weight)),
        variations=changed(
            batch.variations, weight=lambda column: some(column) * factor, features=some
        ),
    )


def all_features(batch: Batch) -> Float[Column, "more inputs"]:
    """Features of the events and, after them, of all their variations that have their own."""
    varied = batch.varied_features
    return jnp.concatenate([batch.features, *varied]) if varied else batch.features


def apart(scores: Array, batch: Batch) -> tuple[Array, Batch]:
    """The scores of the events, and the batch with those of its variations."""
    varied = len(batch.varied_features)
    if not varied:
        return scores, batch
    own, *others = jnp.split(scores, varied + 1)
    return own, batch.scored(others)


View = tuple[int, ...]
"""Folds that a member does not train on; the first is the one that it is validated on."""


class Whole(NamedTuple):
    """All training events of a member in one batch, for each view of the folds.

    Attributes:
        rows: Places of the events in the part; those that fill up to the longest view count
            nothing.
        weight: Factor on the weight of each, with which the view has the full yields.
        training_weight: Factor that balances the classes within the view.
    """

    rows: Int[Array | np.ndarray, "views some"]
    weight: Float[Array | np.ndarray, "views some"]
    training_weight: Float[Array | np.ndarray, "views some"]


class Part(NamedTuple):
    """A part of an epoch, small enough for a device.

    Attributes:
        events: The events, fold after fold.
        number: Of each event, where they are resampled.
        starts: For each batch size where the batches begin: one row for each view of the folds,
            without the batches of the folds that it leaves out; one row if there are no folds.
            None for the size of all events of a view, which are no stretch (`whole`).
        begins: Fraction of the epoch that lies before.
        length: Fraction of the epoch that it is.
        whole: All events of each view, where there are folds and a size that wants them.
    """

    events: Batch
    number: Int[Array | np.ndarray, " events"]
    starts: tuple[Int[Array | np.ndarray, "views steps"] | None, ...]
    begins: Float[Array | np.ndarray, ""]
    length: Float[Array | np.ndarray, ""]
    whole: Whole | None = None


def of_shape(part: Part, other: Part) -> Part:
    """As many events and batches of a part as another one has: for the same compiled program.

    Args:
        part: With as many events or more.
        other: The part whose shape it is to have.
    """
    count = other.events.weight.shape[0]
    starts = zip(part.starts, other.starts, strict=True)
    return part._replace(
        events=batch_at(part.events, 0, count),
        number=part.number[:count],
        starts=tuple(
            None if own is None or wanted is None else own[:, : wanted.shape[1]]
            for own, wanted in starts
        ),
    )


def whole_batch(events: Batch, whole: Whole, view: Any) -> Batch:
    """All events of a view as a batch of the full yields.

    Args:
        events: Of an epoch in one part.
        whole: Which of them, for each view.
        view: Its number.
    """
    rows, factor, balance = (jnp.asarray(each)[view] for each in whole)

    def some(column: Any) -> Array:
        return jnp.take(jnp.asarray(column), rows, axis=0)

    return replace(
        events,
        features=some(events.features),
        process=some(events.process),
        label=some(events.label),
        weight=some(events.weight) * factor,
        training_weight=some(events.training_weight) * balance,
        variations=changed(
            events.variations, weight=lambda column: some(column) * factor, features=some
        ),
        target=None if events.target is None else some(events.target),
    )


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """Shows all training events once per epoch, in an order that seed and epoch decide alone.

    Args:
        data: Training events.
        sizes: Batch sizes. Each batch holds events of one fold, or all that a view has.
        seed: Seed of the run.
        views: Those of the members; by default each fold is left out by one.
        parts: In how many parts an epoch is shown. Every one holds each process and each fold in
            its share; those of events on disk are stretches of them, so that reading is quick.

    Raises:
        InputError: When a part does not have enough events of each fold for a batch.
    """

    data: Columns
    sizes: Sequence[int]
    seed: int
    views: Sequence[View] | None = None
    parts: int = 1

    def __post_init__(self) -> None:
        smallest = min(len(rows) for rows in self._folds()) // self.parts
        largest = max((size for size in self.sizes if not self._is_whole(size)), default=0)
        if largest > smallest:
            all_of_them = ""
            if self.data.fold is not None and self.parts == 1:
                most = max(trained_on(self.data, self._views))
                all_of_them = f", or give batch_size={most} for all events in one"
            raise InputError(
                f"batches of {largest} events cannot be made: the smallest fold has "
                f"{smallest} training events"
                + (f" in each of the {self.parts} parts" if self.parts > 1 else "")
                + f". Take smaller batches{all_of_them}."
            )

    @property
    def _views(self) -> Sequence[View]:
        return views_of(self.data) if self.views is None else self.views

    def _is_whole(self, size: int) -> bool:
        """Whether a batch holds all events of a view, where these are not all that there are."""
        if self.data.fold is None or self.parts > 1:
            return False
        return size >= max(trained_on(self.data, self._views))

    def _folds(self) -> list[Int[np.ndarray, " events"]]:
        """Rows of each fold."""
        if self.data.fold is None:
            return [np.arange(len(self.data.weight))]
        return [np.flatnonzero(self.data.fold == i) for i in range(folds_of(self.data))]

    def parts_of(self, epoch: int, *, progress: float) -> Iterator[Part]:
        """The parts of an epoch, one after the other.

        Args:
            epoch: Counts from 0.
            progress: Fraction of the training that is done.
        """
        for part in self._only_part if self._at_once else self._parts_of(epoch):
            events = replace(part.events, progress=np.asarray(progress, np.float32))
            yield part._replace(events=events)

    @property
    def trained(self) -> int:
        """How many events the first view trains on."""
        return trained_on(self.data, self._views)[0]

    def with_validation(self, data: Columns | None) -> "Epochs":
        """Epochs of all events that are not held out, those that validate included.

        Args:
            data: All of them, where the ones that validate are not among those of the training.
        """
        views = [view[1:] for view in self._views]
        data = self.data if data is None else data
        all_of_them = max(trained_on(data, views))
        sizes = [all_of_them if self._is_whole(size) else size for size in self.sizes]
        return replace(self, data=data, views=views, sizes=sizes)

    @property
    def _at_once(self) -> bool:
        """Whether every batch is all events that there are, whose order then does not matter."""
        whole = all(self._is_whole(size) or size == len(self.data.weight) for size in self.sizes)
        return whole and self.parts == 1 and not self._on_disk

    @cached_property
    def _only_part(self) -> list[Part]:
        return list(self._parts_of(0))

    def _parts_of(self, epoch: int) -> Iterator[Part]:
        rng = np.random.default_rng([self.seed, 1, epoch])
        orders = [self._order(rows, rng) for rows in self._folds()]
        lengths = [len(order) // self.parts for order in orders]
        for i in range(self.parts):
            pieces = [
                order[i * length : (i + 1) * length]
                for order, length in zip(orders, lengths, strict=True)
            ]
            if self._on_disk:
                process = self.data.process
                pieces = [piece[stratified_order(process[piece], rng)] for piece in pieces]
            rows = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
            yield Part(
                events=as_batch(self.data, rows, 0.0),
                number=rows.astype(np.int32),
                starts=tuple(
                    None if self._is_whole(size) else self._starts(lengths, size, rng, (epoch, i))
                    for size in self.sizes
                ),
                begins=np.asarray(i / self.parts, np.float32),
                length=np.asarray(1 / self.parts, np.float32),
                whole=self._whole(rows) if any(map(self._is_whole, self.sizes)) else None,
            )

    def _whole(self, order: Int[np.ndarray, " events"]) -> Whole:
        """All events of each view, at their places in the order of an epoch."""
        assert self.data.fold is not None, "only folds leave events out"
        fold = self.data.fold[order]
        places = [np.flatnonzero(~np.isin(fold, view)) for view in self._views]
        longest = max(map(len, places))
        each = []
        for own in places:
            yields, balance = _to_full(self.data, order[own], longest)
            nothing = np.zeros(longest - len(own), np.float32)
            each.append(
                Whole(
                    # What fills up is of the view too, so that nothing else is ever looked at.
                    rows=np.resize(own, longest).astype(np.int32),
                    weight=np.append(yields, nothing).astype(np.float32),
                    training_weight=np.append(balance, nothing).astype(np.float32),
                )
            )
        return Whole(*map(np.stack, zip(*each, strict=True)))

    @property
    def _on_disk(self) -> bool:
        return isinstance(self.data.features, np.memmap)

    def _order(
        self, rows: Int[np.ndarray, " events"], rng: np.random.Generator
    ) -> Int[np.ndarray, " events"]:
        if not self._on_disk:
            rows = rows[stratified_order(self.data.process[rows], rng)]
        # The left-over events must not always be the same.
        return np.roll(rows, rng.integers(len(rows)))

    def _starts(
        self,
        lengths: Sequence[int],
        size: int,
        rng: np.random.Generator,
        when: tuple[int, int],
    ) -> Int[np.ndarray, "views steps"]:
        begins = np.cumsum([0, *lengths[:-1]])
        own = [
            begin + size * np.arange(length // size)
            for begin, length in zip(begins, lengths, strict=True)
        ]
        if len(lengths) == 1:
            return own[0][None].astype(np.int32)
        # All members take as many steps, those with a fold less of one length or another.
        others = [
            np.concatenate([each for fold, each in enumerate(own) if fold not in view])
            for view in self._views
        ]
        steps = min(len(row) for row in others)
        mixed = [
            (rng if len(view) == 1 else self._own_rng(when, view)).permutation(row)[:steps]
            for view, row in zip(self._views, others, strict=True)
        ]
        return np.stack(mixed).astype(np.int32)

    def _own_rng(self, when: tuple[int, int], view: View) -> np.random.Generator:
        """Of a view that must not depend on what other views there are."""
        return np.random.default_rng([self.seed, 3, *when, *view])


def folds_of(data: Columns) -> int:
    """Number of folds; 0 where the events have none."""
    return 0 if data.fold is None else int(np.max(data.fold)) + 1


def views_of(data: Columns) -> list[View]:
    """One view for each fold, which it leaves out; one of everything if there are no folds."""
    return [(fold,) for fold in range(folds_of(data))] or [()]


def trained_on(data: Columns, views: Sequence[View]) -> list[int]:
    """How many events each view trains on."""
    if data.fold is None:
        return [len(data.weight) for _ in views]
    each = np.bincount(data.fold)
    return [int(each.sum() - each[list(view)].sum()) for view in views]


def evaluation_samples(
    train: Columns,
    validation: Columns | None,
    *,
    seed: int,
    views: Sequence[View] | None = None,
) -> tuple[Batch, Batch]:
    """Validation events, and as many training events to compare them with.

    Args:
        train: Training events.
        validation: Validation events; None where each member is validated on a fold of the
            training events, and trains on the others.
        seed: Seed of the run.
        views: Those of the members; by default each fold is left out by one.

    Returns:
        Both, for all members; or with an axis of the views in front.
    """
    rng = np.random.default_rng([seed, 2])
    if validation is not None:
        rows = stratified_order(train.process, rng)[: len(validation.weight)]
        return as_batch(validation, None, 1.0), as_batch(train, rows, 1.0)
    assert train.fold is not None, "checked by the population"
    inside = [np.flatnonzero(train.fold == i) for i in range(folds_of(train))]
    longest = max(len(rows) for rows in inside)
    both = []
    for view in views_of(train) if views is None else views:
        others = np.concatenate([rows for fold, rows in enumerate(inside) if fold not in view])
        # A view of its own is the same whatever others there are.
        own = rng if len(view) == 1 else np.random.default_rng([seed, 4, *view])
        others = others[stratified_order(train.process[others], own)][:longest]
        both.append((_whole(train, inside[view[0]], longest), _whole(train, others, longest)))
    validations, comparisons = (
        jax.tree.map(lambda *each: np.stack(each), *batches) for batches in zip(*both, strict=True)
    )
    return validations, comparisons


def _to_full(
    data: Columns, rows: Int[np.ndarray, " some"], length: int
) -> tuple[Float[np.ndarray, " some"], Float[np.ndarray, " some"]]:
    """Factors on the weights of some events with which they stand for all.

    Args:
        data: All events.
        rows: Which of them.
        length: Of the sample that they are filled up to.

    Returns:
        For each event the factor on its weight, which gives the full yields; and on its training
        weight, which gives mean one over the sample, and each class half of it where it is
        classes that are learned.
    """
    process, label = data.process[rows], data.label[rows]
    processes = len(data.signal_process)
    full = np.bincount(data.process, data.weight, processes)
    have = np.bincount(process, data.weight[rows], processes)
    balance = np.zeros(len(rows))
    classes = {"background": label == 0, "signal": label == 1}
    if data.target is not None:
        classes = {"training": np.ones(len(rows), bool)}
    for name, chosen in classes.items():
        total = data.training_weight[rows[chosen]].sum()
        if not total > 0:
            raise InputError(
                f"A fold has {chosen.sum()} {name} events with a "
                f"total training weight of {total:g}: it needs a positive one. Take fewer folds."
            )
        balance[chosen] = length / (len(classes) * total)
    return yield_factors(full, have)[process], balance


def _whole(data: Columns, rows: Int[np.ndarray, " some"], length: int) -> Batch:
    """Some events as if they were all: scaled to the full yields, and padded with nothing."""
    batch = as_batch(data, rows, 1.0)
    scale, balance = _to_full(data, rows, length)

    def padded(column: Any, dtype: Any) -> np.ndarray:
        result = np.zeros((length, *np.shape(column)[1:]), dtype)
        result[: len(column)] = column
        return result

    return replace(
        batch,
        features=padded(batch.features, np.float32),
        process=padded(batch.process, np.int32),
        label=padded(batch.label, np.int32),
        weight=padded(data.weight[rows] * scale, np.float32),
        variations=changed(
            data.variations,
            weight=lambda column: padded(column[rows] * scale, np.float32),
            features=lambda column: padded(column[rows], np.float32),
        ),
        training_weight=padded(batch.training_weight * balance, np.float32),
        target=None if batch.target is None else padded(batch.target, np.float32),
    )
