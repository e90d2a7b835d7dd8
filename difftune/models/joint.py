"""What networks have in common that see the objects of all collections as one set."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from difftune.errors import InputError
from difftune.models.inputs import InputParts, Inputs, ObjectInputs
from difftune.models.mlp import MLP, Count, Network, rounded
from difftune.models.parts import Hyperparameter, lecun_normal

OBJECT = "object_"
"""What the hyperparameters of the parts that see single objects begin with."""

# What the keys of start values are folded with: the network behind the objects, their embeddings,
# and each block.
_EVENT, _EMBEDDING, _BLOCKS = 0, 1, 1000


class Constant(nnx.Variable):
    """Numbers of the data that a network has, which nothing changes."""


class OfRows(nnx.Linear):
    """A linear layer of objects or pairs, which all are rows of one matrix.

    On a CPU a step of a ParticleNet takes 0.85 to 0.92 of the time that it takes with one dimension
    for events and one for objects.
    """

    def __call__(
        self, inputs: Float[Array, "*rows inputs"], *more: Any, **options: Any
    ) -> Float[Array, "*rows outputs"]:
        """The layer's outputs of each row."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        found = super().__call__(rows, *more, **options)
        # Not -1, which says nothing where there are no events.
        return found.reshape(*inputs.shape[:-1], self.out_features)


def blank(inputs: int, outputs: int, *, bias: bool = True) -> nnx.Linear:
    """A linear layer that draws nothing: `draw` does."""
    zeros = nnx.initializers.zeros
    return OfRows(inputs, outputs, use_bias=bias, kernel_init=zeros, rngs=nnx.Rngs(0))


def draw(
    layer: nnx.Linear,
    key: Array,
    inputs: Bool[Array, " inputs"],
    outputs: Bool[Array, " outputs"] | Bool[Array, ""],
) -> None:
    """Draws the matrix that the layer has with the inputs and outputs in use; 0 elsewhere.

    Args:
        layer: The layer.
        key: Its key.
        inputs: Those in use; the place of one is that among them.
        outputs: Those in use.
    """
    shape = (layer.in_features, layer.out_features)
    drawn = lecun_normal(key, shape, jnp.maximum(jnp.sum(inputs), 1))
    drawn = drawn[jnp.cumsum(inputs) - 1]
    layer.kernel[...] = jnp.where(inputs[:, None] & outputs, drawn, 0.0)


def masked(x: Float[Array, "*rows units"], live: Count) -> Float[Array, "*rows units"]:
    """With 0 in the place of the units that a member does not use."""
    size = x.shape[-1]
    return x if isinstance(live, int) and live == size else jnp.where(jnp.arange(size) < live, x, 0)


def layer_mask(live: Count, size: int) -> Bool[Array, " units"] | None:
    """The units in use, for a normalisation; None for all."""
    return None if isinstance(live, int) and live == size else jnp.arange(size) < live


class AsRead(nnx.Module):
    """Some features of all objects as they were read: the transform undone.

    A feature that a collection lacks is 0.
    """

    def __init__(self, inputs: Inputs, numbers: Sequence[Sequence[int | None]]):
        self.numbers = tuple(map(tuple, numbers))
        collections = inputs.collections.values()
        self.bend = tuple(each.bend for each in collections)

        def of_all(name: str, default: float) -> Constant:
            rows = [
                [
                    0.0 if number is None else (getattr(each, name) or {number: default})[number]
                    for number in some
                ]
                for each, some in zip(collections, numbers, strict=True)
            ]
            return Constant(jnp.asarray(rows, jnp.float32))

        self.center, self.scale = of_all("center", 0.0), of_all("scale", 1.0)

    def __call__(self, parts: InputParts) -> Float[Array, "*events objects features"]:
        """The features of the objects of all collections, one collection after the other."""
        found = []
        for i, (objects, numbers, bend) in enumerate(
            zip(parts.collections.values(), self.numbers, self.bend, strict=True)
        ):
            x = objects[..., np.asarray([n or 0 for n in numbers], int)]
            if bend:
                share = x * (1.0 / bend)
                x = x * jax.lax.rsqrt(jnp.maximum(1.0 - share * share, 1e-6))
            found.append(x * self.scale[...][i] + self.center[...][i])
        return jnp.concatenate(found, axis=-2)


