"""Losses and figures of targets against scipy, scikit-learn and closed forms."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from sklearn.metrics import mean_pinball_loss

from difftune.data import TargetTransform
from difftune.errors import InputError
from difftune.objectives import (
    AUC,
    Bias,
    CrossEntropy,
    GaussianNLL,
    Huber,
    Link,
    Quantile,
    Resolution,
)
from difftune.training import infinitesimal_jackknife
from tests.objectives.samples import NONE, batch, evaluate

TRANSFORM = TargetTransform(
    names=("energy", "angle"),
    center=np.array([50.0, -1.0], np.float32),
    scale=np.array([10.0, 0.5], np.float32),
)


def sample(objective, events=60, targets=2, log=False, seed=3):
    """A batch with targets, and outputs for the objective."""
    rng = np.random.default_rng(seed)
    transform = replace(
        TRANSFORM,
        names=TRANSFORM.names[:targets],
        center=TRANSFORM.center[:targets],
        scale=TRANSFORM.scale[:targets],
        log=log,
    )
    link = Link(prediction=objective.outputs, transform=transform)
    target = jnp.asarray(rng.normal(size=(events, targets)), jnp.float32)
    scores = jnp.asarray(rng.normal(size=(events, link.outputs)), jnp.float32)
    scores = scores[:, 0] if link.outputs == 1 else scores
    return replace(batch(events), target=target, link=link), scores


def reference(objective, scores, target):
    """The loss of each target of each event, by others."""
    target, scores = np.asarray(target, float), np.asarray(scores, float)
    values = scores.reshape(len(target), target.shape[1], -1)
    if isinstance(objective, Huber):
        return scipy.special.huber(objective.delta, values[..., 0] - target)
    if isinstance(objective, GaussianNLL):
        sigma = np.exp(values[..., 1] / 2)
        logpdf = scipy.stats.norm.logpdf(target, values[..., 0], sigma)
        return -logpdf - 0.5 * np.log(2 * np.pi)
    said = objective.outputs.apart(scores)
    return np.stack(
        [
            [
                np.mean(
                    [
                        mean_pinball_loss([t], [v], alpha=q)
                        for q, v in zip(objective.quantiles, row, strict=True)
                    ]
                )
                for t, row in zip(of_event, rows, strict=True)
            ]
            for of_event, rows in zip(target, said, strict=True)
        ]
    )


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize(
    "objective",
    [Huber(), Huber(delta=0.3), Quantile(), Quantile(quantiles=[0.2, 0.9]), GaussianNLL()],
)
def test_losses_are_those_of_others(objective, targets):
    events, scores = sample(objective, targets=targets)
    losses = reference(objective, scores, events.target).mean(axis=1)
    expected = np.mean(np.asarray(events.training_weight) * losses)
    assert float(evaluate(objective, scores, events)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("objective", [Huber(), Quantile(), GaussianNLL()])
def test_gradients_are_finite_differences(objective):
    events, scores = sample(objective)
    slope = jax.grad(objective)(scores, events, NONE, NONE)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=scores.shape), jnp.float32)
    ahead, back = (
        float(objective(scores + way * 3e-3 * direction, events, NONE, NONE)) for way in (1, -1)
    )
    assert float(jnp.vdot(slope, direction)) == pytest.approx((ahead - back) / 6e-3, rel=2e-2)


def test_huber_delta_is_a_hyperparameter():
    events, scores = sample(Huber())
    found = Huber()(scores, events, {"huber_delta": 0.3}, {})
    assert float(found) == float(Huber(delta=0.3)(scores, events, {}, {}))


def test_quantiles_do_not_cross_and_the_loss_is_least_at_those_of_the_sample():
    levels = (0.1, 0.3, 0.5, 0.8, 0.95)
    objective = Quantile(quantiles=levels)
    events, scores = sample(objective, events=400, targets=1)
    assert (np.diff(objective.outputs.apart(10 * scores), axis=-1) >= 0).all()
    target = np.asarray(events.target)[:, 0]
    plain = replace(events, training_weight=jnp.ones(400))
    wanted = np.quantile(target, levels)

    def loss(values):
        steps = np.log(np.expm1(np.diff(values)))
        own = np.concatenate([-0 * values[:2], values[2:3], steps[2:]])
        own[:2] = steps[:2]
        outputs = jnp.broadcast_to(jnp.asarray(own, jnp.float32), (400, 5))
        return float(objective(outputs, plain, {}, {}))

    least = loss(wanted)
    for number in range(5):
        for way in (-0.08, 0.08):
            assert loss(wanted + way * np.eye(5)[number]) > least


@pytest.mark.parametrize("log", [False, True])
def test_predictions_are_in_the_unit_of_the_data(log):
    for objective in (Huber(), Quantile(), GaussianNLL()):
        events, scores = sample(objective, log=log)
        link = events.link
        small = replace(link.transform, scale=link.transform.scale / 50)
        link = replace(link, transform=small if log else link.transform)
        said = np.asarray(link(np.asarray(scores))).reshape(60, 2, -1)
        values = np.asarray(link.prediction.apart(np.asarray(scores)))
        physical = values * np.asarray(link.transform.scale)[:, None]
        physical = physical + np.asarray(link.transform.center)[:, None]
        if isinstance(objective, GaussianNLL):
            mean, sigma = physical[..., 0], values[..., 1] * np.asarray(link.transform.scale)
            central = np.exp(mean) if log else mean
            width = (np.exp(mean + sigma) - np.exp(mean - sigma)) / 2 if log else sigma
            physical = np.stack([central, width], axis=-1)
        elif log:
            physical = np.exp(physical)
        np.testing.assert_allclose(said, physical, rtol=2e-4)
        assert len(link.names) == said.shape[1] * said.shape[2]


def test_resolution_is_half_of_the_central_interval():
    events, scores = sample(Huber(), events=4000, targets=1)
    weight = jnp.ones(4000)
    events = replace(events, weight=weight)
    truth = 50 + 10 * np.asarray(events.target)[:, 0]
    residual = 50 + 10 * np.asarray(scores) - truth
    low, high = np.quantile(residual, scipy.stats.norm.cdf([-1, 1]))
    found = float(Resolution()(scores, events, {}, {}))
    assert found == pytest.approx(2 / (high - low), rel=5e-3)
    low, high = np.quantile(residual / truth, scipy.stats.norm.cdf([-1, 1]))
    found = float(Resolution(relative=True)(scores, events, {}, {}))
    assert found == pytest.approx(2 / (high - low), rel=5e-3)


@pytest.mark.parametrize("relative", [False, True])
def test_bias_is_that_of_medians_in_bins_of_the_truth(relative):
    events, scores = sample(Huber(), events=4000, targets=2)
    events = replace(events, weight=jnp.ones(4000))
    squares = []
    for number, (center, scale) in enumerate([(50, 10), (-1, 0.5)]):
        truth = center + scale * np.asarray(events.target)[:, number]
        residual = center + scale * np.asarray(scores)[:, number] - truth
        residual = residual / truth if relative else residual
        order = np.argsort(truth).reshape(5, 800)
        squares.append(np.mean(np.median(residual[order], axis=1) ** 2))
    expected = np.prod(squares) ** -0.25
    found = float(Bias(bins=5, relative=relative)(scores, events, {}, {}))
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_error_of_the_bias_is_the_spread_over_samples():
    def score(counted, values):
        value = Bias(bins=4)(values, counted, {}, {})
        return value, value

    @jax.jit
    def with_error(events, scores):
        value, _, error = infinitesimal_jackknife(lambda each: score(each, scores), events)
        return value, error

    found = []
    for seed in range(60):
        events, scores = sample(Huber(), events=1000, targets=1, seed=seed)
        events = replace(events, weight=jnp.ones(1000), process=jnp.zeros(1000, jnp.int32))
        found.append(with_error(events, scores))
    values, errors = np.array(found).T
    assert np.median(errors) == pytest.approx(values.std(), rel=0.25)


def test_bias_of_a_truth_that_many_share_is_that_of_the_bins_that_there_are():
    events, scores = sample(Huber(), events=300, targets=1)
    target = jnp.asarray(np.repeat([0.0, 1.0], [200, 100]).astype(np.float32))[:, None]
    events = replace(events, target=target, weight=jnp.ones(300))
    residual = 10 * (np.asarray(scores) - np.asarray(target)[:, 0])
    medians = [np.median(residual[:200]), np.median(residual[200:])]
    found = float(Bias(bins=6)(scores, events, {}, {}))
    assert found == pytest.approx(1 / np.sqrt(np.mean(np.square(medians))), rel=0.03)


def test_error_of_the_resolution_is_that_of_normal_residuals():
    """The variance of a quantile is p (1 - p) / (n f²); the two ends are correlated."""
    events, scores = sample(Huber(), events=8000, targets=1)
    events = replace(events, weight=jnp.ones(8000), process=jnp.zeros(8000, jnp.int32))
    metric = Resolution()

    def score(counted):
        value = metric(scores, counted, {}, {})
        return value, value

    value, _, error = infinitesimal_jackknife(score, events)
    p, f = scipy.stats.norm.cdf(-1), scipy.stats.norm.pdf(1)
    relative = np.sqrt(2 * (p * (1 - p) - p * p) / (4 * 8000 * f**2))
    assert float(error / value) == pytest.approx(relative, rel=0.15)


def test_what_is_about_classes_is_refused_and_the_other_way_round():
    events, scores = sample(Huber(), targets=1)
    with pytest.raises(InputError, match=r"learns the target energy .* no signal probability"):
        AUC()(scores, events, {}, {})
    with pytest.raises(InputError, match="Resolution is about targets, and this network learns cl"):
        Resolution()(scores, batch(), {}, {})
    with pytest.raises(InputError, match="Huber is about targets"):
        Huber()(scores, batch(), {}, {})
    with pytest.raises(InputError, match="different network outputs"):
        Huber() + CrossEntropy()
    with pytest.raises(InputError, match="ascending order"):
        Quantile(quantiles=(0.5, 0.2))
    with pytest.raises(InputError, match="must be positive"):
        Huber(delta=0.0)
