import numpy as np
import pytest
from scipy import stats

from difftune.report import score_distributions
from tests.report import samples
from tests.report.readable import assert_readable, texts


def columns(mask):
    sample = samples.higgs()
    return sample.tuned[mask], sample.weight[mask], sample.signal[mask]


@pytest.fixture(scope="module")
def figure():
    test = samples.higgs().test
    return score_distributions(*columns(~test), *columns(test))


def test_numbers_are_numpys_histograms(figure):
    score, weight, signal = (c.astype(float) for c in columns(samples.higgs().test))
    edges = figure.numbers["edges"]
    for name, mask in (("signal", signal == 1), ("background", signal == 0)):
        expected, _ = np.histogram(score[mask], edges, weights=weight[mask])
        np.testing.assert_allclose(figure.numbers[name]["test"]["sumw"], expected, rtol=1e-6)


def test_points_are_the_normalised_test_sample(figure):
    main = figure.axes[0]
    shown = main.containers[0].lines[0].get_ydata()
    sumw = np.array(figure.numbers["signal"]["test"]["sumw"])
    np.testing.assert_allclose(shown, sumw / sumw.sum() / np.diff(figure.numbers["edges"]))
    score, weight, signal = (c.astype(float) for c in columns(~samples.higgs().test))
    density, _ = np.histogram(
        score[signal == 1], figure.numbers["edges"], weights=weight[signal == 1], density=True
    )
    areas = [patch.get_data().values for patch in main.patches]
    assert any(np.allclose(area, density, rtol=1e-5) for area in areas)


def test_ratio_is_test_over_training(figure):
    test, train = (np.array(figure.numbers["background"][k]["sumw"]) for k in ("test", "train"))
    shown = figure.axes[1].containers[1].lines[0].get_ydata()
    expected = (test / test.sum())[train > 0] / (train / train.sum())[train > 0]
    np.testing.assert_allclose(shown, expected)


def test_legend_tells_the_kolmogorov_smirnov_test(figure):
    assert_readable(figure)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels[:2] == ["Signal, training", "Background, training"]
    assert all("KS" in label for label in labels[2:])
    assert 0 <= figure.numbers["signal"]["ks_pvalue"] <= 1


def test_unweighted_test_is_scipys():
    rng = np.random.default_rng(1)
    train, test = rng.beta(2, 4, 600), rng.beta(2, 4, 300)
    signal = rng.random(600) < 0.5, rng.random(300) < 0.5
    figure = score_distributions(train, np.ones(600), signal[0], test, np.ones(300), signal[1])
    expected = stats.ks_2samp(train[signal[0]], test[signal[1]], method="asymp").pvalue
    assert figure.numbers["signal"]["ks_pvalue"] == pytest.approx(expected)


@pytest.mark.parametrize("log", [False, True])
def test_empty_bins_negative_weights_and_a_class_without_test_events(log):
    rng = np.random.default_rng(2)
    score, weight = rng.normal(0, 3, 400), rng.normal(0.5, 1, 400)
    signal = rng.random(400) < 0.5
    figure = score_distributions(
        score, weight, signal, score[~signal], weight[~signal], signal[~signal], log=log
    )
    assert_readable(figure)
    assert figure.numbers["signal"]["ks_pvalue"] is None
    assert any("no KS" in text for text in texts(figure))
    assert figure.numbers["edges"][0] == pytest.approx(score.min())
