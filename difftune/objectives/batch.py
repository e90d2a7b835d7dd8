"""What an objective sees: a batch, its variations, and the discriminant that scores are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from difftune.errors import InputError
from difftune.objectives.link import Link, no_classes

Column = Array | np.ndarray
Scores = Float[Array, " events"] | Float[Array, "events classes"]
Scalar = Float[Array, ""]
Values = Mapping[str, Array | float]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Varied:
    """The events of a batch in one direction of a systematic variation.

    They are the same events in the same order, so process and label stay. What is None is as in
    the nominal batch.

    Attributes:
        weight: Physics weights, scaled as those of the batch, `[events]`; 0 for an event that
            leaves the selection, and in the nominal batch for one that enters it.
        features: Network inputs, `[events, inputs]`.
        scores: What the network makes of these features, in the form of the nominal scores. The
            training fills it in: other features without scores are refused.
    """

    weight: Float[Column, "*stack events"] | None = None
    features: Float[Column, "*stack events inputs"] | None = None
    scores: Float[Column, "..."] | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Variation:
    """A systematic variation by plus and minus one standard deviation.

    Attributes:
        up: Plus one.
        down: Minus one; None if the variation is one-sided, which mirrors it.
    """

    up: Varied
    down: Varied | None = None


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
            signal and background alike (times the member's signal weight). Where the network
            learns targets, mean one over the batch, whatever the class.
        signal_process: 1 for each process that is signal, 0 otherwise, `[processes]`.
        progress: How much of the training is behind us, from 0 to 1.
        variations: Systematic variations of the same events, by the name of the uncertainty.
        target: What the network learns of each event, on its own scale, `[events, targets]`; None
            where it learns classes.
        link: What makes predictions of its outputs then.
    """

    features: Float[Column, "*stack events inputs"]
    process: Int[Column, "*stack events"]
    label: Int[Column, "*stack events"]
    weight: Float[Column, "*stack events"]
    training_weight: Float[Column, "*stack events"]
    signal_process: Float[Column, "*stack processes"]
    progress: Float[Column, "*stack"]
    variations: Mapping[str, Variation] = field(default_factory=dict)
    target: Float[Column, "*stack events targets"] | None = None
    link: Link | None = None

    @property
    def varied_features(self) -> list[Float[Column, "*stack events inputs"]]:
        """Network inputs of all variations that have their own, whose scores `scored` takes."""
        sides = [side for _, side in self.directions() if side is not None]
        return [side.features for side in sides if side.features is not None]

    def scored(self, scores: list[Array]) -> "Batch":
        """The batch with the scores of `varied_features`, in their order."""
        rest = iter(scores)

        def fill(varied: Varied) -> Varied:
            return varied if varied.features is None else replace(varied, scores=next(rest))

        return replace(self, variations=_each_direction(self.variations, fill))

    def directions(self) -> Iterator[tuple[str, Varied | None]]:
        """Up and down of each variation in turn, by name; None for what a one-sided one lacks."""
        for name, variation in sorted(self.variations.items()):
            yield name, variation.up
            yield name, variation.down

    def counted(self, count: Float[Array, " events"]) -> "Batch":
        """The batch with each event as often as it counts, in all its variations."""
        return replace(
            self,
            weight=self.weight * count,
            training_weight=self.training_weight * count,
            variations=changed(
                self.variations,
                weight=lambda column: column * count,
                features=lambda column: column,
            ),
        )


def changed(
    variations: Mapping[str, Variation],
    *,
    weight: Callable[[Column], Column],
    features: Callable[[Column], Column],
) -> dict[str, Variation]:
    """Variations with functions applied to their own weights and features.

    Args:
        variations: By name.
        weight: Applied to weights that are not the nominal ones.
        features: Applied to features that are not the nominal ones.
    """

    def direction(varied: Varied) -> Varied:
        return replace(
            varied,
            weight=None if varied.weight is None else weight(varied.weight),
            features=None if varied.features is None else features(varied.features),
        )

    return _each_direction(variations, direction)


def _each_direction(
    variations: Mapping[str, Variation], function: Callable[[Varied], Varied]
) -> dict[str, Variation]:
    """A function of one direction applied to all, up before down, by name."""
    return {
        name: Variation(up=function(each.up), down=each.down and function(each.down))
        for name, each in sorted(variations.items())
    }


def signal_probability(scores: Scores, batch: Batch) -> Float[Array, " events"]:
    """The discriminant in [0, 1] that is histogrammed.

    Args:
        scores: Logits: `[events]` of a binary network, or `[events, processes]` of a multi-class
            one, whose signal probabilities are added up.
        batch: Tells which processes are signal.

    Raises:
        InputError: When the logits are not those of the processes, but of regions for instance.
    """
    no_classes(batch.link)
    if scores.ndim == 1:
        return jax.nn.sigmoid(scores)
    processes = batch.signal_process.shape[-1]
    if scores.shape[-1] != processes:
        raise InputError(
            f"a network with {scores.shape[-1]} outputs has no signal probability for "
            f"{processes} processes. Where its outputs are regions, give a metric that counts in "
            "them: -1.0 * PoiUncertainty(model=FitModel(bins=Regions(..., hard=True)))."
        )
    return jax.nn.softmax(scores, axis=-1) @ batch.signal_process


def signal_logit(scores: Scores, batch: Batch) -> Float[Array, " events"]:
    """The logit of `signal_probability`: the same order, without ties where that is 0 or 1.

    Args:
        scores: Logits: `[events]` of a binary network, or `[events, processes]` of a multi-class
            one.
        batch: Tells which processes are signal.
    """
    no_classes(batch.link)
    if scores.ndim == 1:
        return scores
    signal = batch.signal_process.astype(scores.dtype)
    return jax.nn.logsumexp(scores, axis=-1, b=signal) - jax.nn.logsumexp(
        scores, axis=-1, b=1.0 - signal
    )


def in_direction(
    name: str, side: Varied | None, scores: Float[Array, "..."], batch: Batch
) -> tuple[Float[Array, "..."], Float[Column, " events"]]:
    """Scores and weights of the events in one direction of a variation.

    Args:
        name: Of the variation.
        side: The direction; None is the nominal one.
        scores: Nominal scores, which are returned themselves where the direction has no others.
        batch: The nominal batch.

    Raises:
        InputError: The direction has features of its own, and nobody has put in their scores.
    """
    if side is None:
        return scores, batch.weight
    if side.features is not None and side.scores is None:
        raise InputError(
            f"The variation {name!r} of the batch has other features and no scores: put them in "
            "with batch.scored(...)."
        )
    own = scores if side.scores is None else jnp.asarray(side.scores)
    return own, batch.weight if side.weight is None else side.weight
