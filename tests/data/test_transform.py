import json
import logging
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import RobustScaler, StandardScaler

from difftune.data import FeatureTransform
from difftune.data.transform import weighted_quantile
from difftune.errors import InputError
from difftune.training import Recipe


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    x = rng.normal([3, -200, 0.01], [1, 30, 1e-3], (500, 3)).astype(np.float32)
    x[rng.random((500, 3)) < [0.3, 0, 0]] = np.nan
    return x


def test_standardises_as_sklearn_with_weights(features):
    weight = np.random.default_rng(1).normal(1, 1, 500)
    transform = FeatureTransform.fit(features, weight)
    # sklearn leaves NaN out of the moments, as we do; it knows no negative weights.
    scaler = StandardScaler().fit(features.astype(float), sample_weight=abs(weight))
    there = ~np.isnan(features)
    expected = scaler.transform(features.astype(float))
    np.testing.assert_allclose(transform(features)[there], expected[there], atol=2e-5)


@pytest.mark.parametrize("impute", ["median", "mean", -7.0])
def test_imputes_as_sklearn(features, impute):
    strategy = {"strategy": impute} if isinstance(impute, str) else {"strategy": "constant"}
    value = {} if isinstance(impute, str) else {"fill_value": impute}
    imputer = SimpleImputer(**strategy, **value).fit(features.astype(float))
    transform = FeatureTransform.fit(features, impute=impute, scaling=None)
    np.testing.assert_allclose(
        transform(features), imputer.transform(features.astype(float)), rtol=1e-6
    )


def test_indicators_mark_what_is_missing(features):
    transform = FeatureTransform.fit(features, indicators=True)
    assert transform.indicators == (0,)
    assert transform.width == 4
    result = transform(features)
    np.testing.assert_array_equal(result[:, 3], np.isnan(features[:, 0]))
    assert np.isfinite(result).all()


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_weighted_quantile_of_whole_weights_is_that_of_repeated_values(share):
    rng = np.random.default_rng(2)
    for size in (1, 2, 5, 40):
        values, repeats = rng.normal(size=size), rng.integers(1, 5, size)
        repeated = np.repeat(values, repeats)
        expected = np.quantile(repeated, share, method="averaged_inverted_cdf")
        found = weighted_quantile(values, repeats.astype(float), share)
        assert found == pytest.approx(expected)


def test_robust_scaling_is_that_of_sklearn_drawn_in(features):
    repeats = np.random.default_rng(5).integers(1, 4, 500)
    features[7, 1] = 1e30
    transform = FeatureTransform.fit(features, repeats.astype(float), scaling="robust")
    scaler = RobustScaler().fit(np.repeat(features, repeats, axis=0).astype(float))
    x = scaler.transform(features.astype(float))
    expected = x / np.sqrt(1 + (x / 3) ** 2)
    there = ~np.isnan(features)
    # sklearn's quantiles lie between values, ours on them.
    np.testing.assert_allclose(transform(features)[there], expected[there], atol=0.03)
    np.testing.assert_allclose(transform(features)[7, 1], 3.0, rtol=1e-6)
    np.testing.assert_allclose(transform(np.full((1, 3), -np.inf)), -3.0, rtol=1e-6)
    jitted = jax.jit(lambda x: transform(x))(features)
    np.testing.assert_allclose(jitted, transform(features), rtol=1e-5, atol=1e-6)
    again = FeatureTransform.from_dict(json.loads(json.dumps(transform.to_dict())))
    np.testing.assert_array_equal(again(features), transform(features))


def test_of_a_variable_that_is_mostly_one_value_the_standard_deviation_is_taken():
    x = np.concatenate([np.full(90, 5.0), np.arange(10.0)])[:, None].astype(np.float32)
    transform = FeatureTransform.fit(x, scaling="robust")
    assert transform.center == 5.0
    assert transform.scale == pytest.approx(x.std(), rel=1e-5)


