from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from difftune.errors import InputError
from difftune.objectives import (
    AUC,
    Batch,
    CutAMS,
    CutSignificance,
    DiscoverySignificance,
    FitModel,
    MetricOf,
    Separation,
    Significance,
    Variation,
    Varied,
)
from difftune.training.jackknife import infinitesimal_jackknife


def sample(seed=0, events=4000, yields=(2000.0, 500.0, 60.0)):
    """Logits and events of three processes, the last one the signal, with weights that differ."""
    rng = np.random.default_rng(seed)
    process = rng.integers(0, 3, events)
    label = (process == 2).astype(np.int32)
    logit = rng.normal(np.array([-1.0, 0.0, 1.2])[process], 1.2).astype(np.float32)
    weight = rng.gamma(2.0, size=events) * np.where(rng.random(events) < 0.1, -1.0, 1.0)
    weight *= (np.asarray(yields) / np.bincount(process, weight))[process]
    balanced = np.abs(weight) / np.bincount(label, np.abs(weight))[label] * events / 2
    batch = Batch(
        features=np.zeros((events, 1), np.float32),
        process=process,
        label=label,
        weight=weight.astype(np.float32),
        training_weight=balanced.astype(np.float32),
        signal_process=np.array([0.0, 0.0, 1.0], np.float32),
        progress=jnp.float32(0),
    )
    return logit, jax.tree.map(jnp.asarray, batch)


def error_of(metric, logit, batch):
    @jax.jit
    def found(logit, batch):
        def score(batch):
            value = metric(logit, batch, {}, {})
            return value, value

        return infinitesimal_jackknife(score, batch)

    value, beside, error = found(jnp.asarray(logit), batch)
    assert value == beside
    return float(value), float(error)


def bootstrapped(statistic, batch):
    """scipy's bootstrap of the events, of which each process keeps its yield."""
    weight, process = (np.asarray(x, float) for x in (batch.weight, batch.process))
    process = process.astype(int)
    expected = np.bincount(process, weight)

    def of(rows):
        drawn = weight[rows]
        scale = expected / np.bincount(process[rows], drawn)
        return statistic(rows, drawn * scale[process[rows]])

    rows = np.arange(len(weight))
    return stats.bootstrap(
        (rows,), of, n_resamples=300, vectorized=False, method="basic", rng=1
    ).standard_error


def test_significance_against_a_bootstrap():
    logit, batch = sample()
    score = 1 / (1 + np.exp(-logit.astype(float)))
    label, balanced = np.asarray(batch.label), np.asarray(batch.training_weight, float)

    def significance(rows, weight):
        order = np.argsort(score[rows])
        share = np.cumsum(balanced[rows][order])
        at = np.searchsorted(share, np.arange(1, 5) / 5 * share[-1])
        edges = np.concatenate([[0.0], score[rows][order][at], [1.0]])
        b, s = (
            np.histogram(score[rows], edges, weights=weight * (label[rows] == k))[0] for k in (0, 1)
        )
        return np.sqrt(2 * np.sum((s + b) * np.log1p(s / b) - s))

    value, error = error_of(Significance(bins=5), logit, batch)
    assert value == pytest.approx(
        significance(np.arange(len(label)), np.asarray(batch.weight)), rel=1e-4
    )
    assert error == pytest.approx(bootstrapped(significance, batch), rel=0.12)


def test_area_under_the_curve_against_a_bootstrap():
    logit, batch = sample(seed=1)
    positive = jnp.abs(batch.weight)
    totals = jax.ops.segment_sum(positive, batch.process, 3)
    batch = Batch(**{**vars(batch), "weight": positive / totals[batch.process]})
    label = np.asarray(batch.label)

    def area(rows, weight):
        return roc_auc_score(label[rows], logit[rows], sample_weight=weight)

    value, error = error_of(AUC(), logit, batch)
    assert value == pytest.approx(area(np.arange(len(label)), np.asarray(batch.weight)), abs=1e-5)
    assert error == pytest.approx(bootstrapped(area, batch), rel=0.12)


def agrees_with_a_bootstrap(metric, logit, batch) -> None:
    """Value and error of a metric on the sample, and on samples drawn from it."""
    score = jax.jit(lambda logit, batch: metric(logit, batch, {}, {}))

    def resampled(rows, weight):
        # As often as it was drawn, in the order of the sample.
        count = np.bincount(rows, weight / np.asarray(batch.weight, float)[rows], len(logit))
        return float(score(logit, batch.counted(jnp.asarray(count, jnp.float32))))

    value, error = error_of(metric, logit, batch)
    assert value == pytest.approx(float(score(logit, batch)), rel=1e-4)
    assert error == pytest.approx(bootstrapped(resampled, batch), rel=0.2)


@pytest.mark.parametrize(
    "metric",
    [Separation(bins=5), CutSignificance(min_signal_efficiency=0.5), CutAMS(regularisation=10.0)],
    ids=["separation", "cut significance", "AMS"],
)
def test_other_scores_against_a_bootstrap(metric):
    """The best of all cuts jumps, and so has a bit more than the error of first order."""
    logit, batch = sample(seed=3, yields=(2000.0, 500.0, 400.0))
    agrees_with_a_bootstrap(metric, logit, batch)


@pytest.mark.slow
def test_a_score_from_the_fit_with_variations_against_a_bootstrap():
    """Events count in all their variations, whose scores stay theirs."""
    logit, batch = sample(seed=4, yields=(2000.0, 500.0, 400.0))
    shifted = {
        name: Varied(
            weight=batch.weight * (1.0 + sign * 0.1 * (batch.process == 0)),
            features=batch.features,
            scores=jnp.asarray(logit + sign * 0.2),
        )
        for name, sign in (("up", 1), ("down", -1))
    }
    batch = replace(batch, variations={"jes": Variation(**shifted)})
    # Without the statistics of the simulation, which see an event that counts twice as one of twice
    # the weight.
    model = FitModel(bins=5, bandwidth=(1e-3, 1e-3), mc_statistics=False)
    metric = MetricOf(objective=DiscoverySignificance(model=model), power=0.5)
    agrees_with_a_bootstrap(metric, logit, batch)


def test_a_sum_has_the_closed_form():
    logit, batch = sample(seed=2)
    value, error = error_of(lambda s, b, h, p: jnp.sum(b.weight * jnp.tanh(s)), logit, batch)
    weight, process = np.asarray(batch.weight, float), np.asarray(batch.process)
    x = np.tanh(logit.astype(float))
    mean = np.bincount(process, weight * x) / np.bincount(process, weight)
    assert value == pytest.approx(np.sum(weight * x), rel=1e-4)
    assert error == pytest.approx(np.sqrt(np.sum(weight**2 * (x - mean[process]) ** 2)), rel=1e-4)
    # The yields are known: what counts them alone has no error.
    _, error = error_of(lambda s, b, h, p: jnp.sum(b.weight), logit, batch)
    assert error == pytest.approx(0.0, abs=1e-3)


def test_a_score_without_derivative_is_refused_with_the_remedy():
    logit, batch = sample()

    def outside(scores, batch, hyperparameters, parameters):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.pure_callback(
            lambda s, w: np.float32(np.sum(s * w)), shape, scores, batch.weight
        )

    with pytest.raises(
        InputError, match=r"no derivative by the weights.*AS_SCORED.*ScoreGap\(sigmas=0\)"
    ):
        error_of(outside, logit, batch)

    def broken(scores, batch, hyperparameters, parameters):
        raise ValueError("its own fault")

    with pytest.raises(ValueError, match="its own fault"):
        error_of(broken, logit, batch)
