import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from difftune.errors import InputError
from difftune.objectives import DistanceCorrelation
from difftune.objectives.decorrelation import distance_correlation
from tests.objectives.samples import batch, evaluate, logits


def centred(x, p):
    """Doubly centred distances: J a J with the projection J that removes the weighted mean."""
    away = np.eye(len(x)) - np.outer(np.ones(len(x)), p)
    return away @ np.abs(x[:, None] - x[None, :]) @ away.T


def numpy_dcor(x, y, weight):
    """The definition, by matrices of all pairs."""
    p = weight / weight.sum()
    a, b = centred(x, p), centred(y, p)
    return p @ (a * b) @ p / np.sqrt((p @ (a * a) @ p) * (p @ (b * b) @ p))


@pytest.mark.parametrize("rows", [1024, 60, 7, 1])
def test_is_the_definition_over_background_whatever_is_in_memory(rows):
    with jax.enable_x64(True):
        b, scores = batch(dtype=jnp.float64), logits(dtype=jnp.float64)
        value = evaluate(DistanceCorrelation(feature=1, rows=rows), scores, b)
    background = np.asarray(b.label) == 0
    assert np.asarray(b.training_weight)[background].min() < 0
    expected = numpy_dcor(
        expit(np.asarray(scores))[background],
        np.asarray(b.features)[background, 1],
        np.abs(b.training_weight)[background],
    )
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_weights_are_numbers_of_equal_events():
    rng = np.random.default_rng(1)
    x, y, times = rng.normal(size=30), rng.normal(size=30), rng.integers(1, 5, 30)
    y = y + x**2
    with jax.enable_x64(True):
        weighted = distance_correlation(
            jnp.asarray(x), jnp.asarray(y), jnp.asarray(times, float), rows=64
        )
        x, y = np.repeat(x, times), np.repeat(y, times)
        repeated = distance_correlation(jnp.asarray(x), jnp.asarray(y), jnp.ones(len(x)), rows=1000)
    assert float(weighted) == pytest.approx(float(repeated), rel=1e-12)


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_of_a_bivariate_normal_is_the_closed_form(rho):
    """Theorem 7 of Székely, Rizzo and Bakirov, with a sample of 4000."""
    x, z = np.random.default_rng(7).normal(size=(2, 4000))
    y = rho * x + np.sqrt(1 - rho**2) * z
    root = np.sqrt(1 - rho**2)
    above = rho * np.arcsin(rho) + root - rho * np.arcsin(rho / 2) - np.sqrt(4 - rho**2) + 1
    expected = above / (1 + np.pi / 3 - np.sqrt(3))
    columns = (jnp.asarray(c, jnp.float32) for c in (x, y, np.ones(4000)))
    value = jax.jit(distance_correlation, static_argnames="rows")(*columns, rows=200)
    assert float(value) == pytest.approx(expected, abs=0.03)


def test_extremes():
    x = jnp.asarray(norm.ppf((np.arange(40) + 0.5) / 40), jnp.float32)
    ones = jnp.ones(40)
    assert float(distance_correlation(x, 3 - 2 * x, ones, rows=40)) == pytest.approx(1.0)
    assert float(distance_correlation(x, 0 * x, ones, rows=40)) == 0.0
    # A full grid is independent.
    u, v = jnp.repeat(x[:6], 6), jnp.tile(x[10:16], 6)
    assert float(distance_correlation(u, v, jnp.ones(36), rows=40)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DistanceCorrelation(feature=-1), r"feature=-1.*counted from 0"),
        (lambda: DistanceCorrelation(feature=0, rows=0), r"rows=0.*at least 1"),
        (
            lambda: evaluate(DistanceCorrelation(feature=2), logits(), batch()),
            r"feature=2\): there are 2 features, counted from 0 to 1",
        ),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()