def test_a_scaling_of_ones_own(features):
    weight = np.random.default_rng(1).random(500)
    transform = FeatureTransform.fit(
        features,
        weight,
        scaling=lambda values, weight: (np.min(values), np.average(values, weights=weight)),
    )
    there = ~np.isnan(features[:, 0])
    mean = np.average(features[there, 0], weights=weight[there])
    expected = (features[there, 0] - features[there, 0].min()) / mean
    np.testing.assert_allclose(transform(features)[there, 0], expected, rtol=1e-5)
    with pytest.raises(InputError, match=r"feature '0': the function gave \[1.0, 0.0\].*not 0"):
        FeatureTransform.fit(features, scaling=lambda values, weight: (1.0, 0.0))
    with pytest.raises(InputError, match="scaling = 'robus'"):
        FeatureTransform.fit(features, scaling="robus")
    with pytest.raises(InputError, match=r"'robus' is unknown.*Did you mean 'robust'"):
        Recipe(scaling="robus")
    with pytest.raises(InputError, match=r"scaling=.*is called with"):
        Recipe(scaling=lambda values: (0.0, 1.0))


def test_it_is_a_pytree_that_jit_and_vmap_take(features):
    transform = FeatureTransform.fit(features, indicators=True)
    expected = transform(features)
    assert isinstance(expected, np.ndarray)
    compiled = jax.jit(lambda t, x: t(x))(transform, features)
    assert isinstance(compiled, jax.Array)
    np.testing.assert_allclose(compiled, expected, atol=1e-6)
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), transform)
    both = jax.vmap(lambda t: t(jnp.asarray(features)))(stacked)
    np.testing.assert_allclose(both[0], expected, atol=1e-6)


def test_json_keeps_it_exactly(features):
    transform = FeatureTransform.fit(features, indicators=True)
    again = FeatureTransform.from_dict(json.loads(json.dumps(transform.to_dict())))
    np.testing.assert_array_equal(again(features), transform(features))


def test_constant_features_keep_scale_one_and_warn(caplog):
    x = np.full((50, 1), 0.1, np.float32)
    with caplog.at_level(logging.WARNING, "difftune"):
        transform = FeatureTransform.fit(x, names=["met"])
    assert transform.scale == 1
    np.testing.assert_allclose(transform(x), 0)
    assert "feature 'met' is constant" in caplog.text


def test_bad_input_is_refused():
    empty = np.full((5, 1), np.nan, np.float32)
    with pytest.raises(InputError, match="feature 'met' is missing in all 5 training events"):
        FeatureTransform.fit(empty, names=["met"])
    with pytest.raises(InputError, match="feature '0' is infinite in 5"):
        FeatureTransform.fit(np.full((5, 1), np.inf, np.float32))
    with pytest.raises(InputError, match="impute = 'mode'"):
        FeatureTransform.fit(np.ones((5, 1), np.float32), impute="mode")


def test_what_was_called_missing_is_missing_later(features):
    meant = [[], [-999.0, -1.5], [-99.9], []]
    known = FeatureTransform.fit(features, sentinels=meant[: features.shape[1]], indicators=True)
    plain = FeatureTransform.fit(features, indicators=True)
    raw = features.copy()
    raw[3, 1], raw[4, 1], raw[5, 2], raw[6, 0] = -999, -1.5, np.float32(-99.9), -999
    blank = raw.copy()
    blank[3, 1] = blank[4, 1] = blank[5, 2] = np.nan
    np.testing.assert_array_equal(known(raw), plain(blank))
    np.testing.assert_allclose(jax.jit(lambda x: known(x))(raw), plain(blank), rtol=1e-6, atol=1e-6)
    again = FeatureTransform.from_dict(json.loads(json.dumps(known.to_dict())))
    np.testing.assert_array_equal(again(raw), known(raw))


def test_many_events_take_no_memory_beside_the_result(features, monkeypatch):
    transform = FeatureTransform.fit(features, indicators=True)
    whole = transform(features)
    monkeypatch.setattr("difftune.data.transform._BLOCK", 7)
    np.testing.assert_array_equal(transform(features), whole)
    monkeypatch.undo()
    many = np.repeat(features, 500_000 // len(features), axis=0)
    tracemalloc.start()
    result = transform(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < result.nbytes + 20 * 65536 * many.shape[1]
    np.testing.assert_array_equal(result[:: 500_000 // len(features)], whole)
