"""Members of different architecture in one population."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from difftune.errors import InputError
from difftune.models import MLP, Alternatives, Hyperparameter
from difftune.training import ModuleDef
from tests.training import toy


class Residual(nnx.Module):
    """What an MLP cannot be: a network with a way past its hidden layer, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(inputs, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.last = nnx.Linear(6, inputs, rngs=rngs)
        self.output = nnx.Linear(inputs, outputs, rngs=rngs)
        self.scale = Hyperparameter.named("scale", 1.0)

    def __call__(self, x):
        hidden = jnp.tanh(self.norm(self.first(x)))
        return self.output(x + self.scale[...] * self.last(hidden))


MODELS = (MLP(hidden=(8,), dropout=0.2), Residual, MLP(hidden=(5, 5), normalisation="batch"))
CHOSEN = np.array([0, 1, 2, 1], np.float32)
GIVEN = {"learning_rate": np.full(4, 3e-3), "model": CHOSEN}


def module_def(model):
    return ModuleDef(model, inputs=4, outputs=1)


def start(both: ModuleDef, weights, index: int):
    """The part of the weights that belongs to one of the networks."""

    def own(state):
        flat = nnx.to_flat_state(state)
        return nnx.from_flat_state(
            [(path[2:], leaf) for path, leaf in flat if path[:2] == ("networks", index)]
        )

    return weights._replace(parameters=own(weights.parameters), buffers=own(weights.buffers))


@functools.cache
def population_of(chosen: int):
    """One of the networks alone, compiled once."""
    return toy.population(model=MODELS[chosen])


@pytest.mark.slow
@pytest.mark.parametrize(
    "together",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["one by one", "side by side"],
)
@pytest.mark.usefixtures("nothing_shared")
def test_each_member_trains_as_the_network_alone(monkeypatch, together):
    for module in ("devices", "programs", "population"):
        monkeypatch.setattr(
            f"difftune.training.{module}.runs_one_by_one", lambda devices: not together
        )
    everybody = toy.population(model=Alternatives(models=MODELS))
    both = everybody.module_def
    begin = jax.device_get(everybody.init(GIVEN))
    end, records = toy.train(everybody, GIVEN, 1)
    for slot, chosen in enumerate(CHOSEN.astype(int)):
        # Dropout, of the first, draws from the network's own stream, whose number is another here.
        if chosen != 0:
            # The same start values and keys in each slot, and nothing else.
            given = {"learning_rate": GIVEN["learning_rate"]}
            alone = population_of(chosen)
            mine = start(both, begin.weights, chosen)
            state = alone.init(given)._replace(weights=jax.tree.map(jnp.asarray, mine))
            _, expected = toy.train(alone, given, 1, state)
            # A bias ahead of a batch normalisation has a gradient of rounding alone, which Adam
            # makes whole steps of; averages over batches, with which one validates, lag behind it.
            np.testing.assert_allclose(
                records.validation_loss[:, slot], expected.validation_loss[:, slot], rtol=3e-3
            )
        for other in set(range(len(MODELS))) - {chosen}:
            for before, after in zip(
                toy.member(start(both, begin.weights, other), slot),
                toy.member(start(both, end.weights, other), slot),
                strict=True,
            ):
                np.testing.assert_array_equal(before, after)


def test_the_choice_goes_with_the_weights():
    both = module_def(Alternatives(models=MODELS))
    assert "model" in both.inherited
    # Without a choice it is the first.
    weights = jax.jit(both.init)(jax.random.key(0))
    alone = module_def(MODELS[0])
    x = jnp.asarray(toy.columns(512).features)
    np.testing.assert_allclose(
        jax.jit(both.evaluate)(weights, {}, x),
        jax.jit(alone.evaluate)(start(both, weights, 0), {}, x),
        rtol=1e-6,
    )


def test_one_network_is_no_choice():
    with pytest.raises(InputError, match="at least two"):
        Alternatives(models=[MLP()])
