"""ONNX Runtime, which knows nothing of jax, gives the scores of the network."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import nnx

from difftune.data import Events, FeatureTransform, Process, TargetTransform
from difftune.errors import InputError
from difftune.models import ACTIVATIONS, MLP, PlainOutputs
from difftune.objectives import GaussianNLL, Huber, Link, Quantile
from difftune.report import to_onnx, write_onnx
from difftune.training import CrossFitted, Ensemble, ModuleDef, TrainedNetwork

NAMES = ("pt", "eta", "mass")


def network(model, *, outputs=1, indicators=False, scaling="standard", hyperparameters=None):
    rng = np.random.default_rng(1)
    features = (rng.normal(size=(400, 3)) * [50.0, 1.0, 90.0] + [100.0, 0.0, 170.0]).astype("f4")
    features[::7, 2] = np.nan
    transform = FeatureTransform.fit(features, indicators=indicators, scaling=scaling)
    module_def = ModuleDef(model, inputs=transform.width, outputs=outputs)
    hyperparameters = hyperparameters or {}
    weights = module_def.init(jax.random.key(0), jax.tree.map(jnp.float32, hyperparameters))
    # Biases, scales and batch statistics as a training leaves them, not as they start.
    leaves, structure = jax.tree.flatten(weights)
    moved = [leaf + 0.3 * rng.random(leaf.shape).astype("f4") for leaf in leaves]
    made = TrainedNetwork(
        module_def=module_def,
        weights=jax.tree.unflatten(structure, moved),
        hyperparameters=hyperparameters,
        transform=transform,
        feature_names=NAMES,
        signal_process=(0.0, 1.0, 1.0)[:outputs] if outputs > 1 else (1.0, 0.0),
    )
    return made, features


def runtime_score(file, features):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["score"], {"features": features})[0]


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activations(activation):
    made, features = network(MLP(hidden=(7, 5), activation=activation))
    found = runtime_score(to_onnx(made).SerializeToString(), features)
    np.testing.assert_allclose(found, made.score(features), atol=2e-6)
    assert found.std() > 0.01


@pytest.mark.parametrize("normalisation", ["batch", "layer"])
def test_normalisations_missing_values_and_classes(normalisation):
    model = MLP(hidden=(6, 4), normalisation=normalisation, dropout=0.3)
    made, features = network(model, outputs=3, indicators=True)
    found = runtime_score(to_onnx(made).SerializeToString(), features)
    np.testing.assert_allclose(found, made.score(features), atol=2e-6)


@pytest.mark.parametrize("outputs", [1, 3])
def test_periodic_embedding(outputs):
    model = MLP(
        hidden=(6, 4), embedding="periodic", frequencies=5, embedding_size=3, frequency_scale=0.8
    )
    shape = {"width_1": 5.0}
    made, features = network(model, outputs=outputs, indicators=True, hyperparameters=shape)
    found = runtime_score(to_onnx(made).SerializeToString(), features)
    np.testing.assert_allclose(found, made.score(features), atol=2e-6)
    assert found.std() > 0.01
    assert runtime_score(to_onnx(made).SerializeToString(), features[:0]).shape == (0,)


def test_robust_scaling():
    made, features = network(MLP(hidden=(6, 4)), indicators=True, scaling="robust")
    features[0], features[1] = 1e9, -np.inf
    found = runtime_score(to_onnx(made).SerializeToString(), features)
    np.testing.assert_allclose(found, made.score(features), atol=2e-6)
    assert found.std() > 0.01


@pytest.mark.parametrize("embedding", [None, "periodic"])
def test_a_variable_that_is_not_used(embedding):
    made, features = network(MLP(hidden=(6, 4), embedding=embedding), indicators=True)
    made = replace(made, transform=made.transform.without(2))
    expected = made.score(features)
    features[:, 2] = np.resize([np.inf, np.nan, 7.0], len(features))
    found = runtime_score(to_onnx(made).SerializeToString(), features)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert found.std() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", [0.0, 1.0])
def test_the_shape_is_that_of_the_member(normalisation, activation):
    model = MLP(hidden=(8, 8, 8), activation=("tanh", "gelu"), normalisation=normalisation)
    shape = {"width_1": 5.0, "width_2": 3.0, "depth": 2.0, "activation": activation}
    made, features = network(model, hyperparameters=shape)
    file = to_onnx(made)
    found = runtime_score(file.SerializeToString(), features)
    np.testing.assert_allclose(found, made.score(features), atol=2e-6)
    assert found.std() > 0.01
    kernels = [tuple(c.dims) for c in file.graph.initializer if len(c.dims) == 2]
    assert kernels == [(3, 5), (5, 3), (3, 1)]


def test_an_ensemble_is_one_graph():
    """Of networks that have neither shape nor normalisation in common."""
    small, features = network(MLP(hidden=(4,), activation="tanh"))
    large, _ = network(MLP(hidden=(7, 5), normalisation="batch"), indicators=True)
    ensemble = Ensemble((small, large))
    found = runtime_score(to_onnx(ensemble).SerializeToString(), features)
    np.testing.assert_allclose(found, ensemble.score(features), atol=2e-6)
    assert not np.allclose(found, small.score(features), atol=1e-2)
    weighted = Ensemble((small, large), (1, 4))
    found = runtime_score(to_onnx(weighted).SerializeToString(), features)
    expected = 0.2 * small.score(features) + 0.8 * large.score(features)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_cross_fitted_networks_are_one_graph():
    """Each event has the score of the network of its fold, also for numbers below 0."""
    few, features = network(MLP(hidden=(4,), activation="tanh"))
    many, _ = network(MLP(hidden=(8, 6), activation="gelu"))
    crossed = CrossFitted((few, Ensemble((few, many)), many))
    numbers = np.random.default_rng(2).integers(-1000, 2**40, len(features))
    events = Events.from_arrays(
        features,
        np.zeros(len(features), np.int32),
        np.ones(len(features)),
        feature_names=NAMES,
        processes=[Process(name="signal", role="signal")],
        event_number=numbers,
        folds=3,
    )
    session = onnxruntime.InferenceSession(
        to_onnx(crossed).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(["score"], {"features": features, "event_number": numbers})[0]
    np.testing.assert_allclose(found, crossed.score(events), atol=2e-6)
    assert not np.allclose(found, few.score(features))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("objective", [Huber(), Quantile(quantiles=(0.1, 0.5, 0.9)), GaussianNLL()])
def test_predictions_of_networks_ensembles_and_folds(objective, log):
    """In the unit of the targets; one network has submodels."""
    transform = TargetTransform(
        names=("energy", "angle"),
        center=np.array([3.0, -0.5], np.float32),
        scale=np.array([0.7, 0.2], np.float32),
        log=log,
    )
    link = Link(prediction=objective.outputs, transform=transform)

    def predicting(model):
        made, features = network(model, outputs=PlainOutputs(link.outputs))
        return replace(made, link=link), features

    one, features = predicting(MLP(hidden=(4,), activation="tanh"))
    many, _ = predicting(MLP(hidden=(6,), submodels=3))
    ensemble = Ensemble((one, many), (1, 3))
    for each in (one, many, ensemble):
        found = runtime_score(to_onnx(each).SerializeToString(), features)
        np.testing.assert_allclose(found, each.score(features), rtol=1e-5, atol=1e-5)
    crossed = CrossFitted((ensemble, one))
    events = Events.from_arrays(
        features,
        np.zeros(400, np.int32),
        np.ones(400),
        feature_names=NAMES,
        processes=[Process(name="signal", role="signal")],
        event_number=np.arange(400),
        folds=2,
    )
    file = to_onnx(crossed)
    session = onnxruntime.InferenceSession(
        file.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(["score"], {"features": features, "event_number": np.arange(400)})[0]
    np.testing.assert_allclose(found, crossed.score(events), rtol=1e-5, atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map["predictions"] == ",".join(link.names)


def test_file_names_its_features(tmp_path):
    made, features = network(MLP(hidden=(4,)))
    write_onnx(made, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "network.onnx", providers=["CPUExecutionProvider"]
    )
    assert session.get_modelmeta().custom_metadata_map["feature_names"] == "pt,eta,mass"
    np.testing.assert_allclose(
        runtime_score(tmp_path / "network.onnx", features[:3]), made.score(features[:3]), atol=2e-6
    )


def test_own_modules_are_refused():
    class Own(nnx.Module):
        def __init__(self, inputs, outputs, *, rngs):
            self.linear = nnx.Linear(inputs, outputs, rngs=rngs)

        def __call__(self, x):
            return self.linear(x)

    made, _ = network(Own)
    with pytest.raises(InputError, match=r"only networks of .*MLP, DeepSet, .* can be exported"):
        to_onnx(made)


def test_what_training_called_missing_is_missing(tmp_path):
    plain, _ = network(MLP(hidden=(6,)), indicators=True)
    meant = ((-999.0,), (), (-1.0, -999.0))
    trained = replace(plain, transform=replace(plain.transform, sentinels=meant))
    features = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    blank = features.copy()
    features[::3, 0], features[1::3, 2], features[2::3, 2] = -999, -1, -999
    blank[::3, 0], blank[1::3, 2], blank[2::3, 2] = np.nan, np.nan, np.nan
    features[:5, 1] = blank[:5, 1] = -999  # a value there
    np.testing.assert_allclose(trained.score(features), plain.score(blank), rtol=1e-6)
    write_onnx(trained, tmp_path / "network.onnx")
    score = runtime_score(tmp_path / "network.onnx", features)
    np.testing.assert_allclose(score, plain.score(blank), rtol=1e-5)
