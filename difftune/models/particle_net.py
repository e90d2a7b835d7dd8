"""Dynamic graphs of objects: each sees its nearest neighbours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt
from flax import nnx
from jaxtyping import Array, Float, Int

from difftune.arguments import Count as Width
from difftune.arguments import takes, texts
from difftune.errors import InputError
from difftune.models.inputs import InputParts, Inputs
from difftune.models.joint import (
    OBJECT,
    AsRead,
    JointNetwork,
    OnObjects,
    blank,
    draw,
    layer_mask,
    masked,
)
from difftune.models.mlp import Count, as_activation, as_hidden, as_probability, rounded
from difftune.models.parts import Hyperparameter, pass_on

AZIMUTH = "phi"
"""The coordinate whose differences are taken the short way round."""


class EdgeConvolution(nnx.Module):
    """A function of each object and each of its neighbours, averaged over the neighbours.

    The function is a stack of linear layers, each followed by the activation, of (x_i, x_j - x_i).
    Its first layer is the sum of a matrix times x_i and one times x_j - x_i, which are multiplied
    object by object and not pair by pair. A linear function of x_i is added to the mean.
    """

    def __init__(self, inputs: int, outputs: int, *, layers: int, normalisation: str):
        self.own, self.past = blank(inputs, outputs), blank(inputs, outputs)
        self.difference = blank(inputs, outputs, bias=False)
        self.more = nnx.List([blank(outputs, outputs) for _ in range(layers - 1)])
        # A fast variance is a difference of large numbers.
        layer = partial(nnx.LayerNorm, use_fast_variance=False, rngs=nnx.Rngs(0))
        self.norm = layer(outputs) if normalisation == "layer" else None

    def start(self, key: Array, inputs: Array, outputs: Array, on: Array | bool) -> None:
        """Draws the start values, for inputs and outputs in use; all 0 if it is not used."""
        numbered = enumerate((self.own, self.difference, self.past, *self.more))
        for number, layer in numbered:
            draw(layer, jax.random.fold_in(key, number), outputs if number > 2 else inputs, outputs)
            # The first layer has both for inputs.
            scale = math.sqrt(0.5) if number < 2 else 1.0
            layer.kernel[...] = jnp.where(on, layer.kernel[...] * scale, 0.0)


def nearest_neighbours(
    squared: Float[Array, "events objects objects"],
    there: Float[Array, "events objects"],
    most: int,
    count: Count,
) -> tuple[Int[Array, "events objects most"], Float[Array, "events objects most"]]:
    """Which other objects are near each object, of those that are there.

    Args:
        squared: Squared distances.
        there: 1 where there is an object.
        most: How many neighbours are looked for; fewer than there are objects.
        count: How many of them are taken.

    Returns:
        Their numbers, the nearest first, and for each the weight of its message: one over the
        number of neighbours, or 0 for what is no neighbour.
    """
    objects = there.shape[-1]
    other = (there[..., None, :] > 0) & ~jnp.eye(objects, dtype=bool)
    closeness, index = jax.lax.top_k(jnp.where(other, -squared, -jnp.inf), most)
    found = (closeness > -jnp.inf) & (jnp.arange(most) < count)
    number = jnp.maximum(jnp.sum(found, axis=-1, keepdims=True), 1)
    return index, found / number


def neighbours_rows(
    rows: Float[Array, "events objects units"], index: Int[Array, "events objects most"]
) -> Float[Array, "events objects most units"]:
    """The rows of the neighbours of each object."""
    events, objects, units = rows.shape
    place = index + objects * jnp.arange(events)[:, None, None]
    flat = rows.reshape(-1, units).at[place.reshape(-1)].get(mode="promise_in_bounds")
    return flat.reshape(*index.shape, units)


class GraphNetwork(JointNetwork):
    """Objects, the convolutions of their graphs, the mean over the objects."""

    def __init__(self, inputs: Inputs, outputs: int, *, recipe: "ParticleNet", rngs: nnx.Rngs):
        widths = tuple(recipe.widths)
        self.widths = widths
        objects = sum(each.max for each in inputs.collections.values())
        # Of one object alone there is no other; it then is its own, with the weight 0.
        self.most = max(1, min(recipe.neighbours, objects - 1))

        def shape(name: str, most: int) -> Hyperparameter:
            return Hyperparameter.named(name, most, inherited=True)

        self.width = nnx.List(
            [shape(f"{OBJECT}width_{i}", width) for i, width in enumerate(widths, 1)]
        )
        self.neighbours = shape("neighbours", recipe.neighbours)
        self.neighbours_most = recipe.neighbours
        names = recipe.coordinates
        self.azimuth = tuple(name.lower() == AZIMUTH for name in names)
        self.coordinates = AsRead(inputs, recipe.numbers(inputs)) if names else None
        blocks = [
            EdgeConvolution(before, width, layers=recipe.layers, normalisation=recipe.normalisation)
            for before, width in zip((widths[0], *widths), widths, strict=False)
        ]
        super().__init__(
            inputs,
            outputs,
            recipe=recipe,
            width=widths[0],
            latent=widths[-1],
            depth=shape(f"{OBJECT}depth", len(widths)) if len(set(widths)) == 1 else None,
            blocks=blocks,
            rngs=rngs,
        )

    def _units(self) -> list[Count]:
        return [
            rounded(width[...], 1, most)
            for width, most in zip(self.width, self.widths, strict=True)
        ]

    def embedded_units(self) -> Count:
        """Units in use of the rows that objects become: those of the first block."""
        return self._units()[0]

    def latent_units(self) -> tuple[Count, int]:
        """Units in use of the last block that is used, and how many it has."""
        used = self.blocks_in_use()
        units = self._units()
        if isinstance(used, int):
            return units[used - 1], self.widths[-1]
        return jnp.stack([jnp.asarray(each) for each in units])[used - 1], self.widths[-1]

    def start_blocks(self, key: Array) -> None:
        """Draws the start values of the convolutions."""
        units, used = self._units(), self.blocks_in_use()
        live = [jnp.arange(most) < each for each, most in zip(units, self.widths, strict=True)]
        blocks: Any = self.blocks
        for i, block in enumerate(blocks):
            before = live[i - 1] if i else live[0]
            block.start(jax.random.fold_in(key, i), before, live[i], i < used)

    def between(self, parts: InputParts) -> Float[Array, "events objects objects"]:
        """Squared distances in the coordinates."""
        assert self.coordinates is not None, "asked for where there are any"
        places = self.coordinates(parts)
        total: Any = 0.0
        for i, azimuth in enumerate(self.azimuth):
            apart = places[..., :, None, i] - places[..., None, :, i]
            if azimuth:
                apart = apart - 2 * jnp.pi * jnp.round(apart * (0.5 / jnp.pi))
            total = total + apart * apart
        return total

    def __call__(self, x: Float[Array, "events inputs"]) -> Float[Array, "events outputs"]:
        """Logits of the events."""
        parts = self.inputs.apart(x)
        there = self.there(parts)
        units, used = self._units(), self.blocks_in_use()
        rows = masked(self.all.activate(self.rows(parts)), units[0]) * there[..., None]
        count = rounded(self.neighbours[...], 1, self.neighbours_most)
        blocks: Any = self.blocks
        for i, block in enumerate(blocks):
            squared = self.between(parts) if i == 0 and self.coordinates is not None else None
            layer = partial(
                _convolved,
                there=there,
                squared=squared,
                most=self.most,
                count=count,
                live=units[i],
                activate=self.all.activate,
            )
            if isinstance(used, int):
                rows = layer(block, rows) if i < used else rows
            elif i == 0:
                rows = layer(block, rows)
            else:
                # Members that run one after the other then do not compute what they skip.
                rows = nnx.cond(i < used, layer, pass_on, block, rows)
        number = jnp.maximum(jnp.sum(there, axis=-1, keepdims=True), 1.0)
        return self.decided(parts, jnp.sum(rows, axis=-2) / number)


def _convolved(
    block: EdgeConvolution,
    rows: Float[Array, "events objects units"],
    *,
    there: Float[Array, "events objects"],
    squared: Float[Array, "events objects objects"] | None,
    most: int,
    count: Count,
    live: Count,
    activate: Any,
) -> Float[Array, "events objects outputs"]:
    if squared is None:
        # Not lengths minus products: of rows that are nearly equal only rounding would be left.
        given = jax.lax.stop_gradient(rows)
        squared = jnp.sum((given[..., :, None, :] - given[..., None, :, :]) ** 2, axis=-1)
    index, weight = nearest_neighbours(squared, there, most, count)
    of_others = block.difference(rows)
    of_own = block.own(rows) - of_others
    edges = of_own[..., None, :] + neighbours_rows(of_others, index)
    edges = masked(activate(edges), live)
    for layer in block.more:
        edges = masked(activate(layer(edges)), live)
    found = jnp.sum(edges * weight[..., None], axis=-2) + block.past(rows)
    if block.norm is not None:
        found = block.norm(found, mask=layer_mask(live, found.shape[-1]))
    return masked(activate(found), live) * there[..., None]


def _as_coordinates(given: Any) -> tuple[str, ...]:
    return texts(given, "ParticleNet(coordinates=...)", 'coordinates=("eta", "phi")')


@takes(
    widths=as_hidden,
    coordinates=_as_coordinates,
    hidden=as_hidden,
    activation=as_activation,
    dropout=as_probability,
)
@dataclass(frozen=True, kw_only=True)
class ParticleNet(OnObjects):
    """A recipe for a ParticleNet (arXiv 1902.08570): convolutions on graphs of nearest neighbours.

    The objects of all collections are one set. A linear layer of each collection makes rows of one
    width of them. Block after block, each object hears from its nearest neighbours: in the first
    block those in the coordinates, in later ones those whose rows are nearest. The mean of the rows
    at the end goes with the logarithm of the number of objects of each collection and with the
    features of no collection into the network behind. So neither the order of the objects matters
    nor how many places there are.

    Its shape can be searched, and a population of members of different shapes is one program:
    `"object_width_1"`, ... are the widths of the blocks, `"object_depth"` is the number of blocks
    (where all have one width), `"neighbours"` that of the neighbours, each up to what is given
    here; `"width_1"`, ..., `"depth"` and `"dropout"` are of the network behind, `"activation"` of
    all of it.

    Args:
        widths: Width of each block, the largest where it is searched.
        layers: Linear layers of the function of a pair in each block. The first costs as much as
            there are objects, each further one as much as there are pairs of neighbours.
        neighbours: How many nearest neighbours an object hears from; fewer where there are fewer.
        coordinates: Features of every collection whose differences make the distance, in the units
            in which they were read: `"eta"` is also `Jet_eta` of a collection of that name. The
            difference of `"phi"` is taken the short way round. Nothing for distances of rows in the
            first block, too.
        hidden: Width of each hidden layer of the network behind.
        activation: As of `MLP`.
        normalisation: `"none"`, or `"layer"` before the last activation of each block and before
            those of the network behind.
        dropout: Default probability to drop a hidden unit of the network behind, in [0, 1).

    Raises:
        InputError: As `MLP`; when it is made for events without a collection of objects, or with
            one that lacks a coordinate.
    """

    sizes: ClassVar[tuple[str, ...]] = ("widths", "hidden")

    widths: Sequence[Width] = (32, 32)
    layers: Width = 2
    neighbours: Width = 8
    coordinates: Sequence[str] = ("eta", AZIMUTH)
    hidden: Sequence[Width] = (64,)
    activation: str | Sequence[str] = "relu"
    normalisation: Literal["none", "layer"] = "none"
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "coordinates", tuple(self.coordinates))
        self.checked(layers=1, neighbours=1)
        if not self.widths:
            raise InputError("ParticleNet(widths=()): give the width of at least one block.")

    def numbers(self, inputs: Inputs) -> list[list[int]]:
        """By collection the number of the feature that is each coordinate.

        Raises:
            InputError: When a collection lacks one.
        """
        found: list[list[int]] = []
        for name, each in inputs.collections.items():
            found.append([])
            for coordinate in self.coordinates:
                number = each.number(coordinate)
                if number is None:
                    raise InputError(
                        f"ParticleNet(coordinates={list(self.coordinates)}): {name} has no feature "
                        f"{coordinate!r}, but {', '.join(each.features)}. Name those that measure "
                        "how near objects are, or call them so where they are read, as in branches "
                        f"= {{ {coordinate} = '...' }}; coordinates = [] lets the network decide."
                    )
                found[-1].append(number)
        return found

    def rows_of_event(self, inputs: int) -> int:
        """How many rows of a layer an event is."""
        objects = sum(each.max for each in self.collections(inputs).values())
        return objects * min(self.neighbours, objects)

    def for_member(self, hyperparameters: Mapping[str, float]) -> "ParticleNet":
        """The recipe of the network that a member with these hyperparameters is.

        Args:
            hyperparameters: Values of the member; what they do not name has its default.
        """
        count = hyperparameters.get("neighbours", self.neighbours)
        return self._with_event(
            hyperparameters,
            widths=self._part_of(self.widths, hyperparameters).hidden,
            neighbours=round(min(max(count, 1), self.neighbours)),
        )

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> GraphNetwork:
        """Makes the network; `inputs` features in, `outputs` logits out."""
        self.collections(inputs)
        return GraphNetwork(inputs, outputs, recipe=self, rngs=rngs)  # type: ignore[arg-type]
