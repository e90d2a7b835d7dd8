"""An equal recipe trains in the programs of the one before; a user's function gets its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from difftune.models import MLP, PlainOutputs
from difftune.objectives import (
    AsimovLLR,
    CrossEntropy,
    DiscoverySignificance,
    FitModel,
    MetricOf,
    Significance,
)
from difftune.sharing import may_share
from difftune.training import ModuleDef, Recipe, optimizer
from difftune.training.programs import known_programs
from tests.training import toy

SCALE = 1.0


def scaled_loss(scores, batch, hyperparameters, parameters):
    """A user's loss that depends on a number of its module."""
    del hyperparameters, parameters
    return SCALE * jnp.mean(batch.training_weight * jax.nn.softplus(scores))


class ScaledFit(DiscoverySignificance):
    """A user's loss through the fit that does."""

    def of_model(self, model):
        return SCALE * super().of_model(model)


class Scaled(nnx.Module):
    """A user's network that does."""

    def __init__(self, inputs, outputs, *, rngs):
        self.layer = nnx.Linear(inputs, outputs, rngs=rngs)

    def __call__(self, x):
        return SCALE * self.layer(x)


def fit_model():
    return FitModel(bins=3, mc_statistics=False)


def trained(**options):
    """Scores of three members after an epoch."""
    population = toy.population(members=3, **options)
    _, record = population.run({"learning_rate": np.full(3, 1e-3)}, epochs=1)
    return record


@pytest.mark.parametrize(
    "options",
    [
        lambda: {},
        lambda: {"objective": AsimovLLR(bins=4), "optimizer": optimizer("sgd", "adam")},
        lambda: {"objective": DiscoverySignificance(model=fit_model())},
    ],
    ids=["cross-entropy", "counting", "through the fit"],
)
def test_an_equal_recipe_compiles_nothing_and_gives_the_same_numbers(options, compilations):
    known_programs.cache_clear()
    first = trained(**options())
    assert compilations
    compilations.clear()
    # Other objects, and other chance, which is not in the programs.
    trained(**options(), seed=6)
    again = trained(**options())
    assert compilations == []
    known_programs.cache_clear()
    for one, other in zip(*map(jax.tree.leaves, (first, again)), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(*map(jax.tree.leaves, (first, trained(**options()))), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "options",
    [
        lambda: {"objective": scaled_loss},
        lambda: {"objective": ScaledFit(model=fit_model())},
        lambda: {"metric": -1.0 * ScaledFit(model=fit_model())},
        # Its program is shared by networks of all kinds.
        lambda: {"metric": MetricOf(objective=ScaledFit(model=fit_model()), power=0.5)},
        lambda: {"model": Scaled},
    ],
    ids=["function", "through the fit", "metric", "shared metric", "model"],
)
def test_what_a_users_function_finds_outside_of_itself_may_change(options, monkeypatch):
    before = trained(**options())
    monkeypatch.setattr(f"{__name__}.SCALE", 3.0)
    after = trained(**options())
    assert not np.allclose(before.score, after.score, rtol=1e-3) or not np.allclose(
        before.loss, after.loss, rtol=1e-3
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MLP(hidden=(4,)), True),
        (CrossEntropy() + 2.0 * AsimovLLR(bins=3), True),
        (Significance(bins=3), True),
        (FitModel(bins=3), True),
        (optimizer("adam", "sgd"), True),
        (Recipe().overtraining, True),
        (scaled_loss, False),
        (ScaledFit(), False),
        (Recipe(objective=scaled_loss).objective, False),
        (2.0 * Recipe(objective=scaled_loss).objective, False),
        (CrossEntropy() + 1.0 * ScaledFit(), False),
        (Scaled, False),
        # It cannot be compared.
        (Recipe(hyperparameters={"dropout": 0.1}), False),
        (jnp.ones(2), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_be_shared(value, expected):
    assert may_share(value) == expected


def test_networks_of_the_same_users_model_are_not_the_same():
    """Nor are then the smaller ones for events of few objects."""
    for model, same in ((MLP(hidden=(4,)), True), (Scaled, False)):
        one, other = (ModuleDef(model, inputs=4, outputs=1) for _ in range(2))
        assert one == one
        assert (one == other) == same
        assert hash(one) == hash(other)
    values, logits = (
        ModuleDef(MLP(hidden=(4,)), inputs=4, outputs=outputs) for outputs in (PlainOutputs(1), 1)
    )
    assert values != logits
