"""Networks on all objects at once: their formulas, members of any shape, populations, ONNX."""

import functools
from dataclasses import replace

import awkward as ak
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
import vector
from flax import nnx
from scipy import special

from difftune.data import Events, Objects
from difftune.errors import InputError
from difftune.models import DeepSet, Gated, Inputs, ObjectInputs, ParticleNet, ParticleTransformer
from difftune.models.particle_transformer import pair_features
from difftune.report import to_onnx
from difftune.training import ModuleDef, Recipe, TrainedNetwork, store, stored
from tests.training.test_objects import PROCESSES, trained

JETS = ("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass")
INPUTS = Inputs(
    1 + 16 + 6 + 1 + 4 + 2,
    {
        "jets": ObjectInputs(
            features=JETS,
            max=4,
            start=1,
            mask=24,
            center=(50.0, 0.2, -0.1, 8.0),
            scale=(20.0, 1.5, 2.0, 3.0),
        ),
        "leptons": ObjectInputs(
            features=("pt", "eta", "phi"),
            max=2,
            start=17,
            mask=28,
            center=(40.0, 0.0, 0.1),
            scale=(15.0, 1.2, 1.8),
        ),
    },
)
X = np.random.default_rng(0).normal(size=(40, 30)).astype("f4")
X[:, 24:] = X[:, 24:] > -0.5
for first, size, mask, most in ((1, 4, 24, 4), (17, 3, 28, 2)):
    for place in range(most):
        X[:, first + size * place : first + size * (place + 1)] *= X[:, mask + place, None]
ROWS = jnp.asarray(X)
NET, TRANSFORMER = "particle_net", "particle_transformer"
MODELS = {
    NET: (
        ParticleNet(widths=(6, 6), neighbours=3, hidden=(7, 7)),
        {
            "object_depth": 1.0,
            "object_width_1": 5.0,
            "neighbours": 2.0,
            "width_1": 5.0,
            "depth": 1.0,
        },
        {"object_width_1": 4.0, "object_width_2": 3.0, "neighbours": 2.0, "width_1": 5.0},
    ),
}
MODELS[TRANSFORMER] = (
    ParticleTransformer(width=6, blocks=2, heads=2, head_size=3, pairs=5, hidden=(7, 7)),
    {"object_depth": 1.0, "object_width": 5.0, "heads": 1.0, "width_1": 5.0, "depth": 1.0},
    {"object_width": 4.0, "heads": 1.0, "width_1": 5.0},
)
# In one program each, not one for each operation.
scores = nnx.jit(lambda network: network(ROWS))
each_model = pytest.mark.parametrize(
    "name", [NET, pytest.param(TRANSFORMER, marks=pytest.mark.slow)]
)


def relu(x):
    return np.maximum(x, 0)


def linear(layer, x):
    bias = 0 if layer.bias is None else np.asarray(layer.bias[...], float)
    return x @ np.asarray(layer.kernel[...], float) + bias


def with_biases(model):
    """A network. Biases are 0 at the start, where a mistake in them would not show."""
    network = nnx.jit(lambda: model(INPUTS, 2, rngs=nnx.Rngs(3)))()
    state = nnx.state(network, nnx.Param)
    rng = np.random.default_rng(3)
    # Of NumPy, so that looking at a layer's numbers compiles nothing.
    nnx.update(
        network,
        jax.tree.map(
            lambda a: a + rng.uniform(-0.2, 0.2, a.shape).astype(a.dtype), jax.device_get(state)
        ),
    )
    return network


def objects_of(network, x, features=3):
    """Embedded objects of an event that are there, and what they were before the transform."""
    rows, read = [], []
    collections = ((1, 4, 24, 4, "jets"), (17, 3, 28, 2, "leptons"))
    for number, (first, size, mask, most, name) in enumerate(collections):
        each = INPUTS.collections[name]
        for place in range(most):
            if x[mask + place]:
                own = x[first + size * place : first + size * (place + 1)].astype(float)
                rows.append(linear(network.embedding[number], own))
                values = own * each.scale + each.center
                read.append([*values, 0.0][:features])
    return rows, np.reshape(read, (-1, features))


def decided(network, x, latent):
    counts = [np.log1p(x[24:28].sum()), np.log1p(x[28:].sum())]
    hidden = np.concatenate([[x[0], x[23]], counts, latent])
    for layer in network.all.linear:
        hidden = relu(linear(layer, hidden))
    return linear(network.all.output, hidden)


