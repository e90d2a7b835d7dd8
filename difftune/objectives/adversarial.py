"""An adversary that tells systematic variations from the score, and a network that hides them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from difftune.arguments import Count, NotNegative, takes
from difftune.errors import InputError
from difftune.objectives.base import Gradient
from difftune.objectives.batch import Batch, Scalar, Scores, Values, in_direction, signal_logit
from difftune.objectives.decorrelation import OnVariations, of_class

T = TypeVar("T", bound=PyTree)


def reversed_gradient(values: T, strength: float | Array) -> T:
    """The values themselves, whose gradient is turned round and scaled (arXiv 1409.7495).

    What is minimised behind them is then maximised before them.

    Args:
        values: Arrays.
        strength: Factor, the λ of the loss `L_f - λ L_r`.
    """

    def each(x: Array) -> Array:
        # The bracket is 0: the value is exactly x.
        return jax.lax.stop_gradient(x) - strength * (x - jax.lax.stop_gradient(x))

    return jax.tree.map(each, values)


@takes()
@dataclass(frozen=True, kw_only=True)
class Adversarial(OnVariations):
    """The adversarial network of arXiv 1611.01046, as a term to be added to a classifier's loss.

    A second network, the adversary, gets the score alone and learns to tell for each variation
    whether an event is nominal, varied up or varied down. It minimises its own cross-entropy L_r,
    and the classifier L_f - λ L_r: both in one step of the optimizer, by gradient reversal.

    `CrossEntropy() + Adversarial(strength="lambda", learning_rate="adversary_rate")`

    The three samples of a variation have equal weight for the adversary, so that it sees shapes and
    not yields. Events count with the magnitude of their physics weights. The value is
    λ (ln K - L_r), of K samples: λ times the information on the variation that the adversary finds
    in the score, which is 0 or less where it finds none. A variation of a few percent holds little
    of it (at most some χ² / 8 of the change of a histogram), so that λ is large: 10 to 1000.

    Args:
        strength: λ, or the name of the hyperparameter that it is.
        learning_rate: Of the adversary, or the name of that hyperparameter; by default that of the
            classifier. A schedule acts on both.
        variations: Their names; by default all that the events have.
        among: Whether `"all"` events count, or those of `"signal"` or `"background"`.
        hidden: Width of each hidden layer of the adversary.

    Raises:
        InputError: For an unknown kind of events, a negative number, no hidden layer; when the
            training begins, for a variation that the events do not have.
    """

    strength: NotNegative | str = 1.0
    learning_rate: NotNegative | str | None = None
    hidden: Sequence[Count] = (32, 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name in ("strength", "learning_rate"):
            value = getattr(self, name)
            if not isinstance(value, str | None) and not 0 <= value < math.inf:
                raise InputError(f"Adversarial({name}={value}): give a positive number.")
        if not self.hidden or min(self.hidden) < 1:
            raise InputError(f"Adversarial(hidden={self.hidden}): give the width of each layer.")

    @property
    def gradient(self) -> Gradient:
        """Its value is not what either network minimises."""
        return "needed"

    def init(self, key: Array) -> PyTree:
        """Weights of the adversary."""
        if not self.variations:
            raise InputError(
                "Adversarial(variations=...): name the systematic variations; a training does so "
                "by itself."
            )
        widths = (1, *self.hidden, 3 * len(self.variations))
        keys = jax.random.split(key, len(widths) - 1)
        return [
            {
                "kernel": jax.random.normal(k, (n, m)) / math.sqrt(n),
                # Units of a single input bend at different places.
                "bias": jax.random.normal(jax.random.fold_in(k, 1), (m,)) * (n == 1),
            }
            for k, n, m in zip(keys, widths[:-1], widths[1:], strict=True)
        ]

    def scale_updates(self, updates: PyTree, hyperparameters: Values) -> PyTree:
        """Steps as long as the adversary's own learning rate makes them."""
        rate = self.learning_rate
        if rate is None:
            return updates
        own = hyperparameters[rate] if isinstance(rate, str) else rate
        factor = own / hyperparameters["learning_rate"]
        return jax.tree.map(lambda update: factor * update, updates)

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """λ times what the adversary finds; its gradient makes the adversary better at it."""
        strength = self.strength
        factor = hyperparameters[strength] if isinstance(strength, str) else strength
        mine = of_class(self.among, batch).astype(scores.dtype)

        def logits(scores: Array) -> Float[Array, "events variations 3"]:
            hidden = reversed_gradient(signal_logit(scores, batch), factor)
            return _adversary(parameters, hidden).reshape(-1, len(self.variations or ()), 3)

        nominal = logits(scores)
        found = jnp.zeros((), scores.dtype)
        for place, name in enumerate(self.variations or ()):
            variation = batch.variations[name]
            samples = [None, variation.up, *([variation.down] if variation.down else [])]
            losses = []
            for kind, sample in enumerate(samples):
                own, weight = in_direction(name, sample, scores, batch)
                # A sample that a one-sided variation does not have is no answer.
                answers = (nominal if own is scores else logits(own))[:, place, : len(samples)]
                losses.append(_mean(-jax.nn.log_softmax(answers)[:, kind], mine * jnp.abs(weight)))
            found = found + math.log(len(samples)) - sum(losses) / len(samples)
        # The adversary minimises its loss: this is the value, with the gradient of minus it.
        return jax.lax.stop_gradient((1 + factor) * found) - found


def _adversary(layers: PyTree, scores: Float[Array, " events"]) -> Float[Array, "events outputs"]:
    x = scores[:, None]
    for number, layer in enumerate(layers):
        if number:
            x = jnp.tanh(x)
        x = x @ layer["kernel"] + layer["bias"]
    return x


def _mean(values: Float[Array, " events"], weight: Float[Array, " events"]) -> Float[Array, ""]:
    total = jnp.sum(weight)
    return jnp.sum(weight * values) / jnp.where(total > 0, total, 1.0)
