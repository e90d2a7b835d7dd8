import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.special import expit, softmax

from difftune.analysis.preparation import Preparation
from difftune.analysis.split import Split
from difftune.data import Events, FeatureTransform, Process, read
from difftune.errors import InputError
from difftune.models import MLP
from difftune.training import Ensemble, ModuleDef, TrainedNetwork
from difftune.training import network as network_module
from tests.data.files import columns, write_root
from tests.training.test_module_def import Own

NAMES = ("pt", "eta", "mass")


@pytest.fixture(scope="module")
def events() -> Events:
    rng = np.random.default_rng(0)
    features = rng.normal([30.0, 0.0, 90.0], [10.0, 1.0, 5.0], (500, 3)).astype(np.float32)
    features[::7, 2] = np.nan
    return Events.from_arrays(
        features,
        rng.integers(0, 2, 500).astype(np.int32),
        np.ones(500, np.float32),
        feature_names=NAMES,
        processes=[Process(name="signal", role="signal"), Process(name="background")],
    )


def make(model, events: Events, outputs: int = 1) -> TrainedNetwork:
    transform = FeatureTransform.fit(events.features, indicators=True)
    module_def = ModuleDef(model, inputs=4, outputs=outputs)
    return TrainedNetwork(
        module_def=module_def,
        weights=module_def.init(jax.random.key(2)),
        hyperparameters={"dropout": 0.30000001192092896, "slope": 2.5},
        transform=transform,
        feature_names=NAMES,
        signal_process=(1.0, 0.0),
    )


@pytest.fixture(scope="module")
def perceptron(events) -> TrainedNetwork:
    return make(MLP(hidden=(6, 5), activation="tanh", dropout=0.1), events)


@pytest.fixture(scope="module")
def own(events) -> TrainedNetwork:
    return make(Own, events, outputs=2)


def test_score_goes_through_the_transform(events, perceptron, monkeypatch):
    x = np.asarray(events.features, np.float64)
    center, scale = np.nanmean(x, 0), np.nanstd(x, 0)
    filled = np.where(np.isnan(x), np.nanmedian(x, 0), x)
    z = np.column_stack([(filled - center) / scale, np.isnan(x[:, 2])])
    for layer in perceptron.weights.parameters["linear"].values():
        z = np.tanh(z @ layer["kernel"][...] + layer["bias"][...])
    last = perceptron.weights.parameters["output"]
    expected = expit(z @ last["kernel"][...] + last["bias"][...])[:, 0]
    score = perceptron.score(events)
    assert score.dtype == np.float32
    np.testing.assert_allclose(score, expected, rtol=1e-4)
    # However the events are cut into pieces.
    monkeypatch.setattr(network_module, "_CHUNK", 150)
    np.testing.assert_allclose(perceptron.score(events), expected, rtol=1e-4)
    assert perceptron.score(events.select(np.zeros(500, bool))).shape == (0,)


def test_multiclass_score_is_the_probability_of_signal(events, own):
    features = own.transform(events.features)
    logits = own.module_def.evaluate_jit(own.weights, {"slope": np.float32(2.5)}, features)
    expected = softmax(np.asarray(logits, np.float64), axis=1)[:, 0]
    np.testing.assert_allclose(own.score(events), expected, rtol=1e-4)


