"""From events to the stratified batches of an epoch."""

from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from difftune.data import Events, FeatureTransform
from difftune.errors import InputError
from difftune.objectives import Batch

NegativeWeights = Literal["keep", "absolute"]


class Columns(NamedTuple):
    """Events as the training wants them, one row an event, all on the host.

    `weight` sums to the full yield of each process; `training_weight` is class-balanced.
    """

    features: Float[np.ndarray, "events inputs"]
    process: Int[np.ndarray, " events"]
    label: Int[np.ndarray, " events"]
    weight: Float[np.ndarray, " events"]
    training_weight: Float[np.ndarray, " events"]
    signal_process: Float[np.ndarray, " processes"]


def training_weights(
    weight: Float[np.ndarray, " events"],
    label: Int[np.ndarray, " events"],
    *,
    negative: str = "keep",
) -> Float[np.ndarray, " events"]:
    """Physics weights balanced between the classes, with mean one.

    Args:
        weight: Physics weights.
        label: 1 for signal, 0 for background.
        negative: `"keep"` leaves negative weights as they are, which is unbiased; `"absolute"`
            takes their magnitude, which is stable but changes the shapes that the network learns.

    Raises:
        InputError: When signal or background has no events, or no positive total weight; for an
            unknown treatment.
    """
    if negative not in get_args(NegativeWeights):
        raise InputError(f"negative={negative!r}: choose 'keep' or 'absolute'.")
    weight = np.asarray(weight, np.float64)
    if negative == "absolute":
        weight = np.abs(weight)
    balanced = np.zeros_like(weight)
    for cls, name in enumerate(("background", "signal")):
        chosen = label == cls
        total = weight[chosen].sum()
        if not total > 0.0:
            raise InputError(
                f"the {name} to train on has {chosen.sum()} events with a total weight of "
                f"{total:g}: it needs a positive one. Give it more events, or take the magnitude "
                "of its weights with negative='absolute'."
            )
        balanced[chosen] = weight[chosen] * (len(weight) / (2 * total))
    return balanced.astype(np.float32)


def columns(
    events: Events,
    full_yields: Float[np.ndarray, " processes"],
    transform: FeatureTransform,
    *,
    negative: NegativeWeights = "keep",
) -> Columns:
    """The columns of a split, scaled such that each process has its full yield.

    Args:
        events: The events of the split, without data.
        full_yields: Expected yield of each process over all splits.
        transform: Learned on training events.
        negative: Treatment of negative weights in the training weights.
    """
    have = events.yields()
    events = events.scaled(np.divide(full_yields, have, out=np.ones_like(have), where=have != 0.0))
    weight, label = np.asarray(events.weight, np.float32), np.asarray(events.label, np.int32)
    signal = [process.role == "signal" for process in events.processes]
    return Columns(
        features=np.asarray(transform(events.features), np.float32),
        process=np.asarray(events.process, np.int32),
        label=label,
        weight=weight,
        training_weight=training_weights(weight, label, negative=negative),
        signal_process=np.asarray(signal, np.float32),
    )


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


def as_batch(data: Columns, rows: Int[np.ndarray, " events"], progress: float) -> Batch:
    """The chosen rows as a batch.

    A batch stands for the full yield: the physics weights are scaled by the inverse of the share
    of the events that it holds.

    Args:
        data: All events.
        rows: Row numbers.
        progress: Fraction of the training that is done, from 0 to 1.
    """
    return Batch(
        features=data.features[rows],
        process=data.process[rows],
        label=data.label[rows],
        weight=data.weight[rows] * np.float32(len(data.weight) / max(len(rows), 1)),
        training_weight=data.training_weight[rows],
        signal_process=data.signal_process,
        progress=np.asarray(progress, np.float32),
    )


def epoch_events(data: Columns, *, seed: int, epoch: int, progress: float) -> Batch:
    """All events in the order of an epoch, which only seed and epoch decide.

    Args:
        data: Training events.
        seed: Seed of the run.
        epoch: Counts from 0.
        progress: Fraction of the training that is done.
    """
    rng = np.random.default_rng([seed, 1, epoch])
    order = stratified_order(data.process, rng)
    # The left-over events must not always be those at the end of the intervals.
    return as_batch(data, np.roll(order, rng.integers(len(order))), progress)


def batches_of(events: Batch, size: int) -> Batch:
    """All full batches, one after the other.

    Args:
        events: What `epoch_events` gives.
        size: Events a batch; at most the number of events.

    Returns:
        A stack of batches, each with the full yield. The events left over are those at the end.
    """
    count = len(events.weight)
    steps = count // size

    def cut(column):
        return column[: steps * size].reshape(steps, size, *column.shape[1:])

    return Batch(
        features=cut(events.features),
        process=cut(events.process),
        label=cut(events.label),
        weight=cut(events.weight) * np.float32(count / size),
        training_weight=cut(events.training_weight),
        signal_process=jnp.broadcast_to(
            events.signal_process, (steps, *events.signal_process.shape)
        ),
        progress=jnp.broadcast_to(events.progress, (steps,)),
    )
