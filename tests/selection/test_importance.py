"""Gates, permutation and retraining against what is computed by hand, and known truth."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx
from scipy.special import expit
from sklearn.inspection import permutation_importance
from sklearn.linear_model import Ridge

import difftune as dt
from difftune.errors import InputError
from difftune.selection import METHODS, gates, importance, train
from difftune.training.batches import evaluation_samples
from tests.selection import samples


class Linear(nnx.Module):
    """A score that is linear in its inputs."""

    def __init__(self, inputs, outputs, *, rngs):
        self.layer = nnx.Linear(inputs, outputs, rngs=rngs)

    def __call__(self, x):
        return self.layer(x)


STUDY = samples.study(model=Linear, epochs=2)


@pytest.fixture(scope="module")
def networks():
    return train(STUDY)


@pytest.fixture(scope="module")
def found(networks):
    return importance(STUDY, networks, bootstraps=3)


@functools.cache
def samples_of_folds():
    return evaluation_samples(STUDY.columns, None, seed=STUDY.seed)[0]


def logits_by_hand(networks, fold, features):
    """Scores of the network of a fold, in numpy."""
    leaves = jax.tree.leaves(networks.best.weights.parameters)
    kernel = next(a for a in leaves if a.ndim == 3)[fold, :, 0].astype(float)
    bias = next(a for a in leaves if a.ndim == 2)[fold, 0].astype(float)
    return features @ kernel + bias


def loss_by_hand(fold, z):
    """Cross-entropy of scores of the events of a fold."""
    batch = samples_of_folds()
    label, weight = batch.label[fold], batch.training_weight[fold].astype(float)
    return np.mean(weight * np.where(label == 1, np.logaddexp(0, -z), np.logaddexp(0, z)))


def by_hand(networks, fold, features):
    """Cross-entropy of the network of a fold on other features of its events."""
    return loss_by_hand(fold, logits_by_hand(networks, fold, features))


def inputs_of(fold):
    batch = samples_of_folds()
    return batch.features[fold].astype(float)


def moments():
    x = STUDY.columns.features.astype(float)
    return x, np.abs(STUDY.columns.training_weight.astype(float))


@pytest.mark.slow
def test_a_closed_gate_leaves_the_mean(networks, found):
    x, weight = moments()
    mean = np.average(x, axis=0, weights=weight)
    expected = []
    for fold in range(3):
        own = inputs_of(fold)
        before = by_hand(networks, fold, own)
        losses = []
        for i in range(7):
            closed = own.copy()
            closed[:, i] = mean[i]
            losses.append(by_hand(networks, fold, closed) - before)
        expected.append(losses)
    ours = found.methods["gate"].value
    np.testing.assert_allclose(ours, np.mean(expected, axis=0), atol=1e-5)


@pytest.mark.slow
def test_a_conditional_gate_leaves_what_the_others_make_up_for(networks, found):
    x, weight = moments()
    ours = found.methods["conditional gate"].value
    directions = np.array(jax.random.normal(jax.random.key(2), (7, gates.FEATURES)), float)
    directions /= np.linalg.norm(directions, axis=0)
    offset = np.array(jax.random.normal(jax.random.key(3), (gates.FEATURES,)), float)
    for i in (1, 2, 5):
        rest = np.delete(np.arange(7), [i])
        line = Ridge(alpha=gates.RIDGE * weight.sum()).fit(
            x[:, rest], x[:, i], sample_weight=weight
        )
        expected = []
        for fold in range(3):
            own = inputs_of(fold)
            closed, others = own.copy(), own.copy()
            closed[:, i] = line.predict(own[:, rest])
            others[:, i] = 0.0
            z = logits_by_hand(networks, fold, own)
            change = logits_by_hand(networks, fold, closed) - z
            # What functions of the others can undo, by scikit-learn.
            basis = np.hstack(
                [np.ones((len(own), 1)), others, np.maximum(others @ directions + offset, 0)]
            )
            curvature = expit(z) * expit(-z) * np.abs(samples_of_folds().training_weight[fold])
            alpha = gates.STABLE * np.mean(curvature @ basis**2)
            undone = Ridge(alpha=alpha, fit_intercept=False, solver="cholesky")
            undone.fit(basis, change, sample_weight=curvature)
            left = z + change - undone.predict(basis)
            expected.append(loss_by_hand(fold, left) - loss_by_hand(fold, z))
        assert ours[i] == pytest.approx(np.mean(expected), abs=2e-5, rel=0.03)
    # A copy tells next to everything about its original.
    assert np.abs(ours[[0, 4]]).max() < 0.15 * found.methods["gate"].value[[0, 4]].max()


@pytest.mark.slow
def test_the_slope_is_a_finite_difference(networks, found):
    x, weight = moments()
    mean = np.average(x, axis=0, weights=weight)
    expected = []
    for fold in range(3):
        own = inputs_of(fold)
        slopes = []
        for i in range(7):
            losses = []
            for gate in (1.001, 0.999):
                half = own.copy()
                half[:, i] = gate * own[:, i] + (1 - gate) * mean[i]
                losses.append(by_hand(networks, fold, half))
            slopes.append((losses[1] - losses[0]) / 0.002)
        expected.append(slopes)
    np.testing.assert_allclose(
        found.methods["slope"].value, np.mean(expected, axis=0), rtol=1e-3, atol=1e-5
    )


@pytest.mark.slow
def test_permutation_is_sklearns(networks, found):
    class Judge:
        """A fitted estimator in sklearn's sense."""

        def fit(self, x, y):
            return self

        def score(self, x, y):
            return -by_hand(networks, fold, x)

    means, errors = [], []
    for fold in range(3):
        result = permutation_importance(
            Judge(), inputs_of(fold), np.zeros(len(inputs_of(fold))), n_repeats=12, random_state=1
        )
        means.append(result.importances_mean)
        errors.append(result.importances_std)
    # Ours has 3 permutations in each fold, theirs 12.
    error = np.sqrt(np.mean(np.square(errors), axis=0) / 3 * (1 / 3 + 1 / 12))
    difference = found.methods["permutation"].value - np.mean(means, axis=0)
    assert np.all(np.abs(difference) < 4.5 * error + 1e-6)


