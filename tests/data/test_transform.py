import json
import logging
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from difftune.data import FeatureTransform
from difftune.data.transform import weighted_median
from difftune.errors import InputError


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
    transform = FeatureTransform.fit(features, impute=impute, standardise=False)
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


def test_weighted_median_of_whole_weights_is_that_of_repeated_values():
    rng = np.random.default_rng(2)
    for size in (1, 2, 5, 40):
        values, repeats = rng.normal(size=size), rng.integers(1, 5, size)
        expected = np.median(np.repeat(values, repeats))
        assert weighted_median(values, repeats.astype(float)) == pytest.approx(expected)


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
