"""What is known of a member on events: its logits, its score, and the error of that."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from difftune.objectives import Batch, Column, Metric, changed, geometric_mean
from difftune.training.jackknife import infinitesimal_jackknife
from difftune.training.state import RUNNING


class Judged(NamedTuple):
    """What is known of a member on a sample, or on both with an axis of two in front.

    Attributes:
        logits: In each direction of the variations, the nominal one first.
        score: Its score.
        error: The statistical error of that, where something wants it.
    """

    logits: list[Array]
    score: Array | None = None
    error: Array | None = None


@dataclass(frozen=True)
class Score:
    """The program of a score of no member in particular, for networks of all kinds.

    Args:
        metric: The score.
        error: Whether its statistical error is wanted.
    """

    metric: Metric
    error: bool

    def __call__(
        self, logits: list[Array], own: tuple[Array, Array | None, Array | None], samples: Batch
    ) -> tuple[Array, Array | None]:
        """The score of both samples, and its errors.

        Args:
            logits: Of both samples in each direction.
            own: Status of the member, its view of the folds, and its inputs.
            samples: Both as one batch, as for `MemberTrainer.finish`.
        """
        status, view, inputs = own

        def of_sample(each: tuple[list[Array], Batch]) -> tuple[Array, Array | None]:
            (scores, *others), batch = each
            batch = masked(batch, inputs).scored(others)
            value, _, error = judged(self.metric, scores, batch, self.error, {}, {})
            return jnp.float32(value), None if error is None else jnp.float32(error)

        def found() -> tuple[Array, Array | None]:
            return jax.lax.map(of_sample, (logits, of_view(samples, view)))

        # To see its shape from tracing a fit once more would take a second.
        none = jnp.zeros(2, jnp.float32)
        nothing = none, none if self.error else None
        return jax.lax.cond(status == RUNNING, found, lambda: nothing)


def judged(
    metric: Metric,
    scores: Array,
    batch: Batch,
    wants_error: bool,
    hyperparameters: Mapping[str, Array],
    parameters: PyTree,
) -> tuple[Array, Array, Array | None]:
    """One number for the scores of a metric, these, and the error of the number if it is wanted.

    Args:
        metric: The metric.
        scores: Logits of the network.
        batch: The events, with the scores of their variations.
        wants_error: Whether the error is wanted.
        hyperparameters: Of the member.
        parameters: Of the member's objective.
    """

    def score(batch: Batch) -> tuple[Array, Array]:
        measured = metric(scores, batch, hyperparameters, parameters)
        return geometric_mean(measured), measured

    if wants_error:
        return infinitesimal_jackknife(score, batch)
    return *score(batch), None


def of_view(samples: Batch, view: Array | None) -> Batch:
    """Both samples as a member sees them: of its view of the folds, where there are any."""
    if view is None:
        return samples
    return jax.tree.map(lambda column: jnp.asarray(column)[:, view], samples)


def directions_of(batch: Batch) -> list[Float[Column, "events inputs"]]:
    """Features of the events, and those of all their variations that have their own."""
    return [batch.features, *batch.varied_features]


def masked(batch: Batch, inputs: Float[Array, " inputs"] | None) -> Batch:
    """The batch with 0 in place of the inputs that a member does not use."""
    if inputs is None:
        return batch
    return replace(
        batch,
        features=batch.features * inputs,
        variations=changed(
            batch.variations, weight=lambda column: column, features=lambda column: column * inputs
        ),
    )
