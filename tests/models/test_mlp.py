import json
import math
from dataclasses import asdict

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import special

from difftune.errors import InputError
from difftune.models import ACTIVATIONS, MLP

# Written down from the papers that define them.
REFERENCE = {
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(np.minimum(x, 0)) - 1))
    ),
    "silu": lambda x: x * special.expit(x),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "tanh": np.tanh,
}
X = np.random.default_rng(1).normal(size=(20, 5))


def numpy_forward(network, x, activation, normalise=lambda i, z: z):
    for i, linear in enumerate(network.linear):
        z = x @ np.asarray(linear.kernel[...], np.float64) + np.asarray(linear.bias[...])
        x = activation(normalise(i, z))
    return x @ np.asarray(network.output.kernel[...], np.float64) + np.asarray(
        network.output.bias[...]
    )


def assert_close(network, expected):
    np.testing.assert_allclose(network(jnp.asarray(X, jnp.float32)), expected, rtol=1e-4, atol=2e-6)


def test_every_activation_has_a_reference():
    assert set(REFERENCE) == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", sorted(REFERENCE))
def test_forward_is_the_textbook_formula(activation):
    network = MLP(hidden=(7, 4), activation=activation)(5, 3, rngs=nnx.Rngs(0))
    expected = numpy_forward(network, X, REFERENCE[activation])
    assert expected.shape == (20, 3)
    assert_close(network, expected)


def test_no_hidden_layer_is_a_linear_model():
    network = MLP(hidden=())(5, 2, rngs=nnx.Rngs(0))
    assert_close(network, numpy_forward(network, X, None))


def test_layer_normalisation():
    network = MLP(hidden=(7, 4), normalisation="layer")(5, 1, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(2)
    scales, biases = [], []
    for norm, width in zip(network.norm, (7, 4), strict=True):
        scales.append(rng.normal(size=width))
        biases.append(rng.normal(size=width))
        norm.scale[...] = jnp.asarray(scales[-1], jnp.float32)
        norm.bias[...] = jnp.asarray(biases[-1], jnp.float32)

    def normalise(i, z):
        mean, var = z.mean(1, keepdims=True), z.var(1, keepdims=True)
        return scales[i] * (z - mean) / np.sqrt(var + 1e-6) + biases[i]

    assert_close(network, numpy_forward(network, X, REFERENCE["relu"], normalise))


def test_batch_normalisation_trains_on_the_batch_and_evaluates_on_the_average():
    network = MLP(hidden=(7,), normalisation="batch")(5, 1, rngs=nnx.Rngs(0))
    seen = []

    def normalise(_, z):
        seen.append((z.mean(0), z.var(0)))
        return (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)

    network.train()
    assert_close(network, numpy_forward(network, X, REFERENCE["relu"], normalise))
    # One step of the moving average with flax's momentum of 0.99, from 0 and 1.
    mean, var = 0.01 * seen[0][0], 0.99 + 0.01 * seen[0][1]
    network.eval()
    expected = numpy_forward(
        network, X, REFERENCE["relu"], lambda _, z: (z - mean) / np.sqrt(var + 1e-5)
    )
    assert_close(network, expected)


def test_dropout_drops_what_comes_out_of_the_activation():
    network = MLP(hidden=(1,), activation="softplus", dropout=0.5)(5, 1, rngs=nnx.Rngs(0))
    network.train()
    weight, bias = (np.asarray(getattr(network.output, name)[...]) for name in ("kernel", "bias"))
    unit = ((np.asarray(network(jnp.asarray(X, jnp.float32))) - bias) / weight)[:, 0]
    first = network.linear[0]
    kept = 2 * np.log1p(np.exp(X @ np.asarray(first.kernel[...]) + np.asarray(first.bias[...])))
    dropped = np.isclose(unit, 0.0, atol=1e-6)
    assert 3 < dropped.sum() < 17
    np.testing.assert_allclose(unit[~dropped], kept[~dropped, 0], rtol=1e-4)


def test_dropout_acts_in_training_only():
    network = MLP(hidden=(50,), dropout=0.5)(5, 1, rngs=nnx.Rngs(0))
    network.eval()
    assert_close(network, numpy_forward(network, X, REFERENCE["relu"]))
    network.train()
    x = jnp.asarray(X, jnp.float32)
    assert not np.allclose(network(x), network(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": (8, 0)}, r"hidden=\(8, 0\).*at least 1"),
        ({"activation": "rellu"}, "'rellu'.*Did you mean 'relu'"),
        ({"activation": ("tanh", "rellu")}, "'rellu'.*Did you mean 'relu'"),
        ({"activation": ()}, r"activation=\(\).*at least one"),
        ({"activation": ("relu", "relu")}, "'relu', 'relu'.*different"),
        ({"normalisation": "batchnorm"}, "'batchnorm'.*Did you mean 'batch'.*batch, layer, none"),
        ({"dropout": 1.0}, "dropout=1.0.*below 1"),
        ({"dropout": -0.1}, "dropout=-0.1.*at least 0"),
    ],
)
def test_errors_name_value_and_remedy(options, message):
    with pytest.raises(InputError, match=message):
        MLP(**options)


def test_a_recipe_survives_json():
    model = MLP(hidden=(7, 4), activation=("tanh", "relu"), normalisation="batch")
    assert MLP(**json.loads(json.dumps(asdict(model)))) == model
