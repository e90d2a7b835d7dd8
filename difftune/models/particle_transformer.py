"""Attention among objects, with what each pair of them has in common."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt
from flax import nnx
from jaxtyping import Array, Float

from difftune.arguments import Count as Width
from difftune.arguments import takes
from difftune.errors import InputError
from difftune.models.inputs import InputParts, Inputs
from difftune.models.joint import (
    OBJECT,
    AsRead,
    Constant,
    JointNetwork,
    OnObjects,
    blank,
    draw,
    layer_mask,
    masked,
)
from difftune.models.mlp import Count, as_activation, as_hidden, as_probability, rounded
from difftune.models.parts import Hyperparameter, pass_on

PAIR_FEATURES = 4
"""ln Δ, ln kT, ln z and ln m² of two objects."""

EPSILON = 1e-3
"""What a normalisation adds to the variance: rows of few units that are nearly equal would become
mostly rounding errors with less."""

SMALL = 1e-8
"""Below this, of a squared distance or mass, nothing is told apart."""


def pair_features(
    momenta: Float[Array, "events objects 4"], unit: Float[Array, ""] | float
) -> Float[Array, "events objects objects 4"]:
    """What two objects have in common: equation 3 of arXiv 2202.03772.

    With Δ the distance in rapidity and azimuth: ln Δ, ln of kT = min(pT) Δ, ln of
    z = min(pT) / (pT + pT), and ln m² of their sum; momenta in the given unit.

    Args:
        momenta: Transverse momentum, pseudorapidity, azimuth in radians and mass.
        unit: The unit of momenta and masses.
    """
    pt = jnp.maximum(momenta[..., 0] / unit, 1e-6)
    mass = jnp.maximum(momenta[..., 3] / unit, 0.0)
    transverse = jnp.sqrt(pt * pt + mass * mass)
    rapidity = jnp.arcsinh(pt * jnp.sinh(jnp.clip(momenta[..., 1], -10.0, 10.0)) / transverse)

    def both(x: Array) -> tuple[Array, Array]:
        return x[..., :, None], x[..., None, :]

    (pt_a, pt_b), (mass_a, mass_b) = both(pt), both(mass)
    transverse_a, transverse_b = both(transverse)
    y = jnp.subtract(*both(rapidity))
    phi = jnp.subtract(*both(momenta[..., 2]))
    phi = phi - 2 * jnp.pi * jnp.round(phi * (0.5 / jnp.pi))
    distance = 0.5 * jnp.log(y * y + phi * phi + SMALL)
    least = jnp.minimum(pt_a, pt_b)
    # A sum of positive terms, where energies squared less momenta squared is a small difference.
    heavy = mass_a**2 * transverse_b**2 + mass_b**2 * pt_a**2
    inner = 2 * transverse_a * transverse_b * jnp.sinh(0.5 * y) ** 2
    inner = inner + 2 * pt_a * pt_b * jnp.sin(0.5 * phi) ** 2
    inner = inner + heavy / (transverse_a * transverse_b + pt_a * pt_b)
    squared = mass_a**2 + mass_b**2 + 2 * inner
    logarithms = (
        distance,
        jnp.log(least) + distance,
        jnp.log(least / (pt_a + pt_b)),
        jnp.log(squared + SMALL),
    )
    return jnp.stack(logarithms, axis=-1)


class AttentionBlock(nnx.Module):
    """Attention, and a network of one hidden layer; each behind a normalisation, and added."""

    def __init__(self, width: int, *, heads: int, size: int):
        self.size = size
        inner = heads * size
        norm = partial(nnx.LayerNorm, epsilon=EPSILON, use_fast_variance=False, rngs=nnx.Rngs(0))
        self.norms = nnx.List([norm(width), norm(width)])
        self.query, self.value = blank(width, inner), blank(width, inner)
        # What is added to all logits of a row changes no share: with a bias, whose gradient is
        # rounding errors alone, Adam would make steps of these.
        self.key = blank(width, inner, bias=False)
        self.out = blank(inner, width)
        self.up, self.down = blank(width, 2 * width), blank(2 * width, width)

    def start(self, key: Array, live: Count, heads: Count, on: Array | bool) -> None:
        """Draws the start values, of units and heads in use; all 0 if it is not used."""
        units = jnp.arange(self.up.in_features) < live
        wide = jnp.arange(self.up.out_features) < 2 * live
        inner = jnp.arange(self.out.in_features) < heads * self.size
        layers = (
            *((layer, units, inner) for layer in (self.query, self.key, self.value)),
            (self.out, inner, units),
            (self.up, units, wide),
            (self.down, wide, units),
        )
        for number, (layer, inputs, outputs) in enumerate(layers):
            draw(layer, jax.random.fold_in(key, number), inputs, outputs & on)

    def normalised(self, number: int, x: Array, live: Count) -> Array:
        """Normalised over the units in use."""
        norms: Any = self.norms
        return masked(norms[number](x, mask=layer_mask(live, x.shape[-1])), live)

    def apart(self, x: Float[Array, "events rows inner"]) -> Float[Array, "events rows heads size"]:
        """One axis for the heads."""
        return x.reshape(*x.shape[:-1], x.shape[-1] // self.size, self.size)

    def __call__(
        self,
        asking: Float[Array, "events asking units"],
        asked: Float[Array, "events asked units"],
        bias: Array | float,
        *,
        live: Count,
        heads: Count,
        activate: Any,
    ) -> Float[Array, "events asking units"]:
        """What asks, with what it has heard.

        Args:
            asking: Rows that ask.
            asked: Rows that are asked.
            bias: Is added to the logits of the attention, `[events, heads or 1, asking or 1,
                asked]`; far below 0 for what is not there.
            live: Units in use.
            heads: Heads in use.
            activate: The activation function.
        """
        asks, told = (self.normalised(0, each, live) for each in (asking, asked))
        query, key = self.apart(self.query(asks)), self.apart(self.key(told))
        value = self.apart(masked(self.value(told), heads * self.size))
        logits = jnp.einsum("enhs,emhs->ehnm", query, key) * (1.0 / math.sqrt(self.size))
        share = jax.nn.softmax(logits + bias, axis=-1)
        heard = jnp.einsum("ehnm,emhs->enhs", share, value)
        x = asking + masked(self.out(heard.reshape(*heard.shape[:-2], self.out.in_features)), live)
        hidden = masked(activate(self.up(self.normalised(1, x, live))), 2 * live)
        return x + masked(self.down(hidden), live)


class AttentionNetwork(JointNetwork):
    """Objects, attention among them, and a row of no object that asks them at the end."""

    def __init__(
        self, inputs: Inputs, outputs: int, *, recipe: "ParticleTransformer", rngs: nnx.Rngs
    ):
        width, heads = recipe.width, recipe.heads
        self.width_most, self.heads_most = width, heads

        def shape(name: str, most: int) -> Hyperparameter:
            return Hyperparameter.named(name, most, inherited=True)

        self.width = shape(f"{OBJECT}width", width)
        self.heads = shape("heads", heads)
        self.token = blank(1, width, bias=False)
        self.last = AttentionBlock(width, heads=heads, size=recipe.head_size)
        numbers = recipe.numbers(inputs) if recipe.pairs else []
        self.momenta = AsRead(inputs, numbers) if numbers else None
        if numbers:
            first = next(iter(inputs.collections.values()))
            center = (first.center or {numbers[0][0]: 0.0})[numbers[0][0]]  # type: ignore[index]
            # So that it does not matter in which unit momenta were read.
            self.unit = Constant(jnp.float32(abs(center) or 1.0))
            self.pairs = nnx.List(
                [blank(PAIR_FEATURES, recipe.pairs), blank(recipe.pairs, heads, bias=False)]
            )
        blocks = [
            AttentionBlock(width, heads=heads, size=recipe.head_size) for _ in range(recipe.blocks)
        ]
        super().__init__(
            inputs,
            outputs,
            recipe=recipe,
            width=width,
            latent=width,
            depth=shape(f"{OBJECT}depth", recipe.blocks),
            blocks=blocks,
            rngs=rngs,
        )

    def embedded_units(self) -> Count:
        """Units in use of all rows."""
        return rounded(self.width[...], 1, self.width_most)

    def latent_units(self) -> tuple[Count, int]:
        """Units in use of the row of no object, and how many it has."""
        return self.embedded_units(), self.width_most

    def _heads(self) -> Count:
        return rounded(self.heads[...], 1, self.heads_most)

    def start_blocks(self, key: Array) -> None:
        """Draws the start values of attention and pairs."""
        live, heads, used = self.embedded_units(), self._heads(), self.blocks_in_use()
        one = jnp.ones(1, bool)
        draw(self.token, jax.random.fold_in(key, 0), one, jnp.arange(self.width_most) < live)
        self.last.start(jax.random.fold_in(key, 1), live, heads, True)
        if self.momenta is not None:
            first, second = self.pairs
            hidden = jnp.ones(second.in_features, bool)
            draw(first, jax.random.fold_in(key, 2), jnp.ones(PAIR_FEATURES, bool), hidden)
            own = jnp.arange(self.heads_most) < heads
            draw(second, jax.random.fold_in(key, 3), hidden, own)
        blocks: Any = self.blocks
        for i, block in enumerate(blocks):
            block.start(jax.random.fold_in(key, 4 + i), live, heads, i < used)

    def _of_pairs(self, parts: InputParts) -> Array | float:
        """What is added to the logits of the attention of each head."""
        if self.momenta is None:
            return 0.0
        found = pair_features(self.momenta(parts), self.unit[...])
        # Of an object with itself there is nothing to say.
        found = found * (1.0 - jnp.eye(found.shape[-2]))[..., None]
        first, second = self.pairs
        return jnp.moveaxis(second(self.all.activate(first(found))), -1, 1)

    def __call__(self, x: Float[Array, "events inputs"]) -> Float[Array, "events outputs"]:
        """Logits of the events."""
        parts = self.inputs.apart(x)
        there = self.there(parts)
        live, heads, used = self.embedded_units(), self._heads(), self.blocks_in_use()
        options: dict[str, Any] = {"live": live, "heads": heads, "activate": self.all.activate}
        rows = masked(self.all.activate(self.rows(parts)), live) * there[..., None]
        absent = jnp.where(there > 0, 0.0, ABSENT)[:, None, None, :]
        bias = self._of_pairs(parts) + absent
        attend = partial(_attended, bias=bias, options=options)
        blocks: Any = self.blocks
        for i, block in enumerate(blocks):
            if isinstance(used, int):
                rows = attend(block, rows) if i < used else rows
            elif i == 0:
                rows = attend(block, rows)
            else:
                # Members that run one after the other then do not compute what they skip.
                rows = nnx.cond(i < used, attend, pass_on, block, rows)
        token = masked(self.token.kernel[...], live)
        token = jnp.broadcast_to(token, (len(rows), *token.shape))
        everything = jnp.concatenate([token, rows], axis=-2)
        absent = jnp.pad(absent, ((0, 0), (0, 0), (0, 0), (1, 0)))
        return self.decided(parts, self.last(token, everything, absent, **options)[:, 0])


ABSENT = -1e9
"""Logit of the attention for what is not there."""


def _attended(block: Any, rows: Array, *, bias: Array, options: Mapping[str, Any]) -> Array:
    return block(rows, rows, bias, **options)


@takes(
    hidden=as_hidden,
    activation=as_activation,
    dropout=as_probability,
)
@dataclass(frozen=True, kw_only=True)
class ParticleTransformer(OnObjects):
    """A recipe for a small Particle Transformer (arXiv 2202.03772): attention with pair features.

    The objects of all collections are one set. A linear layer of each collection makes rows of one
    width of them. Block after block, each object asks all others; how much it hears from one
    depends on their rows, and on ln Δ, ln kT, ln z and ln m² of the two. At the end a row of no
    object asks all of them once (class attention). What it has heard goes with the logarithm of the
    number of objects of each collection and with the features of no collection into the network
    behind. So neither the order of the objects matters nor how many places there are.

    Its shape can be searched, and a population of members of different shapes is one program:
    `"object_width"` is the width of the rows, `"object_depth"` the number of blocks, `"heads"` that
    of the heads, each up to what is given here; `"width_1"`, ..., `"depth"` and `"dropout"` are of
    the network behind, `"activation"` of all of it.

    Args:
        width: Numbers of a row, most where they are searched.
        blocks: How many times objects ask one another.
        heads: How many things an object asks for at a time.
        head_size: Numbers that a question and an answer have.
        pairs: Width of the hidden layer of the function of pair features; 0 for attention without
            them. With them every collection has the features `pt`, `eta` and `phi` (or such as
            `Jet_pt`), and those without `mass` are massless.
        hidden: Width of each hidden layer of the network behind.
        activation: As of `MLP`.
        normalisation: `"none"`, or `"layer"` before each activation of the network behind.
        dropout: Default probability to drop a hidden unit of the network behind, in [0, 1).

    Raises:
        InputError: As `MLP`; when it is made for events without a collection of objects, or with
            one that lacks the momenta.
    """

    width: Width = 32
    blocks: Width = 2
    heads: Width = 4
    head_size: Width = 8
    pairs: Annotated[int, Ge(0)] = 16
    hidden: Sequence[Width] = (64,)
    activation: str | Sequence[str] = "gelu"
    normalisation: Literal["none", "layer"] = "none"
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __post_init__(self) -> None:
        self.checked(width=1, blocks=1, heads=1, head_size=1, pairs=0)

    def numbers(self, inputs: Inputs) -> list[list[int | None]]:
        """By collection the numbers of the features that are momenta, pseudorapidity and so on.

        Raises:
            InputError: When a collection lacks one.
        """
        found: list[list[int | None]] = []
        for name, each in inputs.collections.items():
            own = {part: each.number(part) for part in ("pt", "eta", "phi", "mass")}
            found.append(list(own.values()))
            lacking = [part for part in ("pt", "eta", "phi") if own[part] is None]
            if lacking:
                raise InputError(
                    f"ParticleTransformer: {name} has no feature {lacking[0]!r}, but "
                    f"{', '.join(each.features)}. Call it so where it is read, as in branches = "
                    f"{{ {lacking[0]} = '...' }}, or do without pair features: pairs = 0."
                )
        return found

    def rows_of_event(self, inputs: int) -> int:
        """How many rows of a layer an event is."""
        return sum(each.max for each in self.collections(inputs).values()) ** 2

    def for_member(self, hyperparameters: Mapping[str, float]) -> "ParticleTransformer":
        """The recipe of the network that a member with these hyperparameters is.

        Args:
            hyperparameters: Values of the member; what they do not name has its default.
        """

        def whole(name: str, most: int) -> int:
            return round(min(max(hyperparameters.get(name, most), 1), most))

        return self._with_event(
            hyperparameters,
            width=whole(f"{OBJECT}width", self.width),
            blocks=whole(f"{OBJECT}depth", self.blocks),
            heads=whole("heads", self.heads),
        )

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> AttentionNetwork:
        """Makes the network; `inputs` features in, `outputs` logits out."""
        self.collections(inputs)
        return AttentionNetwork(inputs, outputs, recipe=self, rngs=rngs)  # type: ignore[arg-type]
