"""Penalties on what a score must not depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import energy_distance, norm

from difftune.errors import InputError
from difftune.objectives import (
    CrossEntropy,
    DistanceCorrelation,
    HistogramVariation,
    NuisanceCorrelation,
    Variation,
    Varied,
)
from difftune.objectives.decorrelation import distance_correlation, two_sample_correlation
from tests.objectives.samples import NONE, batch, evaluate, logits
from tests.objectives.test_adversarial import with_variations


def centred(x, p):
    """Doubly centred distances: J a J with the projection J that removes the weighted mean."""
    away = np.eye(len(x)) - np.outer(np.ones(len(x)), p)
    return away @ np.abs(x[:, None] - x[None, :]) @ away.T


def numpy_dcor(x, y, weight):
    """The definition, by matrices of all pairs."""
    p = weight / weight.sum()
    a, b = centred(x, p), centred(y, p)
    return p @ (a * b) @ p / np.sqrt((p @ (a * a) @ p) * (p @ (b * b) @ p))


@pytest.mark.parametrize("rows", [1024, 60, 7, 1])
def test_is_the_definition_over_background_whatever_is_in_memory(rows):
    with jax.enable_x64(True):
        b, scores = batch(dtype=jnp.float64), logits(dtype=jnp.float64)
        value = evaluate(DistanceCorrelation(feature=1, rows=rows), scores, b)
    background = np.asarray(b.label) == 0
    assert np.asarray(b.training_weight)[background].min() < 0
    expected = numpy_dcor(
        expit(np.asarray(scores))[background],
        np.asarray(b.features)[background, 1],
        np.abs(b.training_weight)[background],
    )
    assert float(value) == pytest.approx(expected, rel=1e-12)


compiled = jax.jit(distance_correlation, static_argnames="rows")


def test_weights_are_numbers_of_equal_events():
    rng = np.random.default_rng(1)
    x, y, times = rng.normal(size=30), rng.normal(size=30), rng.integers(1, 5, 30)
    y = y + x**2
    with jax.enable_x64(True):
        weighted = compiled(jnp.asarray(x), jnp.asarray(y), jnp.asarray(times, float), rows=64)
        x, y = np.repeat(x, times), np.repeat(y, times)
        repeated = compiled(jnp.asarray(x), jnp.asarray(y), jnp.ones(len(x)), rows=1000)
    assert float(weighted) == pytest.approx(float(repeated), rel=1e-12)


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_of_a_bivariate_normal_is_the_closed_form(rho):
    """Theorem 7 of Székely, Rizzo and Bakirov, with a sample of 4000."""
    x, z = np.random.default_rng(7).normal(size=(2, 4000))
    y = rho * x + np.sqrt(1 - rho**2) * z
    root = np.sqrt(1 - rho**2)
    above = rho * np.arcsin(rho) + root - rho * np.arcsin(rho / 2) - np.sqrt(4 - rho**2) + 1
    expected = above / (1 + np.pi / 3 - np.sqrt(3))
    columns = (jnp.asarray(c, jnp.float32) for c in (x, y, np.ones(4000)))
    value = compiled(*columns, rows=200)
    assert float(value) == pytest.approx(expected, abs=0.03)


def test_extremes():
    x = jnp.asarray(norm.ppf((np.arange(40) + 0.5) / 40), jnp.float32)
    ones = jnp.ones(40)
    assert float(compiled(x, 3 - 2 * x, ones, rows=40)) == pytest.approx(1.0)
    assert float(compiled(x, 0 * x, ones, rows=40)) == 0.0
    # A full grid is independent.
    u, v = jnp.repeat(x[:6], 6), jnp.tile(x[10:16], 6)
    assert float(compiled(u, v, jnp.ones(36), rows=40)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DistanceCorrelation(feature=-1), r"feature=-1.*counted from 0"),
        (lambda: DistanceCorrelation(feature=0, rows=0), r"rows=0.*at least 1"),
        (
            lambda: evaluate(DistanceCorrelation(feature=2), logits(), batch()),
            r"feature=2\): there are 2 features, counted from 0 to 1",
        ),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()


correlation = jax.jit(two_sample_correlation)


def samples():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=70), rng.normal(0.4, 1.3, 50)
    x[:5] = y[:5]
    return x, rng.uniform(0, 2, 70), y, rng.uniform(0, 2, 50)


def by_matrices(x, p, y, q):
    """The definition, with the indicator of the sample as the other variable."""
    kind = np.concatenate([np.zeros(len(x)), np.ones(len(y))])
    return numpy_dcor(np.concatenate([x, y]), kind, np.concatenate([p / p.sum(), q / q.sum()]))


def test_is_the_definition_with_the_sample_as_the_variable():
    with jax.enable_x64(True):
        value = correlation(*map(jnp.asarray, samples()))
    assert float(value) == pytest.approx(by_matrices(*samples()), rel=1e-10)
    single = correlation(*(jnp.asarray(each, jnp.float32) for each in samples()))
    assert float(single) == pytest.approx(by_matrices(*samples()), rel=1e-4)


def test_covariance_is_a_fourth_of_the_energy_distance():
    x, p, y, q = samples()
    # The variances are those of all of it, which a value far away makes known.
    squared = energy_distance(x, y, p, q) ** 2
    together = np.concatenate([x, y]), np.concatenate([p / p.sum(), q / q.sum()]) / 2
    from_definition = numpy_dcor(together[0], together[0], together[1])
    assert from_definition == pytest.approx(1.0)
    a = np.abs(together[0][:, None] - together[0])
    w = together[1]
    centred = a - (a @ w)[:, None] - (a @ w)[None] + w @ a @ w
    variance = w @ (centred**2) @ w
    expected = squared / 8 / np.sqrt(variance / 4)
    with jax.enable_x64(True):
        assert float(correlation(x, p, y, q)) == pytest.approx(expected, rel=1e-10)


def test_is_a_mean_over_variations_with_magnitudes_of_weights():
    with jax.enable_x64(True):
        b, scores = with_variations(), logits(dtype=jnp.float64)
        objective = NuisanceCorrelation(among="background").with_variations(["scale", "generator"])
        value = jax.jit(objective)(scores, b, NONE, {})
    b, mine = jax.tree.map(np.asarray, b), np.asarray(b.label) == 0
    assert b.weight[mine].min() < 0
    scale, generator = b.variations["scale"], b.variations["generator"]
    score = expit(np.asarray(scores))
    both = [
        (expit(scale.up.scores), b.weight, expit(scale.down.scores), scale.down.weight),
        (score, generator.up.weight, score, b.weight),
    ]
    expected = np.mean([by_matrices(*(np.abs(c)[mine] for c in each)) for each in both])
    assert float(value) == pytest.approx(expected, rel=1e-10)


def test_gradient_of_nuisance_correlation_is_that_of_finite_differences():
    along = np.random.default_rng(1).normal(size=(4, 70))
    with jax.enable_x64(True):
        start = list(map(jnp.asarray, samples()))

        @jax.jit
        def moved(step):
            # Without ties: there the slope jumps.
            x, p, y, q = start
            x = x.at[:5].add(0.3)
            moves = (x, p, y, q)
            return two_sample_correlation(
                *(c + step * along[i, : len(c)] for i, c in enumerate(moves))
            )

        numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6
        assert float(jax.grad(moved)(0.0)) == pytest.approx(float(numeric), rel=1e-6)


def test_without_effect_or_events_it_is_zero():
    b = batch()
    both = jax.jit(jax.value_and_grad(NuisanceCorrelation()))
    for weight in (b.weight, 0 * b.weight):
        same = dataclasses.replace(
            b, weight=weight, variations={"none": Variation(up=Varied(weight=1.3 * weight))}
        )
        value, slope = both(logits(), same, NONE, {})
        assert float(value) == pytest.approx(0.0, abs=1e-6)
        assert np.all(np.isfinite(slope))
    assert float(both(jnp.zeros(60), same, NONE, {})[0]) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NuisanceCorrelation(among="x"), "among='x'"),
        (lambda: NuisanceCorrelation().with_variations([]), "the events have none"),
    ],
)
def test_errors_of_nuisance_correlation_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()


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


def test_gradient_of_histogram_variation_is_that_of_finite_differences():
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
    value, slope = jax.jit(jax.value_and_grad(objective))(logits(), b, NONE, {})
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
def test_errors_of_histogram_variation_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()
