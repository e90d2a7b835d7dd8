"""Submodels that share the weights of one network: TabM (arXiv 2410.24210)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Adapted(nnx.Module):
    """A linear layer whose matrix is shared, between scales and biases of each submodel.

    Submodel k maps x to ((x ∘ r_k) W) ∘ s_k + b_k. Scales and biases are kept as vectors, since
    weight decay and penalties are for matrices.
    """

    def __init__(self, inputs: int, outputs: int, *, submodels: int, own_outputs: bool = True):
        self.in_features, self.out_features, self.submodels = inputs, outputs, submodels
        self.own_outputs = own_outputs
        self.kernel = nnx.Param(jnp.zeros((inputs, outputs)))
        self.input_scale = nnx.Param(jnp.ones(submodels * inputs))
        biases = submodels * outputs if own_outputs else outputs
        self.bias = nnx.Param(jnp.zeros(biases))
        if own_outputs:
            self.output_scale = nnx.Param(jnp.ones(submodels * outputs))

    def __call__(self, x: Float[Array, "*events _ inputs"]) -> Float[Array, "*events k outputs"]:
        """Outputs of each submodel; the inputs are its own, or the same for all."""
        x = (x * self.input_scale[...].reshape(self.submodels, -1)) @ self.kernel[...]
        if self.own_outputs:
            x = x * self.output_scale[...].reshape(self.submodels, -1)
        return x + self.bias[...].reshape(-1, self.out_features)


class Heads(nnx.Module):
    """A linear layer of each submodel's own."""

    def __init__(self, inputs: int, outputs: int, *, submodels: int):
        self.in_features, self.out_features, self.submodels = inputs, outputs, submodels
        self.kernel = nnx.Param(jnp.zeros((submodels, inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(submodels * outputs))

    def __call__(self, x: Float[Array, "*events k inputs"]) -> Float[Array, "*events k outputs"]:
        """Outputs of each submodel."""
        bias = self.bias[...].reshape(self.submodels, -1)
        return jnp.einsum("...ki,kio->...ko", x, self.kernel[...]) + bias


class PlainOutputs(int):
    """How many outputs a network has that are values, not logits of classes."""


def together(
    logits: Float[Array, "events k ..."], *, plain: bool = False
) -> Float[Array, "events ..."]:
    """Logits of the mean probability of submodels, or the mean of their values.

    Args:
        logits: Of each, one of the signal or one for each class.
        plain: Whether they are values (`PlainOutputs`).
    """
    if plain:
        return jnp.mean(logits, axis=1)

    def mean(logarithms: Array) -> Array:
        return jax.nn.logsumexp(logarithms, axis=1) - jnp.log(logits.shape[1])

    if logits.ndim == 2 or logits.shape[2] == 1:
        return mean(jax.nn.log_sigmoid(logits)) - mean(jax.nn.log_sigmoid(-logits))
    return mean(jax.nn.log_softmax(logits))
