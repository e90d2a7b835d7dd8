import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from difftune.errors import InputError
from difftune.objectives import AUCLoss
from tests.objectives.samples import batch, evaluate, logits, value_and_gradient

WEIGHT = np.random.default_rng(2).uniform(0.1, 3.0, 60)


ANNEALED = AUCLoss(temperature=(2.0, 0.5))


def all_pairs(x, signal, background):
    """The definition, by the matrix of all pairs."""
    d = x[None, :] - x[:, None]
    wrong = np.where(d < 0, 0.5 * np.exp(-np.abs(d)), 1 - 0.5 * np.exp(-np.abs(d)))
    return signal @ wrong @ background / (signal.sum() * background.sum())


def split(b):
    label, weight = np.asarray(b.label), np.asarray(b.training_weight)
    return weight * label, weight * (1 - label)


@pytest.mark.parametrize("ties", [False, True])
def test_is_the_weighted_area_of_sklearn_in_the_limit_of_no_temperature(ties):
    with jax.enable_x64(True):
        b = batch(dtype=jnp.float64, training_weight=WEIGHT)
        scores = logits(dtype=jnp.float64) + b.label
        if ties:
            scores = jnp.round(scores)
            assert len(set(scores.tolist())) < 8
        expected = 1 - roc_auc_score(b.label, scores, sample_weight=WEIGHT)
        objective = AUCLoss(temperature=(1e-9, 1e-9))
        assert float(evaluate(objective, scores, b)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.03, 0.5, 20.0])
@pytest.mark.parametrize("ties", [False, True])
def test_is_the_sum_over_all_pairs_with_its_gradient(temperature, ties):
    """Of weights of both signs."""
    with jax.enable_x64(True):
        b, scores = batch(dtype=jnp.float64), logits(dtype=jnp.float64)
        scores = jnp.round(2 * scores) / 2 if ties else scores
        value, gradient = value_and_gradient(
            AUCLoss(temperature=(temperature, temperature)), scores, b
        )
    x, (s, w) = np.asarray(scores) / temperature, split(b)
    assert w.min() < 0
    assert float(value) == pytest.approx(all_pairs(x, s, w), rel=1e-12)
    # The kernel's density is exp(-|d|) / 2: what a pair pulls its two events together or apart by.
    pull = 0.5 * np.exp(-np.abs(x[None, :] - x[:, None])) / (s.sum() * w.sum() * temperature)
    expected = w * (s @ pull) - s * (pull @ w)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13)


def test_float32_is_enough_for_a_large_batch():
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, 2000)
    x = rng.normal(size=2000) + label
    weight = rng.uniform(0.1, 2.0, 2000)
    b = batch(2000, label=label, training_weight=weight)
    value = evaluate(AUCLoss(temperature=(0.5, 0.5)), jnp.asarray(x, jnp.float32), b)
    expected = all_pairs(2 * x, weight * label, weight * (1 - label))
    assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("progress", "factor", "expected"), [(0.0, 1.0, 2.0), (0.5, 1.0, 1.0), (1.0, 3.0, 1.5)]
)
def test_temperature_is_annealed_and_scaled_by_the_hyperparameter(progress, factor, expected):
    values = {"temperature": jnp.float32(factor)}
    value = evaluate(ANNEALED, logits(), batch(progress=progress), values)
    pairs = all_pairs(np.asarray(logits(), float) / expected, *split(batch()))
    assert float(value) == pytest.approx(pairs, rel=1e-5)


def test_of_a_multi_class_network_the_signal_probability_counts():
    b, scores = batch(), logits(classes=3)
    background = jnp.logaddexp(scores[:, 0], scores[:, 2])
    expected = evaluate(AUCLoss(), scores[:, 1] - background, b)
    assert float(evaluate(AUCLoss(), scores, b)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_one_half(label):
    value, gradient = value_and_gradient(AUCLoss(), logits(), batch(label=np.full(60, label)))
    assert float(value) == 0.5
    np.testing.assert_array_equal(gradient, 0.0)


def test_nan_stays_visible():
    assert np.isnan(evaluate(AUCLoss(), logits().at[3].set(jnp.nan), batch()))


def test_errors_name_value_and_remedy():
    with pytest.raises(InputError, match=r"AUCLoss\(temperature=\(1.0, 0.0\)\).*positive"):
        AUCLoss(temperature=(1.0, 0.0))
