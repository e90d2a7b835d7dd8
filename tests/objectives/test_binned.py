"""Separation and significance of the histogram of the score."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

from difftune.histograms.compare import separation_power
from difftune.objectives import SeparationLoss, Significance, signal_probability
from tests.objectives.samples import NONE, batch, evaluate, logits


def numpy_significance(score, weight, training_weight, label, bins):
    order = np.argsort(score)
    cumulative = np.cumsum(np.abs(training_weight)[order])
    shares = cumulative[-1] * np.arange(1, bins) / bins
    edges = [0.0, *(score[order][np.argmax(cumulative >= share)] for share in shares), 1.0]
    q0 = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (score >= low) & ((score < high) | (high == 1.0))
        s, b = (weight[inside & (label == cls)].sum() for cls in (1, 0))
        if s > 0 and b > 0:
            q0 += 2 * ((s + b) * np.log(1 + s / b) - s)
    return np.sqrt(q0)


@pytest.mark.parametrize(("bins", "classes"), [(1, None), (4, 3), (20, None)])
def test_is_what_numpy_computes(classes, bins):
    b, scores = batch(300), logits(300, classes)
    exact = np.asarray(scores, np.float64)
    score = expit(exact) if classes is None else softmax(exact, axis=1)[:, 1]
    columns = (np.asarray(x, np.float64) for x in (b.weight, b.training_weight, b.label))
    expected = numpy_significance(score, *columns, bins)
    assert float(evaluate(Significance(bins=bins), scores, b)) == pytest.approx(expected, rel=1e-4)


def test_vmap_is_the_loop():
    b, scores = batch(300), jnp.stack([logits(300), -logits(300)])
    metric = Significance(bins=4)
    one_by_one = [float(evaluate(metric, s, b)) for s in scores]
    assert one_by_one[0] != pytest.approx(one_by_one[1], rel=1e-3)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(lambda s: metric(s, b, NONE, NONE)))(scores), one_by_one, rtol=1e-5
    )


def test_only_the_order_of_the_scores_counts():
    b, scores = batch(300), logits(300)
    plain, stretched = (float(evaluate(Significance(), s, b)) for s in (scores, 3 * scores + 1))
    assert plain == pytest.approx(stretched, rel=1e-5)
    assert float(evaluate(Significance(), scores**2, b)) != pytest.approx(plain, 1e-3)


def test_equal_scores_give_the_counting_experiment():
    b = batch(300)
    s = float(np.sum(b.weight * b.label))
    total = float(np.sum(b.weight))
    expected = np.sqrt(2 * (total * np.log(total / (total - s)) - s))
    z = evaluate(Significance(), 0 * logits(300), b)
    assert float(z) == pytest.approx(expected, rel=1e-5)


def test_nan_scores_do_not_pass_as_a_number():
    assert np.isnan(evaluate(Significance(), logits(300).at[3].set(np.nan), batch(300)))


def test_signal_probability_adds_up_the_signal_classes():
    b = batch(signal_process=np.array([1.0, 0.0, 1.0]))
    scores = logits(classes=3)
    expected = 1.0 - softmax(np.asarray(scores, np.float64), axis=1)[:, 1]
    np.testing.assert_allclose(signal_probability(scores, b), expected, rtol=1e-5)


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
