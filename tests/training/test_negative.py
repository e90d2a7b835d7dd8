"""What the loss of a training sees in the place of negative weights."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from difftune.errors import InputError
from difftune.training import resampled, treated_weights


def sample(events: int = 3000, seed: int = 2):
    """A density in a plane of which a third of the events counts against it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(events, 2))
    weight = np.where(rng.random(events) < 0.3, -1.0, 1.0) * rng.uniform(0.5, 1.5, events)
    return weight, x


def by_definition(weight, x):
    """The algorithm of arXiv 2109.07851 as it is written, with scipy's tree."""
    weight, tree = weight.copy(), cKDTree(x)
    for seed in np.argsort(weight, kind="stable"):
        if weight[seed] >= 0:
            continue
        order = tree.query(x[seed], k=len(x))[1]
        size = next((k for k in range(1, len(x) + 1) if weight[order[:k]].sum() >= 0), len(x))
        cell = order[:size]
        magnitude = np.abs(weight[cell])
        weight[cell] = magnitude * weight[cell].sum() / magnitude.sum()
    return weight


def test_resampling_is_the_published_algorithm():
    weight, x = sample(400)
    np.testing.assert_allclose(resampled(weight, x), by_definition(weight, x), atol=1e-9)


def test_resampling_conserves_yields_here_and_everywhere():
    weight, x = sample()
    ours = resampled(weight, x)
    assert ours.min() >= 0
    assert ours.sum() == pytest.approx(weight.sum(), rel=1e-12)
    # Cells are smaller than these regions, and only those at a border exchange events.
    region = (x[:, 0] > 0).astype(int) + 2 * (x[:, 1] > 0)
    before, after = (np.bincount(region, w) for w in (weight, ours))
    error = np.sqrt(np.bincount(region, weight**2))
    assert np.all(np.abs(after - before) < 0.5 * error)
    # The magnitudes are off by the ratio of the sums, here more than two.
    assert np.all(np.bincount(region, np.abs(weight)) > 2 * before)


def test_what_is_positive_and_far_away_stays():
    x = np.array([[0.0], [0.1], [5.0], [5.2], [9.0]])
    ours = resampled(np.array([1.0, 2.0, -1.0, 3.0, 4.0]), x)
    np.testing.assert_allclose(ours, [1.0, 2.0, 0.5, 1.5, 4.0])


def test_weights_that_add_up_to_less_than_nothing_become_nothing():
    ours = resampled(np.array([1.0, -2.0, 0.5]), np.array([[0.0], [1.0], [2.0]]))
    np.testing.assert_allclose(ours, 0.0)


def test_treatments():
    weight, x = sample(600)
    process = np.arange(600) % 2
    np.testing.assert_array_equal(treated_weights(weight, x, process), weight)
    ours = treated_weights(weight, x, process, negative="absolute")
    np.testing.assert_array_equal(ours, np.abs(weight))
    ours = treated_weights(weight, x, process, negative="resample")
    for index in (0, 1):
        mine = process == index
        np.testing.assert_array_equal(ours[mine], resampled(weight[mine], x[mine]))
    with pytest.raises(InputError, match=r"negative='drop'.*'absolute' or 'resample'"):
        treated_weights(weight, x, process, negative="drop")


def test_a_resampling_that_takes_long_says_so(monkeypatch, caplog):
    weight = np.array([1.0, 2.0, -0.5, 1.0])
    features, process = np.arange(4.0).reshape(4, 1).astype(np.float32), np.zeros(4, int)
    options = {"negative": "resample"}
    treated_weights(weight, features, process, **options)
    assert not caplog.messages
    monkeypatch.setattr("difftune.training.event_weights._MANY", 3)
    treated_weights(weight, features, process, **options)
    assert "weights of 4 events of a process, 1 of them negative" in caplog.messages[0]
