"""Folds, seeds, bootstrap replicas and input masks are members of one population."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import poisson

from difftune.data import FeatureTransform
from difftune.errors import InputError
from difftune.models import MLP
from difftune.training import Epochs, Replicas, TrainedNetwork, optimizer
from difftune.training.batches import evaluation_samples
from difftune.training.replicas import bootstrap_count
from tests.training import toy

FOLDS = 3
DATA = toy.columns(600)._replace(fold=np.arange(600, dtype=np.int32) % FOLDS)
MASKS = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1]], bool)
RATE = 1e-2


def population(replicas: Replicas, **options):
    members = len(next(v for v in vars(replicas).values() if v is not None))
    defaults = {"train": DATA, "validation": None, "members": members, "batch_size": 50}
    return toy.population(replicas=replicas, **defaults | options)


def rates(members: int) -> dict:
    return {"learning_rate": np.full(members, RATE)}


@functools.cache
def trained():
    """Three masks, two bootstrap replicas and three folds at once: 18 members."""
    replicas = Replicas.crossed(inputs=MASKS, bootstraps=2, folds=FOLDS)
    everybody = population(replicas)
    state, records = everybody.run(rates(18), epochs=3)
    return replicas, everybody, jax.device_get(state), records


def test_crossed_is_every_combination_folds_fastest():
    replicas = Replicas.crossed(inputs=MASKS, bootstraps=2, seeds=2, folds=3)
    shape = (3, 2, 2, 3)
    index = np.indices(shape).reshape(4, -1)
    np.testing.assert_array_equal(replicas.inputs, MASKS[index[0]])
    np.testing.assert_array_equal(replicas.bootstrap, index[1] + 1)
    np.testing.assert_array_equal(replicas.seed, index[2])
    np.testing.assert_array_equal(replicas.fold, index[3])
    assert Replicas.crossed(seeds=4).fold is None


# The first without any of its kind, and some that differ in everything.
@pytest.mark.slow
@pytest.mark.parametrize("slot", [0, 4, 9, 17])
def test_each_member_is_what_it_would_be_alone(slot):
    replicas, _, state, records = trained()
    own = {
        name: None if value is None else np.asarray(value)[slot : slot + 1]
        for name, value in vars(replicas).items()
    }
    # The key of a member is that of its slot, unless it has a seed.
    alone, loss = population(Replicas(**own | {"seed": np.array([slot])})).run(rates(1), epochs=3)
    for many, one in zip(toy.member(state, slot), toy.member(alone, 0), strict=True):
        if np.size(many) > 1:
            np.testing.assert_allclose(many, one, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(records.score[:, slot], loss.score[:, 0], rtol=1e-4)


def logits(kernels, features):
    """The toy's network of one hidden layer, in plain numpy."""
    first, second = kernels
    hidden = np.maximum(features @ first["kernel"] + first["bias"], 0)
    return (hidden @ second["kernel"] + second["bias"])[:, 0]


def layers(state, slot):
    parameters = jax.tree.map(lambda a: np.asarray(a)[slot], state.weights.parameters)
    pure = jax.tree.leaves_with_path(parameters)
    flat = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in pure}
    kernels = [value for name, value in flat.items() if "kernel" in name]
    biases = [value for name, value in flat.items() if "bias" in name]
    return [
        {"kernel": kernel, "bias": bias}
        for kernel, bias in sorted(zip(kernels, biases, strict=True), key=lambda p: -p[0].shape[1])
    ]


@pytest.mark.parametrize("slot", range(0, 18, 5))
def test_a_member_is_validated_on_its_own_fold(slot):
    replicas, _, state, records = trained()
    fold, mask = replicas.fold[slot], replicas.inputs[slot]
    inside = DATA.fold == fold
    z = logits(layers(state, slot), DATA.features[inside] * mask)
    label, weight = DATA.label[inside], DATA.training_weight[inside].astype(float)
    # Balanced within the fold.
    for value in (0, 1):
        weight[label == value] *= len(label) / (2 * weight[label == value].sum())
    entropy = np.where(label == 1, np.logaddexp(0, -z), np.logaddexp(0, z))
    expected = np.mean(weight * entropy)
    assert records.validation_loss[-1, slot] == pytest.approx(expected, rel=1e-4)


