"""From events to edges in one call."""

import jax.numpy as jnp
import numpy as np
import pytest

from difftune.binning import Asimov, Constraints, Profiled, Scored, binned, optimise_edges
from difftune.errors import InputError
from tests.binning.samples import FREE, TIGHT, asimov, events, histograms, meets


@pytest.fixture(scope="module")
def sample():
    return events(20_000)


def columns(sample):
    return sample.score, sample.weight, sample.signal


def test_the_result_is_that_of_hard_histograms(sample):
    found = optimise_edges(*columns(sample), bins=6, constraints=TIGHT)
    assert found.bins == 6
    assert found.method == "exact"
    s, b, b2 = histograms(sample, found.edges)
    np.testing.assert_allclose(found.yields.signal, s)
    np.testing.assert_allclose(found.yields.background, b)
    np.testing.assert_allclose(found.yields.background_variance, b2)
    np.testing.assert_allclose(found.figure, asimov(sample, found.edges), rtol=1e-9)
    assert meets(sample, found.edges, TIGHT)
    assert found.held_out == {}
    np.testing.assert_allclose(found.curve[6], found.figure, rtol=1e-9)


def test_any_range_and_any_column(sample):
    """A score without bounds, in float32: the same bins."""
    wanted = optimise_edges(*columns(sample), bins=4)
    bdt = jnp.asarray(20 * sample.score - 10, jnp.float32)
    found = optimise_edges(bdt, sample.weight, sample.signal, bins=4)
    np.testing.assert_allclose((found.edges[1:-1] + 10) / 20, wanted.edges[1:-1], atol=1e-4)
    assert found.edges[0] <= bdt.min()
    assert found.edges[-1] >= bdt.max()


@pytest.mark.slow
def test_as_many_bins_as_there_are_levels():
    """Three levels of signal over background: a fourth bin gains nothing on other events."""
    rng = np.random.default_rng(0)
    score, signal = rng.random(60_000), rng.random(60_000) < 0.5
    level = np.where(score < 0.5, 0.1, np.where(score < 0.8, 1.0, 5.0))
    weight = np.where(signal, 40 * level, 400.0) / 30_000
    found = optimise_edges(score, weight, signal, bins=range(1, 9))
    assert found.bins == 3
    np.testing.assert_allclose(found.edges[1:3], [0.5, 0.8], atol=0.01)
    assert list(found.held_out) == list(range(1, 9))
    best = found.held_out[3]
    assert found.held_out[2] < 0.99 * best
    np.testing.assert_allclose([found.held_out[n] for n in range(3, 9)], best, rtol=0.01)
    # On the events that edges were chosen on, more bins only ever look better.
    assert (np.diff(list(found.curve.values())) > 0).all()
    assert len(found.curve) == 8
    np.testing.assert_allclose(found.figure, best, rtol=0.02)


def test_no_bin_is_empty_in_a_variation(sample):
    """A variation without background above 0.8 leaves no edge there."""
    low = sample[~((sample.score > 0.8) & ~sample.signal)]
    free = optimise_edges(*columns(sample), bins=8, constraints=FREE)
    assert free.edges[-2] > 0.8
    found = optimise_edges(*columns(sample), bins=8, constraints=FREE, variations={"low": low})
    assert found.edges[-2] < 0.8
    assert (histograms(low, found.edges)[1] > 0).all()
    np.testing.assert_allclose(found.yields.varied_background[0], histograms(low, found.edges)[1])


@pytest.mark.slow
def test_systematics_take_the_descent(sample):
    variations = {"shape": events(20_000, shift=0.1)}
    found = optimise_edges(
        *columns(sample),
        bins=4,
        variations=variations,
        figure_of_merit=Profiled(),
        candidates=100,
    )
    assert found.method == "gradient"
    assert meets(sample, found.edges, Constraints())
    stat_only = optimise_edges(*columns(sample), bins=4, candidates=100)
    fixed = binned(stat_only.edges, sample, variations)
    assert found.figure > float(Profiled()(fixed))


def test_fewer_bins_where_the_constraints_want_it(sample, caplog):
    hard = Constraints(min_background=200.0)
    with caplog.at_level("INFO", "difftune"):
        found = optimise_edges(*columns(sample), bins=15, constraints=hard)
    assert 2 <= found.bins <= 6
    assert f"{found.bins} bins of the 15" in caplog.text
    assert meets(sample, found.edges, hard)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, w, y: (0 * s, w, y), "All 20000 scores are 0, so there is nothing to bin"),
        (lambda s, w, y: (s[:0], w[:0], y[:0]), "from 0 events"),
        (lambda s, w, y: (s, w[:5], y), "differ in length"),
        (lambda s, w, y: (np.where(y, np.nan, s), w, y), "score is infinite or NaN for"),
        (lambda s, w, y: (s, np.where(y, np.inf, w), y), "weight is infinite or NaN for"),
        (lambda s, w, y: (s, -w, y), "weight of the signal is -"),
        (lambda s, w, y: (s, w, y | True), "weight of the background is 0"),
        (lambda s, w, y: (s[:9], w[:9], y[:9]), "Not even one bin .* give more events"),
    ],
)
def test_events_that_no_edges_come_from(sample, change, message):
    with pytest.raises(InputError, match=message):
        optimise_edges(*change(*columns(sample)), bins=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 0}, "bins=0"),
        ({"bins": []}, "bins="),
        ({"bins": 3, "method": "best"}, "'auto', 'exact', 'gradient'"),
        ({"bins": 3, "method": "exact", "figure_of_merit": Profiled()}, "method='gradient'"),
        ({"bins": 3, "candidates": 1}, "candidates=1"),
        ({"bins": [2, 3], "folds": 1}, "folds=1"),
        ({"bins": [2, 3], "folds": 15_000}, "so few events"),
    ],
)
def test_options_that_make_no_sense(sample, options, message):
    with pytest.raises(InputError, match=message):
        optimise_edges(*columns(sample), **options)


def test_few_events_and_ties_give_what_they_can():
    score = np.array([0.1, 0.1, 0.5, 0.5, 0.9, 0.9, 0.9])
    signal = np.array([False, True, False, True, True, False, True])
    found = optimise_edges(
        score, np.ones(7), signal, bins=20, constraints=FREE, figure_of_merit=Asimov()
    )
    # Below 0.9 there is one signal to one background throughout: only three scores differ.
    assert found.bins == 3
    np.testing.assert_array_equal(found.yields.background, [1, 1, 1])
    np.testing.assert_array_equal(found.yields.signal, [1, 1, 2])


def test_events_are_scored_events():
    with pytest.raises(InputError, match="from 0 events"):
        Scored(np.zeros(0), np.zeros(0), np.zeros(0, bool))
