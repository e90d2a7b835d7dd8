"""The searches for edges against all choices there are, and against each other."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.binning import (
    Additive,
    Asimov,
    Cells,
    Constraints,
    Profiled,
    Scored,
    brute_force_edges,
    equidistant_edges,
    exact_edges,
    gradient_edges,
    greedy_edges,
    transformation_d,
)
from difftune.binning.cells import distinct
from difftune.errors import InputError
from tests.binning.samples import FREE, TIGHT, asimov, best_of_all, events, histograms, meets


@pytest.fixture(scope="module")
def sample():
    return events()


@pytest.fixture(scope="module")
def coarse(sample):
    return Cells.of(sample, candidates=20)


@pytest.fixture(scope="module")
def fine(sample):
    return Cells.of(sample, candidates=60)


@pytest.fixture(scope="module")
def varied(sample):
    """Two variations: a background that looks more like signal, and one with another yield."""
    other = Scored(sample.score, sample.weight * np.where(sample.signal, 1.0, 1.1), sample.signal)
    return {"shape": events(shift=0.15), "rate": other}


@pytest.mark.slow
@pytest.mark.parametrize("constraints", [FREE, TIGHT])
def test_exact_and_brute_force_are_the_best_of_all(sample, coarse, constraints):
    found = exact_edges(coarse, 4, Asimov(), constraints)
    for bins in (2, 3, 4):
        truth = best_of_all(sample, coarse, bins, constraints)
        np.testing.assert_allclose(asimov(sample, coarse.edges[found[bins]]), truth, rtol=1e-9)
    brute = brute_force_edges(coarse, 4, Asimov(), constraints)
    np.testing.assert_allclose(asimov(sample, coarse.edges[brute]), truth, rtol=1e-9)


def test_exact_counts_uncertainties_of_the_background(coarse):
    figure = Asimov(background_uncertainty=0.1, mc_statistics=True)
    (exact,) = (exact_edges(coarse, 4, figure, TIGHT)[k] for k in [4])
    np.testing.assert_array_equal(exact, brute_force_edges(coarse, 4, figure, TIGHT))
    assert not np.array_equal(exact, exact_edges(coarse, 4, Asimov(), TIGHT)[4])


@pytest.mark.parametrize("bins", [3, 4])
def test_descent_is_as_good_as_brute_force(sample, fine, bins):
    truth = asimov(sample, fine.edges[brute_force_edges(fine, bins, Asimov(), TIGHT)])
    found = gradient_edges(fine, bins, Asimov(), TIGHT, starts=8)
    assert meets(sample, fine.edges[found], TIGHT)
    assert asimov(sample, fine.edges[found]) >= 0.995 * truth


def test_descent_alone_comes_near(sample, fine):
    """Without the local search after it: its edges are where the smeared histogram wants them."""
    truth = asimov(sample, fine.edges[exact_edges(fine, 3, Asimov(), TIGHT)[3]])
    found = gradient_edges(fine, 3, Asimov(), TIGHT, starts=8, polish=False)
    assert meets(sample, fine.edges[found], TIGHT)
    assert 0.99 * truth <= asimov(sample, fine.edges[found])
    assert asimov(sample, equidistant_edges(fine, 3)) < 0.9 * truth


@pytest.mark.slow
def test_descent_with_systematics_is_as_good_as_brute_force(sample, varied):
    cells = Cells.of(sample, varied, candidates=60)
    brute = brute_force_edges(cells, 4, Profiled(), TIGHT)
    found = gradient_edges(cells, 4, Profiled(), TIGHT, starts=8)
    stat_only = exact_edges(cells, 4, Asimov(), TIGHT)[4]
    with jax.enable_x64(True):
        figures = [float(Profiled()(cells.between(e[:-1], e[1:]))) for e in (brute, found)]
        without = float(Profiled()(cells.between(stat_only[:-1], stat_only[1:])))
    assert figures[1] >= 0.995 * figures[0]
    # With correlated systematics other edges are best than without.
    assert figures[1] > without


def test_any_function_of_yields_is_a_figure_of_merit(coarse):
    """The smallest signal of a bin: largest where all have the same."""

    def least(yields):
        return jnp.min(yields.signal)

    found = gradient_edges(coarse, 3, least, FREE, starts=4)
    brute = brute_force_edges(coarse, 3, least, FREE)
    signal = [np.diff(coarse.sums[0, edges]).min() for edges in (found, brute)]
    np.testing.assert_allclose(*signal, rtol=5e-3)
    with pytest.raises(InputError, match="gradient"):
        exact_edges(coarse, 3, least, FREE)
    with pytest.raises(InputError, match=r"returned an array \[3\]"):
        brute_force_edges(coarse, 3, lambda yields: yields.signal, FREE)


def test_a_figure_of_ones_own_is_optimised_exactly(sample, coarse):
    class Purity(Additive):
        def terms(self, yields):
            b = jnp.maximum(yields.background, 1e-9)
            return jnp.where(yields.signal > 0, yields.signal**2 / b, 0.0)

    found = exact_edges(coarse, 3, Purity(), TIGHT)[3]
    every = []
    for inner in itertools.combinations(range(1, len(coarse)), 2):
        edges = coarse.edges[[0, *inner, len(coarse)]]
        if meets(sample, edges, TIGHT):
            s, b, _ = histograms(sample, edges)
            every.append(np.sum(np.where(s > 0, s**2 / b, 0.0)))
    s, b, _ = histograms(sample, coarse.edges[found])
    np.testing.assert_allclose(np.sum(s**2 / b), max(every), rtol=1e-9)


@pytest.mark.slow
def test_constraints_leave_fewer_bins(sample, fine):
    hard = Constraints(min_background=150.0, max_mc_uncertainty=0.2)
    exact = exact_edges(fine, 20, Asimov(), hard)
    assert 2 <= max(exact) < 20
    merged = greedy_edges(fine, 20, Asimov(), hard)
    descended = gradient_edges(fine, max(exact) + 1, Asimov(), hard, starts=3, steps=50)
    for edges in (*exact.values(), merged, descended):
        assert meets(sample, fine.edges[edges], hard)
    assert gradient_edges(fine, 3, Asimov(), Constraints(min_background=1e9), starts=2) is None
    assert exact_edges(fine, 3, Asimov(), Constraints(min_background=1e9)) == {}


def test_greedy_merges_what_costs_nothing_first():
    """Two levels of signal over background, of four cells: the two bins are the levels."""
    score = np.repeat([0.1, 0.3, 0.6, 0.9], 2)
    signal = np.tile([True, False], 4)
    weight = np.where(signal, np.repeat([1.0, 2.0, 5.0, 10.0], 2), np.repeat([10, 20, 10, 20], 2))
    cells = Cells.of(Scored(score, weight, signal))
    np.testing.assert_array_equal(greedy_edges(cells, 2, Asimov(), FREE), [0, 2, 4])
    np.testing.assert_array_equal(greedy_edges(cells, 9, Asimov(), FREE), np.arange(5))
    np.testing.assert_array_equal(exact_edges(cells, 2, Asimov(), FREE)[2], [0, 2, 4])


def test_greedy_is_between_equidistant_and_exact(sample, fine):
    bins = 5
    exact = asimov(sample, fine.edges[exact_edges(fine, bins, Asimov(), TIGHT)[bins]])
    merged = asimov(sample, fine.edges[greedy_edges(fine, bins, Asimov(), TIGHT)])
    assert asimov(sample, equidistant_edges(fine, bins)) < merged <= exact * (1 + 1e-12)


@pytest.mark.parametrize(("zs", "zb"), [(0.0, 6.0), (6.0, 0.0), (3.0, 3.0), (5.0, 2.5)])
def test_transformation_d_closes_a_bin_at_one(zs, zb):
    sample = events(20_000)
    cells = Cells.of(sample, candidates=2000)
    edges = transformation_d(cells, zs, zb)
    s, b, _ = histograms(sample, edges)
    total = zs * s / s.sum() + zb * b / b.sum()
    assert len(edges) - 1 == int(np.ceil(zs + zb - 0.5))
    # A cell or some ties above 1, in all bins but the one at the lower end.
    assert (total[1:] >= 1 - 1e-9).all()
    np.testing.assert_allclose(total[1:], 1.0, atol=0.05)


def test_transformation_d_waits_for_the_constraints(sample, fine):
    wanted = Constraints(min_background=60.0, max_mc_uncertainty=0.2)
    free, bound = (transformation_d(fine, 8.0, 2.0, c) for c in (FREE, wanted))
    assert len(bound) < len(free)
    assert meets(sample, bound, wanted)
    assert not meets(sample, free, wanted)


def test_cells_hold_the_events(sample, varied):
    cells = Cells.of(sample, varied, candidates=100)
    assert 90 <= len(cells) <= 100
    s, b, b2 = histograms(sample, cells.edges)
    np.testing.assert_allclose(cells.contents[[0, 1, 3]], [s, b, b2], atol=1e-9)
    s, b, _ = histograms(varied["shape"], cells.edges)
    np.testing.assert_allclose(cells.contents[4:6], [s, b], atol=1e-9)
    with jax.enable_x64(True):
        yields = cells.between(np.array([0, 40]), np.array([40, len(cells)]))
    s, b, _ = histograms(sample, cells.edges[[0, 40, len(cells)]])
    np.testing.assert_allclose(yields.signal, s)
    np.testing.assert_allclose(yields.background, b)
    assert yields.varied_background.shape == (2, 2)


def test_an_empty_bin_is_empty_in_spite_of_rounding():
    score = np.concatenate([np.linspace(0, 0.4, 50), np.linspace(0.6, 1, 50)])
    signal = np.arange(100) >= 50
    cells = Cells.of(Scored(score, np.full(100, 1 / 3), signal))
    with jax.enable_x64(True):
        yields = cells.between(np.array([0, 50]), np.array([50, 100]))
    np.testing.assert_array_equal(np.asarray(yields.background) > 0, [True, False])
    np.testing.assert_array_equal(np.asarray(yields.signal) > 0, [False, True])


def test_coinciding_edges_are_moved_apart():
    np.testing.assert_array_equal(distinct(np.array([0, 0, 3]), 5), [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(distinct(np.array([4, 5, 5]), 5), [0, 2, 3, 4, 5])
    np.testing.assert_array_equal(distinct(np.array([], int), 5), [0, 5])


def test_too_many_choices_are_refused(fine):
    with pytest.raises(InputError, match="can be chosen in"):
        brute_force_edges(fine, 10, Asimov(), FREE)
    with pytest.raises(InputError, match="change the number of bins"):
        brute_force_edges(fine, 100, Asimov(), FREE)
