"""Losses that are a mean over events."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import expit, softmax
from sklearn.metrics import brier_score_loss, log_loss

from difftune.errors import InputError
from difftune.objectives import CategoricalCrossEntropy, CrossEntropy, Focal, MeanSquaredError
from tests.objectives.samples import NONE, batch, evaluate, logits, value_and_gradient

POSITIVE = np.random.default_rng(0).uniform(0.1, 3.0, 60)


def test_binary_is_the_log_loss_of_sklearn():
    b, scores = batch(training_weight=POSITIVE), logits()
    # sklearn divides by the sum of the weights, we by the number of events.
    expected = log_loss(b.label, expit(np.asarray(scores, np.float64)), sample_weight=POSITIVE)
    loss = CrossEntropy()(scores, b, NONE, NONE)
    assert float(loss) == pytest.approx(expected * POSITIVE.mean(), rel=1e-6)


def test_categorical_is_the_log_loss_of_sklearn():
    b, scores = batch(training_weight=POSITIVE), logits(classes=3)
    probabilities = softmax(np.asarray(scores, np.float64), axis=1)
    expected = log_loss(b.process, probabilities, sample_weight=POSITIVE)
    loss = CategoricalCrossEntropy()(scores, b, NONE, NONE)
    assert float(loss) == pytest.approx(expected * POSITIVE.mean(), rel=1e-6)


def test_negative_weights_and_label_smoothing_in_closed_form():
    b = batch()
    w = np.asarray(b.training_weight, np.float64)
    assert w.min() < 0.0
    s = np.asarray(logits(), np.float64)
    y = np.asarray(b.label) * 0.8 + 0.1
    expected = np.mean(w * (-y * np.log(expit(s)) - (1 - y) * np.log(expit(-s))))
    loss = CrossEntropy()(logits(), b, {"label_smoothing": jnp.float32(0.2)}, NONE)
    assert float(loss) == pytest.approx(expected, rel=1e-5)

    s = np.asarray(logits(classes=3), np.float64)
    y = np.eye(3)[np.asarray(b.process)] * 0.8 + 0.2 / 3
    expected = np.mean(w * -np.sum(y * np.log(softmax(s, axis=1)), axis=1))
    smoothing = {"label_smoothing": jnp.float32(0.2)}
    loss = CategoricalCrossEntropy()(logits(classes=3), b, smoothing, NONE)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "classes"), [(CrossEntropy(), None), (CategoricalCrossEntropy(), 3)]
)
def test_gradient_is_that_of_finite_differences(objective, classes):
    with jax.enable_x64(True):
        b, scores = batch(dtype=jnp.float64), logits(classes=classes, dtype=jnp.float64)
        loss = jax.jit(lambda s: objective(s, b, NONE, NONE))
        check_grads(loss, (scores,), order=1, modes=("fwd", "rev"), rtol=1e-5)


def test_no_probability_of_a_cross_entropy_saturates():
    b = batch(training_weight=np.ones(60))
    right = jnp.where(b.label == 1, 500.0, -500.0)
    for scores, expected in ((right, 0.0), (-right, 500.0)):
        value, gradient = jax.value_and_grad(lambda s: CrossEntropy()(s, b, NONE, NONE))(scores)
        assert float(value) == pytest.approx(expected)
        assert np.all(np.isfinite(gradient))


SCORES = np.asarray(logits(), np.float64)


def test_mean_squared_error_is_the_brier_score_of_sklearn():
    b = batch(training_weight=POSITIVE)
    # sklearn divides by the sum of the weights, we by the number of events.
    expected = brier_score_loss(b.label, expit(SCORES), sample_weight=POSITIVE) * POSITIVE.mean()
    loss = evaluate(MeanSquaredError(), logits(), b)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_mean_squared_error_with_negative_weights_and_label_smoothing():
    b = batch()
    w, y = np.asarray(b.training_weight, np.float64), np.asarray(b.label) * 0.8 + 0.1
    assert w.min() < 0.0
    loss = evaluate(MeanSquaredError(), logits(), b, {"label_smoothing": jnp.float32(0.2)})
    assert float(loss) == pytest.approx(np.mean(w * (expit(SCORES) - y) ** 2), rel=1e-5)


def test_focal_without_focus_is_the_log_loss_of_sklearn():
    b = batch(training_weight=POSITIVE)
    expected = log_loss(b.label, expit(SCORES), sample_weight=POSITIVE) * POSITIVE.mean()
    for given in ({"gamma": 0.0}, {}):
        objective = Focal(**given)
        loss = objective(logits(), b, NONE if given else {"focal_gamma": jnp.float32(0.0)}, NONE)
        assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_is_the_published_formula(gamma):
    b = batch()
    q = np.where(np.asarray(b.label) == 1, expit(SCORES), expit(-SCORES))
    expected = np.mean(-np.asarray(b.training_weight, np.float64) * (1 - q) ** gamma * np.log(q))
    for objective, values in (
        (Focal(gamma=gamma), NONE),
        (Focal(), {"focal_gamma": jnp.float32(gamma)}),
    ):
        assert float(evaluate(objective, logits(), b, values)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "wrong"), [(Focal(), 500.0), (Focal(gamma=0.0), 500.0), (MeanSquaredError(), 1.0)]
)
def test_no_probability_saturates(objective, wrong):
    b = batch(training_weight=np.ones(60))
    right = jnp.where(b.label == 1, 500.0, -500.0)
    for scores, expected in ((right, 0.0), (-right, wrong)):
        value, gradient = value_and_gradient(objective, scores, b)
        assert float(value) == pytest.approx(expected)
        assert np.all(np.isfinite(gradient))


def test_small_errors_keep_their_digits_in_float32():
    """A signal event at a logit of 20 is 2e-9 from 1, which float32 does not tell from 1."""
    signal = batch(8, label=np.ones(8), training_weight=np.ones(8))
    value, gradient = value_and_gradient(MeanSquaredError(), jnp.full(8, 20.0), signal)
    assert float(value) == pytest.approx(expit(-20.0) ** 2, rel=1e-5)
    assert float(gradient.sum()) == pytest.approx(-2 * expit(-20.0) ** 2, rel=1e-5)


def test_the_slope_in_gamma_is_finite_where_the_power_underflows():
    b = batch(label=np.zeros(60))
    slope = jax.grad(lambda g: Focal()(jnp.full(60, -400.0), b, {"focal_gamma": g}, NONE))(2.0)
    assert float(slope) == 0.0


def test_errors_name_value_and_remedy():
    with pytest.raises(InputError, match=r"gamma=-1.0.*negative"):
        Focal(gamma=-1.0)
