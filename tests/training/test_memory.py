"""Populations and samples that are larger than the memory of a device."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from difftune.errors import InputError
from difftune.training import Epochs, Replicas, store, stored
from difftune.training.programs import Program, ahead
from tests.training import toy

DATA = toy.columns(1024)
FOLDED = DATA._replace(fold=np.arange(1024, dtype=np.int32) % 3)


def squares(state, own, shared):
    # What is sorted takes memory, as much more as there are members side by side.
    return state + jnp.sum(jnp.sort(own[:, None] * shared) ** 2)


def program(memory):
    return Program(
        name="squares",
        function=squares,
        devices=jax.local_devices()[:1],
        memory=memory,
        one_by_one=False,
    )


@pytest.mark.slow
def test_members_that_do_not_fit_train_in_groups(caplog):
    rng = np.random.default_rng(0)
    state, own, shared = rng.normal(size=12), rng.normal(size=(12, 300)), rng.normal(size=2000)
    arguments = tuple(jnp.asarray(each, jnp.float32) for each in (state, own, shared))
    expected = state + (own**2).sum(1) * (shared**2).sum()
    # All that there are, and the groups of this program that need no more than so much.
    for memory, group in ((2**30, None), (20_000_000, "of 12"), (1, " 1 members at a time")):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "difftune"):
            found = program(memory)(*arguments)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        message = caplog.text
        assert (group is None) == (not message)
        assert (group or "").removeprefix("of ") in message


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_shared")
def test_a_population_says_in_what_groups_it_trains(caplog, monkeypatch):
    # What a GPU does, on a CPU.
    monkeypatch.setattr("difftune.training.devices.runs_one_by_one", lambda devices: False)
    monkeypatch.setattr("difftune.training.programs.runs_one_by_one", lambda devices: False)
    monkeypatch.setattr("difftune.training.population.runs_one_by_one", lambda devices: False)
    with caplog.at_level(logging.WARNING, "difftune"):
        state, records = toy.train(toy.population(memory=140_000), toy.GIVEN, 2)
    assert "members at a time, not all 4 of a device at once" in caplog.text
    expected_state, expected = toy.train(toy.shared(), toy.GIVEN, 2)
    for many, one in zip(
        jax.tree.leaves((state.best.score, records)),
        jax.tree.leaves((expected_state.best.score, expected)),
        strict=True,
    ):
        np.testing.assert_allclose(many, one, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("data", [DATA, FOLDED], ids=["plain", "folds"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_parts_are_the_epoch(tmp_path, data, on_disk):
    read = store(data, tmp_path / "columns") if on_disk else data
    epochs = Epochs(data=read, sizes=(32,), seed=1, parts=4)
    parts = list(epochs.parts_of(2, progress=0.5))
    rows = np.concatenate([part.number for part in parts])
    folds = 1 if data.fold is None else 3
    # Nothing twice, and no more left out than do not fill a part.
    assert len(np.unique(rows)) == len(rows) > 1024 - 4 * folds
    assert [float(part.begins) for part in parts] == [0.0, 0.25, 0.5, 0.75]
    share = np.bincount(DATA.process) / 1024
    for part in parts:
        mix = np.bincount(part.events.process) - share * len(part.number)
        assert np.abs(mix).max() < (12 if on_disk else 2 + 2 * folds)
        np.testing.assert_array_equal(part.events.features, read.features[part.number])
        assert part.starts[0].shape[0] == folds
    if on_disk:
        # A part is a stretch of each fold, so reading is quick.
        for part in parts:
            for fold in range(folds):
                own = part.number if folds == 1 else part.number[read.fold[part.number] == fold]
                assert np.sum(np.diff(np.sort(own)) > 1) <= 1


def test_disk_gives_back_what_it_got(tmp_path):
    read = store(FOLDED, tmp_path / "columns", seed=3)
    assert isinstance(read.features, np.memmap)
    for columns in (read, stored(tmp_path / "columns")):
        # Features are continuous, so they tell which event it is.
        before, after = np.argsort(FOLDED.features[:, 0]), np.argsort(columns.features[:, 0])
        for name in ("features", "process", "label", "weight", "training_weight", "fold"):
            np.testing.assert_array_equal(
                getattr(columns, name)[after], getattr(FOLDED, name)[before]
            )
        np.testing.assert_array_equal(columns.signal_process, FOLDED.signal_process)
        assert np.all(np.diff(columns.fold) >= 0)
    with pytest.raises(InputError, match="holds columns already"):
        store(DATA, tmp_path / "columns")
    with pytest.raises(InputError, match="holds no columns"):
        stored(tmp_path)


@pytest.mark.parametrize("on_disk", [pytest.param(False, marks=pytest.mark.slow), True])
def test_training_in_parts_is_training(tmp_path, on_disk):
    """What decides is the order of the batches alone: the parts one after the other."""
    read = store(DATA, tmp_path / "columns") if on_disk else DATA
    many = toy.population(train=read, part=256, batch_size=64)
    given = {name: value for name, value in toy.GIVEN.items() if name != "dropout"}
    state, records = toy.train(many, given, 2)

    by_hand = toy.population(train=DATA, batch_size=64)
    expected = by_hand.init(given)
    losses = []
    for epoch in range(2):
        for part in Epochs(data=read, sizes=(64,), seed=5, parts=4).parts_of(epoch, progress=0.0):
            rows = part.number
            whole = read._replace(
                **{name: getattr(read, name)[rows] for name in ("features", "process", "label")},
                **{name: getattr(read, name)[rows] for name in ("weight", "training_weight")},
            )
            expected, loss = plain(expected, whole, given["learning_rate"])
            losses.append(loss)
    for found, wanted in zip(
        jax.tree.leaves(state.weights.parameters),
        jax.tree.leaves(expected.weights.parameters),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(records.loss, np.reshape(losses, (2, 4, 4)).mean(1), rtol=1e-4)


def plain(state, data, rates):
    """A pass of Adam over the events in their order, in batches of 64, for each member."""
    module_def = toy.module_def()

    def loss(parameters, buffers, batch):
        features, label, weight = batch
        logits = module_def.evaluate(buffers._replace(parameters=parameters), {}, features)
        return jnp.mean(weight * optax.sigmoid_binary_cross_entropy(logits, label))

    def steps(weights, moments, rate):
        def step(carry, batch):
            parameters, adam = carry
            value, gradient = jax.value_and_grad(loss)(parameters, weights, batch)
            updates, adam = optax.scale_by_adam().update(gradient, adam)
            moved = jax.tree.map(lambda p, u: p - rate * u, parameters, updates)
            return (moved, adam), value

        count = len(data.weight) // 64
        batches = tuple(
            jnp.asarray(column)[: 64 * count].reshape(count, 64, *np.shape(column)[1:])
            for column in (data.features, data.label, data.training_weight)
        )
        adam = optax.ScaleByAdamState(moments.steps, moments.first[0], moments.second[0])
        (parameters, adam), losses = jax.lax.scan(step, (weights.parameters, adam), batches)
        moments = moments._replace(
            steps=adam.count,
            first=(adam.mu, moments.first[1]),
            second=(adam.nu, moments.second[1]),
        )
        return weights._replace(parameters=parameters), moments, losses.mean()

    weights, moments, losses = jax.vmap(steps)(
        state.weights, state.optimizer, jnp.asarray(rates, jnp.float32)
    )
    return state._replace(weights=weights, optimizer=moments), np.asarray(losses)


def test_a_member_that_breaks_in_a_part_stays_as_it_was():
    many = toy.population(part=256, batch_size=64)
    given = {"learning_rate": np.array([1e-3, 1e-3, np.inf, 1e-3])}
    start = jax.device_get(many.init(given))
    state, records = toy.train(many, given, 1)
    for before, after in zip(
        toy.member(start.weights, 2), toy.member(state.weights, 2), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    assert np.isnan(records.loss[0, 2])
    assert np.isfinite(records.loss[0, [0, 1, 3]]).all()
    assert state.status.tolist()[:2] == [0, 0]
    assert state.status[2] > 1


def test_too_small_parts_are_refused():
    with pytest.raises(InputError, match=r"fold has 102 training events in each of the 10"):
        toy.population(part=110, batch_size=128)
    with pytest.raises(InputError, match=r"part=0"):
        toy.population(part=0)


def test_items_come_in_order_and_errors_pass():
    assert list(ahead(i**2 for i in range(5))) == [0, 1, 4, 9, 16]
    with pytest.raises(ZeroDivisionError):
        list(ahead(1 // (2 - i) for i in range(5)))


def test_replicas_train_in_parts_too():
    many = toy.population(
        train=FOLDED, validation=None, part=512, members=3, replicas=Replicas.crossed(folds=3)
    )
    _, records = many.run({"learning_rate": np.full(3, 1e-2)}, epochs=3)
    assert np.all(records.validation_loss[-1] < records.validation_loss[0])


def test_one_program_takes_trees_of_other_shapes():
    one = program(None)
    state, own, shared = jnp.zeros(3), jnp.ones((3, 4)), jnp.ones(5)
    expected = one(state, own, shared)
    nested = Program(
        name="nested",
        function=lambda state, own, shared: squares(state, sum(own.values()), shared),
        devices=one.devices,
    )
    np.testing.assert_allclose(nested(state, {"a": own}, shared), expected)
    # As when a search sets another hyperparameter.
    np.testing.assert_allclose(nested(state, {"a": own, "b": 0 * own}, shared), expected)
