"""What there is to know of a member while it trains, its best moment, and what an epoch gave."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from difftune.training.module_def import Weights
from difftune.training.selection_rule import Trend

RUNNING, STOPPED, LOSS_NOT_FINITE, WEIGHTS_NOT_FINITE, SCORE_NOT_FINITE = range(5)
STATUS = (
    "running",
    "stopped early",
    "diverged: the training loss is not finite",
    "diverged: the weights are not finite",
    "diverged: the validation score is not finite",
)


def diverged(status: Any) -> Any:
    """Whether a member is out because its numbers are not finite."""
    return status >= LOSS_NOT_FINITE


class Snapshot(NamedTuple):
    """The best of a slot since somebody else or something new moved in, by selection score."""

    weights: Weights
    objective: PyTree
    hyperparameters: dict[str, Array]
    score: Array
    selection_score: Array
    """What it was compared by (`SelectionRule`)."""
    epoch: Array
    slot: Array
    inputs: Array | None = None
    scores: Array | None = None
    """All scores, where the metric gives several."""


class EpochRecord(NamedTuple):
    """What one epoch gave; `[members]` each in a population."""

    loss: Float[Array, "*members"]
    validation_loss: Float[Array, "*members"]
    hard_loss: Float[Array, "*members"]
    """The validation loss of events in hard bins."""
    score: Float[Array, "*members"]
    selection_score: Float[Array, "*members"]
    train_score: Float[Array, "*members"]
    eligible: Bool[Array, "*members"]
    overtraining: Float[Array, "*members"]
    scores: Float[Array, "*members scores"] | None = None
    """All scores, where the metric gives several."""


class Member(NamedTuple):
    """The training state; in a population each array has a leading member axis."""

    weights: Weights
    objective: PyTree
    optimizer: PyTree
    best: Snapshot
    trend: Trend
    record: EpochRecord
    """Of the last epoch that it trained."""
    stale: Array
    rate: Array
    """What reducing on a plateau has left of the learning rate."""
    status: Array


class MemberInputs(NamedTuple):
    """What tells a member from the others; fold, inputs, bootstrap where `Replicas` has them."""

    hyperparameters: dict[str, Array]
    key: Array
    slot: Any
    fold: Any = None
    inputs: Any = None
    bootstrap: Any = None
    begun: Any = None
    """Epoch in which its training began, where members begin at different times."""


class EpochClock(NamedTuple):
    """Number of an epoch, from 0, and length of a training in epochs."""

    epoch: Array
    epochs: Array


def choose(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` where the condition holds, else `old`; the condition may have a member axis."""

    def pick(a, b):
        shaped = jnp.reshape(condition, condition.shape + (1,) * (a.ndim - condition.ndim))
        return jnp.where(shaped, a, b)

    return jax.tree.map(pick, new, old)