def test_an_input_that_is_left_out_has_no_influence():
    _, everybody, state, _ = trained()
    other = np.where(MASKS[1], DATA.features, 7.0).astype(np.float32)
    scores = everybody.scores(state.best, DATA.features)
    changed = everybody.scores(state.best, other)
    # Members 6 to 11 do without the second input.
    np.testing.assert_array_equal(scores[6:12], changed[6:12])
    assert np.abs(scores[:6] - changed[:6]).min(axis=1).max() > 0.1


@pytest.mark.parametrize("normalisation", ["none", pytest.param("layer", marks=pytest.mark.slow)])
def test_without_an_input_is_the_network_without_the_column(normalisation):
    keep = np.array([True, False, True, True])
    model = MLP(hidden=(8,), normalisation=normalisation)
    masked = population(
        Replicas(inputs=keep[None], seed=np.array([0])),
        train=DATA._replace(fold=None),
        validation=toy.columns(512),
        model=model,
    )
    fewer = toy.population(
        train=DATA._replace(fold=None, features=DATA.features[:, keep]),
        validation=toy.columns(512)._replace(features=toy.columns(512).features[:, keep]),
        members=1,
        batch_size=50,
        model=model,
    )
    some, _ = masked.run(rates(1), epochs=2)
    other, _ = fewer.run(rates(1), epochs=2)
    given = toy.columns(512).features
    np.testing.assert_allclose(
        masked.scores(some.best, given), fewer.scores(other.best, given[:, keep]), atol=2e-5
    )


def test_equal_seeds_start_equally():
    both = population(Replicas.crossed(seeds=2, folds=FOLDS))
    state = jax.device_get(both.init(rates(6)))
    kernels = np.stack([layers(state, slot)[0]["kernel"] for slot in range(6)])
    np.testing.assert_array_equal(kernels[:3], kernels[[0, 0, 0]])
    np.testing.assert_array_equal(kernels[3:], kernels[[3, 3, 3]])
    assert np.abs(kernels[0] - kernels[3]).max() > 0.1


