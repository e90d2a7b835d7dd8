"""Dropout whose rate may differ from member to member."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt32

from difftune.models.hyperparameter import Hyperparameter


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
            # Nobody sets it: random numbers would be drawn for nothing.
            return x
        seed = jax.random.key_data(self.stream()).astype(jnp.uint32)[:2]
        first = self.first_row[...].astype(jnp.uint32) * jnp.uint32(x[0].size)
        keep = hash_uniform(seed, x.shape, first=first) >= rate
        # Not x / (1 - rate): XLA makes a product of that in some programs and not in others.
        return jnp.where(keep, x * (1.0 / (1.0 - rate)), 0.0)
