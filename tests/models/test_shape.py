"""A member of any shape is the network made with that shape, and trains like it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from difftune.models import ACTIVATIONS, MLP, Hyperparameter
from difftune.training import ModuleDef
from difftune.training.module_def import Weights
from difftune.training.optimizers import penalised
from tests.models.plain import (
    INPUTS,
    L2,
    OPTIMIZER,
    X,
    Y,
    corner,
    flat,
    norms,
    plain,
    train_plain,
)

NAMES = ("tanh", "softplus", "silu")
# Softplus is the hard one: it is not 0 at 0.
MEMBERS = {
    "width_1": np.array([6, 4, 1, 5], np.float32),
    "width_2": np.array([6, 1, 5, 4], np.float32),
    "width_3": np.array([6, 3, 6, 2], np.float32),
    "depth": np.array([3, 2, 1, 3], np.float32),
    "activation": np.array([0, 1, 2, 1], np.float32),
}
COUNT = 4
STEPS = 30


def vmap(function):
    return jax.jit(jax.vmap(function))


def one_by_one(function):
    return jax.jit(lambda *members: jax.lax.map(lambda member: function(*member), members))


def kernel_norms(parameters):
    """Sums of magnitudes and of squares of the weight matrices."""
    kernels = [leaf for leaf in jax.tree.leaves(parameters) if leaf.ndim >= 2]
    return sum(jnp.abs(k).sum() for k in kernels), sum((k * k).sum() for k in kernels)


@functools.cache
def module_def(normalisation):
    model = MLP(hidden=(6, 6, 6), activation=NAMES, normalisation=normalisation)
    return ModuleDef(model, inputs=INPUTS, outputs=1)


def members(normalisation):
    # Of one or two units, normalisation over the layer leaves nothing but signs.
    least = 3 if normalisation == "layer" else 1
    return {
        name: jnp.maximum(values, least) if "width" in name else jnp.asarray(values)
        for name, values in MEMBERS.items()
    }


def widths_of(normalisation, i):
    values = members(normalisation)
    return tuple(int(values[f"width_{k + 1}"][i]) for k in range(int(values["depth"][i])))


def small_network(weights, normalisation, i):
    activation = ACTIVATIONS[NAMES[int(MEMBERS["activation"][i])]]
    return plain(flat(*weights), widths_of(normalisation, i), activation, normalisation)


def member(tree, i):
    return jax.tree.map(lambda a: a[i], tree)


@pytest.fixture
def double():
    """In double precision there is no rounding to allow for."""
    with jax.enable_x64(True):
        yield


def in_double(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)


@functools.cache
def noisy_weights(normalisation):
    """Numbers everywhere, also where the masks must keep them from acting."""
    rng = np.random.default_rng(3)
    return jax.tree.map(
        lambda a: a + jnp.asarray(rng.uniform(0.1, 0.7, (COUNT, *a.shape))),
        in_double(module_def(normalisation).init(jax.random.key(0))),
    )


def assert_only_corners(arrays, expected, **tolerance):
    """The corners that a small network has are those expected, and all else is exactly 0."""
    assert set(expected) <= set(arrays)
    for path, array in arrays.items():
        outside = array.copy()
        if path in expected:
            own = tuple(slice(length) for length in expected[path].shape)
            np.testing.assert_allclose(array[own], expected[path], **tolerance, err_msg=str(path))
            outside[own] = 0.0
        np.testing.assert_array_equal(outside, 0.0, err_msg=str(path))


@functools.cache
def small_step(normalisation, i):
    """What the small network gives: scores, logits in training, gradients, batch statistics."""
    small = small_network(member(noisy_weights(normalisation), i), normalisation, i)
    small.eval()
    scores = small(X)[:, 0]
    small.train()

    def loss(network):
        z = network(X)[:, 0]
        return optax.sigmoid_binary_cross_entropy(z, Y).mean(), z

    gradient, z = nnx.jit(nnx.grad(loss, has_aux=True))(small)
    return scores, z, flat(gradient), flat(nnx.state(small, nnx.BatchStat))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalisation", "together"),
    [
        ("none", vmap),
        ("batch", vmap),
        ("layer", vmap),
        ("none", one_by_one),
        ("batch", one_by_one),
    ],
)
def test_logits_and_gradients_are_those_of_the_small_network(normalisation, together, double):
    made = module_def(normalisation)
    weights = noisy_weights(normalisation)
    random = made.random_state(jax.random.key(1))

    def one(weights, hyperparameters):
        def loss(parameters):
            z, buffers, _ = made.train(
                Weights(parameters, weights.buffers), hyperparameters, X, random
            )
            return optax.sigmoid_binary_cross_entropy(z, Y).mean(), (z, buffers)

        gradient, (z, buffers) = jax.grad(loss, has_aux=True)(weights.parameters)
        return made.evaluate(weights, hyperparameters, X), z, gradient, buffers

    scores, z, gradient, buffers = together(one)(weights, members(normalisation))
    for i in range(COUNT):
        small_scores, small_z, small_gradient, statistics = small_step(normalisation, i)
        np.testing.assert_allclose(scores[i], small_scores, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(z[i], small_z, rtol=1e-9, atol=1e-9)
        assert_only_corners(flat(member(gradient, i)), small_gradient, rtol=1e-9, atol=1e-9)
        found = flat(member(buffers, i))
        for path, expected in statistics.items():
            np.testing.assert_allclose(corner(found[path], expected.shape), expected, rtol=1e-9)
            assert np.all(np.isfinite(found[path]))


@functools.cache
def start_weights(normalisation):
    keys = jax.random.split(jax.random.key(5), COUNT)
    return in_double(vmap(module_def(normalisation).init)(keys, members(normalisation)))


@functools.cache
def small_training(normalisation, i, l1):
    """The small network before and after it is trained alone, and its losses."""
    small = small_network(member(start_weights(normalisation), i), normalisation, i)
    before = kernels_of(small)
    losses = train_plain(small, STEPS, l1=l1)
    return before, kernels_of(small), losses, small(X)[:, 0]


def kernels_of(state):
    state = nnx.state(state) if isinstance(state, nnx.Module) else state
    return {path: array for path, array in flat(state).items() if path[-1] == "kernel"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalisation", "l1", "together"),
    [
        ("none", 0.0, vmap),
        ("batch", 0.0, vmap),
        ("layer", 0.0, vmap),
        ("none", 3e-3, vmap),
        ("batch", 0.0, one_by_one),
    ],
)
def test_training_is_that_of_the_small_network_alone(normalisation, l1, together, double):
    made = module_def(normalisation)
    random = made.random_state(jax.random.key(1))

    def one(start, hyperparameters):
        def step(carry, _):
            (parameters, buffers), state = carry

            def loss(parameters):
                z, new, _ = made.train(Weights(parameters, buffers), hyperparameters, X, random)
                return optax.sigmoid_binary_cross_entropy(z, Y).mean(), new

            (value, new), gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
            gradient = penalised(
                gradient, parameters, {"l1": jnp.asarray(l1), "l2": jnp.asarray(L2)}
            )
            l1_norm, l2_norm = kernel_norms(parameters)
            value = value + l1 * l1_norm + L2 * l2_norm
            updates, state = OPTIMIZER.update(gradient, state, parameters)
            return (Weights(optax.apply_updates(parameters, updates), new), state), value

        carry = (start, OPTIMIZER.init(start.parameters))
        (end, _), losses = jax.lax.scan(step, carry, length=STEPS)
        penalties = [kernel_norms(weights.parameters) for weights in (start, end)]
        return end.parameters, losses, made.evaluate(end, hyperparameters, X), penalties

    start = start_weights(normalisation)
    end, losses, scores, penalties = together(one)(start, members(normalisation))
    for i in range(COUNT):
        before, after, small_losses, small_scores = small_training(normalisation, i, l1)
        np.testing.assert_allclose(losses[i], small_losses, rtol=1e-9)
        assert small_losses[-1] < small_losses[0] - 0.01
        np.testing.assert_allclose(scores[i], small_scores, rtol=1e-8, atol=1e-8)
        for found, expected, both in zip(
            (start.parameters, end), (before, after), penalties, strict=True
        ):
            assert_only_corners(kernels_of(member(found, i)), expected, rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose(
                [norm[i] for norm in both], norms(expected.values()), rtol=1e-8
            )


def test_start_values_are_those_of_the_small_recipe():
    made = ModuleDef(MLP(hidden=(64, 64)), inputs=30, outputs=1)
    key = jax.random.key(11)
    hyperparameters = {"width_1": jnp.float32(48), "width_2": jnp.float32(20)}
    found = flat(jax.jit(made.init)(key, hyperparameters).parameters)
    small = nnx.jit(lambda key: MLP(hidden=(48, 20))(30, 1, rngs=nnx.Rngs(key)))(key)
    assert_only_corners(found, flat(nnx.state(small, nnx.Param)), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("together", [vmap, one_by_one])
def test_start_values_of_any_depth_are_those_of_the_small_recipe(together):
    made = ModuleDef(MLP(hidden=(6, 6, 6)), inputs=INPUTS, outputs=2)
    keys = jax.random.split(jax.random.key(5), COUNT)
    shapes = {name: values for name, values in MEMBERS.items() if name != "activation"}
    together_found = together(made.init)(keys, shapes)
    for i in range(COUNT):
        small = MLP(hidden=widths_of("none", i))(INPUTS, 2, rngs=nnx.Rngs(keys[i]))
        found = flat(member(together_found.parameters, i))
        assert_only_corners(found, flat(nnx.state(small, nnx.Param)), rtol=1e-6, atol=0)


def test_without_hyperparameters_start_values_are_those_of_the_recipe():
    model, key = MLP(hidden=(6, 6, 6), activation=NAMES), jax.random.key(2)
    network = flat(nnx.state(model(INPUTS, 1, rngs=nnx.Rngs(key)), nnx.Param))
    assert all(np.all(a != 0.0) for path, a in network.items() if path[-1] == "kernel")
    for found in (module_def("none").init(key), module_def("none").init(key, {})):
        for path, array in flat(found.parameters).items():
            np.testing.assert_array_equal(array, network[path])


def test_a_network_of_ones_own_starts_as_it_is_made():
    class Own(nnx.Module):
        def __init__(self, inputs, outputs, *, rngs):
            self.linear = nnx.Linear(inputs, outputs, rngs=rngs)
            self.slope = Hyperparameter.named("slope", 1.0)

        def __call__(self, x):
            return self.slope[...] * self.linear(x)

    made, key = ModuleDef(Own, inputs=INPUTS, outputs=1), jax.random.key(0)
    a, b = made.init(key), made.init(key, {"slope": jnp.float32(3.0)})
    np.testing.assert_array_equal(
        a.parameters["linear"]["kernel"][...], b.parameters["linear"]["kernel"][...]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "meant", "together"),
    [
        ({"width_1": [-2, 0, 9, 2.4]}, {"width_1": [1, 1, 6, 2]}, vmap),
        ({"depth": [-1, 0, 99, 1.6]}, {"depth": [1, 1, 3, 2]}, vmap),
        ({"activation": [-1, 7, 0.4, 1.7]}, {"activation": [0, 2, 0, 2]}, vmap),
        # An index of a branch, which is taken otherwise.
        ({"activation": [-1, 7, 0.4, 1.7]}, {"activation": [0, 2, 0, 2]}, one_by_one),
    ],
)
def test_what_is_out_of_range_is_moved_into_it(given, meant, together):
    made = module_def("none")

    def one(hyperparameters):
        return made.evaluate(made.init(jax.random.key(0), hyperparameters), hyperparameters, X)

    found, expected = (
        together(one)({name: np.asarray(v, np.float32) for name, v in values.items()})
        for values in (given, meant)
    )
    np.testing.assert_array_equal(found, expected)
    (values,) = meant.values()
    assert len(np.unique(np.round(expected, 5), axis=0)) == len(set(values))


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (MLP(hidden=(6, 6)), {"width_1", "width_2", "depth", "dropout"}),
        (MLP(hidden=(7, 4)), {"width_1", "width_2", "dropout"}),
        (MLP(hidden=(7, 4), activation=["tanh"]), {"width_1", "width_2", "dropout", "activation"}),
        (MLP(hidden=()), set()),
    ],
)
def test_what_can_be_searched(model, names):
    state = nnx.state(model(INPUTS, 1, rngs=nnx.Rngs(0)), Hyperparameter)
    found = {leaf.get_metadata()["hyperparameter"] for _, leaf in nnx.to_flat_state(state)}
    # What begins with an underscore is set by the engine.
    assert {name for name in found if not name.startswith("_")} == names


def test_a_shape_that_nobody_searches_is_compiled_as_before():
    made = module_def("layer")
    weights = made.init(jax.random.key(0))

    def program(hyperparameters):
        return str(jax.make_jaxpr(made.evaluate)(weights, hyperparameters, X))

    plain_program = program({})
    for primitive in ("cond[", "select_n"):
        assert primitive not in plain_program
    for name in MEMBERS:
        assert ("cond[" if "width" not in name else "select_n") in program({name: jnp.float32(1)})


def test_dropout_keeps_its_rate_among_the_live_units():
    rate, width = 0.3, 120
    network = MLP(hidden=(200,), dropout=rate, activation="softplus")(INPUTS, 200, rngs=nnx.Rngs(0))
    network.width[0][...] = jnp.float32(width)
    network.output.kernel[...] = jnp.eye(200)
    scored = nnx.jit(lambda network: network(X))
    network.eval()
    kept = np.asarray(scored(network))
    network.train()
    found = np.asarray(scored(network))
    np.testing.assert_array_equal(found[:, width:], 0.0)
    live = found[:, :width]
    dropped = live == 0.0
    assert abs(dropped.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / live.size)
    np.testing.assert_allclose(live[~dropped], kept[:, :width][~dropped] / (1 - rate), rtol=1e-5)
