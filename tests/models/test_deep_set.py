"""A deep set against its formula; members of any shape; a population, files and ONNX."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import nnx

from difftune.errors import InputError
from difftune.models import MLP, DeepSet, Gated, Inputs, ObjectInputs
from difftune.report import to_onnx
from difftune.training import ModuleDef, TrainedNetwork
from tests.training.test_objects import events_of, trained

INPUTS = Inputs(
    2 + 6 + 2 + 3 + 2,
    {
        "jets": ObjectInputs(features=("pt", "eta"), max=3, start=2, mask=10),
        "leptons": ObjectInputs(features=("pt",), max=2, start=8, mask=13),
    },
)
X = np.random.default_rng(0).normal(size=(50, 15)).astype("f4")
X[:, 10:] = X[:, 10:] > 0
ROWS = jnp.asarray(X)
SHAPE = {"object_width_1": 3.0, "object_width_2": 2.0, "width_1": 4.0, "depth": 1.0}


def stack(layers, x):
    *hidden, last = layers
    for kernel, bias in hidden:
        x = np.maximum(x @ kernel + bias, 0)
    return x @ last[0] + last[1]


def numbers(network):
    layers = [*network.linear, network.output]
    return [(np.asarray(each.kernel[...]), np.asarray(each.bias[...])) for each in layers]


def test_is_the_sum_over_the_objects_that_are_there():
    network = DeepSet(each=(5,), latent=4, hidden=(6, 6))(INPUTS, 2, rngs=nnx.Rngs(3))
    for module in (*network.each, network.all):
        for layer in (*module.linear, module.output):
            layer.bias[...] = jnp.linspace(-0.3, 0.4, layer.bias[...].size)
    found = nnx.jit(lambda network: network(ROWS))(network)
    expected = []
    for x in X:
        jets = [stack(numbers(network.each[0]), x[2 + 2 * i : 4 + 2 * i]) for i in range(3)]
        leptons = [stack(numbers(network.each[1]), x[8 + i : 9 + i]) for i in range(2)]
        masked = ((jets, x[10:13]), (leptons, x[13:15]))
        total = [
            sum(each * there for each, there in zip(objects, mask, strict=True))
            for objects, mask in masked
        ]
        expected.append(stack(numbers(network.all), np.concatenate([x[:2], *total])))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_a_member_of_any_shape_is_the_network_made_with_that_shape():
    most = DeepSet(each=(5, 5), latent=4, hidden=(6, 6), normalisation="layer")
    large = ModuleDef(most, inputs=INPUTS, outputs=1)
    key = jax.random.key(1)
    given = jax.tree.map(jnp.float32, SHAPE)
    own = most.for_member(SHAPE)
    assert (own.each, own.hidden) == ((3, 2), (4,))
    small = ModuleDef(own, inputs=INPUTS, outputs=1)
    one, other = jax.jit(large.init)(key, given), jax.jit(small.init)(key, {})
    expected = jax.jit(small.evaluate)(other, {}, ROWS)
    np.testing.assert_allclose(jax.jit(large.evaluate)(one, given, ROWS), expected, atol=1e-6)
    assert np.std(expected) > 1e-3
    for leaf in jax.tree.leaves(one.parameters):
        assert np.isfinite(leaf).all()


def test_an_input_that_is_not_used_has_no_weights():
    model = ModuleDef(DeepSet(each=(5,), latent=4, hidden=(6,)), inputs=INPUTS, outputs=1)
    # Without the second feature of jets, and without leptons.
    used = np.ones(15, "f4")
    used[[3, 5, 7, 8, 9, 13, 14]] = 0
    weights = jax.jit(model.init)(jax.random.key(1), {}, inputs=jnp.asarray(used))
    first = weights.parameters["each"][0]["linear"][0]["kernel"][...]
    assert not np.asarray(first)[1].any()
    assert np.asarray(first)[0].all()
    of_all = np.asarray(weights.parameters["all"]["linear"][0]["kernel"][...])
    assert of_all[:6].all()
    assert not of_all[6:].any()


@functools.cache
def two():
    # One of each shape.
    return trained(
        DeepSet(each=(8, 8), latent=4, hidden=(8, 8), dropout=0.1, activation=("relu", "tanh")),
        members=2,
        epochs=0,
        rates=(1e-2, 3e-2),
        given={
            "object_width_1": [8, 3],
            "object_depth": [2, 1],
            "width_2": [4, 8],
            "depth": [2, 1],
            "activation": [1, 0],
        },
    )[0]


def test_members_of_different_shapes_in_files_and_onnx(tmp_path):
    events = events_of(300, seed=9)
    raw = np.array(events.features)
    raw[0, 2:] = np.nan
    for number, network in enumerate(two()):
        score = network.score(raw)
        assert score.std() > 0.03
        network.save(tmp_path / str(number))
        np.testing.assert_array_equal(TrainedNetwork.load(tmp_path / str(number)).score(raw), score)
        session = onnxruntime.InferenceSession(
            to_onnx(network).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        for some in (raw, raw[:0]):
            found = session.run(["score"], {"features": some})[0]
            np.testing.assert_allclose(found, score[: len(some)], atol=2e-6)


def test_the_order_changes_no_score():
    network = two()[0]
    expected = network.score(events_of(200, seed=3))
    found = network.score(events_of(200, seed=3, permuted=True))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gates_are_on_its_inputs():
    model = ModuleDef(Gated(model=DeepSet(each=(4,), hidden=(4,))), inputs=INPUTS, outputs=1)
    weights = jax.jit(model.init)(jax.random.key(0), {})
    assert jax.jit(model.evaluate)(weights, {}, ROWS).shape == (50,)


def test_bad_input():
    for options, message in (
        ({"each": (0,)}, "every width must be at least 1"),
        ({"latent": 0}, "latent"),
        ({"normalisation": "batch"}, "normalisation"),
        ({"activation": "rleu"}, r"DeepSet\(activation='rleu'\).*relu"),
    ):
        with pytest.raises(InputError, match=message):
            DeepSet(**options)
    with pytest.raises(InputError, match="no collection of objects"):
        ModuleDef(DeepSet(), inputs=4, outputs=1)
    assert isinstance(DeepSet().of_object, MLP)
