"""What an objective sees besides the scores."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, Int

Column = Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Batch:
    """A stratified batch of simulated events, without their scores.

    An objective sees one batch. The batches of an epoch, one after the other, are a stack: every
    array has one more axis in front.

    Attributes:
        features: Network inputs, `[events, inputs]`, after the feature transform.
        process: Index of each event's process.
        label: 1 for signal, 0 for background.
        weight: Physics weights scaled such that the batch estimates the **full** expected yield:
            the sum over the events of a process is its expected number of events. Can be negative;
            zero where the batch of a member is smaller than the largest.
        training_weight: The same weights balanced between the classes: mean one over the batch,
            signal and background alike (times the member's signal weight).
        signal_process: 1 for each process that is signal, 0 otherwise, `[processes]`.
        progress: How much of the training is behind us, from 0 to 1.
    """

    features: Float[Column, "*stack events inputs"]
    process: Int[Column, "*stack events"]
    label: Int[Column, "*stack events"]
    weight: Float[Column, "*stack events"]
    training_weight: Float[Column, "*stack events"]
    signal_process: Float[Column, "*stack processes"]
    progress: Float[Column, "*stack"]


def signal_probability(
    scores: Float[Array, " events"] | Float[Array, "events classes"], batch: Batch
) -> Float[Array, " events"]:
    """The discriminant in [0, 1] that is histogrammed.

    Args:
        scores: Logits: `[events]` of a binary network, or `[events, processes]` of a multi-class
            one, whose signal probabilities are added up.
        batch: Tells which processes are signal.
    """
    if scores.ndim == 1:
        return jax.nn.sigmoid(scores)
    return jax.nn.softmax(scores, axis=-1) @ batch.signal_process
