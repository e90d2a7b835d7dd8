import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from difftune.models.parts import lecun_normal

SHAPE = (300, 200)
COUNT = SHAPE[0] * SHAPE[1]
KEYS = [jax.random.key(k) for k in (0, 1, 2**31, 12345)]


def drawn(key, shape=SHAPE, fan_in=1):
    return np.asarray(lecun_normal(key, shape, fan_in), np.float64)


@pytest.mark.parametrize("fan_in", [1, 7, 300])
@pytest.mark.parametrize("key", KEYS)
def test_distribution(key, fan_in):
    # A normal distribution cut off at two of its standard deviations, of variance 1 / fan_in.
    scale = np.sqrt(1 / fan_in / stats.truncnorm.var(-2, 2))
    x = drawn(key, fan_in=fan_in)
    assert stats.kstest(x.ravel(), stats.truncnorm(-2, 2, scale=scale).cdf).pvalue > 1e-4
    assert np.var(x) == pytest.approx(1 / fan_in, rel=0.03)
    theirs = jax.nn.initializers.lecun_normal()(key, (fan_in, COUNT // fan_in))
    assert stats.ks_2samp(x.ravel(), np.asarray(theirs).ravel()).pvalue > 1e-4


def test_distribution_of_every_small_matrix():
    # Narrow layers have few entries; the p-values of many must be even too.
    cdf = stats.truncnorm(-2, 2, scale=1 / stats.truncnorm.std(-2, 2)).cdf
    draw = jax.jit(jax.vmap(lambda key: lecun_normal(key, (10, 8), 1)))
    small = np.asarray(draw(jax.random.split(jax.random.key(3), 400)), np.float64)
    pvalues = [stats.kstest(x.ravel(), cdf).pvalue for x in small]
    assert stats.kstest(pvalues, "uniform").pvalue > 1e-4


def assert_independent(a, b):
    a, b = a.ravel(), b.ravel()
    assert abs(np.corrcoef(a, b)[0, 1]) * np.sqrt(a.size) < 5.0
    cdf = stats.truncnorm(-2, 2, scale=1 / stats.truncnorm.std(-2, 2)).cdf
    cells, *_ = np.histogram2d(cdf(a), cdf(b), bins=10, range=[[0, 1], [0, 1]])
    assert stats.chisquare(cells.ravel()).pvalue > 1e-5


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (1, 1), (0, 64), (128, 0)])
def test_neighbours_are_independent(key, down, right):
    x = drawn(key)
    assert_independent(x[down:, right:], x[: SHAPE[0] - down, : SHAPE[1] - right])


def test_row_and_column_are_not_confused():
    x = drawn(KEYS[0], (200, 200))
    upper = np.triu_indices(200, 1)
    assert_independent(x[upper], x.T[upper])


def test_keys_are_independent():
    assert_independent(drawn(jax.random.key(0)), drawn(jax.random.key(1)))
    key = jax.random.key(0)
    assert_independent(drawn(jax.random.fold_in(key, 0)), drawn(jax.random.fold_in(key, 1)))


def test_rows_and_columns_have_no_common_shift():
    x = drawn(KEYS[1])
    for axis in (0, 1):
        spread = x.mean(axis).std() * np.sqrt(SHAPE[axis])
        assert spread == pytest.approx(1.0, abs=5 / np.sqrt(2 * SHAPE[1 - axis]))


@pytest.mark.parametrize("shape", [(1, 1), (7, 200), (300, 5), (48, 20)])
def test_a_small_matrix_is_the_corner_of_a_large_one(shape):
    large, small = drawn(KEYS[0]), drawn(KEYS[0], shape)
    np.testing.assert_allclose(large[: shape[0], : shape[1]], small, rtol=1e-6)


def test_fan_in_may_differ_from_member_to_member():
    fans = jnp.array([1, 5, 300])
    found = jax.jit(jax.vmap(lambda fan: lecun_normal(KEYS[0], SHAPE, fan)))(fans)
    for fan, x in zip(fans, found, strict=True):
        np.testing.assert_allclose(x, drawn(KEYS[0], fan_in=int(fan)), rtol=1e-6)