def test_save_and_load(tmp_path, events, perceptron, own):
    for network, model in ((perceptron, None), (own, Own)):
        network.save(tmp_path / "network")
        loaded = TrainedNetwork.load(tmp_path / "network", model=model)
        for a, b in zip(
            jax.tree.leaves(network.weights), jax.tree.leaves(loaded.weights), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(loaded.score(events), network.score(events))
        for name in ("hyperparameters", "feature_names", "signal_process"):
            assert getattr(loaded, name) == getattr(network, name)
    assert loaded.transform.indicators == (2,)


def test_other_features_are_refused(events, perceptron):
    swapped = Events.from_arrays(
        events.features,
        events.process,
        events.weight,
        feature_names=("eta", "pt", "mass"),
        processes=events.processes,
    )
    with pytest.raises(InputError, match=r"wants the features \['pt', 'eta', 'mass'\]"):
        perceptron.score(swapped)


def test_plain_arrays_are_scored_alike(events, perceptron):
    columns = np.asarray(events.features, np.float64)
    np.testing.assert_array_equal(perceptron.score(columns), perceptron.score(events))
    with pytest.raises(InputError, match="in this order"):
        perceptron.score(columns[:, 1:])


def test_load_refuses_what_does_not_fit(tmp_path, perceptron, own):
    with pytest.raises(InputError, match=r"network.json does not exist.*save\(\)"):
        TrainedNetwork.load(tmp_path)
    own.save(tmp_path / "own")
    with pytest.raises(InputError, match=r"only you can make: pass load\(\.\.\., model="):
        TrainedNetwork.load(tmp_path / "own")
    with pytest.raises(InputError, match=r"is missing where the model has \[64\]"):
        TrainedNetwork.load(tmp_path / "own", model=MLP())

    perceptron.save(tmp_path / "mlp")
    facts = json.loads((tmp_path / "mlp" / "network.json").read_text())
    for hidden, message in (
        ([6, 7], r"is \[5\] where the model has \[7\]"),
        ([6], r"linear/1/bias has no place in the model|is \[5, 1\] where the model has \[6, 1\]"),
    ):
        facts["model"]["MLP"]["hidden"] = hidden
        (tmp_path / "mlp" / "network.json").write_text(json.dumps(facts))
        with pytest.raises(InputError, match=message):
            TrainedNetwork.load(tmp_path / "mlp")


def test_an_ensemble_is_the_mean_of_its_networks(tmp_path, events, own):
    weights = (own.module_def.init(jax.random.key(seed)) for seed in range(3))
    networks = [replace(own, weights=each) for each in weights]
    ensemble = Ensemble(networks)
    logits = [
        own.module_def.evaluate_jit(
            each.weights, {"slope": np.float32(2.5)}, own.transform(events.features)
        )
        for each in networks
    ]
    expected = softmax(np.asarray(logits, np.float64), axis=2)[:, :, 0].mean(axis=0)
    np.testing.assert_allclose(ensemble.score(events), expected, rtol=1e-4)
    ensemble.save(tmp_path)
    loaded = Ensemble.load(tmp_path, model=Own)
    np.testing.assert_array_equal(loaded.score(events), ensemble.score(events))
    with pytest.raises(InputError, match=r"holds several networks; load them with Ensemble.load"):
        TrainedNetwork.load(tmp_path)
    with pytest.raises(InputError, match=r"ensemble.json does not exist"):
        Ensemble.load(tmp_path / "0")
    with pytest.raises(InputError, match="no network in it"):
        Ensemble(())
    other = replace(own, feature_names=("pt", "mass", "eta"))
    with pytest.raises(InputError, match=r"network 1 has the features \['pt', 'mass', 'eta'\]"):
        Ensemble((own, other))


def test_what_reading_called_missing_is_missing_for_the_network(tmp_path, caplog):
    """From the files, through the task and the folder, to an array that still has -999."""
    raw = columns(400, 1)
    raw["jet_pt"][::3] = -999
    file = write_root(tmp_path / "a.root", signal=raw, ttbar=columns(300, 2))
    read_events = read(
        file,
        processes=[
            Process(name="s", role="signal", tree="signal"),
            Process(name="b", tree="ttbar"),
        ],
        features=["x", "jet_pt"],
        event_number="event",
        missing={"jet_pt": -999},
    )
    preparation = Preparation(
        split=Split(events=read_events, validation_folds=(3,), test_folds=(4,))
    )
    module_def = ModuleDef(MLP(hidden=(5,)), inputs=2, outputs=1)
    network = TrainedNetwork(
        module_def=module_def,
        weights=module_def.init(jax.random.key(2)),
        hyperparameters={},
        transform=preparation.transform,
        feature_names=("x", "jet_pt"),
        signal_process=(1.0, 0.0),
    )
    network.save(tmp_path / "network")
    loaded = TrainedNetwork.load(tmp_path / "network")
    table = np.stack([raw["x"], raw["jet_pt"].astype(np.float32)], axis=1)
    table[5, 0] = -999  # a value, for all that is known
    known = read_events.features[:400].copy()
    known[5, 0] = -999
    assert np.isnan(known[::3, 1]).all()
    for each in (network, loaded):
        expected = each.score(known)
        assert "-999" not in caplog.text
        np.testing.assert_array_equal(each.score(table), expected)
        assert "feature 'jet_pt' is -999 in 134 of 400 events, which meant missing" in caplog.text
        assert "feature 'x'" not in caplog.text
        caplog.clear()
