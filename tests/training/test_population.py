"""Training itself, against a loop that is written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from difftune.errors import InputError
from difftune.models import MLP
from difftune.objectives import CategoricalCrossEntropy, CrossEntropy
from difftune.training import STOPPED, optimizer
from difftune.training import devices as devices_module
from difftune.training import population as population_module
from difftune.training.state import (
    LOSS_NOT_FINITE,
)
from tests.training import toy
from tests.training.test_module_def import Own

BATCH = 64
EPOCHS = 2
# One member for each hyperparameter, one with all of them, one with none.
CHANGED = [
    {},
    {"learning_rate": 0.0},
    {"learning_rate": 2e-2},
    {"beta1": 0.5, "beta2": 0.9},
    {"epsilon": 1e-2},
    {"l1": 3e-2},
    {"l2": 3e-2},
    {"batch_size": 20.0},
    {"signal_weight": 4.0},
    {"gradient_clip": 0.05},
    {"schedule": 1.0},
    {"schedule": 2.0},
    {"optimizer": 1.0, "weight_decay": 0.1},
    {"optimizer": 2.0, "momentum": 0.7},
    {"optimizer": 3.0, "rms_decay": 0.8},
    {"learning_rate": 3e-3, "beta1": 0.7, "l1": 1e-2, "l2": 1e-2, "batch_size": 33.0}
    | {"signal_weight": 0.3, "label_smoothing": 0.1, "schedule": 1.0, "gradient_clip": 0.3},
]
DEFAULTS = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "l1": 0.0}
DEFAULTS |= {"l2": 0.0, "batch_size": BATCH, "signal_weight": 1.0, "label_smoothing": 0.0}
DEFAULTS |= {"gradient_clip": 1e9, "schedule": 0.0, "optimizer": 0.0, "weight_decay": 0.01}
DEFAULTS |= {"momentum": 0.9, "rms_decay": 0.9}
MEMBERS = [DEFAULTS | changed for changed in CHANGED]


@pytest.fixture(scope="module")
def trained():
    kinds = optimizer("adam", "adamw", "sgd", "rmsprop")
    population = toy.population(members=len(MEMBERS), batch_size=(BATCH, 20, 33), optimizer=kinds)
    given = {name: np.array([m[name] for m in MEMBERS], float) for name in DEFAULTS}
    start = jax.tree.map(np.array, jax.device_get(population.init(given)))
    end, records = toy.train(population, given, EPOCHS)
    return population, start, end, records


def parameters(state, slot: int) -> dict[str, np.ndarray]:
    own = jax.tree.map(lambda leaf: np.asarray(leaf)[slot], state.weights.parameters)
    hidden, output = own["linear"][0], own["output"]
    return {
        "k1": hidden["kernel"][...],
        "b1": hidden["bias"][...],
        "k2": output["kernel"][...],
        "b2": output["bias"][...],
    }


def forward(p, x):
    return (jnp.maximum(x @ p["k1"] + p["b1"], 0.0) @ p["k2"] + p["b2"])[:, 0]


def loss(p, h, x, y, w):
    z = forward(p, x)
    target = y * (1 - h["label_smoothing"]) + h["label_smoothing"] / 2
    entropy = target * jnp.logaddexp(0, -z) + (1 - target) * jnp.logaddexp(0, z)
    l1 = sum(jnp.abs(p[k]).sum() for k in ("k1", "k2"))
    l2 = sum((p[k] * p[k]).sum() for k in ("k1", "k2"))
    weight = w * jnp.where(y == 1, h["signal_weight"], 1.0)
    return jnp.mean(weight * entropy) + h["l1"] * l1 + h["l2"] * l2


def optax_of(h: dict, steps: int) -> optax.GradientTransformation:
    """The member's optimizer as a user of optax writes it."""
    rate = h["learning_rate"]
    # In thousandths of a step: optax puts the peak on a whole number of them.
    one_cycle = optax.cosine_onecycle_schedule(1000 * steps, rate, div_factor=25.0)
    schedule = {
        0: rate,
        1: optax.cosine_decay_schedule(rate, steps),
        2: lambda count: one_cycle(1000 * count),
    }[int(h["schedule"])]
    kernels = {"k1": True, "b1": False, "k2": True, "b2": False}
    rule = [
        optax.adam(schedule, h["beta1"], h["beta2"], h["epsilon"]),
        optax.adamw(schedule, weight_decay=h["weight_decay"], mask=kernels),
        optax.sgd(schedule, momentum=h["momentum"]),
        optax.rmsprop(schedule, decay=h["rms_decay"], eps=h["epsilon"]),
    ][int(h["optimizer"])]
    return optax.chain(optax.clip_by_global_norm(h["gradient_clip"]), rule)


