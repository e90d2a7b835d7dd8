"""The multilayer perceptron, and what any model must be able to do."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt
from flax import nnx
from jaxtyping import Array, Float, Int

from difftune.arguments import Count as Width
from difftune.arguments import Positive, called_with, is_number, made, said, takes, whole
from difftune.errors import InputError, nearest
from difftune.models.embeddings import Periodic
from difftune.models.parts import (
    ACTIVATIONS,
    Dropout,
    Hyperparameter,
    chosen_activation,
    lecun_normal,
    pass_on,
)
from difftune.models.submodels import Adapted, Heads, PlainOutputs, together

EXAMPLE = "MLP(hidden=(64, 64))"


def as_hidden(given: Any) -> tuple[int, ...]:
    """Widths of hidden layers, of which there may be one alone."""
    if is_number(given):
        given = (given,)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"MLP(hidden={said(given)}): give widths of layers, as in {EXAMPLE}.")
    return tuple(whole(width, f"MLP(hidden=...): {said(width)}") for width in given)


def as_activation(given: Any) -> Any:
    """An activation, or several, by name; a function of JAX has one."""
    if isinstance(given, str):
        return given
    if callable(given):
        return getattr(given, "__name__", repr(given))
    if isinstance(given, Iterable):
        return tuple(as_activation(one) for one in given)
    raise InputError(f'MLP(activation={said(given)}): give a name, as in activation="relu".')


def as_probability(given: Any) -> float:
    """A number; the range is checked where it is used."""
    if not is_number(given):
        raise InputError(f"MLP(dropout={said(given)}): give a number, at least 0 and below 1.")
    return float(given)


def as_model(given: Any) -> Any:
    """A recipe of networks: that of a class without brackets, or `DEFAULT` for None.

    Raises:
        InputError: For what makes no network.
    """
    if given is None:
        return DEFAULT
    wanted = f"give a model such as {EXAMPLE}, or a class of a Flax module (flax.nnx)"
    if isinstance(given, nnx.Module):
        name = type(given).__name__
        raise InputError(
            f"model={name}(...): this is one network, and each member has its own; give the class "
            f"model={name}, or a function (inputs, outputs, *, rngs) that makes it."
        )
    if inspect.isclass(given) and not issubclass(given, nnx.Module):
        if "nn.Module" in str(given.__mro__) or given.__module__.startswith("flax.linen"):
            raise InputError(f"model={given.__name__} is no module of flax.nnx; {wanted}.")
        given = made(given, "model")
    if not callable(given):
        hint = ""
        if is_number(given) or (isinstance(given, list | tuple) and all(map(is_number, given))):
            widths = tuple(given) if isinstance(given, list | tuple) else (given,)
            hint = f" For these widths write MLP(hidden={widths})."
        raise InputError(f"model={said(given)} makes no network; {wanted}.{hint}")
    if not isinstance(given, MLP):
        example = "a class with __init__(self, inputs, outputs, *, rngs)"
        called_with(given, ("inputs", "outputs", "*", "rngs"), "model", example)
    return given


MLP_FORMS = {
    "hidden": as_hidden,
    "activation": as_activation,
    "dropout": as_probability,
}
"""Of `MLP`."""


EMBEDDINGS = ("periodic",)
SHARINGS = ("tabm", "tabm-mini")
NORMALISATIONS = {"none": None, "batch": nnx.BatchNorm, "layer": nnx.LayerNorm}


@runtime_checkable
class Architecture(Protocol):
    """Whatever makes a network: a Flax module class of this signature, or a recipe like `MLP`.

    A network whose start values depend on its hyperparameters, or on how many of its inputs a
    member uses, has a method `start_weights(rngs, inputs)`, which is called when they are set, with
    a source of the same key again, and a mask of the inputs in use (None for all).
    """

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> nnx.Module:
        """A network from `[events, inputs]` to logits `[events, outputs]`."""
        ...


# What the keys of their start values are folded with: no layer has these numbers.
_EMBEDDING, _ADAPTERS = 2**31, 2**31 + 1

Count = int | Int[Array, ""]
"""A number of units or layers: an `int` where it is known while tracing."""


def rounded(value: Array, low: int, high: int) -> Count:
    """A hyperparameter as a whole number from `low` to `high`.

    One that no member sets is known while tracing. It stays an `int`, so that a network which
    does not search its size is compiled as if there were nothing to search.
    """
    if isinstance(value, jax.core.Tracer):
        return jnp.clip(jnp.round(value), low, high).astype(jnp.int32)
    return round(min(max(float(value), low), high))


class Network(nnx.Module):
    """A stack of linear layers, each followed by normalisation, activation and dropout.

    It has the size of the largest network; what a member does not use is masked. Weights of
    masked units and of layers beyond the depth start as 0, get no gradient, and so stay 0.

    With submodels it gives the logits of each in training mode, `[events, submodels, outputs]`,
    and those of their mean probability in evaluation mode; the mean of the values, where it gives
    `PlainOutputs`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: tuple[int, ...],
        activation: str | tuple[str, ...],
        normalisation: str,
        dropout: int | float,
        embedding: Periodic | None = None,
        submodels: int = 1,
        sharing: str = "tabm",
        prefix: str = "",
        rngs: nnx.Rngs,
    ):
        self.embedding = embedding
        sizes = (inputs if embedding is None else embedding.units, *hidden)
        # These draw nothing: `start_weights` does.
        linear = partial(nnx.Linear, kernel_init=nnx.initializers.zeros, rngs=nnx.Rngs(0))
        layer: Callable[[int, int], nnx.Module] = linear
        first, output = layer, layer
        self.submodels = submodels
        self.plain = isinstance(outputs, PlainOutputs)
        if submodels > 1:
            # So that Flax tells it of its mode.
            self.deterministic = False
            mini = sharing == "tabm-mini"
            first = partial(Adapted, submodels=submodels, own_outputs=not mini)
            layer = linear if mini else first
            output = partial(Heads, submodels=submodels)
        norm = NORMALISATIONS[normalisation]
        self.sizes = sizes
        self.linear = nnx.List(
            [(layer if i else first)(m, n) for i, (m, n) in enumerate(pairwise(sizes))]
        )
        self.norm = nnx.List([norm(n, rngs=nnx.Rngs(0)) for n in hidden] if norm else [])
        self.output = output(sizes[-1], outputs)

        def shape(name: str, most: int) -> Hyperparameter:
            return Hyperparameter.named(f"{prefix}{name}", most, inherited=True)

        self.width = nnx.List([shape(f"width_{i}", n) for i, n in enumerate(hidden, 1)])
        # A skipped layer hands its input on, which must then fit the next.
        same = len(set(hidden)) == 1
        self.depth = shape("depth", len(hidden)) if same else None
        self.activations = (activation,) if isinstance(activation, str) else activation
        self.choice = None if isinstance(activation, str) else Hyperparameter.named("activation", 0)

        # Before anything else draws, so that `start_weights` can be repeated from the same key.
        self.start_weights(rngs)
        self.dropout = nnx.List([Dropout(dropout, rngs=rngs) for _ in hidden])

    def _live(self) -> tuple[list[Count], Count]:
        """Units in use of the input and of each hidden layer, and the number of these in use."""
        inputs, *hidden = self.sizes
        units = [rounded(width[...], 1, n) for width, n in zip(self.width, hidden, strict=True)]
        depth = len(hidden) if self.depth is None else rounded(self.depth[...], 1, len(hidden))
        return [inputs, *units], depth

    def start_weights(self, rngs: nnx.Rngs, inputs: Float[Array, " inputs"] | None = None) -> None:
        """Draws the weight matrices for the hyperparameters that the network has now.

        They are those of a network made with these inputs, these widths and this depth, and 0
        elsewhere: each weight depends on the key, its layer and its place there alone.

        Args:
            rngs: Source of one key (its stream `params`).
            inputs: Not 0 for each input that is used; None for all.
        """
        key = rngs.params()
        if self.submodels > 1:
            self._start_adapters(jax.random.fold_in(key, _ADAPTERS), inputs)
        if self.embedding is not None:
            self.embedding.start_weights(jax.random.fold_in(key, _EMBEDDING), inputs)
            inputs = None if inputs is None else jnp.repeat(inputs, self.embedding.size)
        units, depth = self._live()
        live = [jnp.arange(size) < count for size, count in zip(self.sizes, units, strict=True)]
        if inputs is not None:
            live[0] = inputs != 0
            units[0] = jnp.sum(live[0])

        def draw(layer: Any, number: int, fan_in: Count, live: Array) -> None:
            heads = layer.submodels if isinstance(layer, Heads) else 1
            shape = (layer.in_features, heads * layer.out_features)
            drawn = lecun_normal(jax.random.fold_in(key, number), shape, fan_in)
            if number == 1 and inputs is not None:
                # The place of an input is that among the ones in use.
                drawn = drawn[jnp.cumsum(inputs != 0) - 1]
            drawn = jnp.where(live, drawn, 0.0)
            if isinstance(layer, Heads):
                drawn = drawn.reshape(layer.in_features, heads, -1).swapaxes(0, 1)
            layer.kernel[...] = drawn

        for i, layer in enumerate(self.linear):
            draw(layer, i + 1, units[i], live[i][:, None] & live[i + 1] & (i < depth))
        last = jnp.stack([jnp.asarray(n) for n in units])[depth]
        # Number 0, so that it does not depend on how many layers come before.
        draw(self.output, 0, last, (jnp.arange(self.sizes[-1]) < last)[:, None])

    def _start_adapters(self, key: Array, inputs: Float[Array, " inputs"] | None) -> None:
        """Draws what tells the submodels apart at the start: their scales of the inputs."""
        count = self.sizes[0] if self.embedding is None else self.embedding.inputs
        scale = lecun_normal(key, (count, self.submodels), 1)
        if inputs is not None:
            scale = scale[jnp.cumsum(inputs != 0) - 1]
        # All numbers of an embedded input have one scale.
        scale = (
            jnp.sign(scale)
            if self.embedding is None
            else jnp.repeat(scale, self.embedding.size, axis=0)
        )
        first: Any = self.linear[0]
        first.input_scale[...] = scale.T.ravel()

    def activate(self, x: Float[Array, "*events units"]) -> Float[Array, "*events units"]:
        """The activation function that the member has."""
        if self.choice is None:
            return ACTIVATIONS[self.activations[0]](x)
        index = rounded(self.choice[...], 0, len(self.activations) - 1)
        if isinstance(index, int):
            return ACTIVATIONS[self.activations[index]](x)
        return chosen_activation(self.activations)(index, x)

    def __call__(self, x: Float[Array, "*events inputs"]) -> Float[Array, "*logits outputs"]:
        """Logits of the events, and in training mode of each of their submodels."""
        units, depth = self._live()
        if self.embedding is not None:
            x = self.embedding(x)
        if self.submodels > 1:
            x = x[..., None, :]
        for i, live in enumerate(units[1:]):
            parts = (self.linear[i], self.norm[i] if self.norm else None, self.dropout[i])
            layer = partial(_layer, live=live, activate=self.activate)
            if isinstance(depth, int):
                x = layer(parts, x) if i < depth else x
            elif i == 0:
                x = layer(parts, x)
            else:
                # Members that run one after the other then do not compute what they skip.
                x = nnx.cond(i < depth, layer, pass_on, parts, x)
        logits = self.output(x)
        if self.submodels > 1 and self.deterministic:
            return together(logits, plain=self.plain)
        return logits


