import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from difftune.histograms.compare import separation_power
from difftune.objectives import SeparationLoss
from tests.objectives.samples import batch, evaluate, logits


def numpy_separation(score, label, weight, edges) -> float:
    """The definition, by numpy's histograms, where no bin is negative."""
    s, b = (np.histogram(score[label == c], edges, weights=weight[label == c])[0] for c in (1, 0))
    s, b = s / s.sum(), b / b.sum()
    filled = s + b > 0
    return 0.5 * np.sum((s - b)[filled] ** 2 / (s + b)[filled])


@pytest.mark.parametrize("bins", [2, 7])
def test_is_that_of_hard_bins_in_the_limit_of_no_bandwidth(bins):
    with jax.enable_x64(True):
        weight = np.random.default_rng(3).uniform(0.1, 3.0, 60)
        b = batch(dtype=jnp.float64, training_weight=weight)
        scores = logits(dtype=jnp.float64)
        objective = SeparationLoss(bins=bins, bandwidth=(1e-7, 1e-7))
        expected = numpy_separation(
            expit(np.asarray(scores)), np.asarray(b.label), weight, np.linspace(0, 1, bins + 1)
        )
        assert 0.001 < expected < 0.9
        assert float(evaluate(objective, scores, b)) == pytest.approx(1 - expected, rel=1e-9)


def test_of_two_gaussian_shapes_is_the_integral():
    """Of many narrow bins of analytic densities: scipy's integral of the same expression."""
    from scipy.integrate import quad
    from scipy.stats import norm

    def term(x):
        s, b = norm.pdf(x, 1.0), norm.pdf(x, -0.5, 1.5)
        return 0.5 * (s - b) ** 2 / (s + b)

    edges = np.linspace(-9, 9, 4001)
    s, b = np.diff(norm.cdf(edges, 1.0)), np.diff(norm.cdf(edges, -0.5, 1.5))
    with jax.enable_x64(True):
        value = separation_power(jnp.asarray(20.0 * s), jnp.asarray(3e3 * b))
    assert float(value) == pytest.approx(quad(term, -9, 9, limit=200)[0], rel=1e-5)


def test_extremes():
    same, apart = jnp.array([1.0, 3.0, 0.0]), jnp.array([0.0, 0.0, 2.0])
    assert float(separation_power(same, 7 * same)) == pytest.approx(0.0, abs=1e-7)
    assert float(separation_power(same, apart)) == pytest.approx(1.0)
    assert float(separation_power(0 * same, apart)) == 0.0


def test_negative_bins_count_as_empty():
    s, b = jnp.array([1.0, -0.5, 3.0]), jnp.array([2.0, 0.51, -1e-6])
    value, gradients = jax.value_and_grad(separation_power, argnums=(0, 1))(s, b)
    clipped = separation_power(jnp.maximum(s, 0), jnp.maximum(b, 0))
    assert float(value) == pytest.approx(float(clipped))
    assert 0 <= value <= 1
    assert float(gradients[0][1]) == 0.0
    assert float(gradients[1][2]) == 0.0
    assert np.isnan(separation_power(s.at[0].set(jnp.nan), b))
