"""What holds for every objective: derivatives, awkward batches, members side by side."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.objectives import (
    AMS,
    AsimovLLR,
    CategoricalCrossEntropy,
    CrossEntropy,
    DistanceCorrelation,
    Focal,
    MeanSquaredError,
    RocAuc,
    SeparationPower,
    SOverRootB,
)
from tests.objectives.samples import batch, logits

# With the hyperparameters that each one reads.
OBJECTIVES = {
    "cross-entropy": (CrossEntropy(), {"label_smoothing": 0.1}),
    "categorical cross-entropy": (CategoricalCrossEntropy(), {"label_smoothing": 0.1}),
    "focal": (Focal(), {"focal_gamma": 1.5}),
    "squared error": (MeanSquaredError(), {"label_smoothing": 0.1}),
    "separation": (SeparationPower(bins=4), {"bandwidth": 1.5}),
    "asimov": (AsimovLLR(bins=4), {"bandwidth": 1.5}),
    "asimov with uncertainty": (
        AsimovLLR(bins=4, background_uncertainty=0.2, form="linear"),
        {"bandwidth": 1.5},
    ),
    "asimov above a cut": (AsimovLLR(regions="cut", background_uncertainty=0.2), {"bandwidth": 2}),
    "s over root s+b": (SOverRootB(regions="probability", form="linear"), {}),
    "s over root b": (SOverRootB(noise="b", regions="cut"), {"bandwidth": 1.5}),
    "area under the roc curve": (RocAuc(), {"temperature": 1.5}),
    "distance correlation": (DistanceCorrelation(feature=0, rows=25), {}),
    "ams": (AMS(), {"bandwidth": 1.5}),
}
EACH = pytest.mark.parametrize("name", OBJECTIVES)


def classes(objective) -> int | None:
    return 3 if objective.outputs == "processes" else None


@functools.partial(jax.jit, static_argnums=0)
def slopes(objective, b, point, direction):
    """Along one direction: forward, reverse, and central finite differences."""

    def loss(at):
        return objective(at[0], b, at[1], at[2])

    step = 1e-5
    _, forward = jax.jvp(loss, (point,), (direction,))
    reverse = jax.tree.map(jnp.vdot, jax.grad(loss)(point), direction)
    ends = jax.tree.map(lambda x, d: jnp.stack([x + step * d, x - step * d]), point, direction)
    up, down = jax.vmap(loss)(ends)
    return forward, sum(jax.tree.leaves(reverse)), (up - down) / (2 * step)


@EACH
def test_derivatives_forward_reverse_and_finite_differences(name):
    """In the logits, the hyperparameters and the parameters, each alone and all together."""
    objective, values = OBJECTIVES[name]
    with jax.enable_x64(True):
        point = (
            logits(classes=classes(objective), dtype=jnp.float64),
            {key: jnp.float64(value) for key, value in values.items()},
            objective.init(jax.random.key(0)),
        )
        b = batch(dtype=jnp.float64)
        rng = np.random.default_rng(0)
        random = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), point)
        # Each argument's own directions; arguments without leaves have none.
        zeros = jax.tree.map(jnp.zeros_like, point)
        directions = [random] + [
            (*zeros[:i], random[i], *zeros[i + 1 :]) for i in range(3) if jax.tree.leaves(point[i])
        ]
        for direction in directions:
            forward, reverse, numeric = slopes(objective, b, point, direction)
            assert abs(float(numeric)) > 1e-5
            np.testing.assert_allclose(forward, reverse, rtol=1e-10)
            np.testing.assert_allclose(forward, numeric, rtol=1e-6)


def awkward(shape):
    """Batches and scores of which anything may be asked but a number that is no NaN."""
    scores, odd = logits(classes=None if len(shape) == 1 else shape[1]), jnp.arange(60) % 2 == 1
    apart = jnp.where(batch().label == 1, 9.0, -9.0)
    far = jnp.where(odd, 500.0, -500.0)
    wide = (lambda x: x) if len(shape) == 1 else (lambda x: jnp.stack([-x, x, 0 * x], axis=1))
    nothing, ones = np.zeros(60), np.ones(60)
    alternating = np.where(odd, -1.0, 0.2)

    def weighted(w, **columns):
        return batch(weight=w, training_weight=w, **columns)

    return {
        "negative bins": (weighted(alternating), scores),
        "all weights negative": (weighted(-ones), scores),
        "sums of zero": (weighted(np.where(np.arange(60) // 3 % 2, -1.0, 1.0)), scores),
        "tiny weights": (weighted(1e-30 * ones), scores),
        "empty bins": (batch(), wide(apart)),
        "all scores equal": (batch(), jnp.zeros(shape)),
        "saturated scores": (batch(), wide(far)),
        "no signal": (batch(label=nothing), scores),
        "no background": (batch(label=ones), scores),
        "no weights": (weighted(nothing), scores),
        "one event": (weighted(np.eye(60)[1]), scores),
        "constant features": (batch(features=np.ones((60, 2))), scores),
        "narrow kernel": (batch(progress=1.0), wide(apart)),
    }


@functools.partial(jax.jit, static_argnums=0)
def alone(objective, scores, b, hyperparameters, parameters):
    """Loss and gradients of one member, as the training asks for them."""
    both = jax.value_and_grad(objective, argnums=(0, 3))
    return both(scores, b, hyperparameters, parameters)


def start(name) -> tuple:
    """Objective, hyperparameters and parameters of one member."""
    objective, values = OBJECTIVES[name]
    hyperparameters = {key: jnp.float32(value) for key, value in values.items()}
    return objective, hyperparameters, objective.init(jax.random.key(0))


@EACH
def test_awkward_batches_are_finite_in_value_and_gradient(name):
    objective, hyperparameters, parameters = start(name)
    shape = (60,) if classes(objective) is None else (60, 3)
    for case, (b, scores) in awkward(shape).items():
        value, gradients = alone(objective, scores, b, hyperparameters, parameters)
        assert np.isfinite(value), case
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients)), case


# A mean is one over all events; whoever makes the batch scales it.
MEANS = {"cross-entropy", "categorical cross-entropy", "focal", "squared error"}


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in MEANS])
def test_events_without_weight_count_nothing(name):
    """A member with a smaller batch than the largest has such events at its end."""
    objective, *values = start(name)
    scores, kept = logits(), jnp.arange(60) < 40
    fewer = batch(weight=batch().weight * kept, training_weight=batch().training_weight * kept)
    value, (gradient, _) = alone(objective, scores, fewer, *values)
    elsewhere = jnp.where(kept, scores, 1.0 - scores)
    other, _ = alone(objective, elsewhere, fewer, *values)
    assert float(value) == pytest.approx(float(other), rel=1e-5)
    np.testing.assert_allclose(gradient[40:], 0.0, atol=1e-7)
    whole, _ = alone(objective, scores, batch(), *values)
    assert float(whole) != pytest.approx(float(value), rel=1e-3)


@EACH
def test_members_side_by_side_are_the_loop(name):
    objective, *values = start(name)
    scores, factor = logits(classes=classes(objective)), jnp.array([0.5, 1.0, 2.0])
    scores = jnp.stack([scores, 1.7 * scores, 0.5 - scores])
    hyperparameters, parameters = jax.tree.map(lambda x: x * factor, values)
    b = batch()
    together = jax.jit(jax.vmap(lambda *own: alone(objective, own[0], b, *own[1:])))(
        scores, hyperparameters, parameters
    )
    for i in range(3):
        one = jax.tree.map(lambda x, i=i: x[i], (scores, hyperparameters, parameters))
        jax.tree.map(
            lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=2e-4, atol=1e-6),
            together,
            alone(objective, one[0], b, *one[1:]),
        )
    assert len(set(np.round(together[0], 6).tolist())) == 3
