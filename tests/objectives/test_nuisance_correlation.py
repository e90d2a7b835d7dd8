import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import energy_distance

from difftune.errors import InputError
from difftune.objectives import NuisanceCorrelation, Variation, Varied
from difftune.objectives.decorrelation import two_sample_correlation
from tests.objectives.samples import NONE, batch, logits
from tests.objectives.test_adversarial import with_variations
from tests.objectives.test_distance_correlation import numpy_dcor

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


def test_gradient_is_that_of_finite_differences():
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
    for weight in (b.weight, 0 * b.weight):
        same = dataclasses.replace(
            b, weight=weight, variations={"none": Variation(up=Varied(weight=1.3 * weight))}
        )
        value, slope = jax.value_and_grad(NuisanceCorrelation())(logits(), same, NONE, {})
        assert float(value) == pytest.approx(0.0, abs=1e-6)
        assert np.all(np.isfinite(slope))
    constant = jnp.zeros(60)
    assert float(NuisanceCorrelation()(constant, same, NONE, {})) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NuisanceCorrelation(among="x"), "among='x'"),
        (lambda: NuisanceCorrelation().with_variations([]), "the events have none"),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()
