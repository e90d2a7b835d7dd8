"""Activation functions, and a choice among several that differs from member to member."""

from collections.abc import Callable
from functools import cache, partial

import jax
from jaxtyping import Array, Float, Int

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


def _pull_back(function: Callable, x: Array, cotangent: Array) -> Array:
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
    def apply(index, x):
        return jax.lax.switch(index, functions, x)

    def forward(index, x):
        return apply(index, x), (index, x)

    def backward(kept, cotangent):
        index, x = kept
        return None, jax.lax.switch(index, derivatives, x, cotangent)

    apply.defvjp(forward, backward)
    return apply
