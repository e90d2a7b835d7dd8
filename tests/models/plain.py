"""A perceptron of fixed shape as anyone would write it with flax, to compare with."""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from scipy import special

NORMS = {"none": None, "batch": nnx.BatchNorm, "layer": nnx.LayerNorm}
INPUTS = 5
RNG = np.random.default_rng(7)
X = jnp.asarray(RNG.normal(size=(64, INPUTS)), jnp.float32)
Y = jnp.asarray(RNG.random(64) < special.expit(X[:, 0] - X[:, 1] * X[:, 2]), jnp.float32)
L2 = 3e-3
# An epsilon far above rounding errors, which Adam would otherwise blow up where the gradient is
# exactly 0 on paper: that of a bias before a batch normalisation.
OPTIMIZER = optax.adam(1e-2, eps=1e-3)


class Plain(nnx.Module):
    def __init__(self, widths, activation, normalisation, *, rngs):
        sizes, norm = (INPUTS, *widths), NORMS[normalisation]
        self.activation = activation
        self.linear = nnx.List(
            [nnx.Linear(m, n, rngs=rngs) for m, n in zip(sizes, widths, strict=False)]
        )
        self.norm = nnx.List([norm(n, rngs=rngs) for n in widths] if norm else [])
        self.output = nnx.Linear(sizes[-1], 1, rngs=rngs)

    def __call__(self, x):
        for i, linear in enumerate(self.linear):
            x = linear(x)
            x = self.activation(self.norm[i](x) if self.norm else x)
        return self.output(x)


def flat(*states):
    """Arrays by their path."""
    return {
        path: np.asarray(leaf[...]) for state in states for path, leaf in nnx.to_flat_state(state)
    }


def corner(array, shape):
    return array[tuple(slice(length) for length in shape)]


def plain(arrays, widths, activation, normalisation):
    """The small network, with the upper left corners of the arrays of a large one."""
    network = Plain(widths, activation, normalisation, rngs=nnx.Rngs(0))
    state = nnx.state(network, (nnx.Param, nnx.BatchStat))
    leaves = [
        (path, leaf.replace(jnp.asarray(corner(arrays[path], leaf.shape))))
        for path, leaf in nnx.to_flat_state(state)
    ]
    nnx.update(network, nnx.from_flat_state(leaves))
    return network


def norms(kernels):
    return sum(jnp.abs(k).sum() for k in kernels), sum(jnp.square(k).sum() for k in kernels)


def train_plain(network, steps, *, l1):
    """Trains the small network alone; its losses."""
    optimizer = nnx.Optimizer(network, OPTIMIZER, wrt=nnx.Param)
    network.train()

    def loss(network):
        z = network(X)[:, 0]
        first, second = norms([layer.kernel[...] for layer in (*network.linear, network.output)])
        return optax.sigmoid_binary_cross_entropy(z, Y).mean() + l1 * first + L2 * second

    @nnx.jit
    def step(network, optimizer):
        value, gradient = nnx.value_and_grad(loss)(network)
        optimizer.update(network, gradient)
        return value

    losses = [float(step(network, optimizer)) for _ in range(steps)]
    network.eval()
    return losses
