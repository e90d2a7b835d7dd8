import numpy as np
import pytest

from difftune.histograms.compare import separation
from difftune.report import feature_distributions
from difftune.report.plots.features import feature_edges
from tests.report import samples
from tests.report.readable import assert_readable, texts


@pytest.mark.slow
def test_numbers_are_numpys_and_missing_values_are_left_out():
    sample = samples.higgs()
    pages = feature_distributions(
        sample.features[:, :6], sample.weight, sample.signal, sample.names[:6]
    )
    (figure,) = pages
    assert_readable(figure)
    name = "DER_mass_jet_jet"
    column = sample.features[:, sample.names.index(name)].astype(float)
    numbers = figure.numbers[name]
    missing = np.isnan(column)
    assert numbers["missing"] == pytest.approx(missing.mean())
    assert any(f"{100 * missing.mean():.0f} % missing" in text for text in texts(figure))
    edges = numbers["edges"]
    inside = ~missing & sample.signal & (column >= edges[0]) & (column < edges[-1])
    expected, _ = np.histogram(column[inside], edges, weights=sample.weight[inside].astype(float))
    np.testing.assert_allclose(numbers["signal"]["sumw"][1:-1], expected[1:-1])
    total = sample.weight[~missing & sample.signal].astype(float).sum()
    assert np.sum(numbers["signal"]["sumw"]) == pytest.approx(total)


@pytest.mark.slow
def test_forty_features_with_long_names_take_pages_that_can_be_read():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(500, 40)) * 10.0 ** rng.integers(-3, 6, 40)
    features[:, 7] = np.nan
    features[:, 8] = 3.0
    features[:, 9] = rng.integers(0, 4, 500)
    names = [f"a_very_long_name_of_the_variable_number_{i}" for i in range(40)]
    pages = feature_distributions(
        features, rng.normal(1, 1, 500), rng.random(500) < 0.3, names, per_page=20
    )
    assert len(pages) == 2
    drawn = [name for page in pages for name in page.numbers]
    assert sorted(drawn) == sorted(names)
    separations = [one["separation"] for page in pages for one in page.numbers.values()]
    assert separations == sorted(separations, reverse=True)
    for page in pages:
        assert_readable(page)


@pytest.mark.parametrize("count", [1, 2])
def test_few_features(count):
    rng = np.random.default_rng(2)
    signal = rng.random(100) < 0.5
    names = ["x", "y"][:count]
    (figure,) = feature_distributions(rng.normal(size=(100, count)), np.ones(100), signal, names)
    assert_readable(figure)


def test_edges_fit_the_kind_of_feature():
    np.testing.assert_array_equal(feature_edges(np.array([2.0, 0, 1, 2])), [-0.5, 0.5, 1.5, 2.5])
    x = np.append(np.random.default_rng(3).normal(size=9999), 1e6)
    edges = feature_edges(x, bins=20)
    assert len(edges) == 21
    assert (edges[0], edges[-1]) == pytest.approx(tuple(np.quantile(x, [0.005, 0.995])))
    assert np.all(np.diff(feature_edges(np.full(4, 0.3))) > 0)
    assert np.all(np.diff(feature_edges(np.zeros(0))) > 0)


def test_separation_is_zero_for_equal_and_one_for_disjoint_shapes():
    a, b = np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0.25, 0.75])
    assert separation(a, a) == 0
    assert separation(a, b) == pytest.approx(1)
