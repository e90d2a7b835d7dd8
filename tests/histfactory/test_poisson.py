"""The Poisson distribution to float64; `decimal` with 80 digits and scipy are the judges."""

from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import poisson

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.histfactory.rates import excess, log_probability
from difftune.inference import fit
from tests.inference.on_off import workspace


def exact(count: float, rate: float) -> float:
    """In 80 digits; the factorial by Stirling's series of a count moved beyond 1000."""
    with localcontext() as context:
        context.prec = 400 if max(count, rate) > 1e60 else 80
        n, x = Decimal(count), Decimal(rate)
        shift, moved = Decimal(0), n
        while moved < 1000:
            moved += 1
            shift += moved.ln()
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640629")
        series = 1 / (12 * moved) - 1 / (360 * moved**3) + 1 / (1260 * moved**5)
        factorial = moved * moved.ln() - moved + (2 * pi * moved).ln() / 2 + series - shift
        return float(n * x.ln() - x - factorial)


@pytest.mark.parametrize("count", [0.3, 3.0, 15.9, 16.1, 250.0, 1e6, 1e12, 2.5e21, 1e40, 1e200])
@pytest.mark.parametrize("sigmas", [0.0, 0.1, -1.0, 3.0, -0.7])
def test_no_digit_is_lost(count, sigmas):
    rate = count + sigmas * np.sqrt(count) * (1 if count > 5 else 0.3)
    with jax.enable_x64(True):
        ours = log_probability(jnp.array([count]), jnp.array([rate]))[0]
    np.testing.assert_allclose(ours, exact(count, rate), rtol=2e-13, atol=1e-12)


@pytest.mark.parametrize("ratio", [1e-300, 1e-9, 0.5, 0.979, 0.981, 1.019, 1.021, 7.0, 1e12])
def test_rates_near_and_far_from_a_count(ratio):
    with jax.enable_x64(True):
        ours = log_probability(jnp.array([40.0]), jnp.array([40.0 * ratio]))[0]
        np.testing.assert_allclose(ours, exact(40.0, 40.0 * ratio), rtol=1e-13)
        slope = jax.grad(lambda x: jnp.sum(excess(jnp.array([40.0]), x)))(jnp.array([40.0 * ratio]))
    np.testing.assert_allclose(slope[0], 1 - 1 / ratio, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [0.7, 40.0, 1e4, 1e9])
@pytest.mark.parametrize("ratio", [0.3, 0.49, 0.51, 0.9, 0.97, 1.03, 1.3, 1.49, 1.51, 30.0])
def test_the_excess_has_all_its_digits(count, ratio):
    """A solver cannot converge below the noise of what it minimises."""
    rate = count * ratio
    with localcontext() as context:
        context.prec = 50
        n, x = Decimal(count), Decimal(rate)
        wanted = float(x - n - n * (x.ln() - n.ln()))
    found = excess(np.array([count]), np.array([rate]))[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_small_counts_are_scipys():
    counts, rates = np.meshgrid(np.arange(0.0, 30.0), [0.2, 3.0, 17.0])
    with jax.enable_x64(True):
        ours = log_probability(jnp.asarray(counts.ravel()), jnp.asarray(rates.ravel()))
        corners = log_probability(
            jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([0.0, -1.0, 0.0, -1.0])
        )
    np.testing.assert_allclose(ours, poisson.logpmf(counts, rates).ravel(), rtol=1e-12)
    np.testing.assert_array_equal(corners, [0.0, 1.0, -np.inf, np.nan])


@pytest.mark.parametrize("uncertainty", [1e-9, 1e-5, 1e-2])
def test_a_tiny_uncertainty_is_a_narrow_constraint(uncertainty):
    model = Model.from_spec(workspace(5.0, 50.0, uncertainty, 57.0))
    tau = float(model.config.auxdata[0])
    for mu, gamma in ((1.0, 1.0), (1.4, 1 + uncertainty / 50)):
        expected = exact(57.0, 5 * mu + 50 * gamma) + exact(tau, gamma * tau)
        # A float64 near 1 says γ to 1e-16 alone, which is 1e-6 of the smallest uncertainty.
        np.testing.assert_allclose(model.logpdf([mu, gamma]), expected, rtol=1e-6)
    best = fit(model)
    np.testing.assert_allclose(best.values, [1.4, 1.0], rtol=1e-9)
    np.testing.assert_allclose(best.parameter("mu")[1], np.sqrt(57) / 5, rtol=1e-4)
    np.testing.assert_allclose(best.parameter("unc")[1], uncertainty / 50, rtol=1e-4)


def test_millions_of_millions_of_events():
    model = Model.from_spec(workspace(1e9, 1e12, 1e4, 1e12 + 3e9))
    best = fit(model)
    np.testing.assert_allclose(best.values, [3.0, 1.0], rtol=1e-9)
    width = np.hypot(np.sqrt(1e12 + 3e9), 1e4) / 1e9
    np.testing.assert_allclose(best.parameter("mu")[1], width, rtol=1e-6)
    np.testing.assert_allclose(
        model.logpdf(best.values), exact(1e12 + 3e9, 1e12 + 3e9) + exact(1e16, 1e16), rtol=1e-12
    )


def test_an_uncertainty_of_which_no_number_can_be_made():
    with pytest.raises(InputError, match=r"sample 'b', shapesys 'unc': .* 1e-200 .*use 0"):
        Model.from_spec(workspace(5.0, 50.0, 1e-200, 57.0))
