"""A network of the user's own on collections of objects, in populations, files and ONNX."""

import functools
import pickle
from dataclasses import replace
from unittest.mock import patch

import awkward as ak
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from flax import nnx
from sklearn.metrics import roc_auc_score

from difftune.data import Events, Objects, Process
from difftune.errors import InputError
from difftune.models import MLP, Hyperparameter, Inputs, ObjectInputs
from difftune.report import to_onnx
from difftune.training import Population, Recipe, TrainedNetwork, store, stored
from difftune.training.sample import inputs_of

PROCESSES = [Process(name="signal", role="signal"), Process(name="background")]
SIGNAL = (1.0, 0.0)


class DeepSet(nnx.Module):
    """The mean of a function of each object, and the other inputs."""

    def __init__(self, inputs, outputs, *, rngs):
        self.inputs = inputs
        jets = inputs.collections["jets"]
        self.each = nnx.Linear(len(jets.features), 8, rngs=rngs)
        self.both = nnx.Linear(8 + inputs.flat, 8, rngs=rngs)
        self.last = nnx.Linear(8, outputs, rngs=rngs)
        self.slope = Hyperparameter.named("slope", 1.0)

    def __call__(self, x):
        parts = self.inputs.apart(x)
        each = jax.nn.relu(self.each(parts.collections["jets"]))
        total = jnp.sum(each * parts.masks["jets"][..., None], axis=-2)
        hidden = jax.nn.relu(self.both(jnp.concatenate([total, parts.flat], axis=-1)))
        return self.slope[...] * self.last(hidden)


@functools.cache
def sample(events: int, seed: int = 0):
    """One to six jets in each event; one of signal's is harder, wherever it stands."""
    rng = np.random.default_rng([seed, events])
    process = np.arange(events) % 2
    counts = rng.integers(1, 7, events)
    pt = rng.exponential(30, counts.sum()) + 20
    eta = rng.normal(size=counts.sum())
    pt[np.cumsum(counts) - counts] += 60 * (process == 0)
    tag = np.where(rng.random(counts.sum()) < 0.1, np.nan, rng.random(counts.sum()))
    return process, ak.unflatten(ak.zip({"pt": pt, "eta": eta, "tag": tag}), counts)


def events_of(number: int, *, most: int = 8, permuted: bool = False, seed: int = 0, **options):
    process, made = sample(number, seed)
    if permuted:
        made = made[:, ::-1]
    rng = np.random.default_rng(2)
    jets = {name: made[name] for name in made.fields}
    return Events.from_arrays(
        rng.normal(size=(number, 2)).astype("f4"),
        process,
        rng.uniform(0.5, 1.5, number).astype("f4"),
        feature_names=["met", "ht"],
        processes=PROCESSES,
        event_number=np.arange(number),
        objects={"jets": Objects(branches=jets, max=most, **options)},
    )


def trained(
    model,
    *,
    members=3,
    most=8,
    permuted=False,
    rates=(3e-3, 1e-2, 3e-2),
    epochs=8,
    given=None,
    events_of=events_of,
):
    """The networks of a population, and its records; without buckets (see `test_buckets`).

    Without epochs they are as they start, with biases, where a mistake would else not show.
    """
    recipe = Recipe(model=model, batch_size=64)
    train, validation = (events_of(number, most=most, permuted=permuted) for number in (512, 256))
    transform = recipe.transform(train)
    own, other = (recipe.columns(each, each.yields(), transform) for each in (train, validation))
    population = Population(recipe=recipe, train=own, validation=other, members=members, seed=3)
    given = {"learning_rate": rates[:members], **(given or {})}
    given = {name: np.asarray(values, np.float32) for name, values in given.items()}
    # Each bucket is one more network in each program to compile.
    with patch("difftune.training.population.buckets_of", lambda *_: ()):
        if epochs:
            state, records = population.run(given, epochs=epochs)
        else:
            state, records = population.init(given), None
    state = jax.device_get(state)
    networks = [
        TrainedNetwork.from_snapshot(
            state.best,
            slot,
            population.module_def,
            transform,
            feature_names=train.feature_names,
            signal_process=SIGNAL,
        )
        for slot in range(members)
    ]
    if not epochs:
        networks = [with_noise(network) for network in networks]
    return networks, records


def with_noise(network):
    """Weights that are 0 at the start are not."""
    rng = np.random.default_rng(6)
    own = jax.tree.map(
        lambda a: a + rng.normal(scale=0.1, size=a.shape).astype("f4"), network.weights.parameters
    )
    return replace(network, weights=network.weights._replace(parameters=own))


