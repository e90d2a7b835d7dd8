import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from difftune.models import Dropout, Hyperparameter, fill, hash_uniform

COUNT = 100_000
SEEDS = [(0, 0), (1, 0), (0, 1), (2**32 - 1, 2**32 - 1), (12345, 67890)]


draw = jax.jit(hash_uniform, static_argnums=1)


def numbers(first: int, second: int, count: int = COUNT) -> np.ndarray:
    return np.asarray(draw(jnp.array([first, second], jnp.uint32), (count,)), np.float64)


@pytest.mark.parametrize("seed", SEEDS)
def test_hash_uniform_is_uniform(seed):
    u = numbers(*seed)
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert stats.kstest(u, "uniform").pvalue > 1e-4


def test_uniformity_holds_for_short_calls_of_many_seeds():
    # A small batch of a narrow layer draws a few hundred numbers; the p-values must be even too.
    pvalues = [stats.kstest(numbers(s, 7 * s, 300), "uniform").pvalue for s in range(300)]
    assert stats.kstest(pvalues, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lag", [1, 2, 64, 1024])
def test_neighbouring_counters_are_independent(seed, lag):
    u = numbers(*seed)
    correlation = np.corrcoef(u[:-lag], u[lag:])[0, 1]
    assert abs(correlation) * np.sqrt(COUNT) < 5.0
    cells, *_ = np.histogram2d(u[:-lag], u[lag:], bins=20, range=[[0, 1], [0, 1]])
    assert stats.chisquare(cells.ravel()).pvalue > 1e-5


@pytest.mark.parametrize("step", [(1, 0), (0, 1), (1, 1), (2**31, 0), (0, 2**31)])
@pytest.mark.parametrize("seed", SEEDS)
def test_neighbouring_seeds_are_independent(seed, step):
    other = [(a + b) % 2**32 for a, b in zip(seed, step, strict=True)]
    u, v = numbers(*seed), numbers(*other)
    assert abs(np.corrcoef(u, v)[0, 1]) * np.sqrt(COUNT) < 5.0
    cells, *_ = np.histogram2d(u, v, bins=20, range=[[0, 1], [0, 1]])
    assert stats.chisquare(cells.ravel()).pvalue > 1e-5


def dropout(rate: float) -> Dropout:
    return Dropout(rate, rngs=nnx.Rngs(3))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_rate_mean_and_independence(rate):
    layer = dropout(rate)
    x = jnp.ones((500, 200))
    first, second = np.asarray(layer(x)), np.asarray(layer(x))
    count = first.size
    for y in (first, second):
        error = np.sqrt(rate * (1 - rate) / count)
        assert abs(np.mean(y == 0.0) - rate) < 5 * error
        np.testing.assert_allclose(y[y != 0.0], 1 / (1 - rate), rtol=1e-6)
        assert abs(y.mean() - 1.0) < 5 * error / (1 - rate)
        # Rows are events, columns are units: neither may drop together.
        for axis in (0, 1):
            spread = np.mean(y == 0.0, axis=axis).std()
            assert spread == pytest.approx(np.sqrt(rate * (1 - rate) / y.shape[axis]), rel=0.25)
    both = np.mean((first == 0.0) & (second == 0.0))
    error = np.sqrt(rate**2 * (1 - rate**2) / count)
    assert abs(both - rate**2) < 5 * error


def test_gradient_is_that_of_the_same_mask():
    graph, random, rest = nnx.split(dropout(0.3), nnx.RngState, ...)

    def apply(x):
        return nnx.merge(graph, random, rest, copy=True)(x)

    x = jnp.linspace(1.0, 2.0, 50)
    gradient = jax.grad(lambda x: apply(x).sum())(x)
    np.testing.assert_allclose(gradient, apply(x) / x, rtol=1e-6)
    assert 0 < np.sum(np.asarray(gradient) == 0.0) < 50


def test_does_nothing_at_rate_zero_and_in_evaluation():
    x = jnp.linspace(-1.0, 1.0, 30)
    np.testing.assert_array_equal(dropout(0.0)(x), x)
    layer = dropout(0.8)
    layer.eval()
    np.testing.assert_array_equal(layer(x), x)
    layer.train()
    assert np.any(np.asarray(layer(x)) == 0.0)


def test_each_member_has_its_own_rate():
    graph, hyper, random, rest = nnx.split(dropout(0.3), Hyperparameter, nnx.RngState, ...)
    rates = jnp.array([0.0, 0.2, 0.7])
    x = jnp.ones((200, 100))

    def member(rate):
        return nnx.merge(graph, fill(hyper, {"dropout": rate}), random, rest, copy=True)(x)

    together = jax.vmap(member)(rates)
    dropped = np.mean(np.asarray(together) == 0.0, axis=(1, 2))
    np.testing.assert_allclose(dropped, rates, atol=5 * 0.5 / np.sqrt(x.size))
    for rate, y in zip(rates, together, strict=True):
        np.testing.assert_array_equal(member(rate), y)