@pytest.mark.slow
def test_everything_has_a_value_and_an_uncertainty(found):
    assert set(found.methods) == set(METHODS) - {"leave one out"}
    for ranking in found.methods.values():
        assert np.all(np.isfinite(ranking.value))
        assert np.all(ranking.uncertainty >= 0)
        assert sorted(ranking.rank) == list(range(1, 8))
    assert found.issues.duplicates == (("shift", "copy"),)
    assert found.correlation[0, 4] == pytest.approx(1.0)
    assert found.order("separation")[0] in ("shift", "copy")
    # A linear score cannot know what matters together alone; of two copies it may use one.
    assert set(found.order("gate")[:2]) <= {"shift", "weak", "copy"}


def test_only_some_events(networks):
    options = {"methods": ("gate", "slope")}
    each = [
        importance(STUDY, networks, processes=[name], **options).methods["slope"].value
        for name in ("signal", "background")
    ]
    everything = importance(STUDY, networks, **options).methods["slope"].value
    # To first order the processes add up, and so do regions.
    np.testing.assert_allclose(np.sum(each, axis=0), everything, atol=1e-5)
    regions = [
        importance(STUDY, networks, region=edges, **options).methods["slope"].value
        for edges in ((0.0, 0.5), (0.5, 1.0))
    ]
    np.testing.assert_allclose(np.sum(regions, axis=0), everything, atol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 1e-4


def test_another_objective(networks):
    ours = importance(STUDY, networks, methods=("gate",), objective=dt.objectives.AsimovLLR(bins=5))
    assert set(ours.order("gate")[:2]) <= {"shift", "weak", "copy"}


def test_of_a_regression_what_is_alone_is_with_the_target():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(800, 3)).astype(np.float32)
    events = dt.Events.from_arrays(
        x,
        np.zeros(800, int),
        np.ones(800),
        feature_names=["line", "parabola", "noise"],
        processes=[dt.Process(name="muons", role="signal")],
        target=x[:, 0] + 3 * x[:, 1] ** 2 + 0.1 * rng.normal(size=800),
        target_names="energy",
        folds=4,
    )
    study = samples.study(events, objective="huber", model=dt.models.MLP(hidden=(4,)), epochs=1)
    own = importance(study, methods=("mutual information", "correlation"))
    assert own.order("mutual information") == ["parabola", "line", "noise"]
    assert own.order("correlation")[0] == "line"
    truth = np.asarray(events.target)[:, 0][np.asarray(events.fold) != 3]
    inside = x[:, 0][np.asarray(events.fold) != 3]
    expected = abs(np.corrcoef(inside, truth)[0, 1])
    assert own.methods["correlation"].value[0] == pytest.approx(expected, abs=0.02)
    with pytest.raises(InputError, match="'separation', which is of signal and background"):
        importance(study, methods=("gate", "separation"))


@pytest.mark.slow
def test_groups_are_units():
    study = samples.study(groups={"both": ["shift", "copy"], "pair": ["xor_1", "xor_2"]}, epochs=8)
    ours = importance(study, methods=("conditional gate", "permutation", "sensitivity"))
    assert ours.names == ("both", "pair", "weak", "noise_1", "noise_2")
    for method in ours.methods:
        assert set(ours.order(method)[:2]) <= {"both", "pair", "weak"}
        assert set(ours.order(method)[-2:]) == {"noise_1", "noise_2"}


def test_bad_input(networks):
    with pytest.raises(InputError, match="Did you mean 'xor_1'"):
        samples.study(groups={"pair": ["xor_1 ", "xor_2"]})
    with pytest.raises(InputError, match=r"'weak' is in 'a' and again in 'b'"):
        samples.study(groups={"a": ["weak"], "b": ["weak", "shift"]})
    with pytest.raises(InputError, match="called like a variable"):
        samples.study(groups={"weak": ["shift"]})
    with pytest.raises(InputError, match="give two variables"):
        samples.study(groups={"all": samples.known().feature_names})
    with pytest.raises(InputError, match="leave two at least"):
        samples.study(test_folds=(1, 2, 3))
    few = samples.known().select(lambda events: events.fold != 1)
    with pytest.raises(InputError, match="no simulated events in fold 1 of 4"):
        samples.study(few)
    with pytest.raises(InputError, match="Did you mean 'permutation'"):
        importance(STUDY, methods=("permutations",))
    with pytest.raises(InputError, match="no process 'sig'"):
        importance(STUDY, networks, methods=("gate",), processes=["sig"])


@pytest.mark.slow
def test_constant_variables_are_reported_and_do_no_harm(caplog):
    rng = np.random.default_rng(1)
    signal = np.arange(1200) % 2 == 0
    x = rng.normal(size=1200) + signal
    columns = {"x": x, "flat": np.full(1200, 4.0), "noise": rng.normal(size=1200)}
    study = samples.study(samples.events(columns, signal, rng), epochs=2)
    assert "constant variables: flat" in caplog.text
    ours = importance(study)
    for ranking in ours.methods.values():
        assert np.all(np.isfinite(ranking.value))
        assert ranking.value[1] == pytest.approx(0.0, abs=1e-6)
