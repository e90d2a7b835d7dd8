import numpy as np
import pytest

from difftune.histograms.compare import weighted_correlation
from difftune.report import feature_correlations, parameter_correlations
from tests.report import samples
from tests.report.readable import assert_readable, texts


def test_correlation_is_numpys():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) + 1e4
    count = rng.integers(1, 4, 300)
    ours = weighted_correlation(x, count.astype(float))
    np.testing.assert_allclose(ours, np.corrcoef(np.repeat(x, count, axis=0).T), atol=1e-8)


def test_each_pair_uses_the_events_that_have_both():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3))
    x[rng.random((300, 3)) < 0.3] = np.nan
    both = np.isfinite(x[:, 0]) & np.isfinite(x[:, 2])
    ours = weighted_correlation(x, np.ones(300))
    assert ours[0, 2] == pytest.approx(np.corrcoef(x[both][:, [0, 2]].T)[0, 1])


def test_a_negative_weight_cancels_its_event():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, 2))
    doubled, weight = np.concatenate([x, x[:5], x[:5]]), np.repeat([1.0, 3.0, -3.0], [50, 5, 5])
    np.testing.assert_allclose(weighted_correlation(doubled, weight), np.corrcoef(x.T), atol=1e-9)


def test_a_constant_has_no_correlation():
    x = np.stack([np.arange(5.0), np.full(5, 1e3)], axis=1)
    ours = weighted_correlation(x, np.ones(5))
    assert ours[0, 0] == pytest.approx(1)
    assert np.isnan(ours[1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("variables", [1, 8, 30])
def test_signal_and_background_side_by_side(variables):
    sample = samples.higgs()
    features, names = sample.features[:, :variables], sample.names[:variables]
    figure = feature_correlations(features, sample.weight, sample.signal, names)
    assert_readable(figure)
    images = [axes.images[0].get_array() for axes in figure.axes[:2]]
    np.testing.assert_array_equal(images[0], figure.numbers["signal"])
    np.testing.assert_array_equal(images[1], figure.numbers["background"])
    assert {"Signal", "Background", *names} - set(texts(figure)) <= {
        n for n in names if len(n) > 26
    }


def test_forty_features_can_be_read():
    rng = np.random.default_rng(4)
    figure = feature_correlations(
        rng.normal(size=(200, 40)),
        np.ones(200),
        rng.random(200) < 0.5,
        [f"a_long_name_of_the_variable_{i}" for i in range(40)],
    )
    assert_readable(figure)


def test_parameters_without_correlation_are_left_out():
    matrix = np.eye(4)
    matrix[0, 2] = matrix[2, 0] = -0.6
    figure = parameter_correlations(matrix, ["mu", "jes", "lumi", "btag"])
    assert figure.numbers["names"] == ["mu", "lumi"]
    np.testing.assert_array_equal(figure.numbers["correlation"], [[1, -0.6], [-0.6, 1]])
    assert_readable(figure)
    assert "-60" in texts(figure)
    assert_readable(parameter_correlations(np.eye(3), ["a", "b", "c"]))