def test_particle_net_is_what_its_paper_says():
    network = with_biases(ParticleNet(widths=(5, 4), layers=2, neighbours=2, hidden=(6,)))

    def convolved(block, x, places):
        found = []
        for i in range(len(x)):
            apart = places - places[i]
            if places.shape[1] == 2:
                apart[:, 1] = (apart[:, 1] + np.pi) % (2 * np.pi) - np.pi
            near = np.argsort((apart**2).sum(1) + 1e9 * (np.arange(len(x)) == i))[:2]
            messages = []
            for j in near[near != i]:
                first = linear(block.own, x[i]) + linear(block.difference, x[j] - x[i])
                messages.append(relu(linear(block.more[0], relu(first))))
            mean = np.mean(messages, axis=0) if messages else 0
            found.append(relu(mean + linear(block.past, x[i])))
        return np.array(found)

    expected = []
    for x in X:
        rows, read = objects_of(network, x)
        latent = np.zeros(4)
        if rows:
            rows = convolved(network.blocks[0], relu(np.array(rows)), read[:, 1:])
            latent = convolved(network.blocks[1], rows, rows).mean(axis=0)
        expected.append(decided(network, x, latent))
    np.testing.assert_allclose(scores(network), expected, rtol=1e-4, atol=1e-5)


def test_pair_features_are_those_of_four_momenta():
    rng = np.random.default_rng(1)
    pt, eta = rng.exponential(40, (3, 5)) + 1, rng.normal(size=(3, 5))
    phi, mass = rng.uniform(-np.pi, np.pi, (3, 5)), rng.exponential(5, (3, 5))
    given = jnp.asarray(np.stack([pt, eta, phi, mass], axis=-1), jnp.float32)
    found = np.asarray(jax.jit(pair_features)(given, 2.0))
    vectors = vector.array({"pt": pt, "eta": eta, "phi": phi, "mass": mass})
    first, second = vectors[:, :, None], vectors[:, None, :]
    distance = np.hypot(first.rapidity - second.rapidity, first.deltaphi(second))
    least = np.minimum(first.pt, second.pt)
    others = ~np.eye(5, dtype=bool)
    for number, expected in enumerate(
        (distance, least / 2 * distance, least / (first.pt + second.pt), (first + second).mass2 / 4)
    ):
        wanted = np.log(np.asarray(expected)[:, others])
        np.testing.assert_allclose(found[..., number][:, others], wanted, rtol=1e-4, atol=1e-4)


def test_attention_is_what_its_paper_says():
    model = ParticleTransformer(
        width=5, blocks=1, heads=2, head_size=3, pairs=4, hidden=(6,), activation="relu"
    )
    network = with_biases(model)
    pairs_of = jax.jit(pair_features, static_argnums=1)

    def normalised(layer, x):
        apart = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((apart**2).mean(axis=-1, keepdims=True) + 1e-3)
        return apart / spread * np.asarray(layer.scale[...]) + np.asarray(layer.bias[...])

    def attended(block, asking, asked, bias):
        asks, told = (normalised(block.norms[0], each) for each in (asking, asked))
        query, key, value = (
            linear(layer, rows).reshape(len(rows), 2, 3)
            for layer, rows in ((block.query, asks), (block.key, told), (block.value, told))
        )
        heard = []
        for head in range(2):
            logits = query[:, head] @ key[:, head].T / np.sqrt(3) + bias[..., head]
            heard.append(special.softmax(logits, axis=1) @ value[:, head])
        x = asking + linear(block.out, np.concatenate(heard, axis=1))
        hidden = relu(linear(block.up, normalised(block.norms[1], x)))
        return x + linear(block.down, hidden)

    expected = []
    for x in X:
        rows, read = objects_of(network, x, 4)
        rows = relu(np.reshape(rows, (-1, 5)))
        if len(rows):
            pairs = np.array(pairs_of(jnp.asarray(read[None], jnp.float32), 50.0))[0]
            pairs[np.arange(len(rows)), np.arange(len(rows))] = 0
            bias = linear(network.pairs[1], relu(linear(network.pairs[0], pairs)))
            rows = attended(network.blocks[0], rows, rows, bias)
        token = np.asarray(network.token.kernel[...])
        bias = np.zeros((1, len(rows) + 1, 2))
        latent = attended(network.last, token, np.concatenate([token, rows]), bias)[0]
        expected.append(decided(network, x, latent))
    np.testing.assert_allclose(scores(network), expected, rtol=1e-4, atol=1e-5)


