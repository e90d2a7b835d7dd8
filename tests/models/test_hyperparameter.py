import jax.numpy as jnp
import numpy as np
from flax import nnx

from difftune.models import Hyperparameter, fill


class Affine(nnx.Module):
    def __init__(self):
        self.slope = Hyperparameter.named("slope", 2.0)
        self.offset = Hyperparameter.named("offset", 0.5)
        self.again = Hyperparameter.named("slope", 3.0)

    def __call__(self, x):
        return (self.slope[...] + self.again[...]) * x + self.offset[...]


def test_default_stays_until_it_is_filled():
    x = jnp.arange(3.0)
    network = Affine()
    np.testing.assert_array_equal(network(x), 5.0 * x + 0.5)
    graph, hyper = nnx.split(network, Hyperparameter)
    merged = nnx.merge(graph, fill(hyper, {"offset": 1.0, "learning_rate": 7.0}))
    np.testing.assert_array_equal(merged(x), 5.0 * x + 1.0)
    # The original is untouched.
    np.testing.assert_array_equal(nnx.merge(graph, hyper)(x), 5.0 * x + 0.5)


def test_one_name_fills_every_place_that_bears_it():
    x = jnp.arange(3.0)
    graph, hyper = nnx.split(Affine(), Hyperparameter)
    merged = nnx.merge(graph, fill(hyper, {"slope": np.float64(10.0)}))
    np.testing.assert_array_equal(merged(x), 20.0 * x + 0.5)
    assert merged.slope[...].dtype == jnp.float32
