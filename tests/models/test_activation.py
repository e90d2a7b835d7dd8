import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from difftune.models import ACTIVATIONS, MLP
from difftune.models.parts import chosen_activation
from difftune.training import ModuleDef

NAMES = tuple(sorted(ACTIVATIONS))
INDICES = jnp.arange(len(NAMES))
X = jnp.asarray(np.random.default_rng(0).normal(scale=2.0, size=(len(NAMES), 40)), jnp.float32)
chosen = chosen_activation(NAMES)


def sum_and_gradient(function):
    # With weights, so that a gradient at the wrong place shows.
    return jax.value_and_grad(lambda x: (function(x) * jnp.arange(x.size)).sum())


def expected():
    @jax.jit
    def each(x):
        pairs = zip(NAMES, x, strict=True)
        return [(ACTIVATIONS[n](row), *sum_and_gradient(ACTIVATIONS[n])(row)) for n, row in pairs]

    return each(X)


@pytest.mark.parametrize(
    "mapped",
    [
        lambda f: [f(i, x) for i, x in zip(INDICES, X, strict=True)],
        lambda f: jax.vmap(f)(INDICES, X),
        lambda f: jax.lax.map(lambda pair: f(*pair), (INDICES, X)),
    ],
    ids=["alone", "vmap", "map"],
)
def test_values_and_gradients_are_those_of_the_activation_itself(mapped):
    own = lambda i, x: (chosen(i, x), *sum_and_gradient(lambda x: chosen(i, x))(x))  # noqa: E731
    found = mapped(jax.jit(own))
    rows = found if isinstance(found, list) else list(zip(*found, strict=True))
    for name, (values, total, gradient), (plain, sum_, derivative) in zip(
        NAMES, rows, expected(), strict=True
    ):
        np.testing.assert_allclose(values, plain, rtol=1e-6, atol=1e-7, err_msg=name)
        np.testing.assert_allclose(total, sum_, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(gradient, derivative, rtol=1e-5, atol=1e-5, err_msg=name)


def test_only_index_and_input_are_kept_for_the_derivative():
    def kept(function):
        _, pull_back = jax.vjp(function, X)
        return sum(np.size(leaf) for leaf in jax.tree.leaves(pull_back))

    assert kept(lambda x: chosen(jnp.int32(1), x)) <= X.size + 1
    functions = [ACTIVATIONS[name] for name in NAMES]

    # What the hand-written derivative is for.
    @jax.jit
    def plain(index, x):
        return jax.lax.switch(index, functions, x)

    assert kept(lambda x: plain(jnp.int32(1), x)) > 2 * X.size


@pytest.mark.parametrize("normalisation", ["none", pytest.param("batch", marks=pytest.mark.slow)])
def test_a_choice_is_the_plain_recipe(normalisation):
    names, features, key = ("relu", "tanh", "silu"), X[:, :4], jax.random.key(3)

    def gradient(activation, hyperparameters):
        model = MLP(hidden=(7, 4), activation=activation, normalisation=normalisation)
        module_def = ModuleDef(model, inputs=4, outputs=1)
        weights = module_def.init(key, hyperparameters)
        random = module_def.random_state(key)

        def loss(parameters):
            z, *_ = module_def.train(
                weights._replace(parameters=parameters), hyperparameters, features, random
            )
            return jnp.square(z - 1.0).sum()

        return jax.value_and_grad(loss)(weights.parameters)

    indices = jnp.arange(3, dtype=jnp.float32)
    found = jax.jit(
        lambda indices: jax.lax.map(lambda i: gradient(names, {"activation": i}), indices)
    )(indices)
    for number, name in enumerate(names):
        expected = jax.jit(functools.partial(gradient, name, {}))()
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a[number], b, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_first_is_the_default():
    key = nnx.Rngs(0), nnx.Rngs(0)
    choice = MLP(hidden=(7,), activation=("silu", "tanh"))(4, 1, rngs=key[0])
    plain = MLP(hidden=(7,), activation="silu")(4, 1, rngs=key[1])
    np.testing.assert_array_equal(choice(X[:, :4]), plain(X[:, :4]))
