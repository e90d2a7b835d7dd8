from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from difftune.errors import InputError
from difftune.histograms import Histogram
from difftune.histograms.compare import chi2, weighted_ks
from difftune.training import (
    AllOf,
    Evidence,
    LossGap,
    ScoredSample,
    ScoreGap,
    ShapeChi2,
    ShapeKS,
)


def evidence(
    train=None, validation=None, *, scores=(5.0, 5.0), losses=(0.4, 0.4), errors=(0.0, 0.0)
) -> Evidence:
    nothing = ScoredSample(jnp.zeros(1), jnp.zeros(1), jnp.zeros(1, int))
    numbers = map(jnp.float32, (*scores, *losses))
    return Evidence(*numbers, train or nothing, validation or nothing, *map(jnp.float32, errors))


@pytest.mark.parametrize(
    ("limit", "train", "validation", "accepted"),
    [
        (0.1, 5.4, 5.0, True),
        (0.1, 5.6, 5.0, False),
        (0.5, 5.6, 5.0, True),
        (0.1, 4.0, 5.0, True),
        (0.1, -4.6, -5.0, True),
        (0.1, -4.4, -5.0, False),
        (0.1, 0.0, 0.0, True),
        (0.1, 1.0, 0.0, False),
        (0.1, float("nan"), 5.0, False),
        (float("inf"), 100.0, 1.0, True),
        (float("inf"), 1.0, 0.0, True),
        (float("inf"), 1.0, float("nan"), False),
    ],
)
def test_gap_is_relative_to_the_validation_score(limit, train, validation, accepted):
    measure = ScoreGap(limit=limit).excess(evidence(scores=(train, validation)))
    assert bool(measure <= 1.0) is accepted
    if accepted and np.isfinite(limit) and validation:
        expected = max((train - validation) / abs(validation) / limit, 0.0)
        np.testing.assert_allclose(measure, expected, rtol=1e-5)


@pytest.mark.parametrize("limit", [0.0, -0.1, float("nan")])
def test_limit_must_be_positive(limit):
    with pytest.raises(InputError, match=r"ScoreGap\(limit=.*must be positive"):
        ScoreGap(limit=limit)


@pytest.mark.parametrize("sigmas", [0, 1, 2.0])
def test_gap_may_be_larger_by_what_chance_gives(sigmas):
    # 10 % of 5 and so many times the quadratic sum of 0.3 and 0.4.
    condition = ScoreGap(limit=0.1, sigmas=sigmas)
    given = evidence(scores=(5.7, 5.0), errors=(0.3, 0.4))
    np.testing.assert_allclose(condition.excess(given), 0.7 / (0.5 + sigmas * 0.5), rtol=1e-6)
    # Empty bins have no error, and still a gap.
    given = evidence(scores=(5.7, 5.0), errors=(0.3, float("nan")))
    np.testing.assert_allclose(condition.excess(given), 0.7 / 0.5, rtol=1e-6)
    assert condition.wants_errors is (sigmas > 0)
    assert not ScoreGap(limit=float("inf"), sigmas=sigmas).wants_errors
    assert AllOf([LossGap(), condition]).wants_errors is (sigmas > 0)


@pytest.mark.parametrize("sigmas", [-1.0, float("nan"), float("inf")])
def test_sigmas_must_be_a_number(sigmas):
    with pytest.raises(InputError, match=r"ScoreGap\(sigmas=.*0 or a positive number"):
        ScoreGap(sigmas=sigmas)


def test_the_gap_of_losses():
    def measure(train, validation):
        return LossGap(limit=0.1).excess(evidence(losses=(train, validation)))

    np.testing.assert_allclose(measure(0.4, 0.42), 0.5, rtol=1e-5)
    np.testing.assert_allclose(measure(0.4, 0.48), 2.0, rtol=1e-5)
    np.testing.assert_allclose(measure(-0.4, -0.36), 1.0, rtol=1e-5)
    assert measure(0.4, 0.3) == 0.0


def sample(seed: int, events: int, shift: float = 0.0, *, weighted: bool = True) -> ScoredSample:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, events)
    score = 1 / (1 + np.exp(-rng.normal(2.0 * label - 1 + shift * label, 1.0)))
    weight = rng.uniform(0.2, 3.0, events) if weighted else np.ones(events)
    if weighted:
        weight[rng.random(events) < 0.1] *= -0.5
    return ScoredSample(jnp.float32(score), jnp.float32(weight), jnp.asarray(label))


