"""ROC curves against scikit-learn, and against all pairs where it refuses."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from difftune.errors import InputError
from difftune.histograms.compare import auc, roc_curve


def sample(events=500, seed=1, digits=6):
    rng = np.random.default_rng(seed)
    signal = rng.random(events) < 0.4
    score = np.round(rng.normal(signal * 0.8, 1.0), digits)
    return score, rng.uniform(0.1, 2.0, events), signal


@pytest.mark.parametrize("digits", [6, 1])
def test_curve_and_area_are_those_of_sklearn(digits):
    score, weight, signal = sample(digits=digits)
    curve = roc_curve(score, weight, signal)
    fpr, tpr, threshold = sklearn_roc_curve(
        signal, score, sample_weight=weight, drop_intermediate=False
    )
    np.testing.assert_allclose(curve.background, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.signal, tpr, atol=1e-12)
    np.testing.assert_array_equal(curve.threshold, threshold)
    expected = roc_auc_score(signal, score, sample_weight=weight)
    assert auc(score, weight, signal).value == pytest.approx(expected, rel=1e-12)


def test_area_with_negative_weights_is_that_of_all_pairs():
    score, weight, signal = sample(events=300, seed=2, digits=1)
    weight = np.where(np.random.default_rng(3).random(300) < 0.2, -weight, weight)
    s, b = score[signal][:, None], score[~signal]
    pairs = weight[signal][:, None] * weight[~signal] * ((s > b) + 0.5 * (s == b))
    expected = pairs.sum() / weight[signal].sum() / weight[~signal].sum()
    assert auc(score, weight, signal).value == pytest.approx(expected, rel=1e-10)
    curve = roc_curve(score, weight, signal)
    assert np.trapezoid(curve.signal, curve.background) == pytest.approx(expected, rel=1e-10)
    assert (curve.signal[-1], curve.background[-1]) == pytest.approx((1, 1))


def test_uncertainty_is_the_spread_of_independent_samples():
    results = [auc(*sample(events=400, seed=seed)) for seed in range(400)]
    spread = np.std([r.value for r in results])
    assert np.mean([r.uncertainty for r in results]) == pytest.approx(spread, rel=0.12)


def test_single_precision_and_integers_are_taken():
    score, _, signal = sample()
    expected = auc(score, np.ones(len(score)), signal).value
    ours = auc(score.astype(np.float32), np.ones(len(score), np.int32), signal)
    assert ours.value == pytest.approx(expected, abs=1e-6)


def test_what_has_no_curve_is_refused():
    with pytest.raises(InputError, match="background"):
        auc(np.array([0.1, 0.2]), np.ones(2), np.array([True, True]))
    with pytest.raises(InputError, match="signal events with a positive"):
        roc_curve(np.array([0.1, 0.2, 0.3]), np.array([1.0, -2, 1]), np.array([True, True, False]))
    with pytest.raises(InputError, match="NaN"):
        auc(np.array([np.nan, 0.2]), np.ones(2), np.array([True, False]))