@functools.cache
def three():
    return trained(DeepSet)


def test_a_member_is_what_it_would_be_alone():
    networks, _ = three()
    (alone,), _ = trained(DeepSet, members=1)
    events = events_of(256, seed=1)
    np.testing.assert_allclose(alone.score(events), networks[0].score(events), atol=1e-6)
    assert np.std(networks[2].score(events)) > 0.05


@pytest.mark.slow
def test_neither_the_order_nor_more_room_changes_anything():
    networks, records = three()
    for options in ({"most": 12}, {"permuted": True}):
        others, found = trained(DeepSet, **options)
        np.testing.assert_allclose(found.score, records.score, atol=1e-5)
        events = events_of(256, seed=1, **options)
        for own, other in zip(networks, others, strict=True):
            expected = own.score(events_of(256, seed=1))
            np.testing.assert_allclose(other.score(events), expected, atol=1e-5)


def test_what_is_learned_is_in_the_objects():
    network = three()[0][2]
    events = events_of(512, seed=4)
    label = np.asarray(events.label)
    score = network.score(events)
    assert roc_auc_score(label, score) > 0.8
    empty = np.array(events.features)
    empty[:, 2:] = np.nan
    # Without any jet there is nothing to tell them apart by.
    assert abs(roc_auc_score(label, network.score(empty)) - 0.5) < 0.1


def test_saved_and_loaded(tmp_path):
    network = three()[0][1]
    events = events_of(200, seed=5)
    network.save(tmp_path)
    again = TrainedNetwork.load(tmp_path, model=DeepSet)
    np.testing.assert_array_equal(again.score(events), network.score(events))
    path = tmp_path / "network.json"
    path.write_text(path.read_text().replace('"max": 8', '"max": 9'))
    with pytest.raises(InputError, match=r"transform.collections: 'jets' has the columns 2 to 29"):
        TrainedNetwork.load(tmp_path, model=DeepSet)


def test_a_perceptron_gets_zeros_and_masks_and_is_the_same_in_onnx():
    (network,), _ = trained(MLP(hidden=(16,)), members=1, rates=(1e-2,))
    events = events_of(300, seed=6)
    assert network.module_def.inputs == 2 + 8 * 3 + 8
    session = onnxruntime.InferenceSession(
        to_onnx(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    raw = np.array(events.features)
    raw[0, 2:] = np.nan
    found = session.run(["score"], {"features": raw})[0]
    np.testing.assert_allclose(found, network.score(raw), atol=2e-6)
    assert np.std(found) > 0.05


def test_columns_on_disk_know_their_objects(tmp_path):
    recipe = Recipe(model=DeepSet)
    events = events_of(128)
    columns = recipe.columns(events, events.yields(), recipe.transform(events))
    again = store(columns, tmp_path / "columns")
    assert again.layout == columns.layout
    assert again.inputs.collections == columns.inputs.collections
    assert stored(tmp_path / "columns").inputs.flat == 2


def test_inputs_are_a_number_that_knows_what_it_counts():
    events = events_of(10)
    inputs = inputs_of(Recipe().transform(events))
    assert inputs == 2 + 24 + 8
    assert inputs.flat == 2
    assert pickle.loads(pickle.dumps(inputs)) == inputs != Inputs(34)
    jets = ObjectInputs(features=("pt",), max=2, start=1, mask=4)
    small = Inputs(6, {"jets": jets})
    parts = small.apart(jnp.arange(12.0).reshape(2, 6))
    # 0 and 3 are of no collection.
    np.testing.assert_array_equal(parts.flat, [[0, 3], [6, 9]])
    np.testing.assert_array_equal(parts.collections["jets"], [[[1], [2]], [[7], [8]]])
    np.testing.assert_array_equal(parts.masks["jets"], [[4, 5], [10, 11]])


def test_a_network_on_objects_that_are_not_there_says_so():
    recipe = Recipe(model=DeepSet)
    events = Events.from_arrays(
        np.ones((4, 1), "f4"),
        np.array([0, 1, 0, 1]),
        np.ones(4, "f4"),
        feature_names=["met"],
        processes=PROCESSES,
    )
    columns = recipe.columns(events, events.yields(), recipe.transform(events))
    with pytest.raises(InputError, match="jets"):
        recipe.module_def(columns)
