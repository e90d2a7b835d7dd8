"""A fold that a member never sees, and batches of all the events that it does see."""

import functools

import jax
import numpy as np
import pytest

from difftune.errors import InputError
from difftune.objectives import CrossEntropy, Variation, Varied
from difftune.training import Replicas, optimizer, training_weights
from tests.training import toy
from tests.training.test_variations import Judge, Seen, varied

FOLDS = 4
RATE = 1e-2
HELD_OUT = np.arange(FOLDS)
REPLICAS = Replicas(fold=(HELD_OUT + 1) % FOLDS, held_out=HELD_OUT, seed=np.zeros(FOLDS, int))
# Folds of different lengths.
DATA = varied(toy.columns(600), 1)._replace(
    fold=np.searchsorted([0.22, 0.5, 0.76], np.random.default_rng(3).random(600)).astype(np.int32)
)


def population(**options):
    defaults = {
        "train": DATA,
        "validation": None,
        "members": FOLDS,
        "batch_size": 50,
        "replicas": REPLICAS,
        "objective": CrossEntropy() + 1e-3 * Seen(),
        "metric": Judge(),
    }
    return toy.population(**defaults | options)


def rates(members: int = FOLDS) -> dict:
    return {"learning_rate": np.full(members, RATE)}


def without(fold: int):
    """The events with nonsense in place of those of a fold, which only their yields survive."""
    rng = np.random.default_rng(9)
    inside = np.flatnonzero(DATA.fold == fold)
    rows = np.arange(600)
    for process in range(3):
        own = inside[DATA.process[inside] == process]
        rows[own] = rng.permutation(own)
    noise = rng.normal(5.0, 40.0, (len(inside), 4)).astype(np.float32)

    def nonsense(column: np.ndarray) -> np.ndarray:
        column = column.copy()
        column[inside] = noise if column.ndim == 2 else 7.0 * column[inside]
        return column

    def side(given: Varied | None) -> Varied | None:
        if given is None:
            return None
        weight, features = (
            None if each is None else nonsense(each) for each in (given.weight, given.features)
        )
        return Varied(weight=weight, features=features)

    return DATA._replace(
        features=nonsense(DATA.features),
        weight=DATA.weight[rows],
        training_weight=nonsense(DATA.training_weight),
        variations={
            name: Variation(up=side(each.up), down=side(each.down))
            for name, each in DATA.variations.items()
        },
    )


@functools.cache
def trained(batch_size: int):
    state, records = population(batch_size=batch_size).run(rates(), epochs=3)
    return jax.device_get((state, records))


sizes = pytest.mark.parametrize("batch_size", [50, pytest.param(600, marks=pytest.mark.slow)])


@pytest.mark.slow
@sizes
def test_what_is_held_out_changes_nothing(batch_size):
    fold = 2
    state, records = trained(batch_size)
    other, found = jax.device_get(
        population(batch_size=batch_size, train=without(fold)).run(rates(), epochs=3)
    )
    for before, after in zip(toy.member(state, fold), toy.member(other, fold), strict=True):
        np.testing.assert_array_equal(before, after)
    changed = np.zeros(FOLDS, bool)
    for name in ("loss", "score", "train_score", "validation_loss", "overtraining"):
        before, after = getattr(records, name), getattr(found, name)
        np.testing.assert_array_equal(before[:, fold], after[:, fold])
        changed |= before[-1] != after[-1]
    # All others either learn from it, or are validated on it.
    np.testing.assert_array_equal(changed, fold != HELD_OUT)


@pytest.mark.slow
@sizes
def test_each_group_is_what_it_would_be_alone(batch_size):
    # Folds of one length, so that all take as many steps.
    data = DATA._replace(fold=np.arange(600, dtype=np.int32) % FOLDS)
    _, together = population(train=data, batch_size=batch_size).run(rates(), epochs=2)
    for fold in (0, 3):
        own = {
            name: value[fold : fold + 1]
            for name, value in vars(REPLICAS).items()
            if name in ("fold", "held_out", "seed")
        }
        one = population(train=data, batch_size=batch_size, members=1, replicas=Replicas(**own))
        _, alone = one.run(rates(1), epochs=2)
        for name in ("loss", "score", "train_score", "validation_loss"):
            np.testing.assert_allclose(
                getattr(together, name)[:, fold], getattr(alone, name)[:, 0], rtol=1e-5
            )


