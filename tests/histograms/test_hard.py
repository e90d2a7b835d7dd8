import boost_histogram as bh
import hist
import jax
import jax.numpy as jnp
import mplhep
import numpy as np
import pytest
import uproot
from jaxtyping import TypeCheckError
from uhi.typing.plottable import PlottableHistogram

from difftune.errors import InputError
from difftune.histograms import Histogram, histogram, yields

EDGES = np.array([0.0, 0.1, 0.25, 0.5, 0.875, 1.0])


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    x = rng.uniform(-0.2, 1.2, 5000)
    x[:5] = [0.0, 0.25, 0.5, 0.875, 1.0]
    return x, rng.normal(1.0, 1.0, 5000)


def reference(x: np.ndarray, weight: np.ndarray) -> bh.Histogram:
    """boost-histogram with its flow bins added to the outer ones."""
    filled = bh.Histogram(bh.axis.Variable(EDGES), storage=bh.storage.Weight())
    filled.fill(x, weight=weight)
    view = filled.view(flow=True)
    for field in ("value", "variance"):
        view[field][1] += view[field][0]
        view[field][-2] += view[field][-1]
    return view[1:-1]


def test_agrees_with_boost_histogram(sample):
    x, weight = sample
    ours, theirs = histogram(x, weight, EDGES), reference(x, weight)
    np.testing.assert_allclose(ours.values(), theirs["value"], rtol=1e-12)
    np.testing.assert_allclose(ours.variances(), theirs["variance"], rtol=1e-12)
    np.testing.assert_allclose(ours.sumw.sum(), weight.sum(), rtol=1e-12)


def test_device_yields_agree_with_boost_histogram(sample):
    x, weight = (a.astype(np.float32) for a in sample)
    theirs = reference(x, weight)
    columns = jnp.stack([jnp.asarray(weight), jnp.asarray(weight) ** 2])
    members = jnp.stack([jnp.asarray(x), jnp.asarray(x)[::-1]])
    edges = jnp.asarray(EDGES, jnp.float32)
    ours = jax.jit(jax.vmap(lambda x, w: yields(x, w, edges)))(
        members, jnp.stack([columns, columns[:, ::-1]])
    )
    assert ours.shape == (2, 2, 5)
    for member in ours:
        np.testing.assert_allclose(member[0], theirs["value"], rtol=1e-5)
        np.testing.assert_allclose(member[1], theirs["variance"], rtol=1e-5)


def test_a_nan_score_cannot_pass_as_a_yield():
    x, ones = jnp.array([0.1, jnp.nan]), jnp.ones(2)
    assert jnp.isnan(yields(x, ones, jnp.array([0.0, 0.5, 1.0]))).all()
    with pytest.raises(InputError, match="1 of 2 events"):
        histogram(x, ones, EDGES)


def test_one_bin_and_no_events():
    assert histogram(np.array([3.0]), np.array([2.0]), np.array([0.0, 1.0])).sumw == [2.0]
    none = histogram(np.zeros(0), np.zeros(0), EDGES)
    np.testing.assert_array_equal(none.sumw, np.zeros(5))
    np.testing.assert_array_equal(none.counts(), np.zeros(5))


def test_counts_of_equal_weights_are_entries(sample):
    x = np.clip(sample[0], 0, 1)
    ours = histogram(x, np.full(len(x), 0.3), EDGES)
    np.testing.assert_allclose(ours.counts(), np.histogram(x, EDGES)[0])


def test_arithmetic_is_that_of_weights(sample):
    x, weight = sample
    half = len(x) // 2
    total = 2.0 * (
        histogram(x[:half], weight[:half], EDGES) + histogram(x[half:], weight[half:], EDGES)
    )
    theirs = reference(x, 2 * weight)
    np.testing.assert_allclose(total.sumw, theirs["value"], rtol=1e-12)
    np.testing.assert_allclose(total.sumw2, theirs["variance"], rtol=1e-12)
    with pytest.raises(InputError, match="different edges"):
        total + Histogram.empty(np.array([0.0, 1.0]))


def test_ecosystem_takes_it(sample, tmp_path):
    ours = histogram(*sample, EDGES)
    assert isinstance(ours, PlottableHistogram)
    with uproot.recreate(tmp_path / "h.root") as file:
        file["h"] = ours
    with uproot.open(tmp_path / "h.root") as file:
        read = file["h"]
        np.testing.assert_array_equal(read.axis().edges(), EDGES)
        np.testing.assert_array_equal(read.values(), ours.sumw)
        np.testing.assert_array_equal(read.variances(), ours.sumw2)
    taken = hist.Hist(ours)
    np.testing.assert_array_equal(taken.axes[0].edges, EDGES)
    np.testing.assert_array_equal(taken.values(), ours.sumw)
    np.testing.assert_array_equal(taken.variances(), ours.sumw2)
    drawn = mplhep.histplot(ours)[0]
    np.testing.assert_array_equal(drawn.stairs.get_data().values, ours.sumw)
    assert list(ours.axes[0])[1] == ours.axes[0][1] == (0.1, 0.25)


def test_json_round_trip(sample):
    ours = histogram(*sample, EDGES)
    back = Histogram.from_dict(ours.to_dict())
    for name in ("edges", "sumw", "sumw2"):
        np.testing.assert_array_equal(getattr(back, name), getattr(ours, name))


@pytest.mark.parametrize("edges", [[0.0], [0.0, 0.0, 1.0], [0.0, np.inf], [1.0, 0.0]])
def test_refuses_what_are_no_edges(edges):
    with pytest.raises(InputError, match="edges must be"):
        histogram(np.ones(3), np.ones(3), np.array(edges))


def test_refuses_contents_of_another_length():
    with pytest.raises((InputError, TypeCheckError)):
        Histogram(EDGES, np.zeros(5), np.zeros(4))
