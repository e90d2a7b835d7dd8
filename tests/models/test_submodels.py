"""Submodels that share weights: the formula of arXiv 2410.24210, their loss, members, files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import nnx
from scipy import special
from sklearn.metrics import log_loss, roc_auc_score

from difftune.errors import InputError
from difftune.models import MLP, Alternatives, Gated
from difftune.objectives import CrossEntropy
from difftune.report import to_onnx
from difftune.training import ModuleDef, Replicas, TrainedNetwork
from tests.report.test_onnx import network as raw_network
from tests.training import toy

K = 3
X = np.random.default_rng(4).normal(size=(30, 4)).astype("f4")
SHARINGS = ["tabm", "tabm-mini"]


def moved(network):
    """Numbers as a training leaves them: every scale and bias is another."""
    rng = np.random.default_rng(1)
    state = nnx.state(network, nnx.Param)
    shaken = jax.tree.map(lambda a: a + 0.3 * rng.normal(size=a.shape).astype("f4"), state)
    nnx.update(network, shaken)
    return network


def logits_of(network, x):
    """Submodel by submodel and layer by layer, as the paper writes it."""
    found = []
    for k in range(K):
        z = x
        for layer in network.linear:
            kernel, bias = np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])
            apart = hasattr(layer, "input_scale")
            if apart:
                z = z * np.split(np.asarray(layer.input_scale[...]), K)[k]
            z = z @ kernel
            if apart and hasattr(layer, "output_scale"):
                z = z * np.split(np.asarray(layer.output_scale[...]), K)[k]
                bias = np.split(bias, K)[k]
            z = np.maximum(z + bias, 0)
        head = network.output
        z = z @ np.asarray(head.kernel[...])[k] + np.split(np.asarray(head.bias[...]), K)[k]
        found.append(z)
    return np.stack(found, axis=1)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_the_formula(sharing, outputs):
    model = MLP(hidden=(7, 5), submodels=K, sharing=sharing)
    network = moved(model(4, outputs, rngs=nnx.Rngs(0)))
    expected = logits_of(network, X)
    assert np.std(expected, axis=1).min() > 1e-3
    network.train()
    np.testing.assert_allclose(network(jnp.asarray(X)), expected, rtol=1e-4, atol=1e-5)
    network.eval()
    found = np.asarray(network(jnp.asarray(X)))
    if outputs == 1:
        mean = special.expit(expected).mean(axis=1)
        np.testing.assert_allclose(found, special.logit(mean), rtol=1e-4, atol=1e-5)
    else:
        mean = special.softmax(expected, axis=2).mean(axis=1)
        np.testing.assert_allclose(special.softmax(found, axis=1), mean, rtol=1e-4, atol=1e-6)


def test_logits_far_from_zero_are_not_lost():
    network = MLP(hidden=(2,), submodels=2)(1, 1, rngs=nnx.Rngs(0))
    network.output.kernel[...] = jnp.zeros((2, 2, 1))
    network.output.bias[...] = jnp.asarray([90.0, 200.0])
    network.eval()
    # 1 minus the mean probability is half of e^-90.
    assert network(jnp.ones((1, 1)))[0, 0] == pytest.approx(90 + np.log(2), rel=1e-6)


def test_start_values_tell_submodels_apart_by_their_inputs_alone():
    plain = MLP(hidden=(6, 5), submodels=400)(4, 1, rngs=nnx.Rngs(2))
    scale = np.asarray(plain.linear[0].input_scale[...])
    assert set(scale) == {-1.0, 1.0}
    assert abs(scale.mean()) < 0.1
    assert set(np.asarray(plain.linear[1].input_scale[...])) == {1.0}
    assert set(np.asarray(plain.linear[0].output_scale[...])) == {1.0}
    embedded = MLP(hidden=(6,), submodels=400, embedding="periodic", embedding_size=3)
    scale = np.asarray(embedded(4, 1, rngs=nnx.Rngs(2)).linear[0].input_scale[...])
    scale = scale.reshape(400, 4, 3)
    np.testing.assert_array_equal(scale[..., 1:], scale[..., :1].repeat(2, axis=-1))
    assert scale.std() == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("embedding", [None, "periodic"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_a_member_of_any_shape_is_the_network_made_with_that_shape(sharing, embedding):
    most = MLP(hidden=(6, 6), submodels=K, sharing=sharing, embedding=embedding)
    given = {"width_1": 4.0, "depth": 1.0}
    own = most.for_member(given)
    assert (own.hidden, own.submodels, own.sharing) == ((4,), K, sharing)
    key, values = jax.random.key(1), jax.tree.map(jnp.float32, given)
    large, small = (ModuleDef(model, inputs=4, outputs=1) for model in (most, own))
    one, other = large.init(key, values), small.init(key, {})
    expected = small.evaluate(other, {}, jnp.asarray(X))
    np.testing.assert_allclose(large.evaluate(one, values, jnp.asarray(X)), expected, atol=1e-6)
    assert np.std(expected) > 1e-3
    # Without its second input it is the network of three.
    used = jnp.asarray([1.0, 0.0, 1.0, 1.0])
    without = large.init(key, values, inputs=used)
    three = ModuleDef(own, inputs=3, outputs=1)
    np.testing.assert_allclose(
        large.evaluate(without, values, jnp.asarray(X) * used),
        three.evaluate(three.init(key, {}), {}, jnp.asarray(X[:, [0, 2, 3]])),
        atol=1e-6,
    )


def squared(scores, batch, hyperparameters, parameters):
    """No mean over events that difftune knows of."""
    return jnp.sum(batch.weight * jax.nn.sigmoid(scores) ** 2) / jnp.sum(batch.weight)


@pytest.mark.parametrize("objective", [CrossEntropy(), squared])
def test_the_loss_is_the_mean_of_losses_or_that_of_the_mean_probability(objective):
    data, tiny = toy.columns(300), {"learning_rate": np.full(1, 1e-9)}
    made = toy.population(
        model=MLP(hidden=(5,), submodels=K),
        objective=objective,
        train=data,
        validation=data,
        members=1,
        batch_size=300,
    )
    structure = made.module_def
    assert structure.submodels == K
    weights = jax.tree.map(lambda leaf: leaf[0], made.init(tiny).weights)
    streams = structure.random_state(jax.random.key(0))
    z, _, _ = structure.train(weights, {}, jnp.asarray(data.features), streams)
    assert z.shape == (300, K)
    probability = special.expit(np.asarray(z, np.float64))
    if objective is squared:
        expected = np.average(probability.mean(axis=1) ** 2, weights=data.weight)
    else:
        weight = data.training_weight
        each = [log_loss(data.label, p, sample_weight=weight) for p in probability.T]
        assert np.ptp(each) > 0.01
        expected = np.mean(each) * weight.mean()
    _, records = made.run(tiny, epochs=1)
    assert records.loss[0, 0] == pytest.approx(expected, rel=1e-4)


@functools.cache
def trained(members=2):
    data = toy.columns(1024)
    made = toy.population(
        model=MLP(hidden=(8, 8), submodels=4, embedding="periodic", dropout=0.1),
        train=data,
        validation=toy.columns(512),
        members=members,
        replicas=Replicas(seed=np.array([3, 5])[-members:]),
    )
    given = {
        "learning_rate": np.array([3e-3, 1e-2])[-members:],
        "width_1": np.array([8.0, 3.0])[-members:],
    }
    state, records = made.run(given, epochs=4)
    return made, jax.device_get(state), records


@pytest.mark.slow
def test_a_member_trains_as_alone_and_learns():
    made, state, records = trained()
    alone = trained(1)
    np.testing.assert_allclose(alone[2].loss[:, 0], records.loss[:, 1], rtol=1e-4)
    np.testing.assert_allclose(alone[2].score[:, 0], records.score[:, 1], rtol=1e-4)
    other = toy.columns(512)
    for scores in made.scores(state.best, other.features):
        assert roc_auc_score(other.label, scores) > 0.75
    # The submodels have become different ones.
    heads = np.asarray(state.weights.parameters["output"]["kernel"][...])
    assert heads.shape == (2, 4, 8, 1)
    assert np.abs(heads - heads.mean(axis=1, keepdims=True)).max() > 0.05


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"sharing": "tabm", "embedding": "periodic", "normalisation": "layer"},
        {"sharing": "tabm-mini", "normalisation": "batch"},
    ],
)
def test_files_and_onnx_have_the_same_scores(options, outputs, tmp_path):
    model = MLP(hidden=(6, 6), submodels=K, **options)
    network, features = raw_network(
        model, outputs=outputs, indicators=True, hyperparameters={"width_1": 4.0}
    )
    score = network.score(features)
    assert score.std() > 0.01
    network.save(tmp_path)
    np.testing.assert_array_equal(TrainedNetwork.load(tmp_path).score(features), score)
    session = onnxruntime.InferenceSession(
        to_onnx(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for some in (features, features[:0]):
        found = session.run(["score"], {"features": some})[0]
        np.testing.assert_allclose(found, score[: len(some)], atol=2e-6)


def test_behind_gates():
    model = ModuleDef(Gated(model=MLP(hidden=(4,), submodels=K)), inputs=4, outputs=1)
    assert model.submodels == K
    weights = model.init(jax.random.key(0), {})
    assert model.evaluate(weights, {}, jnp.asarray(X)).shape == (30,)


def test_alternatives_agree_on_the_number_of_submodels():
    with pytest.raises(InputError, match=r"submodels.*1.*3"):
        ModuleDef(
            Alternatives(models=(MLP(hidden=(4,)), MLP(hidden=(4,), submodels=K))),
            inputs=4,
            outputs=1,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"submodels": 0}, r"submodels=0.*at least 1"),
        ({"hidden": (), "submodels": 4}, r"at least one"),
        ({"sharing": "tabm_mini"}, r"'tabm_mini'.*Did you mean 'tabm-mini'"),
    ],
)
def test_errors_name_value_and_remedy(options, message):
    with pytest.raises(InputError, match=message):
        MLP(**options)


class Odd(nnx.Module):
    """Gives something else in training mode."""

    def __init__(self, inputs, outputs, *, rngs):
        self.linear = nnx.Linear(inputs, outputs, rngs=rngs)
        self.deterministic = False

    def __call__(self, x):
        logits = self.linear(x)
        return logits if self.deterministic else logits.reshape(2, -1, 1, 1)


def test_other_shapes_in_training_mode_are_refused():
    with pytest.raises(InputError, match="training mode"):
        ModuleDef(Odd, inputs=4, outputs=1)