@each_model
def test_no_events_have_no_scores(name):
    network = with_biases(MODELS[name][0])
    network.eval()
    assert nnx.jit(lambda network: network(ROWS[:0]))(network).shape == (0, 2)


@each_model
@pytest.mark.parametrize("which", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_member_of_any_shape_is_the_network_made_with_that_shape(name, which):
    most, shape = MODELS[name][0], MODELS[name][which]
    most = replace(most, normalisation=("layer", "none")[which - 1])
    # Without the second feature of jets.
    used = np.ones(30, "f4")
    used[[2, 6, 10, 14]] = 0
    key, rows = jax.random.key(1), ROWS * used

    def made(model, values):
        model = ModuleDef(model, inputs=INPUTS, outputs=1)
        assert model.inherited >= set(values)

        @jax.jit
        def found(values):
            weights = model.init(key, values, inputs=jnp.asarray(used))
            # Numbers everywhere, also where the masks must keep them from acting.
            weights = jax.tree.map(
                lambda a: a + 0.1 * (a != 0) if a.ndim == 2 else a + 0.1, weights
            )

            def loss(parameters):
                streams = model.random_state(key)
                logits, *_ = model.train(
                    weights._replace(parameters=parameters), values, rows, streams
                )
                return jnp.sum(logits**2), logits

            gradient, logits = jax.grad(loss, has_aux=True)(weights.parameters)
            size = sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradient))
            return logits, size

        return found(jax.tree.map(jnp.float32, values))

    logits, gradient = made(most, shape)
    expected, wanted = made(most.for_member(shape), {})
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert np.std(expected) > 1e-3
    # Nothing that the member does not use is trained.
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4)


@functools.cache
def sample(number: int, seed: int = 0):
    rng = np.random.default_rng([seed, number])
    process = np.arange(number) % 2
    counts = rng.integers(0, 6, number)
    size = counts.sum()
    eta, phi = rng.normal(size=size), rng.uniform(-np.pi, np.pi, size)
    # Signal's jets are near one another.
    near = np.repeat(process == 0, counts)
    eta, phi = np.where(near, 0.3 * eta, eta), np.where(near, 0.3 * phi, phi)
    values = {"pt": rng.exponential(30, size) + 20, "eta": eta, "phi": phi}
    return process, ak.unflatten(ak.zip(values), counts)


def events_of(number: int, *, most: int = 6, permuted: bool = False, seed: int = 0):
    process, made = sample(number, seed)
    made = made[:, ::-1] if permuted else made
    return Events.from_arrays(
        np.random.default_rng(2).normal(size=(number, 1)).astype("f4"),
        process,
        np.ones(number, "f4"),
        feature_names=["met"],
        processes=PROCESSES,
        event_number=np.arange(number),
        objects={"jets": Objects(branches={n: made[n] for n in made.fields}, max=most)},
    )


GIVEN = {
    "particle_net": {
        "object_width_1": [6, 3],
        "object_depth": [2, 1],
        "neighbours": [3, 2],
        "width_1": [4, 7],
        "activation": [1, 0],
    },
    "particle_transformer": {
        "object_width": [6, 4],
        "object_depth": [2, 1],
        "heads": [1, 2],
        "width_1": [4, 7],
        "activation": [1, 0],
    },
}
# With large steps attention is chaotic: rounding errors grow from epoch to epoch.
RATES = {"particle_net": (1e-2, 2e-2), "particle_transformer": (1e-3, 2e-3)}


@functools.cache
def two(name: str, **options):
    """One of each shape."""
    model = MODELS[name][0]
    options.setdefault("most", 6)
    model = replace(model, activation=("relu", "tanh"), dropout=0.1)
    members, epochs = options.pop("members", 2), options.pop("epochs", 4)
    given = {each: values[:members] for each, values in GIVEN[name].items()}
    if epochs and name == TRANSFORMER:
        # Attention is long to compile; with its depth they are in files, in ONNX, and as gradients.
        model = replace(model, blocks=1)
        del given["object_depth"]
    return trained(
        model,
        members=members,
        rates=RATES[name],
        epochs=epochs,
        given=given,
        events_of=events_of,
        **options,
    )[0]