def reference(start: dict, h: dict, data) -> dict:
    """One network alone, in batches of its own size."""
    size = int(h["batch_size"])
    rule = optax_of(h, EPOCHS * (len(data.weight) // size))

    @jax.jit
    def step(p, state, x, y, w):
        updates, state = rule.update(jax.grad(loss)(p, h, x, y, w), state, p)
        return optax.apply_updates(p, updates), state

    p, state = start, rule.init(start)
    for epoch in range(EPOCHS):
        batches = toy.batches(data, size, seed=5, epoch=epoch)
        for x, y, w in zip(batches.features, batches.label, batches.training_weight, strict=True):
            p, state = step(p, state, x, y, w)
    return p


@pytest.mark.parametrize("slot", range(len(MEMBERS)), ids=lambda i: "+".join(CHANGED[i]) or "none")
def test_each_hyperparameter_acts_as_defined(trained, slot):
    population, start, end, _ = trained
    expected = reference(parameters(start, slot), MEMBERS[slot], population.train)
    for name, array in parameters(end, slot).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=2e-5, err_msg=name)
    if "learning_rate" in CHANGED[slot] and MEMBERS[slot]["learning_rate"] == 0.0:
        np.testing.assert_array_equal(parameters(end, slot)["k1"], parameters(start, slot)["k1"])
    elif slot:
        # Were the hyperparameter not read, this would be the network of the defaults.
        ignored = reference(parameters(start, slot), MEMBERS[0], population.train)
        assert np.abs(parameters(end, slot)["k1"] - ignored["k1"]).max() > 1e-3


def test_members_start_differently(trained):
    _, start, *_ = trained
    kernels = [parameters(start, slot)["k1"].ravel() for slot in range(len(MEMBERS))]
    assert np.abs(np.corrcoef(kernels) - np.eye(len(MEMBERS))).max() < 0.75


def test_records_are_those_of_the_networks(trained):
    population, _, end, records = trained
    data, slot = population.validation, 3
    z = forward(parameters(end, slot), data.features)
    entropy = np.where(data.label == 1, np.logaddexp(0, -z), np.logaddexp(0, z))
    expected = np.mean(data.training_weight * entropy)
    assert records.validation_loss[-1, slot] == pytest.approx(expected, rel=1e-4)
    # The signal weight of a member is no part of the yardstick, but its smoothing of labels is.
    slot = 8
    z = forward(parameters(end, slot), data.features)
    entropy = np.where(data.label == 1, np.logaddexp(0, -z), np.logaddexp(0, z))
    expected = np.mean(data.training_weight * entropy)
    assert records.validation_loss[-1, slot] == pytest.approx(expected, rel=1e-4)
    # A member that does not learn has the loss of its start values on the training events.
    z = forward(parameters(end, 1), population.train.features)
    entropy = np.where(population.train.label == 1, np.logaddexp(0, -z), np.logaddexp(0, z))
    expected = np.mean(population.train.training_weight * entropy)
    np.testing.assert_allclose(records.loss[:, 1], expected, rtol=1e-4)


def test_scores_are_those_of_the_best_networks(trained):
    population, _, end, _ = trained
    features = population.validation.features[:50]
    logits = population.scores(end.best, features)
    assert logits.shape == (len(MEMBERS), 50)
    for slot in np.flatnonzero(end.best.epoch == EPOCHS - 1):
        expected = forward(parameters(end, slot), features)
        np.testing.assert_allclose(logits[slot], expected, rtol=1e-4, atol=1e-5)
    assert np.any(end.best.epoch == EPOCHS - 1)


@pytest.fixture(scope="module")
def alone():
    """Three epochs of the shared population."""
    return toy.train(toy.shared(), toy.GIVEN, 3)


def test_neighbours_do_not_matter(alone):
    state, records = alone
    others = {name: values[::-1].copy() for name, values in toy.GIVEN.items()}
    others = {n: np.where([0, 0, 1, 0], toy.GIVEN[n], values) for n, values in others.items()}
    assert not np.array_equal(others["dropout"], toy.GIVEN["dropout"])
    changed, changed_records = toy.train(toy.shared(), others, 3)
    for a, b in zip(toy.member(state, 2), toy.member(changed, 2), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(records.score[:, 2], changed_records.score[:, 2])
    assert not np.array_equal(records.score[:, 0], changed_records.score[:, 0])


@pytest.mark.usefixtures("nothing_shared")
def test_members_run_together_as_they_do_one_by_one(alone, monkeypatch):
    """An accelerator maps over the members at once; here both ways run on one platform."""
    state, records = alone
    monkeypatch.setattr(devices_module, "runs_one_by_one", lambda _: False)
    monkeypatch.setattr(population_module, "runs_one_by_one", lambda _: False)
    population = toy.population()
    together, together_records = toy.train(population, toy.GIVEN, 3)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(records.score, together_records.score, rtol=1e-3)

    # Two are out: the two that are left train in a program of their own, and are who they were.
    expected, _ = toy.train(population, toy.GIVEN, 1, jax.tree.map(np.array, together), first=3)
    together.status[[0, 2]] = STOPPED
    before = jax.tree.map(np.array, together)
    after, _ = toy.train(population, toy.GIVEN, 1, together, first=3)
    for slot, same in ((0, before), (2, before), (1, expected), (3, expected)):
        for a, b in zip(toy.member(same, slot), toy.member(after, slot), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_who_is_out_costs_nothing(alone):
    """Its record stays as it was, for it is not even evaluated."""
    state = jax.tree.map(np.array, alone[0])
    state.status[1] = STOPPED
    state.record.score[1] = 123.0
    after, records = toy.train(toy.shared(), toy.GIVEN, 1, state, first=3)
    assert records.score[0, 1] == 123.0
    assert after.status.tolist() == [0, STOPPED, 0, 0]


def test_a_plateau_reduces_the_rate():
    """Nothing gets better without learning, so the rate falls after every second epoch."""
    population = toy.population(members=3, patience=100)
    given = {
        "learning_rate": np.array([0.0, 0.0, 1e-2]),
        "plateau_factor": np.array([0.5, 0.1, 0.5]),
        "plateau_patience": np.array([2.0, 3.0, 2.0]),
    }
    state, records = toy.train(population, given, 7)
    # The first epoch sets the best, and six have passed since.
    np.testing.assert_allclose(state.rate[:2], [0.5**3, 0.1**2], rtol=1e-6)
    best, expected, stale = -np.inf, 1.0, 0
    for score in records.score[:, 2]:
        best, stale = (score, 0) if score > best else (best, stale + 1)
        expected *= 0.5 if stale and stale % 2 == 0 else 1.0
    assert state.rate[2] == pytest.approx(expected)


def test_the_reduced_rate_is_that_of_the_steps(alone):
    state, _ = alone
    reduced = jax.tree.map(np.array, state)._replace(rate=np.full(4, 0.25, np.float32))
    halved = toy.GIVEN | {"learning_rate": toy.GIVEN["learning_rate"] / 4}
    start = jax.tree.map(np.array, state)
    a, _ = toy.train(toy.shared(), toy.GIVEN, 1, reduced, first=3)
    b, _ = toy.train(toy.shared(), halved, 1, start, first=3)
    for x, y in zip(jax.tree.leaves(a.weights), jax.tree.leaves(b.weights), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


SHAPES = [
    {},
    {"width_1": 5.0, "width_2": 3.0},
    {"depth": 1.0, "activation": 1.0},
    {"width_1": 4.0, "depth": 1.0},
    {"width_2": 6.0, "activation": 1.0},
]


@pytest.fixture(scope="module")
def of_all_shapes():
    names = {"width_1": 8.0, "width_2": 8.0, "depth": 2.0, "activation": 0.0}
    given = {
        name: np.array([shape.get(name, default) for shape in SHAPES])
        for name, default in names.items()
    }
    given["learning_rate"] = np.full(len(SHAPES), 1e-2)
    given["l2"] = np.full(len(SHAPES), 1e-3)
    recipe = MLP(hidden=(8, 8), activation=("relu", "tanh"), normalisation="layer")
    population = toy.population(members=len(SHAPES), model=recipe)
    population.check(set(given))
    return recipe, *toy.train(population, given, EPOCHS)


@pytest.mark.parametrize(
    "slot",
    # By default the whole network, and one that is smaller and has another activation.
    [
        0,
        *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, len(SHAPES) - 1)),
        len(SHAPES) - 1,
    ],
    ids=["+".join(shape) or "none" for shape in SHAPES],
)
def test_a_small_network_is_the_one_that_is_trained_alone(of_all_shapes, slot):
    recipe, _, records = of_all_shapes
    own = recipe.for_member(SHAPES[slot])
    if slot:
        assert own.hidden != (8, 8) or own.activation != "relu"
    # Alone, in its own shape and slot: whoever is beside it is of that shape too.
    population = toy.population(members=len(SHAPES), model=own)
    given = {"learning_rate": np.full(len(SHAPES), 1e-2), "l2": np.full(len(SHAPES), 1e-3)}
    _, alone = toy.train(population, given, EPOCHS)
    # An event that changes its bin moves the score.
    for name, tolerance in (("loss", 1e-3), ("validation_loss", 1e-3), ("score", 0.02)):
        one, other = getattr(records, name)[:, slot], getattr(alone, name)[:, slot]
        np.testing.assert_allclose(one, other, rtol=tolerance, err_msg=name)
        assert len(set(getattr(records, name)[-1].tolist())) == len(SHAPES)


def test_unknown_optimizers_are_refused():
    with pytest.raises(InputError, match=r"'adm'\) is unknown.*Did you mean 'adam'"):
        optimizer("adm")
    with pytest.raises(InputError, match="needs a kind"):
        optimizer()


def test_dropout_differs_from_member_to_member(alone):
    same = {name: np.full(4, values[3]) for name, values in toy.GIVEN.items()}
    population = toy.shared()
    start = population.init(same)
    # Four copies of one network, told apart by their random streams alone.
    start = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[:1], 4, 0), jax.device_get(start))
    _, records = toy.train(population, same, 1, start)
    assert len(set(records.loss[0].tolist())) == 4
    again = {name: values.copy() for name, values in same.items()}
    again["dropout"][:] = 0.0
    _, records = toy.train(population, again, 1, start)
    assert len(set(records.loss[0].tolist())) == 1


