"""Embeddings of numbers: several learned functions of each input in the place of its value."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from difftune.models.parts import Hyperparameter, lecun_normal

# sin(2πt) / t as a polynomial in t², for |t| <= 1/4; off by 4e-9 at most.
_SINE = (6.28318516, -41.34165503, 81.60100407, -76.54978222, 39.53670555)

_TILE = 256
"""Events whose waves stay in the cache of a CPU, where no derivative is wanted."""


def waves(turns: Float[Array, "..."]) -> Float[Array, "..."]:
    """The cosine of angles in full turns, by a polynomial that XLA makes vector instructions of."""
    t = 0.25 - jnp.abs(turns - jnp.round(turns))
    square = t * t
    value = jnp.full_like(t, _SINE[-1])
    for coefficient in _SINE[-2::-1]:
        value = coefficient + square * value
    return t * value


@jax.custom_vjp
def periodic(
    x: Float[Array, "events inputs"],
    frequency: Float[Array, "inputs frequencies"],
    kernel: Float[Array, "inputs outputs twice_frequencies"],
    bias: Float[Array, "inputs outputs"],
) -> Float[Array, "events units"]:
    """For each input x: ReLU(kernel · [cos 2πcx, sin 2πcx] + bias), c being its frequencies.

    Events are the last axis of everything within, so that there is one product of matrices for
    each input, and what is done to single numbers goes along the events. Its derivative is written
    by hand, since that of the products would build large arrays that are summed up at once.
    """

    def units(some: Array) -> Array:
        return _forward(some, frequency, kernel, bias)[0]

    def in_tiles(x: Array) -> Array:
        padded = jnp.pad(x, ((0, -len(x) % _TILE), (0, 0)))
        made = jax.lax.map(units, padded.reshape(-1, _TILE, x.shape[1]))
        return made.reshape(len(padded), -1)[: len(x)]

    if len(x) <= _TILE:
        return units(x)
    return jax.lax.platform_dependent(x, cpu=in_tiles, default=units)


def _forward(
    x: Array, frequency: Array, kernel: Array, bias: Array
) -> tuple[Array, tuple[Array, ...]]:
    # Transposed by a product, which is exact: XLA would fuse a transposition into the waves, and
    # read each number from another line of the cache.
    unit = jnp.eye(x.shape[1], dtype=x.dtype)
    x = jnp.einsum("fg,bg->fb", unit, x, precision=jax.lax.Precision.HIGHEST)
    # A sine is a cosine a quarter of a turn later: one polynomial for both.
    phase = jnp.repeat(jnp.asarray([0.0, -0.25], x.dtype), frequency.shape[1])[:, None]
    turns = jnp.concatenate([frequency, frequency], axis=1)
    wave = waves(turns[:, :, None] * x[:, None, :] + phase)
    z = jnp.einsum("fdj,fjb->fdb", kernel, wave) + bias[:, :, None]
    units = jax.nn.relu(z)
    return units.reshape(-1, x.shape[1]).T, (x, frequency, kernel, wave, units)


def _backward(kept: tuple[Array, ...], cotangent: Array) -> tuple[Array, ...]:
    x, frequency, kernel, wave, units = kept
    outputs, size = kernel.shape[1], frequency.shape[1]
    inward = jnp.where(units > 0, cotangent.T.reshape(units.shape), 0.0)
    cosine, sine = wave[:, :size], wave[:, size:]
    # The gradient of the angles, without an array of that of the waves.
    total = sum(
        (kernel[:, d, size:, None] * cosine - kernel[:, d, :size, None] * sine)
        * inward[:, d, None, :]
        for d in range(outputs)
    )
    turned = 2.0 * math.pi * jnp.asarray(total)
    return (
        jnp.sum(frequency[:, :, None] * turned, axis=1).T,
        jnp.einsum("fkb,fb->fk", turned, x),
        jnp.einsum("fdb,fjb->fdj", inward, wave),
        inward.sum(axis=-1),
    )


periodic.defvjp(_forward, _backward)


class Periodic(nnx.Module):
    """Waves of trained frequencies of each input, and a linear layer of its own behind them.

    "Periodic" with a rectified linear layer per feature of arXiv 2203.05556. An input that a
    member does not use has weights of 0, and comes out as 0.
    """

    def __init__(self, inputs: int, *, frequencies: int, size: int, scale: float):
        self.inputs, self.frequencies, self.size = inputs, frequencies, size
        self.scale = Hyperparameter.named("frequency_scale", scale, inherited=True)
        # As vectors, since weight decay is for matrices: it is not for frequencies and biases.
        self.frequency = nnx.Param(jnp.zeros(inputs * frequencies))
        self.kernel = nnx.Param(jnp.zeros((inputs, size, 2 * frequencies)))
        self.bias = nnx.Param(jnp.zeros(inputs * size))

    @property
    def units(self) -> int:
        """How many numbers of an event come out."""
        return self.inputs * self.size

    def start_weights(self, key: Array, used: Float[Array, " inputs"] | None) -> None:
        """Draws frequencies and weights: for each input those of its place among the ones in use.

        Args:
            key: Random key.
            used: Not 0 for each input that is used; None for all.
        """
        first, second = jax.random.split(key)
        frequency = lecun_normal(first, (self.inputs, self.frequencies), 1)
        waves = 2 * self.frequencies
        kernel = lecun_normal(second, (self.inputs * waves, self.size), 1) / np.sqrt(waves)
        kernel = kernel.reshape(self.inputs, waves, self.size).swapaxes(1, 2)
        if used is not None:
            place = jnp.cumsum(used != 0) - 1
            frequency, kernel = frequency[place], kernel[place]
            kernel = jnp.where((used != 0)[:, None, None], kernel, 0.0)
        self.frequency[...] = (self.scale[...] * frequency).ravel()
        self.kernel[...] = kernel

    def __call__(self, x: Float[Array, "events inputs"]) -> Float[Array, "events units"]:
        """The numbers of each input side by side."""
        return periodic(
            x,
            self.frequency[...].reshape(self.inputs, self.frequencies),
            self.kernel[...],
            self.bias[...].reshape(self.inputs, self.size),
        )
