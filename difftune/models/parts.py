"""Parts of networks, whose numbers and kinds may differ from member to member."""

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Float, Int, UInt32


class Hyperparameter(nnx.Variable):
    """A number in a network that is tuned, not trained.

    A network declares one with `self.rate = Hyperparameter.named("dropout", 0.1)` and reads it as
    `self.rate[...]`. Whatever the search proposes under that name takes its place, for each member
    of a population its own value; where nothing is proposed, the default stays.
    """

    @classmethod
    def named(cls, name: str, default: int | float, *, inherited: bool = False) -> "Hyperparameter":
        """A hyperparameter called `name` in the search space.

        Args:
            name: Name in the space, for example `"dropout"`.
            default: Value without a search.
            inherited: Whether a member that takes over the weights takes over the value, as that of
                a
                width: a search then tries others in members that begin afresh alone.
        """
        return cls(jnp.float32(default), hyperparameter=name, inherited=inherited)


def fill(state: nnx.State, values: Mapping[str, Any]) -> nnx.State:
    """Puts one member's values in the place of the defaults.

    Args:
        state: The `Hyperparameter` variables of a network.
        values: One scalar per hyperparameter; names that the network does not declare are ignored.

    Returns:
        The same state with the values of this member.
    """
    leaves = nnx.to_flat_state(state)
    filled = [
        (path, leaf.replace(jnp.asarray(values[name], jnp.float32)))
        if (name := leaf.get_metadata()["hyperparameter"]) in values
        else (path, leaf)
        for path, leaf in leaves
    ]
    return nnx.from_flat_state(filled)


def pass_on(_: Any, x: Array) -> Array:
    """What a layer that a member does not have makes of its inputs: nothing else.

    Args:
        x: The inputs.
    """
    return x


# Standard deviation of a standard normal distribution cut off at two standard deviations.
_TRUNCATED = 0.87962566103423978


@partial(jax.jit, static_argnums=1)
def _standard(key: Array, shape: tuple[int, int]) -> Float[Array, "inputs outputs"]:
    # A hash of row and column under the key, where `jax.random` may count entries in any order.
    places = jnp.indices(shape, dtype=jnp.uint32)
    bits = threefry_2x32(jax.random.key_data(key)[:2], places)[0]
    # 24 bits are what a float32 holds exactly; the half keeps both ends out.
    uniform = ((bits >> 8).astype(jnp.float32) + 0.5) * np.float32(2.0**-24)
    edge = np.float32(math.erf(math.sqrt(2.0)))
    return np.float32(math.sqrt(2.0)) * jax.lax.erf_inv(edge * (2.0 * uniform - 1.0))


def lecun_normal(
    key: Array, shape: tuple[int, int], fan_in: int | Int[Array, ""]
) -> Float[Array, "inputs outputs"]:
    """Draws from a truncated normal distribution of variance 1 / `fan_in`.

    The distribution is that of `jax.nn.initializers.lecun_normal`. Each entry is a function of the
    key, its row and its column alone, so that a small matrix is the corner of a large one.

    Args:
        key: Random key.
        shape: Inputs and outputs.
        fan_in: Inputs that count, from 1 to `shape[0]`.
    """
    # From a table, so that a number known while tracing and one that is not round alike.
    scales = 1.0 / (_TRUNCATED * np.sqrt(np.arange(1, shape[0] + 1)))
    return _standard(key, shape) * jnp.asarray(scales, jnp.float32)[fan_in - 1]


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
"""Activation functions by name."""


def _pull_back(function: Callable[[Array], Array], x: Array, cotangent: Array) -> Array:
    return jax.vjp(function, x)[1](cotangent)[0]


@cache
def chosen_activation(
    names: tuple[str, ...],
) -> Callable[[Int[Array, ""], Float[Array, "..."]], Float[Array, "..."]]:
    """A function of an index and an input that applies the activation of that index.

    Its derivative is written by hand: that of a plain `jax.lax.switch` would keep what every
    branch needs, this one keeps the input alone. It has no forward-mode derivative.

    Args:
        names: Keys of `ACTIVATIONS`.
    """
    functions = [ACTIVATIONS[name] for name in names]
    derivatives = [partial(_pull_back, function) for function in functions]

    @jax.custom_vjp
    def apply(index: Array, x: Array) -> Array:
        return jax.lax.switch(index, functions, x)

    def forward(index: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
        return apply(index, x), (index, x)

    def backward(kept: tuple[Array, Array], cotangent: Array) -> tuple[None, Array]:
        index, x = kept
        return None, jax.lax.switch(index, derivatives, x, cotangent)

    apply.defvjp(forward, backward)
    return apply


def hash_uniform(
    seed: UInt32[Array, "2"],
    shape: tuple[int, ...],
    *,
    counter: UInt32[Array, " size"] | None = None,
    first: UInt32[Array, ""] | int = 0,
) -> Float[Array, "..."]:
    """Uniform numbers in [0, 1) from a counter and an integer hash.

    Far cheaper than threefry, whose bits cost more than the matrix products of a small network,
    and good enough to drop units or to resample events: the counter under the mixed words of the
    seed, mixed once.

    Args:
        seed: Two random words.
        shape: Shape of the result.
        counter: What numbers the entries, if not their order.
        first: Number of the first entry.
    """
    size = 1
    for length in shape:
        size *= length
    counted = jax.lax.iota(jnp.uint32, size) if counter is None else counter.ravel()
    factor = jnp.uint32(0x9E3779B9)
    # Not (counted + first) * factor: the product of what is counted is a constant.
    bits = _mixed(counted * factor + jnp.uint32(first) * factor ^ _mixed(seed[0] + _mixed(seed[1])))
    # 24 bits are what a float32 holds exactly.
    return ((bits >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)).reshape(shape)


def _mixed(bits: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """The finaliser of MurmurHash3 with the constants of C. Wellons' "lowbias32"."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)


FIRST_ROW = "_first_row"
"""The hyperparameter by which a part of a batch says where it begins, so that it drops what the
whole batch would."""


class Dropout(nnx.Module):
    """Drops units with a probability that is a hyperparameter (`"dropout"`).

    Args:
        rate: Probability in [0, 1) to drop a unit, where the search proposes none.
        name: Name of the hyperparameter.
        rngs: Source of the random key (its stream `dropout`).
    """

    def __init__(self, rate: int | float, *, name: str = "dropout", rngs: nnx.Rngs):
        self.rate = Hyperparameter.named(name, rate)
        self.first_row = Hyperparameter.named(FIRST_ROW, 0)
        self.deterministic = False
        self.stream = rngs["dropout"].fork()

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Drops in training mode (`train()`), and does nothing in evaluation mode (`eval()`)."""
        if self.deterministic:
            return x
        rate = self.rate[...]
        if not isinstance(rate, jax.core.Tracer) and float(rate) == 0.0:
            # Nothing sets it: random numbers would be drawn for nothing.
            return x
        seed = jax.random.key_data(self.stream()).astype(jnp.uint32)[:2]
        first = self.first_row[...].astype(jnp.uint32) * jnp.uint32(x[0].size)
        keep = hash_uniform(seed, x.shape, first=first) >= rate
        # Not x / (1 - rate): XLA makes a product of that in some programs and not in others.
        return jnp.where(keep, x * (1.0 / (1.0 - rate)), 0.0)
