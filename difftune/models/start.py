"""Start values of weight matrices that do not depend on how large the matrix is."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Float, Int

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
