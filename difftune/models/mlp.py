"""The multilayer perceptron, and what any model must be able to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import jax
from flax import nnx
from jaxtyping import Array, Float

from difftune.errors import InputError, nearest
from difftune.models.dropout import Dropout

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "leaky_relu": jax.nn.leaky_relu,
    "selu": jax.nn.selu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jax.nn.tanh,
}
NORMALISATIONS = {"none": None, "batch": nnx.BatchNorm, "layer": nnx.LayerNorm}


@runtime_checkable
class Model(Protocol):
    """Whatever makes a network: a Flax module class of this signature, or a recipe like `MLP`."""

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> nnx.Module:
        """A network from `[events, inputs]` to logits `[events, outputs]`."""
        ...


class Network(nnx.Module):
    """A stack of linear layers, each followed by normalisation, activation and dropout."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: tuple[int, ...],
        activation: str,
        normalisation: str,
        dropout: int | float,
        rngs: nnx.Rngs,
    ):
        widths = (inputs, *hidden)
        self.activation = activation
        self.linear = nnx.List([nnx.Linear(m, n, rngs=rngs) for m, n in pairwise(widths)])
        norm = NORMALISATIONS[normalisation]
        self.norm = nnx.List([norm(n, rngs=rngs) for n in hidden] if norm else [])
        self.dropout = nnx.List([Dropout(dropout, rngs=rngs) for _ in hidden])
        self.output = nnx.Linear(widths[-1], outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "events inputs"]) -> Float[Array, "events outputs"]:
        """Logits of the events."""
        for i, linear in enumerate(self.linear):
            x = linear(x)
            if self.norm:
                x = self.norm[i](x)
            x = self.dropout[i](ACTIVATIONS[self.activation](x))
        return self.output(x)


@dataclass(frozen=True, kw_only=True)
class MLP:
    """A recipe for a multilayer perceptron.

    Args:
        hidden: Width of each hidden layer.
        activation: One of `difftune.models.ACTIVATIONS`.
        normalisation: `"none"`, `"batch"` or `"layer"`, before each activation.
        dropout: Default probability to drop a hidden unit, in [0, 1); the hyperparameter
            `"dropout"` takes its place.

    Raises:
        InputError: For a width below 1, an unknown activation or normalisation, or a dropout
            outside [0, 1).
    """

    hidden: Sequence[int] = (64, 64)
    activation: str = "relu"
    normalisation: str = "none"
    dropout: int | float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(width < 1 for width in self.hidden):
            raise InputError(f"MLP(hidden={self.hidden}): every width must be at least 1.")
        for value, known, what in (
            (self.activation, ACTIVATIONS, "activation"),
            (self.normalisation, NORMALISATIONS, "normalisation"),
        ):
            if value not in known:
                raise InputError(
                    f"MLP({what}={value!r}) is unknown.{nearest(value, known)} "
                    f"Choose one of {', '.join(sorted(known))}."
                )
        if not 0.0 <= self.dropout < 1.0:
            raise InputError(f"MLP(dropout={self.dropout}): must be at least 0 and below 1.")

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> Network:
        """Makes the network; `inputs` features in, `outputs` logits out."""
        return Network(
            inputs,
            outputs,
            hidden=tuple(self.hidden),
            activation=self.activation,
            normalisation=self.normalisation,
            dropout=self.dropout,
            rngs=rngs,
        )