class JointNetwork(nnx.Module):
    """Objects of all collections as one set, blocks that act on them, and a network behind.

    Each collection has a linear layer of its own, so that its objects become rows of one width.
    What comes out of the blocks, a number of units for each event, goes with the logarithm of the
    number of objects of each collection and with the features of no collection into the last
    network.
    """

    def __init__(
        self,
        inputs: Inputs,
        outputs: int,
        *,
        recipe: "OnObjects",
        width: int,
        latent: int,
        depth: Hyperparameter | None,
        blocks: Sequence[Any],
        rngs: nnx.Rngs,
    ):
        self.inputs = inputs
        key, dropout = rngs.params(), rngs.dropout()
        collections = inputs.collections.values()
        self.embedding = nnx.List([blank(len(each.features), width) for each in collections])
        self.blocks = nnx.List(blocks)
        self.depth = depth
        part = recipe.of_event
        self.all = Network(
            inputs.flat + len(collections) + latent,
            outputs,
            hidden=tuple(part.hidden),
            activation=part.activation,  # type: ignore[arg-type]
            normalisation=part.normalisation,
            dropout=part.dropout,
            rngs=nnx.Rngs(
                params=jax.random.fold_in(key, _EVENT), dropout=jax.random.fold_in(dropout, _EVENT)
            ),
        )
        self.start_weights(nnx.Rngs(key))

    def blocks_in_use(self) -> Count:
        """How many blocks a member has."""
        most = len(self.blocks)
        return most if self.depth is None else rounded(self.depth[...], 1, most)

    @abc.abstractmethod
    def embedded_units(self) -> Count:
        """Units in use of the rows that objects become."""

    @abc.abstractmethod
    def latent_units(self) -> tuple[Count, int]:
        """Units in use of what comes out of the blocks, and how many there are."""

    @abc.abstractmethod
    def start_blocks(self, key: Array) -> None:
        """Draws the start values of the blocks."""

    def start_weights(self, rngs: nnx.Rngs, inputs: Float[Array, " inputs"] | None = None) -> None:
        """Draws the start values for the hyperparameters that the network has now.

        Args:
            rngs: Source of one key (its stream `params`).
            inputs: Not 0 for each input that is used; None for all.
        """
        key = rngs.params()
        given = jnp.ones(int(self.inputs)) if inputs is None else inputs
        parts = self.inputs.apart(given)
        units = jnp.arange(self.embedding[0].out_features) < self.embedded_units()
        counts = []
        own_key = jax.random.fold_in(key, _EMBEDDING)
        for number, (layer, name) in enumerate(zip(self.embedding, parts.collections, strict=True)):
            used = jnp.max(jnp.abs(parts.collections[name]), axis=0) != 0
            draw(layer, jax.random.fold_in(own_key, number), used, units)
            counts.append(jnp.max(jnp.abs(parts.masks[name])))
        self.start_blocks(jax.random.fold_in(key, _BLOCKS))
        live, size = self.latent_units()
        latent = (jnp.arange(size) < live).astype(jnp.float32)
        of_event = jnp.concatenate([parts.flat, jnp.stack(counts), latent])
        self.all.start_weights(nnx.Rngs(params=jax.random.fold_in(key, _EVENT)), of_event)

    def rows(self, parts: InputParts) -> Float[Array, "events objects units"]:
        """Objects of all collections, each as a row; not yet activated."""
        each = [
            layer(objects)
            for layer, objects in zip(self.embedding, parts.collections.values(), strict=True)
        ]
        return masked(jnp.concatenate(each, axis=-2), self.embedded_units())

    def there(self, parts: InputParts) -> Float[Array, "events objects"]:
        """1 where there is an object, 0 elsewhere."""
        return jnp.concatenate(list(parts.masks.values()), axis=-1)

    def decided(
        self, parts: InputParts, latent: Float[Array, "events units"]
    ) -> Float[Array, "events outputs"]:
        """Logits, from what came out of the blocks."""
        counts = [jnp.sum(each, axis=-1, keepdims=True) for each in parts.masks.values()]
        numbers = jnp.log1p(jnp.maximum(jnp.concatenate(counts, axis=-1), 0.0))
        return self.all(jnp.concatenate([parts.flat, numbers, latent], axis=-1))


