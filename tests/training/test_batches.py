import tracemalloc

import jax
import numpy as np
import pytest

from difftune.data import Events, FeatureTransform, Process
from difftune.errors import InputError
from difftune.training import Epochs, batch_at, columns, training_weights
from difftune.training.batches import as_batch, stratified_order
from tests.training import toy

DATA = toy.columns(1024)
SHARE = np.bincount(DATA.process) / 1024


def largest_deviation(order: np.ndarray, size: int) -> float:
    """By how many events a batch differs from its share of a process, at most."""
    steps = len(order) // size
    batches = DATA.process[order[: steps * size]].reshape(steps, size)
    counts = np.stack([np.bincount(batch, minlength=3) for batch in batches])
    return np.abs(counts - size * SHARE).max()


@pytest.mark.parametrize("size", [64, 200, 500])
def test_batches_are_stratified(size):
    # Events of a process lie one in each of its intervals, so a stretch of places holds its share
    # to within 2. A batch is a stretch of ranks, whose length is off by 2 a process at most.
    bound = 2 + 2 * 3 * SHARE.max()
    rng = np.random.default_rng(0)
    shuffled, stratified = (
        max(largest_deviation(order(rng), size) for _ in range(50))
        for order in (
            lambda rng: rng.permutation(1024),
            lambda rng: stratified_order(DATA.process, rng),
        )
    )
    assert stratified <= bound < shuffled


def test_order_is_a_permutation():
    order = stratified_order(DATA.process, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(order), np.arange(1024))


def test_every_event_is_used_equally_often():
    epochs, size = 400, 300  # 124 events are left over in each epoch
    used = np.zeros(1024)
    for epoch in range(epochs):
        batches = toy.batches(DATA, size, seed=1, epoch=epoch)
        assert batches.features.shape == (3, 300, 4)
        # Features are continuous, so they tell which event it is.
        rows = np.searchsorted(SORTED, batches.features[..., 0].ravel())
        assert len(np.unique(rows)) == 900
        used[ORDER[rows]] += 1
    share = 900 / 1024
    error = np.sqrt(epochs * share * (1 - share))
    assert np.abs(used - epochs * share).max() < 5 * error
    assert used.std() == pytest.approx(error, rel=0.15)


ORDER = np.argsort(DATA.features[:, 0])
SORTED = DATA.features[ORDER, 0]


def test_a_batch_estimates_the_full_yields():
    totals = []
    for epoch in range(100):
        batches = toy.batches(DATA, 100, seed=2, epoch=epoch)
        for process, weight in zip(batches.process, batches.weight, strict=True):
            totals.append(np.bincount(process, weight, minlength=3))
    mean, error = np.mean(totals, 0), np.std(totals, 0) / np.sqrt(len(totals))
    # The toy's processes have these yields by construction.
    assert np.all(np.abs(mean - toy.YIELDS) < 5 * error)
    np.testing.assert_allclose(mean, toy.YIELDS, rtol=0.01)


def test_columns_of_a_batch_belong_to_the_same_events():
    rows = np.array([3, 1, 7, 0, 2, 5])
    batch = as_batch(DATA, rows, 0.25)
    for name in ("features", "process", "label", "training_weight"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(DATA, name)[rows])
    np.testing.assert_allclose(batch.weight, DATA.weight[rows] * 1024 / 6, rtol=1e-6)
    np.testing.assert_array_equal(batch.signal_process, toy.SIGNAL)
    assert batch.progress == 0.25
    # A stretch of it is a batch of its own.
    some = batch_at(batch, 2, 3)
    for name in ("features", "process", "label", "training_weight"):
        np.testing.assert_array_equal(getattr(some, name), getattr(DATA, name)[rows[2:5]])
    np.testing.assert_allclose(some.weight, DATA.weight[rows[2:5]] * 1024 / 3, rtol=1e-6)
    np.testing.assert_array_equal(some.signal_process, toy.SIGNAL)
    assert some.progress == 0.25


def test_seed_and_epoch_alone_decide_the_order():
    def features(seed, epoch):
        (part,) = Epochs(data=DATA, sizes=(64,), seed=seed).parts_of(epoch, progress=0.0)
        return part.events.features

    np.testing.assert_array_equal(features(1, 3), features(1, 3))
    for other in (features(1, 4), features(2, 3)):
        assert np.mean(other == features(1, 3)) < 0.05


