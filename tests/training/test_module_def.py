import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from difftune.errors import InputError
from difftune.models import MLP, Hyperparameter
from difftune.training import ModuleDef
from difftune.training.module_def import Weights

X = jnp.asarray(np.random.default_rng(0).normal(size=(40, 4)), jnp.float32)


class Own(nnx.Module):
    """A user's network, with flax's own dropout and batch normalisation."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(inputs, 30, rngs=rngs)
        self.norm = nnx.BatchNorm(30, momentum=0.5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.output = nnx.Linear(30, outputs, rngs=rngs)
        self.slope = Hyperparameter.named("slope", 1.0)

    def __call__(self, x):
        x = self.slope[...] * self.dropout(jax.nn.relu(self.norm(self.hidden(x))))
        return self.output(x)


@pytest.mark.parametrize(("model", "outputs"), [(MLP(hidden=(6,), dropout=0.5), 1), (Own, 3)])
def test_evaluation_is_the_network_itself(model, outputs):
    module_def, key = ModuleDef(model, inputs=4, outputs=outputs), jax.random.key(3)
    network = model(4, outputs, rngs=nnx.Rngs(key))
    network.eval()
    expected = network(X)[:, 0] if outputs == 1 else network(X)
    scores = module_def.evaluate_jit(module_def.init(key), {}, X)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


def test_keys_decide_the_start_values():
    module_def = ModuleDef(Own, inputs=4, outputs=1)
    same, again, other = (module_def.init(jax.random.key(k)) for k in (0, 0, 1))
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(
        same.parameters["hidden"]["kernel"][...], other.parameters["hidden"]["kernel"][...]
    )


def test_training_mode_of_a_users_network():
    module_def = ModuleDef(Own, inputs=4, outputs=1)
    weights = module_def.init(jax.random.key(0))
    random = module_def.random_state(jax.random.key(1))
    first, buffers, random_after = module_def.train(weights, {}, X, random)
    again, *_ = module_def.train(weights, {}, X, random)
    later, *_ = module_def.train(weights, {}, X, random_after)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, later)
    other, *_ = module_def.train(weights, {}, X, module_def.random_state(jax.random.key(2)))
    assert not np.allclose(first, other)

    # One step of the moving average, from 0 with momentum one half.
    kernel, bias = (weights.parameters["hidden"][name][...] for name in ("kernel", "bias"))
    z = np.asarray(X, np.float64) @ np.asarray(kernel) + np.asarray(bias)
    np.testing.assert_allclose(buffers["norm"]["mean"][...], 0.5 * z.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(weights.buffers["norm"]["mean"][...], 0.0)
    moved = module_def.evaluate(Weights(weights.parameters, buffers), {}, X)
    assert not np.allclose(moved, module_def.evaluate(weights, {}, X))


def test_hyperparameters_reach_the_network():
    module_def = ModuleDef(Own, inputs=4, outputs=1)
    weights = module_def.init(jax.random.key(0))
    bias = weights.parameters["output"]["bias"][...]
    plain, tripled = (
        module_def.evaluate(weights, {"slope": jnp.float32(s)}, X) for s in (1.0, 3.0)
    )
    np.testing.assert_array_equal(plain, module_def.evaluate(weights, {}, X))
    np.testing.assert_allclose(tripled - bias, 3.0 * (plain - bias), rtol=1e-4, atol=1e-6)


class Flat(Own):
    def __call__(self, x):
        return super().__call__(x)[:, 0]


class Pair(Own):
    def __call__(self, x):
        return super().__call__(x), x


def no_module(inputs, outputs, *, rngs):
    return lambda x: x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (no_module, "made a function, not a flax.nnx.Module"),
        (Flat, r"\[2, 4\] to \[2\].*logits \[2, 1\] are needed"),
        (Pair, r"\[2, 4\] to a tuple.*logits \[2, 1\] are needed"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        ModuleDef(model, inputs=4, outputs=1)