def those_of(view):
    """The events that a view of the folds trains on, as a sample of their own."""
    rows = np.flatnonzero(~np.isin(DATA.fold, view))
    process, label = DATA.process[rows], DATA.label[rows]
    factor = np.bincount(DATA.process, DATA.weight) / np.bincount(process, DATA.weight[rows])

    def side(given: Varied | None) -> Varied | None:
        if given is None:
            return None
        return Varied(
            weight=None if given.weight is None else given.weight[rows] * factor[process],
            features=None if given.features is None else given.features[rows],
        )

    return DATA._replace(
        features=DATA.features[rows],
        process=process,
        label=label,
        weight=(DATA.weight[rows] * factor[process]).astype(np.float32),
        training_weight=training_weights(DATA.training_weight[rows], label),
        fold=None,
        variations={
            name: Variation(up=side(each.up), down=side(each.down))
            for name, each in DATA.variations.items()
        },
    )


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_all_events_in_a_batch_are_those_of_a_training_without_folds(held_out):
    # One step of gradient descent moves the weights by the gradient.
    options = {"batch_size": 10_000, "optimizer": optimizer("sgd"), "overtraining": toy.ScoreGap()}
    replicas = REPLICAS if held_out else Replicas(fold=HELD_OUT, seed=np.zeros(FOLDS, int))
    folded = population(replicas=replicas, **options)
    assert len(folded.sizes) == 1
    assert max(np.bincount(DATA.fold)) < folded.sizes[0] < 600
    before = jax.device_get(folded.init(rates()).weights)
    after, record = folded.run(rates(), epochs=1)
    for slot in range(FOLDS):
        view = {int(replicas.fold[slot])} | ({slot} if held_out else set())
        one = population(
            train=those_of(sorted(view)),
            validation=those_of([]),
            members=1,
            replicas=Replicas(seed=np.zeros(1, int)),
            **options,
        )
        alone, expected = one.run(rates(1), epochs=1)
        assert record.loss[0, slot] == pytest.approx(expected.loss[0, 0], rel=1e-5)
        moved = 0.0
        for start, mine, its in zip(
            toy.member(before, slot),
            toy.member(after.weights, slot),
            toy.member(alone.weights, 0),
            strict=True,
        ):
            np.testing.assert_allclose(mine - start, its - start, rtol=2e-3, atol=2e-6)
            moved = max(moved, np.abs(mine - start).max())
        assert moved > 1e-3


def test_batches_of_all_events_and_small_ones_side_by_side():
    both = population(batch_size=(50, 10_000))
    events = np.bincount(DATA.fold)
    most = 600 - int(np.min(events[REPLICAS.fold] + events[REPLICAS.held_out]))
    assert both.sizes == (50, most)
    sizes = np.array([50.0, 10_000.0, 50.0, float(most)])
    _, records = both.run({**rates(), "batch_size": sizes}, epochs=3)
    for size, slots in ((50, [0, 2]), (600, [1, 3])):
        _, alone = trained(size)
        np.testing.assert_allclose(records.score[:, slots], alone.score[:, slots], rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Replicas(held_out=HELD_OUT), "say with fold="),
        (lambda: Replicas(fold=np.array([0, 1]), held_out=np.array([2, 1])), "member 1 .* fold 1"),
        (
            lambda: population(replicas=Replicas(fold=HELD_OUT, held_out=HELD_OUT + 1)),
            r"held_out=.*no fold 4, they are 0 to 3",
        ),
        (
            lambda: population(
                train=DATA._replace(fold=DATA.fold % 2),
                replicas=Replicas(fold=np.array([0] * 4), held_out=np.array([1] * 4)),
            ),
            "three folds or more",
        ),
    ],
)
def test_what_cannot_be_held_out_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_batch_is_of_one_fold_at_most():
    made = population(batch_size=200)
    assert made.sizes == (min(np.bincount(DATA.fold)),)
