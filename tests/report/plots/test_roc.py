import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from difftune.report import roc
from tests.report import samples
from tests.report.readable import assert_readable, texts


def test_two_networks_with_sklearns_areas():
    sample = samples.higgs()
    weight, signal = sample.weight[sample.test], sample.signal[sample.test]
    scores = {"Tuned": sample.tuned[sample.test], "Cross-entropy": sample.linear[sample.test]}
    figure = roc(scores, weight, signal)
    assert_readable(figure)
    for name, score in scores.items():
        area = roc_auc_score(signal, score, sample_weight=weight)
        assert figure.numbers[name]["auc"] == pytest.approx(area, rel=1e-6)
        assert any(text.startswith(f"{name}: AUC = {area:.4f} ±") for text in texts(figure))
    main, below = figure.axes
    assert main.get_yscale() == "log"
    shown = main.lines[0].get_ydata()
    at = int(np.argmin(np.abs(figure.numbers["signal_efficiency"] - 0.5)))
    cut = np.sort(scores["Tuned"][signal])[::-1]
    share = np.cumsum(weight[signal][np.argsort(-scores["Tuned"][signal])]) / weight[signal].sum()
    passed = scores["Tuned"] >= cut[np.searchsorted(share, 0.5)]
    expected = weight[~signal].sum() / weight[~signal & passed].sum()
    assert shown[at] == pytest.approx(expected, rel=0.05)
    reference = below.lines[2].get_ydata()
    np.testing.assert_allclose(reference[np.isfinite(reference)], 1)


def test_one_network_has_no_ratio():
    sample = samples.higgs()
    figure = roc({"only": sample.tuned}, sample.weight, sample.signal, note="Test events")
    assert len(figure.axes) == 1
    assert_readable(figure)


@pytest.mark.parametrize(
    "names", [["a"], [f"a_network_with_a_rather_long_name_{i}" for i in range(6)]]
)
def test_negative_weights_and_perfect_separation(names):
    rng = np.random.default_rng(1)
    signal = rng.random(500) < 0.5
    score = np.where(signal, 1.0, 0.0) if len(names) == 1 else rng.normal(signal * 1.0, 1.0)
    weight = np.where(rng.random(500) < 0.2, -1.0, 1.0)
    figure = roc(dict.fromkeys(names, score), weight, signal)
    assert_readable(figure)
    assert figure.numbers[names[0]]["auc"] == pytest.approx(1.0) or len(names) > 1
