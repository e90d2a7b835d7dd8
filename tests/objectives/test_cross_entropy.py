import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import expit, softmax
from sklearn.metrics import log_loss

from difftune.objectives import CategoricalCrossEntropy, CrossEntropy
from tests.objectives.samples import NONE, batch, logits

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


def test_no_probability_saturates():
    b = batch(training_weight=np.ones(60))
    right = jnp.where(b.label == 1, 500.0, -500.0)
    for scores, expected in ((right, 0.0), (-right, 500.0)):
        value, gradient = jax.value_and_grad(lambda s: CrossEntropy()(s, b, NONE, NONE))(scores)
        assert float(value) == pytest.approx(expected)
        assert np.all(np.isfinite(gradient))