class OnObjects:
    """What recipes of networks on objects have in common; the fields are those of each recipe."""

    sizes: ClassVar[tuple[str, ...]] = ("hidden",)
    """Fields that are widths of layers."""

    of_any_number: ClassVar[bool] = True
    """Weights do not depend on how many places there are for objects."""

    hidden: Sequence[int]
    activation: str | Sequence[str]
    normalisation: Any
    dropout: float

    def checked(self, **least: int) -> None:
        """Makes tuples of lists, and refuses what cannot be.

        Args:
            least: For each field that is a number the least that it may be.

        Raises:
            InputError: Naming the field.
        """
        name = type(self).__name__
        for field in self.sizes:
            object.__setattr__(self, field, tuple(getattr(self, field)))
        if not isinstance(self.activation, str):
            object.__setattr__(self, "activation", tuple(self.activation))
        for field, bound in least.items():
            if getattr(self, field) < bound:
                raise InputError(
                    f"{name}({field}={getattr(self, field)}): must be at least {bound}."
                )
        if self.normalisation not in ("none", "layer"):
            raise InputError(
                f"{name}(normalisation={self.normalisation!r}): choose 'none' or 'layer'."
            )
        for field in self.sizes:
            try:
                self._part(getattr(self, field))
            except InputError as error:
                message = str(error).replace("MLP(hidden", f"{name}({field}", 1)
                raise InputError(message.replace("MLP(", f"{name}(", 1)) from None

    @property
    def of_event(self) -> MLP:
        """The network behind the objects, as a recipe."""
        return self._part(self.hidden)

    def _part(self, hidden: Sequence[int]) -> MLP:
        return MLP(
            hidden=hidden,
            activation=self.activation,
            normalisation=self.normalisation,
            dropout=self.dropout,
        )

    @property
    def event_by_event(self) -> bool:
        """No event of a batch knows of the others."""
        return True

    def _part_of(self, hidden: Sequence[int], hyperparameters: Mapping[str, float]) -> MLP:
        """Layers that see single objects, as a member has them."""
        shape = ("width_", "depth")
        general = {n: v for n, v in hyperparameters.items() if not n.startswith(shape)}
        own = {
            name.removeprefix(OBJECT): value
            for name, value in hyperparameters.items()
            if name.startswith(OBJECT)
        }
        return self._part(hidden).for_member(general | own)

    def _with_event(self, hyperparameters: Mapping[str, float], **changed: Any) -> Any:
        """With the network of a member behind the objects, and what else is changed."""
        own = self.of_event.for_member(hyperparameters)
        both = {"hidden": own.hidden, "activation": own.activation, "dropout": own.dropout}
        return replace(self, **both, **changed)  # type: ignore[type-var]

    def collections(self, inputs: int) -> dict[str, ObjectInputs]:
        """The collections of the events.

        Raises:
            InputError: When there are none.
        """
        if not isinstance(inputs, Inputs) or not inputs.collections:
            raise InputError(
                f"{type(self).__name__}: the events have no collection of objects: read them with "
                "objects = {'jets': Objects(branches=[...], max=8)}, or take an MLP."
            )
        return inputs.collections
