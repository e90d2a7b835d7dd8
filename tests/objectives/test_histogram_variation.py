import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from difftune.errors import InputError
from difftune.objectives import CrossEntropy, HistogramVariation, Variation, Varied
from tests.objectives.samples import NONE, batch, logits
from tests.objectives.test_adversarial import with_variations

WIDTH = 0.1


def soft(scores, weight):
    """Four bins on [0, 1], each event a logistic distribution."""
    inner = np.array([0.25, 0.5, 0.75])[:, None]
    above = expit((expit(np.asarray(scores)) - inner) / WIDTH)
    ends = np.concatenate([np.ones((1, len(weight))), above, np.zeros((1, len(weight)))])
    return (ends[:-1] - ends[1:]) @ np.asarray(weight)


@pytest.mark.parametrize(("among", "labels"), [("all", [0, 1]), ("background", [0])])
def test_is_the_mean_squared_relative_change_of_the_bins(among, labels):
    with jax.enable_x64(True):
        b, scores = with_variations(), logits(dtype=jnp.float64)
        objective = HistogramVariation(bins=4, bandwidth=(WIDTH, WIDTH), among=among)
        value = jax.jit(objective.with_variations(["generator", "scale"]))(scores, b, NONE, {})
    b = jax.tree.map(np.asarray, b)
    changes = []
    for label in labels:
        mine = np.asarray(b.label) == label
        nominal = soft(np.asarray(scores), b.weight * mine)
        assert np.all(nominal > 0)
        scale, generator = b.variations["scale"], b.variations["generator"]
        for moved, weight in (
            (scale.up.scores, b.weight),
            (scale.down.scores, scale.down.weight),
            (np.asarray(scores), generator.up.weight),
        ):
            changes.append((soft(moved, weight * mine) - nominal) / nominal)
    assert float(value) == pytest.approx(np.mean(np.square(changes)), rel=1e-10)


def test_gradient_is_that_of_finite_differences():
    with jax.enable_x64(True):
        b, scores = with_variations(), logits(dtype=jnp.float64)
        objective = HistogramVariation(bins=4)
        rng = np.random.default_rng(0)
        along = [jnp.asarray(rng.normal(size=60)) for _ in range(3)]

        @jax.jit
        def loss(step):
            """All scores move, also the varied ones."""
            scale = b.variations["scale"]
            moved = Variation(
                up=dataclasses.replace(scale.up, scores=scale.up.scores + step * along[1]),
                down=dataclasses.replace(scale.down, scores=scale.down.scores + step * along[2]),
            )
            variations = {**b.variations, "scale": moved}
            seen = dataclasses.replace(b, variations=variations)
            return objective(scores + step * along[0], seen, {"bandwidth": 1.3}, {})

        numeric = (loss(1e-5) - loss(-1e-5)) / 2e-5
        assert float(jax.grad(loss)(0.0)) == pytest.approx(float(numeric), rel=1e-6)


@pytest.mark.parametrize("weight", [np.zeros(60), -np.ones(60), np.eye(60)[1]])
def test_bins_without_events_count_nothing(weight):
    b = batch(weight=weight)
    varied = Variation(up=Varied(weight=b.weight * 1.2))
    b = dataclasses.replace(b, variations={"rate": varied})
    objective = HistogramVariation(bins=4)
    value, slope = jax.value_and_grad(objective)(logits(), b, NONE, {})
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))
    # A change of the total yield is the same in all bins.
    assert float(value) == pytest.approx(0.04 if weight.max() > 0 else 0.0, rel=1e-4)


def test_it_adds_and_chooses_its_variations():
    b = with_variations(jnp.float32)
    total = (CrossEntropy() + "w" * HistogramVariation(variations=["scale"])).with_variations(
        ["scale", "x"]
    )
    only = HistogramVariation(variations=["scale"])(logits(), b, NONE, {})
    both = HistogramVariation()(logits(), b, NONE, {})
    value = total(logits(), b, {"w": 2.0}, ({}, {}))
    expected = CrossEntropy()(logits(), b, NONE, {}) + 2.0 * only
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    assert abs(float(both - only)) > 1e-4
    assert total.varied


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HistogramVariation(among="data"), "among='data'"),
        (lambda: HistogramVariation(bins=1), "at least 2 bins"),
        (lambda: HistogramVariation().with_variations([]), "the events have none"),
        (
            lambda: HistogramVariation()(
                logits(),
                dataclasses.replace(
                    batch(), variations={"jes": Variation(up=Varied(features=jnp.ones((60, 2))))}
                ),
                NONE,
                {},
            ),
            "'jes' of the batch has other features and no scores",
        ),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()
