import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from difftune.errors import InputError
from difftune.histograms import soft_histogram, yields
from difftune.histograms.fill import in_blocks

EDGES = np.array([0.0, 0.15, 0.4, 0.45, 0.9, 1.0])
KERNELS = {"logistic": stats.logistic, "normal": stats.norm}


@pytest.fixture
def sample():
    rng = np.random.default_rng(3)
    return rng.uniform(-0.1, 1.1, 300), rng.normal(1.0, 1.5, 300)


@pytest.mark.parametrize("kernel", KERNELS)
def test_bins_hold_the_kernels_probability(sample, kernel):
    x, weight = sample
    cdf = KERNELS[kernel](x[:, None], 0.07).cdf(np.array([-np.inf, *EDGES[1:-1], np.inf]))
    with jax.enable_x64(True):
        ours = soft_histogram(*map(jnp.asarray, (x, weight, EDGES)), bandwidth=0.07, kernel=kernel)
        np.testing.assert_allclose(ours, weight @ np.diff(cdf), rtol=1e-12)


@pytest.mark.parametrize("bandwidth", [1e-6, 0.05, 10.0])
def test_sum_is_conserved_in_float32(bandwidth):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(0, 1, 4096), jnp.float32)
    weight = jnp.asarray(rng.lognormal(0, 2, (2, 4096)), jnp.float32)
    edges = jnp.linspace(0, 1, 21)
    bins = soft_histogram(x, weight, edges, bandwidth=bandwidth)
    assert bins.dtype == jnp.float32
    assert bins.shape == (2, 20)
    np.testing.assert_allclose(bins.sum(1), weight.sum(1), rtol=2e-6)
    assert (bins >= 0).all()


EVERY = [*KERNELS, "softmax"]


@pytest.mark.slow
@pytest.mark.parametrize("kernel", EVERY)
@pytest.mark.parametrize("bandwidth", [1e-6, 1e-30, 0.0])
def test_small_bandwidth_gives_the_hard_histogram(sample, kernel, bandwidth):
    x, weight, edges = (jnp.asarray(a, jnp.float32) for a in (*sample, EDGES))

    def bins(*args):
        return soft_histogram(*args[:3], bandwidth=args[3], kernel=kernel)

    hard = yields(x, weight, edges)
    open_ends = np.array([-np.inf, *edges[1:-1], np.inf])
    np.testing.assert_allclose(hard, np.histogram(x, open_ends, weights=weight)[0], atol=1e-4)
    args = (x, weight, edges, jnp.float32(bandwidth))
    np.testing.assert_allclose(bins(*args), hard, rtol=1e-5, atol=1e-4)
    gradients = jax.grad(lambda *a: bins(*a)[2], argnums=(0, 1, 2, 3))(*args)
    assert all(jnp.isfinite(g).all() for g in gradients)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", EVERY)
def test_gradients_forward_reverse_and_finite_differences(sample, kernel):
    def bins(*arguments):
        x, weight, edges, bandwidth = map(jnp.asarray, arguments)
        return soft_histogram(x, weight, edges, bandwidth=bandwidth, kernel=kernel)

    with jax.enable_x64(True):
        arrays = [jnp.asarray(a) for a in (sample[0][:20], sample[1][:20], EDGES, 0.11)]
        check_grads(
            bins,
            arrays,
            order=1,
            modes=["fwd", "rev"],
            rtol=1e-4,
        )


def test_softmax_shares_differ_by_the_distance_to_the_edge_between(sample):
    x, edges, bandwidth = sample[0], EDGES, 0.06
    with jax.enable_x64(True):
        arrays = jnp.asarray(x), jnp.eye(len(x)), jnp.asarray(edges)
        share = np.asarray(soft_histogram(*arrays, bandwidth=bandwidth, kernel="softmax"))
    np.testing.assert_allclose(share.sum(1), 1.0, rtol=1e-12)
    odds = np.log(share[:, 1:] / share[:, :-1])
    np.testing.assert_allclose(odds, (x[:, None] - edges[1:-1]) / bandwidth, rtol=1e-9)


@pytest.mark.parametrize("kernel", EVERY)
def test_straight_through_is_hard_in_value_and_soft_in_slope(sample, kernel):
    x, weight, edges = (jnp.asarray(a, jnp.float32) for a in (*sample, EDGES))
    along = jnp.cos(jnp.arange(5.0))

    def bins(straight_through, *args):
        return soft_histogram(
            *args, bandwidth=0.05, kernel=kernel, straight_through=straight_through
        )

    expected = np.histogram(x, [-np.inf, *edges[1:-1], np.inf], weights=weight)[0]
    np.testing.assert_allclose(bins(True, x, weight, edges), expected, rtol=1e-5, atol=1e-4)
    ours, soft = (
        jax.grad(lambda x, e, s=s: bins(s, x, weight, e) @ along, argnums=(0, 1))(x, edges)
        for s in (True, False)
    )
    for one, other in zip(ours, soft, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    # In the weights the histogram is linear: there the slope is that of the value.
    slope = jax.grad(lambda w: bins(True, x, w, edges) @ along)(weight)
    index = np.searchsorted(EDGES[1:-1], sample[0], side="right")
    np.testing.assert_allclose(slope, np.asarray(along)[index], rtol=1e-6)


@pytest.mark.parametrize("events", [40, 300])
def test_blocks_add_up_in_value_and_slope(sample, events):
    """One block and some that are left over, and many."""
    with jax.enable_x64(True):
        x, weight, edges = (jnp.asarray(a) for a in (sample[0][:events], sample[1][:events], EDGES))

        def bins(block, x, weight, edges):
            def part(x, weight):
                return soft_histogram(x, jnp.stack([weight, weight**2]), edges, bandwidth=0.1)

            return in_blocks(part, x, weight, block=block)

        @functools.partial(jax.jit, static_argnums=0)
        def both(block, *args):
            value, back = jax.vjp(functools.partial(bins, block), *args)
            return value, back(jnp.cos(value))

        one, slopes = both(events, x, weight, edges)
        many, others = both(32, x, weight, edges)
        np.testing.assert_allclose(many, one, rtol=1e-12)
        for a, b in zip(slopes, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_vmap_and_jit_change_nothing(sample):
    x, weight, edges = (jnp.asarray(a, jnp.float32) for a in (*sample, EDGES))
    bandwidths = jnp.array([0.01, 0.1])
    scores = jnp.stack([x, 1 - x])
    shifted = jnp.stack([edges, edges.at[2].set(0.3)])
    compiled = jax.jit(
        jax.vmap(lambda x, e, h: soft_histogram(x, weight, e, bandwidth=h), in_axes=(0, 0, 0))
    )(scores, shifted, bandwidths)
    for member, row in enumerate(compiled):
        plain = soft_histogram(
            scores[member], weight, shifted[member], bandwidth=bandwidths[member]
        )
        np.testing.assert_allclose(row, plain, rtol=1e-5, atol=1e-4)


def test_empty_bins_stay_empty_next_to_large_ones():
    x, weight = jnp.array([0.01, 0.99]), jnp.array([1e6, 1e6])
    bins = soft_histogram(x, weight, jnp.linspace(0, 1, 11), bandwidth=1e-3)
    np.testing.assert_array_equal(bins[1:-1] < 1e-6, np.ones(8, bool))


def test_unknown_kernel_is_refused():
    with pytest.raises(InputError, match="'logistic', 'normal' or 'softmax'"):
        soft_histogram(jnp.ones(1), jnp.ones(1), jnp.array([0.0, 1.0]), bandwidth=1.0, kernel="x")
