import re

import jax.numpy as jnp
import numpy as np
import pytest

from difftune.binning import choose_edges, quantile_edges
from difftune.errors import InputError
from difftune.histograms import histogram, yields


@pytest.fixture
def sample():
    """Scores in float32, weights a tenth of them negative, and the mask of signal."""
    rng = np.random.default_rng(5)
    signal = rng.random(60_000) < 0.4
    z = rng.normal(np.where(signal, 1.0, -1.0), 1.0)
    weight = np.where(rng.random(len(z)) < 0.1, -1.0, 1.0) * np.where(signal, 0.02, 0.3)
    return (1 / (1 + np.exp(-2 * z))).astype(np.float32), weight, signal


def sums(score, weight, signal, edges):
    return (
        histogram(score[signal], weight[signal], edges).sumw,
        histogram(score[~signal], weight[~signal], edges),
    )


def test_quantiles_of_positive_weights_are_numpys():
    rng = np.random.default_rng(1)
    x, weight = rng.random(20_000), rng.random(20_000)
    edges = quantile_edges(x, weight, 8)
    expected = np.quantile(x, np.linspace(0, 1, 9), weights=weight, method="inverted_cdf")
    np.testing.assert_allclose(edges[1:-1], expected[1:-1], atol=2e-4)
    assert (edges[0], edges[-1]) == (0.0, 1.0)
    np.testing.assert_allclose(histogram(x, weight, edges).sumw, weight.sum() / 8, rtol=1e-3)


def test_quantiles_with_negative_weights_share_the_sum(sample):
    score, weight, _ = sample
    bins = histogram(score, weight, quantile_edges(score, weight, 10)).sumw
    np.testing.assert_allclose(bins, weight.sum() / 10, rtol=0.02)


def test_equal_signal_where_background_allows(sample):
    score, weight, signal = sample
    edges = choose_edges(score, weight, signal, bins=6, min_background=1.0, max_mc_uncertainty=0.5)
    assert len(edges) == 7
    s, _ = sums(score, weight, signal, edges)
    np.testing.assert_allclose(s, s.sum() / 6, rtol=0.02)


@pytest.mark.parametrize(("least", "most"), [(10.0, 0.15), (300.0, 0.5), (0.0, 0.03)])
def test_every_bin_has_the_background_wanted(sample, least, most):
    score, weight, signal = sample
    edges = choose_edges(
        score, weight, signal, bins=40, min_background=least, max_mc_uncertainty=most
    )
    _, background = sums(score, weight, signal, edges)
    assert 3 < len(edges) - 1 <= 40
    assert (background.sumw >= least).all()
    assert (np.sqrt(background.sumw2) <= most * background.sumw).all()


def test_binds_only_as_far_as_needed(sample):
    """The most signal-like bin cannot be narrowed by one per cent and still be good."""
    score, weight, signal = sample
    edges = choose_edges(score, weight, signal, bins=40, min_background=50.0)
    inside = np.sort(score[score >= edges[-2]])
    narrower = edges.copy()
    narrower[-2] = inside[len(inside) // 100]
    assert sums(score, weight, signal, narrower)[1].sumw[-1] < 50


def test_impossible_constraints_leave_one_bin(sample):
    np.testing.assert_array_equal(choose_edges(*sample, min_background=1e9), [0.0, 1.0])


def test_edges_increase_and_span_whatever_the_scores(sample):
    score, weight, signal = sample
    logits = np.log(score / (1 - score))
    saturated = np.where(score > 0.6, np.float32(1), np.where(score < 0.3, np.float32(0), score))
    steps = np.round(score, 1)
    for x in (score, logits, saturated, steps, 0 * score, score * 0 + 1):
        for edges in (choose_edges(x, weight, signal, bins=30), quantile_edges(x, weight, 30)):
            assert (np.diff(edges) > 0).all()
            assert edges[0] <= min(x.min(), 0)
            assert edges[-1] >= max(x.max(), 1)


def test_device_and_host_agree_on_every_event(sample):
    score, weight, signal = sample
    edges = choose_edges(score, weight, signal, bins=40)
    device = yields(
        jnp.asarray(score), jnp.ones(len(score), jnp.float32), jnp.asarray(edges, jnp.float32)
    )
    host = histogram(score, np.ones(len(score)), edges)
    np.testing.assert_array_equal(device, host.sumw)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, w, s: (x, w, np.zeros_like(s)), "weight of the signal is 0"),
        (lambda x, w, s: (x, np.where(s, w, -abs(w)), s), "weight of the background is -"),
        (lambda x, w, s: (x[:0], w[:0], s[:0]), "0 events"),
        (lambda x, w, s: (np.where(s, np.nan, x), w, s), "infinite or NaN"),
    ],
)
def test_refuses_what_no_edges_come_from(sample, change, message):
    with pytest.raises(InputError, match=message):
        choose_edges(*change(*sample))


def test_refuses_no_bins(sample):
    with pytest.raises(InputError, match="bins=0"):
        quantile_edges(sample[0], sample[1], 0)
    with pytest.raises(InputError, match="not positive"):
        quantile_edges(sample[0], -abs(sample[1]), 3)


@pytest.mark.parametrize(
    ("options", "weight", "reason"),
    [
        ({"min_background": 60.0}, 1.0, r"expected background is 100 events.*min_background=60"),
        ({"min_background": 0.0}, 1.0, r"worth 100 events of equal weight, and each bin needs 44"),
        ({"min_background": 0.0, "max_mc_uncertainty": 9.0}, 1.0, "only 2 different values"),
    ],
)
def test_fewer_bins_than_asked_for_say_why(caplog, options, weight, reason):
    values = [0.2, 0.8] if "different" in reason else np.linspace(0.1, 0.9, 100)
    score = np.resize(values, 200)
    signal = np.arange(200) >= 100
    with caplog.at_level("INFO", "difftune"):
        choose_edges(score, np.full(200, weight), signal, bins=15, **options)
    (record,) = caplog.records
    assert re.search(f"bins of the 15 asked for: .*{reason}", record.getMessage())


def test_labels_of_0_and_1_are_truth_values_and_no_indices():
    """As indices they would take the weights of the events 0 and 1."""
    rng = np.random.default_rng(3)
    signal = rng.random(2000) < 0.5
    score, weight = np.where(signal, 0.6, 0.4) + 0.2 * rng.random(2000), np.full(2000, 0.5)
    expected = choose_edges(score, weight, signal)
    np.testing.assert_array_equal(choose_edges(score, weight, signal.astype(int)), expected)
    with pytest.raises(InputError, match="for each event whether it is signal"):
        choose_edges(score, weight, np.flatnonzero(signal))
