import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.objectives import (
    Batch,
    DiscoverySignificance,
    ExpectedLimit,
    FitModel,
    MetricOf,
    PoiUncertainty,
)

NARROW = {"bins": 6, "bandwidth": (1e-4, 1e-4), "mc_statistics": False}


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 2000)
    logits = jnp.float32(rng.normal(2.0 * label - 1.0))
    weight = np.where(label == 1, 30.0, 400.0) / 2000
    batch = Batch(
        features=np.zeros((4000, 1), np.float32),
        process=label.astype(np.int32),
        label=label.astype(np.int32),
        weight=weight.astype(np.float32),
        training_weight=np.ones(4000, np.float32),
        signal_process=np.array([0.0, 1.0], np.float32),
        progress=jnp.float32(1.0),
    )
    score = 1 / (1 + np.exp(-np.asarray(logits, float)))
    background, signal = (
        np.histogram(score[label == i], 6, (0, 1), weights=weight[label == i])[0] for i in (0, 1)
    )
    return logits, batch, signal, background


def value(objective, sample, *, power=1.0):
    logits, batch, *_ = sample
    metric = MetricOf(objective=objective(model=FitModel(**NARROW)), power=power)
    # A bandwidth of the member must not change the yardstick.
    return float(jax.jit(metric)(logits, batch, {"bandwidth": jnp.float32(100.0)}, {}))


def test_without_nuisance_parameters_they_are_closed_forms(sample):
    *_, s, b = sample
    z = np.sqrt(2 * np.sum((s + b) * np.log1p(s / b) - s))
    np.testing.assert_allclose(value(DiscoverySignificance, sample, power=0.5), z, rtol=2e-3)
    precision = np.sqrt(np.sum(s**2 / (s + b)))
    np.testing.assert_allclose(value(PoiUncertainty, sample), precision, rtol=2e-3)
    # CLs = 0.05 without signal: q of the strength on the background is 1.96².
    low, high = 0.0, 10.0
    for _ in range(60):
        mu = (low + high) / 2
        q = 2 * np.sum(mu * s - b * np.log1p(mu * s / b))
        low, high = (mu, high) if q < 1.959964**2 else (low, mu)
    np.testing.assert_allclose(value(ExpectedLimit, sample), 1 / mu, rtol=2e-3)