def test_batches_of_a_member_are_all_of_the_other_folds():
    epochs = Epochs(data=DATA, sizes=(50, 32), seed=3)
    (part,) = epochs.parts_of(1, progress=0.0)
    fold_of_event = DATA.fold[part.number]
    for size, starts in zip((50, 32), part.starts, strict=True):
        assert starts.shape == (FOLDS, 2 * (200 // size))
        for fold, mine in enumerate(starts):
            rows = (mine[:, None] + np.arange(size)).ravel()
            assert len(np.unique(rows)) == len(rows)
            assert set(fold_of_event[rows]) == set(range(FOLDS)) - {fold}
            # And no batch mixes them, whatever its size.
            assert all(len(set(fold_of_event[m : m + size])) == 1 for m in mine)


def test_each_fold_stands_for_the_full_yields():
    fold = np.minimum(np.arange(600) // 150, FOLDS - 1).astype(np.int32)
    uneven = DATA._replace(fold=fold)
    validation, comparison = evaluation_samples(uneven, None, seed=0)
    assert validation.features.shape == (FOLDS, 300, 4)
    for batch in (validation, comparison):
        for process, label, weight, balanced in zip(
            batch.process, batch.label, batch.weight, batch.training_weight, strict=True
        ):
            totals = np.bincount(process, weight, 3)
            np.testing.assert_allclose(totals, np.bincount(DATA.process, DATA.weight), rtol=1e-5)
            assert balanced[label == 1].sum() == pytest.approx(150, rel=1e-5)
            assert balanced.mean() == pytest.approx(1.0, rel=1e-5)
    # Events that fill a fold up to the length of the longest count nothing.
    assert np.all(validation.weight[0, 150:] == 0)


def test_bootstrap_counts_are_poisson_and_independent():
    events = jnp.arange(40_000)
    counts = np.stack([bootstrap_count(jnp.int32(i), events) for i in range(5)])
    np.testing.assert_array_equal(counts[0], 1.0)
    for row in counts[1:]:
        seen = np.bincount(row.astype(int), minlength=6)[:6] / len(events)
        expected = poisson.pmf(range(6), 1.0)
        error = np.sqrt(expected * (1 - expected) / len(events))
        assert np.all(np.abs(seen - expected) < 4.5 * error)
    correlation = np.corrcoef(counts[1:]) - np.eye(4)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(events))
    # Neighbouring events neither.
    lagged = [np.corrcoef(row[:-1], row[1:])[0, 1] for row in counts[1:]]
    assert np.abs(lagged).max() < 4.5 / np.sqrt(len(events))


@pytest.mark.slow
def test_the_spread_of_bootstrap_replicas_is_that_of_fresh_samples():
    # One step of gradient descent moves the last bias by the mean of w (y - p).
    step = {"train": DATA._replace(fold=None), "validation": toy.columns(512), "batch_size": 600}
    replicas = Replicas(bootstrap=np.arange(1, 65), seed=np.zeros(64, int))
    many = population(replicas, optimizer=optimizer("sgd"), **step)
    before = jax.device_get(many.init(rates(64)))
    after, _ = many.run(rates(64), epochs=1)
    moved = np.stack([layers(after, i)[1]["bias"] for i in range(64)])
    moved = (moved - layers(before, 0)[1]["bias"])[:, 0] / RATE
    z = logits(layers(before, 0), DATA.features)
    gradient = DATA.training_weight * (DATA.label - 1 / (1 + np.exp(-z)))
    assert moved.mean() == pytest.approx(float(gradient.mean()), abs=float(5 * moved.std() / 8))
    expected = np.sqrt(np.sum(gradient**2)) / 600
    assert moved.std(ddof=1) == pytest.approx(expected, rel=0.35)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Replicas(fold=np.zeros(3, int), seed=np.zeros(2, int)), "different lengths"),
        (lambda: Replicas(inputs=np.eye(4, dtype=bool)[:2] & False), "member 0 has no input left"),
        (lambda: Replicas(bootstrap=np.array([1, -1])), r"bootstrap=.*-1 is below 0"),
        (lambda: Replicas.crossed(), "asks for no member"),
        (lambda: Replicas.crossed(folds=0), "asks for no member"),
        (lambda: population(Replicas.crossed(folds=4)), "no fold 3, they are 0 to 2"),
        (lambda: population(Replicas.crossed(folds=3), members=2), "3 entries for 2 members"),
        (
            lambda: population(Replicas.crossed(inputs=np.ones((2, 3), bool), folds=3)),
            "masks 3 inputs, the network has 4",
        ),
        (
            lambda: population(Replicas.crossed(folds=3), train=DATA._replace(fold=None)),
            r"Columns\(fold=",
        ),
        (lambda: population(Replicas.crossed(seeds=3)), "give validation events"),
        (
            lambda: population(Replicas.crossed(folds=3), validation=toy.columns(512)),
            "give validation events; or None",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def handed_out(names, **transform):
    """A network of some inputs, with the mask of these."""
    replicas, everybody, state, _ = trained()
    plain = np.zeros(len(names), np.float32)
    network = TrainedNetwork.from_snapshot(
        state.best,
        6,
        everybody.module_def,
        FeatureTransform(center=plain, scale=plain + 1, fill=plain, **transform),
        feature_names=names,
        signal_process=(1.0,),
    )
    return network, replicas.inputs[6], toy.member(state.best, 6)


def test_a_network_of_some_inputs_does_not_look_at_the_others(tmp_path):
    network, mask, _ = handed_out(tuple("abcd"))
    _, everybody, state, _ = trained()
    assert mask.sum() == 3
    features = DATA.features.copy()
    expected = jax.nn.sigmoid(np.asarray(everybody.scores(state.best, features))[6])
    np.testing.assert_allclose(network.score(features), expected, rtol=1e-5)
    features[:, ~mask] = np.resize([np.nan, np.inf, -999.0], (len(features), 1))
    network.save(tmp_path)
    for one in (network, TrainedNetwork.load(tmp_path)):
        np.testing.assert_allclose(one.score(features), expected, rtol=1e-5)


def test_a_variable_is_left_out_whole():
    # The last of the four inputs says where the second variable is missing.
    _, mask, _ = handed_out(tuple("abcd"))
    assert mask[1] != mask[3]
    with pytest.raises(InputError, match=r"member 6 uses 3 of 4 .* only part"):
        handed_out(tuple("abc"), indicators=(1,))