def test_a_diverging_member_is_set_aside_and_harms_nobody(alone):
    healthy, healthy_records = alone
    population = toy.shared()
    wild = toy.GIVEN | {"learning_rate": np.array([1e-3, 1e30, 1e-2, 3e-3])}
    before, _ = toy.train(population, toy.GIVEN, 1)
    state, records = toy.train(population, wild, 2, jax.tree.map(np.array, before), first=1)

    for slot in (0, 2, 3):
        for a, b in zip(toy.member(healthy, slot), toy.member(state, slot), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(healthy_records.score[1:, slot], records.score[:, slot])
    assert state.status.tolist() == [0, LOSS_NOT_FINITE, 0, 0]
    assert not records.eligible[:, 1].any()
    for name in ("loss", "validation_loss", "score", "train_score"):
        assert np.isnan(getattr(records, name)[:, 1]).all()
    # What it was worth before is kept, and it stays where it was stopped.
    assert state.best.epoch[1] == 0
    assert state.best.score[1] == before.best.score[1] > 0.0
    for a, b in zip(toy.member(before.best, 1), toy.member(state.best, 1), strict=True):
        np.testing.assert_array_equal(a, b)
    frozen = jax.tree.map(np.array, state)
    after, _ = toy.train(population, toy.GIVEN, 1, state, first=3)
    for a, b in zip(toy.member(frozen, 1), toy.member(after, 1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(
        np.concatenate([leaf.ravel() for leaf in toy.member(after.weights, 1)])
    ).all()


def test_a_users_network_trains():
    population = toy.population(model=Own, members=2)
    given = {"learning_rate": np.array([1e-2, 0.0]), "slope": np.array([1.0, 0.5])}
    population.check(set(given))
    state, records = toy.train(population, given, 4)
    assert records.validation_loss[-1, 0] < 0.9 * records.validation_loss[0, 1]
    assert state.status.tolist() == [0, 0]
    # Batch statistics move with the data, whatever the learning rate.
    start = jax.device_get(population.init(given))
    means = [s.weights.buffers["norm"]["mean"][...] for s in (start, state)]
    assert np.all(np.abs(means[1] - means[0]).max(axis=1) > 0.01)
    kernels = [s.weights.parameters["hidden"]["kernel"][...] for s in (start, state)]
    np.testing.assert_array_equal(kernels[0][1], kernels[1][1])
    assert not np.allclose(kernels[0][0], kernels[1][0])


def test_a_slots_start_depends_on_nothing_but_the_seed(trained):
    _, large, *_ = trained
    small = jax.device_get(toy.shared().init(toy.GIVEN))
    again = jax.device_get(toy.shared().init(toy.GIVEN, generation=1))
    for slot in range(4):
        for a, b in zip(
            toy.member(small.weights, slot), toy.member(large.weights, slot), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        assert not np.allclose(parameters(small, slot)["k1"], parameters(again, slot)["k1"])


def test_unknown_and_missing_hyperparameters_are_refused():
    population = toy.population(objective=CrossEntropy() + CrossEntropy() * "mixture")
    population.check({"learning_rate", "batch_size", "dropout", "label_smoothing", "mixture"})
    with pytest.raises(InputError, match=r"'droput' is read by nothing.*Did you mean 'dropout'"):
        population.check({"droput", "mixture"})
    with pytest.raises(InputError, match=r"'mixture' is read.*neither searched nor given"):
        population.check({"learning_rate"})


def test_the_network_has_the_outputs_that_the_objective_wants():
    assert toy.population().module_def.outputs == 1
    assert toy.population(objective=CategoricalCrossEntropy()).module_def.outputs == 3


def test_training_goes_on_from_given_weights():
    rates = {"learning_rate": np.full(4, 1e-2)}
    population = toy.population()
    state, records = population.run(rates, epochs=3)
    weights = jax.device_get(state.weights)
    # A rate of zero leaves them as they are.
    _, same = population.run({"learning_rate": np.zeros(4)}, epochs=1, start=weights)
    np.testing.assert_allclose(same.score[-1], records.score[-1], rtol=1e-6)
    _, fresh = population.run({"learning_rate": np.zeros(4)}, epochs=1)
    assert np.all(np.abs(fresh.score[-1] / records.score[-1] - 1) > 1e-3)


def test_weights_of_other_networks_are_refused():
    rates = {"learning_rate": np.full(4, 1e-2)}
    others, _ = toy.population(model=MLP(hidden=(5,))).run(rates, epochs=1)
    with pytest.raises(
        InputError, match=r"start weights of other networks: .* is \(4, 5.*where the population has"
    ):
        toy.population().run(rates, epochs=1, start=others.weights)


@pytest.mark.usefixtures("nothing_shared")
def test_many_validation_events_are_looked_at_in_pieces(monkeypatch):
    expected_state, expected = toy.train(toy.shared(), toy.GIVEN, 2)
    monkeypatch.setattr("difftune.training.member.EVALUATED", 100)
    state, records = toy.train(toy.population(), toy.GIVEN, 2)
    for found, wanted in zip(
        jax.tree.leaves((state.weights, records)),
        jax.tree.leaves((expected_state.weights, expected)),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
