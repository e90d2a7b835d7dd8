"""Periodic embeddings against the formula of arXiv 2203.05556, and as members of a population."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from difftune.errors import InputError
from difftune.models import MLP
from difftune.models.embeddings import periodic, waves
from difftune.training import ModuleDef, Replicas
from tests.models.plain import flat
from tests.training import toy

MODEL = MLP(hidden=(6, 5), embedding="periodic", frequencies=3, embedding_size=2)
RNG = np.random.default_rng(4)
X = RNG.normal(scale=3.0, size=(40, 5))


def arguments():
    frequency, kernel, bias = (RNG.normal(size=s) for s in ((5, 3), (5, 2, 6), (5, 2)))
    return [jnp.asarray(a, jnp.float32) for a in (X, frequency, kernel, bias)]


def formula(x, frequency, kernel, bias):
    """Event by event and input by input, as the paper writes it."""
    angle = 2 * jnp.pi * frequency * x[:, :, None]
    both = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    z = jnp.einsum("bfj,fdj->bfd", both, kernel) + bias
    return jax.nn.relu(z).reshape(len(x), -1)


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_waves_are_cosines(size):
    turns = np.linspace(-size, size, 100_001, dtype=np.float32)
    expected = np.cos(2 * np.pi * turns.astype(np.float64))
    np.testing.assert_allclose(waves(jnp.asarray(turns)), expected, atol=3e-7)


def test_the_formula_and_all_of_its_derivatives():
    given = arguments()
    weight = jnp.asarray(RNG.normal(size=(40, 10)), jnp.float32)

    def total(function):
        summed = lambda *a: jnp.sum(weight * function(*a))  # noqa: E731
        return jax.jit(jax.value_and_grad(summed, argnums=(0, 1, 2, 3)))

    np.testing.assert_allclose(periodic(*given), jax.jit(formula)(*given), atol=5e-5)
    found, derivatives = total(periodic)(*given)
    expected, others = total(formula)(*given)
    assert found == pytest.approx(float(expected), rel=1e-5)
    for ours, theirs in zip(derivatives, others, strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_the_network_behind_it_sees_the_embedded_inputs():
    network = MODEL(5, 3, rngs=nnx.Rngs(0))
    embedding = network.embedding
    embedding.bias[...] = jnp.asarray(RNG.normal(size=10), jnp.float32)
    x = np.asarray(
        formula(
            jnp.asarray(X, jnp.float32),
            embedding.frequency[...].reshape(5, 3),
            embedding.kernel[...],
            embedding.bias[...].reshape(5, 2),
        )
    )
    for layer in network.linear:
        x = np.maximum(x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...]), 0)
    expected = x @ np.asarray(network.output.kernel[...])
    np.testing.assert_allclose(network(jnp.asarray(X, jnp.float32)), expected, atol=2e-5)


def test_start_values_are_those_of_the_recipe_with_the_member_s_scale():
    made, key = ModuleDef(MODEL, inputs=5, outputs=1), jax.random.key(3)
    given = {"frequency_scale": jnp.float32(0.7), "width_1": jnp.float32(4)}
    found = flat(jax.jit(made.init)(key, given).parameters)
    small = MODEL.for_member({name: float(value) for name, value in given.items()})
    expected = flat(nnx.state(small(5, 1, rngs=nnx.Rngs(key)), nnx.Param))
    assert small.frequency_scale == pytest.approx(0.7)
    for path, array in expected.items():
        own = tuple(slice(length) for length in array.shape)
        np.testing.assert_allclose(found[path][own], array, rtol=1e-6)
    many = MLP(embedding="periodic", frequencies=200, frequency_scale=0.3)
    drawn = np.asarray(many(100, 1, rngs=nnx.Rngs(1)).embedding.frequency[...])
    assert drawn.std() == pytest.approx(0.3, rel=0.02)
    assert abs(drawn.mean()) < 0.01


@pytest.mark.slow
def test_members_are_what_they_would_be_alone_and_with_their_inputs_alone():
    """Of three inputs of four, another start, other numbers of members: nothing else changes."""
    data = toy.columns(300)
    inputs = np.array([[1, 1, 1, 1], [1, 0, 1, 1]], bool)
    scales = {"frequency_scale": np.array([0.2, 0.6]), "learning_rate": np.full(2, 1e-2)}

    def trained(data, replicas, values):
        options = {"train": data, "validation": data, "members": len(values["learning_rate"])}
        made = toy.population(model=MODEL, replicas=replicas, batch_size=50, **options)
        state, records = made.run(values, epochs=3)
        return made, jax.device_get(state), records

    together, state, records = trained(data, Replicas(inputs=inputs, seed=np.array([5, 5])), scales)
    second = {name: values[1:] for name, values in scales.items()}
    one = Replicas(inputs=inputs[1:], seed=np.array([5]))
    fewer = data._replace(features=data.features[:, inputs[1]])
    for alone, seen in (
        (trained(data, one, second), data),
        (trained(fewer, Replicas(seed=np.array([5])), second), fewer),
    ):
        np.testing.assert_allclose(alone[2].loss[:, 0], records.loss[:, 1], rtol=1e-4)
        np.testing.assert_allclose(alone[2].score[:, 0], records.score[:, 1], rtol=1e-4)
        np.testing.assert_allclose(
            alone[0].scores(alone[1].best, seen.features)[0],
            together.scores(state.best, data.features)[1],
            atol=1e-4,
        )
    kernel = flat(state.weights.parameters)[("embedding", "kernel")]
    np.testing.assert_array_equal(kernel[1, 1], 0.0)
    assert np.all(kernel[0] != 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding": "periodical"}, "'periodical'.*Did you mean 'periodic'"),
        ({"frequencies": 0}, "frequencies=0.*above 0"),
        ({"embedding_size": 0}, "embedding_size=0.*above 0"),
        ({"frequency_scale": -1.0}, "frequency_scale=-1.0.*above 0"),
    ],
)
def test_errors_name_value_and_remedy(options, message):
    with pytest.raises(InputError, match=message):
        MLP(**options)
