"""Deep sets: networks on collections of objects, whatever their order and number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt
from flax import nnx
from jaxtyping import Array, Float

from difftune.arguments import Count as Width
from difftune.arguments import takes
from difftune.models.inputs import Inputs
from difftune.models.joint import OBJECT, OnObjects
from difftune.models.mlp import MLP, Network, as_activation, as_hidden, as_probability


class SetNetwork(nnx.Module):
    """A function of each object, summed over those that are there, and a function of the sums."""

    def __init__(self, inputs: Inputs, outputs: int, *, recipe: "DeepSet", rngs: nnx.Rngs):
        self.inputs, self.latent = inputs, recipe.latent
        # First, so that `start_weights` can be repeated from the same key.
        key, dropout = rngs.params(), rngs.dropout()

        def network(number: int, inputs: int, outputs: int, part: MLP, prefix: str) -> Network:
            return Network(
                inputs,
                outputs,
                hidden=tuple(part.hidden),
                activation=part.activation,  # type: ignore[arg-type]
                normalisation=part.normalisation,
                dropout=part.dropout,
                prefix=prefix,
                rngs=nnx.Rngs(
                    params=jax.random.fold_in(key, number),
                    dropout=jax.random.fold_in(dropout, number),
                ),
            )

        collections = inputs.collections.values()
        units = inputs.flat + len(collections) * recipe.latent
        self.each = nnx.List(
            [
                network(number, len(each.features), recipe.latent, recipe.of_object, OBJECT)
                for number, each in enumerate(collections, 1)
            ]
        )
        self.all = network(0, units, outputs, recipe.of_event, "")

    def start_weights(self, rngs: nnx.Rngs, inputs: Float[Array, " inputs"] | None = None) -> None:
        """Draws the start values for the hyperparameters that the network has now.

        Args:
            rngs: Source of one key (its stream `params`).
            inputs: Not 0 for each input that is used; None for all.
        """
        key = rngs.params()
        used: list[Array | None] = [None] * len(self.each)
        of_event = None
        if inputs is not None:
            parts = self.inputs.apart(inputs)
            own = [jnp.max(jnp.abs(each), axis=0) for each in parts.collections.values()]
            # A collection without features in use is of no use.
            sums = [jnp.full(self.latent, jnp.max(each)) for each in own]
            used, of_event = [*own], jnp.concatenate([parts.flat, *sums])
        for number, (network, some) in enumerate(zip(self.each, used, strict=True), 1):
            network.start_weights(nnx.Rngs(params=jax.random.fold_in(key, number)), some)
        self.all.start_weights(nnx.Rngs(params=jax.random.fold_in(key, 0)), of_event)

    def __call__(self, x: Float[Array, "events inputs"]) -> Float[Array, "events outputs"]:
        """Logits of the events."""
        parts = self.inputs.apart(x)
        sums = []
        for network, (name, objects) in zip(self.each, parts.collections.items(), strict=True):
            there = parts.masks[name][..., None]
            sums.append(jnp.sum(network(objects) * there, axis=-2))
        return self.all(jnp.concatenate([parts.flat, *sums], axis=-1))


@takes(
    each=as_hidden,
    hidden=as_hidden,
    activation=as_activation,
    dropout=as_probability,
)
@dataclass(frozen=True, kw_only=True)
class DeepSet(OnObjects):
    """A recipe for a deep set (arXiv 1703.06114): a network on collections of objects.

    The objects of each collection go through a network of that collection, one by one; what comes
    out is summed over the objects that are there, and goes with the features of no collection into
    a second network. So neither the order of the objects matters nor how many places there are.

    Its shape can be searched, as that of an `MLP`: `"width_1"`, ... and `"depth"` of the second
    network, `"object_width_1"`, ... and `"object_depth"` of the networks of objects, `"activation"`
    and `"dropout"` of all of them. A population of members of different shapes is one program.

    Args:
        each: Width of each hidden layer of the networks of objects, the largest where it is
            searched.
        latent: How many numbers of each object are summed.
        hidden: Width of each hidden layer of the network that gets the sums.
        activation: As of `MLP`.
        normalisation: `"none"`, or `"layer"` before each activation.
        dropout: Default probability to drop a hidden unit, in [0, 1).

    Raises:
        InputError: As `MLP`; and when it is made for events without a collection of objects.
    """

    each: Sequence[Width] = (64,)
    latent: Width = 32
    hidden: Sequence[Width] = (64, 64)
    activation: str | Sequence[str] = "relu"
    normalisation: Literal["none", "layer"] = "none"
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    sizes: ClassVar[tuple[str, ...]] = ("each", "hidden")

    def __post_init__(self) -> None:
        self.checked(latent=1)

    @property
    def of_object(self) -> MLP:
        """The network of an object, as a recipe."""
        return self._part(self.each)

    def rows_of_event(self, inputs: int) -> int:
        """How many rows of a layer an event is."""
        return sum(each.max for each in self.collections(inputs).values())

    def for_member(self, hyperparameters: Mapping[str, float]) -> "DeepSet":
        """The recipe of the network that a member with these hyperparameters is.

        Args:
            hyperparameters: Values of the member; what they do not name has its default.
        """
        each = self._part_of(self.each, hyperparameters).hidden
        return self._with_event(hyperparameters, each=each)

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> SetNetwork:
        """Makes the network; `inputs` features in, `outputs` logits out."""
        self.collections(inputs)
        return SetNetwork(inputs, outputs, recipe=self, rngs=rngs)  # type: ignore[arg-type]
