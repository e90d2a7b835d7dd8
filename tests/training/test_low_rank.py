"""Matrices moved by products of vectors: against the same matrices, formed by numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.models import MLP
from difftune.training.low_rank import LowRank, evaluated
from difftune.training.module_def import ModuleDef


def moved(key, matrix, rank):
    """A matrix, or a stack of them, moved at random; and the same formed."""
    *stack, rows, columns = matrix.shape
    left, right = (
        jax.random.normal(jax.random.fold_in(key, i), (*stack, rank, size))
        for i, size in enumerate((rows, columns))
    )
    formed = np.asarray(matrix) + np.swapaxes(left, -1, -2) @ np.asarray(right)
    return LowRank(matrix, left, right), jnp.asarray(formed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        MLP(hidden=(8, 7), activation="tanh", dropout=0.3),
        MLP(hidden=(6, 6), submodels=3),
        MLP(hidden=(6, 6), embedding="periodic", normalisation="batch"),
    ],
)
@pytest.mark.parametrize("hyperparameters", [{}, {"depth": 1.0}])
def test_a_network_is_that_of_the_formed_matrices(model, hyperparameters):
    network = ModuleDef(model, inputs=5, outputs=1)
    weights = network.init(jax.random.key(0))
    random = network.random_state(jax.random.key(1))
    features = jax.random.normal(jax.random.key(2), (9, 5))
    leaves, tree = jax.tree.flatten(weights.parameters)
    both = [
        moved(jax.random.key(i), leaf, 2) if leaf.ndim >= 2 else (leaf, leaf)
        for i, leaf in enumerate(leaves)
    ]
    assert sum(isinstance(leaf, LowRank) for leaf, _ in both) >= 3
    products, formed = (jax.tree.unflatten(tree, each) for each in zip(*both, strict=True))

    def trained(parameters, depth):
        return network.train(weights._replace(parameters=parameters), depth, features, random)

    found = jax.jit(lambda depth: evaluated(lambda p: trained(p, depth), products))(hyperparameters)
    wanted = jax.jit(trained)(formed, hyperparameters)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5),
        found[:2],
        wanted[:2],
    )


def test_matrices_are_not_formed():
    """Neither one of them nor that of each perturbation; and x W is one product for all."""
    network = ModuleDef(MLP(hidden=(8, 7)), inputs=5, outputs=1)
    weights = network.init(jax.random.key(0))
    random = network.random_state(jax.random.key(1))
    features = jnp.ones((9, 5))
    leaves, tree = jax.tree.flatten(weights.parameters)

    def one(factors):
        tried = [LowRank(leaf, *f) if f else leaf for leaf, f in zip(leaves, factors, strict=True)]

        def logits(parameters):
            return network.train(weights._replace(parameters=parameters), {}, features, random)[0]

        return evaluated(logits, jax.tree.unflatten(tree, tried))

    factors = [
        tuple(jnp.ones((4, 1, size)) for size in leaf.shape) if leaf.ndim == 2 else ()
        for leaf in leaves
    ]
    program = jax.make_jaxpr(jax.vmap(one))(factors)
    shapes = {each.aval.shape for equation in program.eqns for each in equation.outvars}
    for leaf in leaves:
        if leaf.ndim == 2:
            assert leaf.shape not in {shape[-2:] for shape in shapes}
    products = [e for e in program.eqns if e.primitive.name == "dot_general"]
    kernels = {leaf.shape for leaf in leaves if leaf.ndim == 2}
    shared = [e for e in products if e.invars[1].aval.shape in kernels]
    assert len(shared) == 3
    assert not any(e.params["dimension_numbers"][1][1] for e in shared)


def test_products_over_rows_and_over_columns():
    """Within a compiled function, too; what else is made of a matrix is that of the formed one."""
    product, formed = moved(jax.random.key(0), jnp.arange(12.0).reshape(3, 4), 1)

    @jax.jit
    def inner(matrix, x, y):
        columns = jax.lax.dot_general(y, matrix, (((1,), (1,)), ((), ())))
        return x @ matrix, columns, matrix @ y[0], jnp.sum(matrix**2), matrix

    x, y = jnp.ones((2, 3)), jnp.ones((2, 4))
    found = evaluated(lambda p: inner(p["w"], x, p["y"]), {"w": product, "y": y})
    for one, other in zip(found, inner(formed, x, y), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
