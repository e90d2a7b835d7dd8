"""What holds for every objective: derivatives, awkward batches, members side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.objectives.every import (
    OBJECTIVES,
    alone,
    awkward,
    classes,
    point_of,
    random_direction,
    slopes,
)
from tests.objectives.samples import batch, logits

EACH = pytest.mark.parametrize("name", OBJECTIVES)


@pytest.mark.slow
@EACH
def test_derivatives_forward_reverse_and_finite_differences(name):
    """In the logits, the hyperparameters and the parameters, each alone and all together."""
    objective, values = OBJECTIVES[name]
    with jax.enable_x64(True):
        scores = logits(classes=classes(objective), dtype=jnp.float64)
        point = point_of(objective, values, scores)
        b = batch(dtype=jnp.float64)
        random = random_direction(point)
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


def start(name) -> tuple:
    """Objective, hyperparameters and parameters of one member."""
    objective, values = OBJECTIVES[name]
    hyperparameters = {key: jnp.float32(value) for key, value in values.items()}
    return objective, hyperparameters, objective.init(jax.random.key(0))


@pytest.mark.slow
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


@pytest.mark.slow
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