@each_model
def test_members_of_different_shapes_in_files_and_onnx(name, tmp_path):
    events = events_of(100, seed=9)
    raw = np.array(events.features)
    for number, network in enumerate(two(name, epochs=0)):
        score = network.score(raw)
        assert score.std() > 0.02
        network.save(tmp_path / str(number))
        np.testing.assert_array_equal(TrainedNetwork.load(tmp_path / str(number)).score(raw), score)
        session = onnxruntime.InferenceSession(
            to_onnx(network).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        for some in (raw, raw[:0]):
            found = session.run(["score"], {"features": some})[0]
            np.testing.assert_allclose(found, score[: len(some)], atol=5e-6)


@pytest.mark.slow
@each_model
def test_a_member_is_what_it_would_be_alone(name):
    events = events_of(200, seed=1)
    (alone,) = two(name, members=1)
    np.testing.assert_allclose(alone.score(events), two(name)[0].score(events), atol=1e-5)


@pytest.mark.slow
@each_model
def test_neither_the_order_nor_more_room_changes_a_score(name):
    for network in two(name, epochs=0):
        expected = network.score(events_of(200, seed=3))
        found = network.score(events_of(200, seed=3, permuted=True))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # That room changes no training either, `test_buckets` shows.
    for small, large in zip(two(name, epochs=0), two(name, epochs=0, most=9), strict=True):
        expected = small.score(events_of(200, seed=3))
        found = large.score(events_of(200, seed=3, most=9))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@each_model
def test_gates_are_on_its_inputs(name):
    model = ModuleDef(Gated(model=MODELS[name][0]), inputs=INPUTS, outputs=1)
    weights = jax.jit(model.init)(jax.random.key(0), {})
    assert jax.jit(model.evaluate)(weights, {}, ROWS).shape == (40,)


def test_columns_on_disk_know_what_was_read(tmp_path):
    recipe = Recipe(model=MODELS["particle_net"][0], scaling="robust")
    events = events_of(100)
    columns = recipe.columns(events, events.yields(), recipe.transform(events))
    again = store(columns, tmp_path / "columns")
    assert again.layout.collections == columns.layout.collections
    jets = columns.layout.collections["jets"]
    network = ParticleNet(coordinates=("pt", "eta"))(columns.inputs, 1, rngs=nnx.Rngs(0))
    parts = columns.inputs.apart(jnp.asarray(columns.features))
    found = np.asarray(network.coordinates(parts))[np.asarray(parts.masks["jets"]) > 0]
    _, made = sample(100)
    expected = np.stack([ak.flatten(made[name]) for name in ("pt", "eta")], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    path = tmp_path / "columns" / "columns.json"
    path.write_text(path.read_text().replace('"bend"', '"bent"'))
    assert jets.bend
    with pytest.raises(InputError, match="bent"):
        stored(tmp_path / "columns")


def test_features_are_found_by_the_ends_of_their_names():
    jets = ObjectInputs(features=("Jet_pt", "Jet_E.eta", "Jet_eta"), max=1, start=0, mask=3)
    assert jets.number("pt") == jets.number("Jet_pt") == 0
    assert jets.number("eta") is None
    assert jets.number("Jet_eta") == 2


def test_bad_input():
    for model, message in (
        (lambda: ParticleNet(widths=()), "at least one block"),
        (lambda: ParticleNet(widths=(0,)), r"ParticleNet\(widths=.*at least 1"),
        (lambda: ParticleNet(neighbours=0), "neighbours=0"),
        (lambda: ParticleNet(layers=0), "layers=0"),
        (lambda: ParticleTransformer(heads=0), "heads=0"),
        (lambda: ParticleNet(activation="rleu"), r"ParticleNet\(activation='rleu'\).*relu"),
        (lambda: ParticleNet(normalisation="batch"), "normalisation"),
        (lambda: DeepSet(each=(0,)), r"DeepSet\(each=.*at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            model()
    with pytest.raises(InputError, match=r"leptons has no feature 'mass', but pt, eta, phi\."):
        ModuleDef(ParticleNet(coordinates=("mass",)), inputs=INPUTS, outputs=1)
    hits = Inputs(3, {"hits": ObjectInputs(features=("t", "x"), max=1, start=0, mask=2)})
    with pytest.raises(InputError, match=r"hits has no feature 'pt', but t, x\..*pairs = 0"):
        ModuleDef(ParticleTransformer(), inputs=hits, outputs=1)
    for model in (ParticleNet(), ParticleTransformer()):
        with pytest.raises(InputError, match="no collection of objects"):
            ModuleDef(model, inputs=4, outputs=1)