def of_class(both: ScoredSample, label: int) -> tuple[np.ndarray, np.ndarray]:
    mine = np.asarray(both.label) == label
    return np.asarray(both.score)[mine], np.asarray(both.weight)[mine]


@partial(jax.jit, static_argnums=0)
def excess(condition, given: Evidence):
    return condition.excess(given)


def least(measure, limit: float) -> float:
    """The smaller p-value behind the measure."""
    return limit ** float(measure)


@pytest.mark.parametrize(("events", "shift"), [(400, 0.0), (3000, 0.05), (3000, 0.15)])
@pytest.mark.parametrize("weighted", [False, True])
def test_shape_tests_are_those_of_the_histograms_layer(events, shift, weighted):
    """And that is held against scipy, in its own tests."""
    train = sample(1, events, weighted=weighted)
    validation = sample(2, events - 100, shift, weighted=weighted)
    given = evidence(train, validation)
    expected = [
        weighted_ks(*of_class(train, label), *of_class(validation, label)).pvalue
        for label in (0, 1)
    ]
    found = least(excess(ShapeKS(p_value=0.01), given), 0.01)
    np.testing.assert_allclose(found, min(expected), rtol=0.06)
    if not weighted:
        pairs = [(of_class(train, i)[0], of_class(validation, i)[0]) for i in (0, 1)]
        scipys = min(stats.ks_2samp(*pair, method="asymp").pvalue for pair in pairs)
        np.testing.assert_allclose(found, scipys, rtol=0.06)
    expected = []
    for label in (0, 1):
        filled = []
        for each in (train, validation):
            score, weight = of_class(each, label)
            sums = [np.histogram(score, 10, (0, 1), weights=w)[0] for w in (weight, weight**2)]
            filled.append(Histogram(edges=np.linspace(0, 1, 11), sumw=sums[0], sumw2=sums[1]))
        expected.append(chi2(*filled, shape=True).pvalue)
    found = least(excess(ShapeChi2(p_value=0.01, bins=10), given), 0.01)
    np.testing.assert_allclose(found, min(expected), rtol=1e-2)


def test_shapes_that_differ_are_excluded_and_equal_ones_are_not():
    same, other = evidence(sample(1, 3000), sample(2, 3000)), sample(2, 3000, 0.4)
    moved = evidence(sample(1, 3000), other)
    for condition in (ShapeKS(), ShapeChi2()):
        assert 0.0 <= excess(condition, same) <= 1.0
        assert excess(condition, moved) > 1.0
    # How often equal shapes are excluded is the p-value; twice, for the two classes.
    pairs = [evidence(sample(2 * i, 300), sample(2 * i + 1, 300)) for i in range(100)]
    excluded = sum(bool(excess(ShapeKS(p_value=0.1), pair) > 1.0) for pair in pairs)
    assert stats.binomtest(excluded, 100, 1 - 0.9**2).pvalue > 1e-3


def test_all_conditions_must_be_met():
    gaps = AllOf([ScoreGap(limit=0.1), LossGap(limit=0.1)])
    assert gaps.excess(evidence(scores=(5.1, 5.0))) < 1.0
    assert gaps.excess(evidence(scores=(6.0, 5.0))) > 1.0
    assert gaps.excess(evidence(losses=(0.4, 0.5))) > 1.0
    # A function of two scores is one, too.
    strict = AllOf([lambda train, validation: train <= validation, LossGap(limit=0.1)])
    assert strict.excess(evidence(scores=(5.1, 5.0))) > 1.0
    assert strict.excess(evidence(scores=(4.9, 5.0))) <= 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LossGap(limit=0.0), r"LossGap\(limit=0.0\): must be positive"),
        (lambda: ShapeKS(p_value=0.0), r"ShapeKS\(p_value=0.0\): must lie between 0 and 1"),
        (lambda: ShapeChi2(bins=1), r"ShapeChi2\(bins=1\): at least 2"),
        (lambda: AllOf(()), r"AllOf\(\(\)\): give at least one"),
    ],
)
def test_bad_conditions_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