def _layer(
    parts: Any, x: Array, *, live: Count, activate: Callable[[Array], Array]
) -> Float[Array, "*events units"]:
    linear, norm, dropout = parts
    x = linear(x)
    size = x.shape[-1]
    mask = None if isinstance(live, int) and live == size else jnp.arange(size) < live
    if isinstance(norm, nnx.LayerNorm):
        x = norm(x, mask=mask)
    elif norm is not None:
        x = norm(x)
    x = activate(x)
    # Biases of a normalisation, or an activation that is not 0 at 0, would bring them to life.
    x = x if mask is None else jnp.where(mask, x, 0.0)
    return dropout(x)


@takes(**MLP_FORMS)
@dataclass(frozen=True, kw_only=True)
class MLP:
    """A recipe for a multilayer perceptron.

    Its shape can be searched. These hyperparameters give each member the network that it would
    be if it had been made with this shape, start values included; whole numbers are meant, what
    is out of range is moved to the nearest that is allowed. Widths and depth go with the weights
    when a member is copied:

    - `"width_1"`, `"width_2"`, ...: units of each hidden layer, from 1 to `hidden[0]`,
      `hidden[1]`, ..., which are the defaults.
    - `"depth"`: number of hidden layers, from 1 to `len(hidden)`, which is the default; the first
      ones are used. Exists where all widths in `hidden` are equal.
    - `"activation"`: place in `activation`, from 0 (the default). Exists where that is a tuple.
    - `"dropout"`: probability to drop a hidden unit.
    - `"frequency_scale"`: that of the embedding, where there is one.

    Args:
        hidden: Width of each hidden layer, the largest where it is searched.
        activation: `"relu"`, `"elu"`, `"gelu"`, `"leaky_relu"`, `"selu"`, `"silu"`, `"softplus"` or
            `"tanh"`; or several, of which the hyperparameter `"activation"` is the number, from 0.
        normalisation: `"none"`, `"batch"` or `"layer"`, before each activation.
        dropout: Default probability to drop a hidden unit, in [0, 1).
        embedding: `"periodic"` puts several learned functions of each input in the place of its
            value: ReLU(linear([cos 2πcx, sin 2πcx])), with trained frequencies c and a linear layer
            per input (arXiv 2203.05556). None for the values as they are.
        frequencies: How many frequencies each input has.
        embedding_size: How many numbers come of each input.
        frequency_scale: Standard deviation of the frequencies at the start, in inverse units of the
            transformed inputs. The larger, the finer the structures that are learned first.
        submodels: More than one makes it a TabM (arXiv 2410.24210): so many networks that share
            their matrices, each with scales, biases and an output layer of its own. The loss is
            the mean of their losses, where it is a mean over events, and the loss of their mean
            probability otherwise; their score is the mean probability. A step costs nearly as many
            times that of one network.
        sharing: `"tabm"` scales inputs and outputs of each layer for each submodel; `"tabm-mini"`
            the inputs of the first layer alone.

    Raises:
        InputError: For a width below 1, an unknown embedding, a number of an embedding that is not
            positive, an unknown activation or normalisation, a choice of
            activations that is empty or names one twice, a dropout outside [0, 1), or submodels
            without a hidden layer.
    """

    hidden: Sequence[Width] = (64, 64)
    activation: str | Sequence[str] = "relu"
    normalisation: Literal["none", "batch", "layer"] = "none"
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    embedding: Literal["periodic"] | None = None
    frequencies: Width = 8
    embedding_size: Width = 4
    frequency_scale: Positive = 0.2
    submodels: Width = 1
    sharing: Literal["tabm", "tabm-mini"] = "tabm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(width < 1 for width in self.hidden):
            raise InputError(f"MLP(hidden={self.hidden}): every width must be at least 1.")
        if not isinstance(self.activation, str):
            object.__setattr__(self, "activation", tuple(self.activation))
            if not self.activation or len(set(self.activation)) < len(self.activation):
                raise InputError(
                    f"MLP(activation={self.activation}): give different activations, at least one."
                )
        names = (self.activation,) if isinstance(self.activation, str) else self.activation
        choices: list[tuple[str, Collection[str], str]] = [
            *((name, ACTIVATIONS, "activation") for name in names),
            (self.normalisation, NORMALISATIONS, "normalisation"),
            (self.sharing, SHARINGS, "sharing"),
        ]
        if self.embedding is not None:
            choices.append((self.embedding, EMBEDDINGS, "embedding"))
        for value, known, what in choices:
            if value not in known:
                raise InputError(
                    f"MLP({what}={value!r}) is unknown.{nearest(value, known)} "
                    f"Choose one of {', '.join(sorted(known))}."
                )
        if not 0.0 <= self.dropout < 1.0:
            raise InputError(f"MLP(dropout={self.dropout}): must be at least 0 and below 1.")
        for name in ("frequencies", "embedding_size", "frequency_scale"):
            if not getattr(self, name) > 0:
                raise InputError(f"MLP({name}={getattr(self, name)}): must be above 0.")
        if self.submodels < 1:
            raise InputError(f"MLP(submodels={self.submodels}): must be at least 1.")
        if self.submodels > 1 and not self.hidden:
            raise InputError(
                f"MLP(hidden=(), submodels={self.submodels}): submodels share hidden layers: give "
                "at least one."
            )

    @property
    def event_by_event(self) -> bool:
        """Whether no event of a batch knows of the others, as it does by batch normalisation."""
        return self.normalisation != "batch"

    def for_member(self, hyperparameters: Mapping[str, float]) -> "MLP":
        """The recipe of the network that a member with these hyperparameters is.

        Args:
            hyperparameters: Values of the member; what they do not name has its default.
        """

        def whole(name: str, default: int, low: int, high: int) -> int:
            return round(min(max(hyperparameters.get(name, default), low), high))

        widths = [whole(f"width_{i}", n, 1, n) for i, n in enumerate(self.hidden, 1)]
        layers = len(widths)
        depth = whole("depth", layers, 1, layers) if len(set(self.hidden)) == 1 else layers
        activation = self.activation
        if not isinstance(activation, str):
            activation = activation[whole("activation", 0, 0, len(activation) - 1)]
        return replace(
            self,
            hidden=widths[:depth],
            activation=activation,
            dropout=hyperparameters.get("dropout", self.dropout),
            frequency_scale=hyperparameters.get("frequency_scale", self.frequency_scale),
        )

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> Network:
        """Makes the network; `inputs` features in, `outputs` logits out."""
        embedding = None
        if self.embedding is not None:
            embedding = Periodic(
                inputs,
                frequencies=self.frequencies,
                size=self.embedding_size,
                scale=self.frequency_scale,
            )
        return Network(
            inputs,
            outputs,
            hidden=tuple(self.hidden),
            activation=(
                self.activation if isinstance(self.activation, str) else tuple(self.activation)
            ),
            normalisation=self.normalisation,
            dropout=self.dropout,
            embedding=embedding,
            submodels=self.submodels,
            sharing=self.sharing,
            rngs=rngs,
        )


DEFAULT = MLP(hidden=(128, 128), dropout=0.3, embedding="periodic", frequency_scale=0.1)
"""The network where nothing is said of it. An `MLP()` is a plain one."""
