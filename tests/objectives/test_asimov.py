import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import expit, softmax

from difftune.errors import InputError
from difftune.objectives import AsimovLLR
from tests.objectives.samples import NONE, batch, evaluate, logits, value_and_gradient


def numpy_q0(scores: np.ndarray, label, weight, bins: int) -> float:
    """Hard bins and the published formula, by numpy."""
    signal, _ = np.histogram(scores[label == 1], bins, (0, 1), weights=weight[label == 1])
    background, _ = np.histogram(scores[label == 0], bins, (0, 1), weights=weight[label == 0])
    s, b = (x[(signal > 0) & (background > 0)] for x in (signal, background))
    return 2 * np.sum((s + b) * np.log(1 + s / b) - s)


@pytest.mark.parametrize(
    ("bins", "classes", "form"), [(2, None, "linear"), (7, 3, "linear"), (7, None, "log")]
)
def test_is_the_hard_histograms_q0_in_the_limit_of_no_bandwidth(bins, classes, form):
    with jax.enable_x64(True):
        b = batch(dtype=jnp.float64)
        scores = logits(classes=classes, dtype=jnp.float64)
        discriminant = expit(scores) if classes is None else softmax(scores, axis=1)[:, 1]
        expected = numpy_q0(np.asarray(discriminant), b.label, b.weight, bins)
        assert expected > 1.0
        value = -expected if form == "linear" else -math.log(expected)
        objective = AsimovLLR(bins=bins, bandwidth=(1e-7, 1e-7), form=form)
        assert float(evaluate(objective, scores, b)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(("form", "classes"), [("linear", None), ("log", 3)])
def test_gradient_is_that_of_finite_differences(form, classes):
    objective = AsimovLLR(bins=5, form=form)
    with jax.enable_x64(True):
        b, scores = batch(dtype=jnp.float64), logits(classes=classes, dtype=jnp.float64)

        def loss(scores, width):
            return objective(scores, b, {"bandwidth": width}, NONE)

        check_grads(
            jax.jit(loss), (scores, jnp.float64(1.5)), order=1, modes=("fwd", "rev"), rtol=1e-5
        )


def test_bandwidth_is_annealed_geometrically_and_scaled_by_the_hyperparameter():
    def loss(width, progress, **hyperparameters):
        given = {"bandwidth": 1.0} | hyperparameters
        values = {name: jnp.float32(value) for name, value in given.items()}
        objective, b = AsimovLLR(bandwidth=width), batch(progress=progress)
        return float(evaluate(objective, logits(), b, values))

    still = {width: loss((width, width), 0.3) for width in (0.08, 0.04, 0.02)}
    assert len(set(still.values())) == 3
    close = partial(pytest.approx, rel=1e-5)
    assert loss((0.08, 0.02), 0.0) == close(still[0.08])
    assert loss((0.08, 0.02), 0.5) == close(still[0.04])
    assert loss((0.08, 0.02), 1.0) == close(still[0.02])
    assert loss((0.08, 0.02), 1.0, bandwidth=2.0) == close(still[0.04])
    assert loss((0.08, 0.02), 1.0, learning_rate=2.0) == close(still[0.02])


AWKWARD = {
    "negative bins": (batch(weight=np.where(np.arange(60) % 2, -1.0, 0.2)), logits()),
    "all weights negative": (batch(weight=-np.ones(60)), logits()),
    "empty bins": (batch(), jnp.where(batch().label == 1, 9.0, -9.0)),
    "all scores equal": (batch(), jnp.zeros(60)),
    "saturated scores": (batch(), jnp.where(jnp.arange(60) % 2, 500.0, -500.0)),
    "no signal": (batch(label=np.zeros(60)), logits()),
    "no background": (batch(label=np.ones(60)), logits()),
    "no weights": (batch(weight=np.zeros(60)), logits()),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("form", ["linear", "log"])
@pytest.mark.parametrize("width", [0.05, 1e-4])
def test_awkward_batches_are_finite_in_value_and_gradient(name, form, width):
    b, scores = AWKWARD[name]
    objective = AsimovLLR(form=form, bandwidth=(width, width))
    value, gradient = value_and_gradient(objective, scores, b)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    if name in ("no signal", "no background", "no weights"):
        assert float(value) == (0.0 if form == "linear" else pytest.approx(12 * math.log(10)))
        np.testing.assert_array_equal(gradient, 0.0)


def test_log_form_has_a_gradient_without_luminosity():
    b = batch()
    brighter = batch(weight=1000.0 * b.weight)
    gradient = {
        form: [value_and_gradient(AsimovLLR(form=form), logits(), x)[1] for x in (b, brighter)]
        for form in ("linear", "log")
    }
    np.testing.assert_allclose(*gradient["log"], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(
        1000.0 * gradient["linear"][0], gradient["linear"][1], rtol=1e-3, atol=1e-2
    )


def test_jit_and_vmap_change_nothing():
    b, objective = batch(), AsimovLLR(bins=6)

    def loss(scores, width):
        return objective(scores, b, {"bandwidth": width}, NONE)

    scores = jnp.stack([logits(), 2.0 * logits(), -logits()])
    widths = jnp.array([0.5, 1.0, 2.0])
    compiled = jax.jit(loss)
    one_by_one = [float(compiled(s, w)) for s, w in zip(scores, widths, strict=True)]
    assert len(set(one_by_one)) == 3
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(scores, widths), one_by_one, rtol=1e-5)
    assert float(loss(scores[0], widths[0])) == pytest.approx(one_by_one[0], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 1}, "bins=1.*at least 2"),
        ({"bandwidth": (0.1, 0.0)}, r"bandwidth=\(0.1, 0.0\).*positive"),
        ({"form": "sqrt"}, "form='sqrt'.*'linear' or 'log'"),
    ],
)
def test_errors_name_value_and_remedy(options, message):
    with pytest.raises(InputError, match=message):
        AsimovLLR(**options)
