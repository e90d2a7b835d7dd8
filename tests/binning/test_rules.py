"""Ways of choosing edges: each is what its function gives, however it is written."""

import numpy as np
import pytest

from difftune import binning
from difftune.binning import Asimov, Constraints, EqualSignal, Exact, Gradient, Profiled
from difftune.errors import InputError
from tests.binning.samples import best_of_all, events


@pytest.fixture(scope="module")
def sample():
    found = events(8000)
    return found.score, found.weight, found.signal


def test_equal_signal_is_choose_edges(sample):
    options = {"bins": 7, "min_background": 20.0, "max_mc_uncertainty": 0.1}
    expected = binning.choose_edges(*sample, **options)
    np.testing.assert_array_equal(EqualSignal(**options)(*sample), expected)
    np.testing.assert_array_equal(EqualSignal()(*sample), binning.choose_edges(*sample))


def test_exact_is_optimise_edges_and_the_best_of_all(sample):
    rule = Exact(bins=3, min_background=8.0, max_mc_uncertainty=0.2, candidates=40)
    constraints = Constraints(8.0, 0.2)
    found = binning.optimise_edges(*sample, bins=3, constraints=constraints, candidates=40)
    np.testing.assert_array_equal(rule(*sample), found.edges)
    scored = binning.Scored(*sample)
    cells = binning.Cells.of(scored, candidates=40)
    np.testing.assert_allclose(found.figure, best_of_all(scored, cells, 3, constraints), rtol=1e-9)


def test_exact_leaves_no_bin_empty_in_a_variation(sample):
    """There is no background above 0.8 in this one."""
    score, _, signal = sample
    low = binning.Scored(*sample)[~((score > 0.8) & ~signal)]
    rule = Exact(bins=8, min_background=0.0, max_mc_uncertainty=np.inf)
    assert rule(*sample)[-2] > 0.8
    assert rule(*sample, variations={"low": low})[-2] < 0.8


@pytest.mark.slow
def test_gradient_takes_the_systematics_into_account(sample):
    shifted = {"shape": events(8000, shift=0.1)}
    edges = Gradient(bins=4, candidates=100)(*sample, variations=shifted)
    nominal = binning.Scored(*sample)

    def precision(edges):
        return float(Profiled()(binning.binned(edges, nominal, shifted)))

    plain = Exact(bins=4, candidates=100)(*sample)
    assert precision(edges) > precision(plain)
    assert Asimov()(binning.binned(edges, nominal)) <= Asimov()(binning.binned(plain, nominal))


def test_several_numbers_of_bins_are_tried_on_folds(sample):
    edges = Exact(bins=range(1, 5))(*sample)
    expected = binning.optimise_edges(*sample, bins=range(1, 5)).edges
    np.testing.assert_array_equal(edges, expected)


def median(scores, weight, signal):
    assert signal.dtype == bool
    return [0, np.median(scores[signal]), 1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, EqualSignal()),
        ("exact", Exact()),
        (Gradient, Gradient()),
        (Exact(bins=4.0), Exact(bins=4)),
        ([0, 0.5, 1], binning.GivenEdges((0.0, 0.5, 1.0))),
        (np.array([0, 0.5, 1]), binning.GivenEdges((0.0, 0.5, 1.0))),
        (median, binning.UserBinning(median)),
    ],
)
def test_what_is_plainly_meant_is_taken(given, expected):
    assert binning.as_binning(given) == expected


def test_every_rule_has_its_name():
    named = set(binning.RULES.values())
    others = {binning.BinningRule, binning.GivenEdges, binning.UserBinning}
    public = [getattr(binning, name) for name in binning.__all__]
    rules = {c for c in public if isinstance(c, type) and issubclass(c, binning.BinningRule)}
    assert named == rules - others


def test_given_edges_and_those_of_a_function(sample):
    np.testing.assert_array_equal(binning.as_binning((0, 0.25, 1))(*sample), [0, 0.25, 1])
    middle = np.median(sample[0][sample[2]])
    np.testing.assert_array_equal(binning.as_binning(median)(*sample), [0, middle, 1])


def test_learned_edges_are_those_of_the_training(sample):
    rule = binning.Learned()
    np.testing.assert_array_equal(rule(*sample, trained=(0.0, 0.3, 1.0)), [0, 0.3, 1])
    with pytest.raises(InputError, match=r"no edges were trained .*LearnedEdges\(bins=10\)"):
        rule(*sample)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: binning.as_binning("exakt"), "Did you mean 'exact'"),
        (lambda: binning.as_binning(3), r"binning=3: give edges.*Exact\(bins=12\)"),
        (lambda: binning.as_binning([0, 1, 0.5]), "two or more finite numbers"),
        (lambda: binning.as_binning([0, np.inf]), "two or more finite numbers"),
        (lambda: binning.as_binning(["a", "b"]), "two or more finite numbers"),
        (lambda: binning.as_binning(lambda scores: scores), "is called with"),
        (lambda: Exact(bins=0), r"Exact\(bins=0\): must be at least 1"),
        (lambda: Exact(bins=[]), "give numbers of bins"),
        (lambda: EqualSignal(bin=3), "Did you mean 'bins'"),
        (lambda: Gradient(bins="many"), r"Gradient\(bins='many'\)"),
        (lambda: Exact(figure_of_merit=Profiled()), r"take Gradient\(...\)"),
        (lambda: Gradient(figure_of_merit=3), "such as Asimov"),
        (lambda: Exact(min_background=-1.0), "min_background=-1"),
        (lambda: Gradient(max_mc_uncertainty=0.0), "max_mc_uncertainty=0"),
    ],
)
def test_what_is_no_way_of_choosing_edges(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_function_that_returns_no_edges(sample):
    rule = binning.as_binning(lambda scores, weight, signal: None)
    with pytest.raises(InputError, match="returned None: bin edges are two or more"):
        rule(*sample)