def test_a_batch_of_all_events_is_made_once():
    epochs = Epochs(data=DATA, sizes=(1024,), seed=1)
    (first,), (later,) = (epochs.parts_of(e, progress=p) for e, p in ((0, 0.0), (7, 0.25)))
    np.testing.assert_array_equal(np.sort(first.number), np.arange(1024))
    np.testing.assert_array_equal(first.events.features, DATA.features[first.number])
    assert np.shares_memory(first.events.features, later.events.features)
    assert (first.events.progress, later.events.progress) == (0.0, 0.25)


def test_training_weights_balance_the_classes():
    weight = np.array([1.0, 3.0, 100.0, -20.0, 40.0, 0.0])
    label = np.array([1, 1, 0, 0, 0, 0])
    kept = training_weights(weight, label)
    np.testing.assert_allclose(kept, [0.75, 2.25, 2.5, -0.5, 1.0, 0.0])
    assert kept.dtype == np.float32
    assert kept.mean() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("weight", "label", "message"),
    [
        ([1.0, 1.0], [0, 0], "signal to train on has 0 events"),
        ([1.0, 1.0], [1, 1], "background to train on has 0 events"),
        ([1.0, -2.0, 1.0], [1, 1, 0], "signal .* 2 events with a total weight of -1.*absolute"),
    ],
)
def test_training_weights_refuse_what_they_cannot_balance(weight, label, message):
    with pytest.raises(InputError, match=message):
        training_weights(np.array(weight), np.array(label))


def test_columns_have_the_full_yields():
    rng = np.random.default_rng(4)
    process = np.repeat([0, 1, 2, 3], [50, 200, 100, 30])
    events = Events.from_arrays(
        rng.normal(2.0, 3.0, (380, 2)).astype(np.float32),
        process.astype(np.int32),
        rng.uniform(0.5, 1.5, 380).astype(np.float32),
        feature_names=("x", "y"),
        processes=[
            Process(name="ttbar"),
            Process(name="signal", role="signal"),
            Process(name="wjets"),
            Process(name="data", role="data"),
        ],
    )
    train = events.in_folds([0, 1]).simulated
    transform = FeatureTransform.fit(train.features, train.weight)
    # The yield of data has no simulated events to go to.
    made = columns(train, events.yields(), transform)
    assert len(made.weight) == len(train) < 0.5 * len(events)
    np.testing.assert_allclose(
        np.bincount(made.process, made.weight, minlength=4)[:3], events.yields()[:3], rtol=1e-5
    )
    np.testing.assert_array_equal(made.signal_process, [0, 1, 0, 0])
    np.testing.assert_array_equal(made.label, made.process == 1)
    np.testing.assert_allclose(made.training_weight[made.label == 1].sum(), len(train) / 2)
    mean = np.average(made.features, axis=0, weights=made.weight / events.yields()[made.process])
    np.testing.assert_allclose(mean, 0.0, atol=0.1)


def test_an_epoch_takes_one_copy_of_the_events():
    many = DATA._replace(
        **{name: np.repeat(getattr(DATA, name), 200, axis=0) for name in ("features", "weight")},
        **{name: np.repeat(getattr(DATA, name), 200) for name in ("process", "label")},
        training_weight=np.repeat(DATA.training_weight, 200),
    )
    columns = [many.features, many.process, many.label, many.weight, many.training_weight]
    size = sum(column.nbytes for column in columns)
    epochs = Epochs(data=many, sizes=(64,), seed=1)
    tracemalloc.start()
    (part,) = epochs.parts_of(0, progress=0.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Beside it a few numbers per event, which say where it comes from.
    assert peak < size + 8 * 8 * len(many.weight)
    np.testing.assert_array_equal(part.events.features, many.features[part.number])
    assert part.events.features.ctypes.data % 64 == 0


def test_all_events_as_a_batch_are_the_columns_themselves():
    batch, rows = as_batch(DATA, None, 1.0), as_batch(DATA, np.arange(1024), 1.0)
    assert np.shares_memory(batch.features, DATA.features)
    for one, other in zip(jax.tree.leaves(batch), jax.tree.leaves(rows), strict=True):
        np.testing.assert_array_equal(one, other)
