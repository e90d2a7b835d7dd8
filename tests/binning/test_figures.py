"""Figures of merit and constraints against likelihoods and formulas written down here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.binning import Asimov, Constraints, Profiled, Yields
from difftune.errors import InputError
from tests.binning.samples import q0

YIELDS = Yields(
    signal=np.array([2.0, 5.0, 4.0]),
    background=np.array([80.0, 30.0, 6.0]),
    signal_variance=np.array([0.1, 0.2, 0.1]),
    background_variance=np.array([4.0, 2.0, 1.0]),
    varied_signal=np.array([[2.1, 5.0, 3.9], [2.0, 5.2, 4.4]]),
    varied_background=np.array([[84.0, 33.0, 7.0], [78.0, 30.5, 6.5]]),
)


def test_asimov_is_the_closed_form():
    with jax.enable_x64(True):
        found = Asimov()(YIELDS)
        terms = Asimov().terms(YIELDS)
    np.testing.assert_allclose(terms, q0(YIELDS.signal, YIELDS.background))
    np.testing.assert_allclose(found, np.sqrt(q0(YIELDS.signal, YIELDS.background).sum()))


def test_asimov_with_an_uncertainty_is_profiled():
    """Against the minimum over each bin's background, found on a grid."""
    with jax.enable_x64(True):
        found = np.asarray(Asimov(background_uncertainty=0.2, mc_statistics=True).terms(YIELDS))
    sigma2 = (0.2 * YIELDS.background) ** 2 + YIELDS.background_variance
    for bin in range(3):
        s, b = YIELDS.signal[bin], YIELDS.background[bin]
        tau = b / sigma2[bin]  # an auxiliary count of tau * b events
        background = np.linspace(0.2 * b, 3 * b + 3 * s, 400_001)
        saturated = (s + b) * np.log(s + b) - (s + b) + tau * b * np.log(tau * b) - tau * b
        fitted = (s + b) * np.log(background) - background
        fitted += tau * b * np.log(tau * background) - tau * background
        np.testing.assert_allclose(found[bin], 2 * (saturated - fitted.max()), rtol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.parametrize("variations", [0, 2])
def test_profiled_is_the_uncertainty_of_a_fit(strength, variations):
    """The inverse Hessian of a Poisson likelihood with Gaussian constraints, on its Asimov data."""
    y = YIELDS._replace(
        varied_signal=YIELDS.varied_signal[:variations],
        varied_background=YIELDS.varied_background[:variations],
    )

    def nll(parameters):
        mu, theta = parameters[0], parameters[1:]
        s = y.signal + theta @ (y.varied_signal - y.signal)
        b = y.background + theta @ (y.varied_background - y.background)
        rate = mu * s + b
        data = strength * y.signal + y.background
        return np.sum(rate - data * np.log(rate)) + 0.5 * np.sum(theta**2)

    at = np.array([strength, *np.zeros(variations)])
    step = 1e-3
    unit = step * np.eye(len(at))
    hessian = [
        [nll(at + i + j) - nll(at + i - j) - nll(at - i + j) + nll(at - i - j) for i in unit]
        for j in unit
    ]
    sigma = np.sqrt(np.linalg.inv(np.array(hessian) / (4 * step**2))[0, 0])
    with jax.enable_x64(True):
        found = Profiled(strength=strength, mc_statistics=False)(y)
        less = Profiled(strength=strength, mc_statistics=True)(y)
    np.testing.assert_allclose(found, 1 / sigma, rtol=1e-5)
    assert less < found


def test_shortfall_is_zero_where_all_is_met():
    constraints = Constraints(min_background=10.0, max_mc_uncertainty=0.06)
    background = np.array([10.0, 9.0, 20.0, -1.0])
    variance = np.array([0.3, 0.1, 1.6, 0.1])
    varied = np.array([[10.0, 9.0, 20.0, 1.0]])
    yields = Yields(background, background, variance, variance, varied, varied)
    with jax.enable_x64(True):
        short = np.asarray(constraints.shortfall(yields))
        np.testing.assert_array_equal(constraints.met(yields), [True, False, False, False])
    np.testing.assert_allclose(short[1], 0.1)  # 9 of 10
    np.testing.assert_allclose(short[2], (1.6 - 1.44) / (1.6 + 1.44))
    assert short[3] > 2


def test_variations_must_not_be_empty():
    background = np.full(3, 20.0)
    varied = np.array([[15.0, 0.0, 20.0], [20.0, 20.0, -2.0]])
    yields = Yields(background, background, background / 9, background / 9, varied, varied)
    wanted = Constraints(min_background=10.0, max_mc_uncertainty=1.0)
    np.testing.assert_array_equal(wanted.met(yields), [True, False, False])
    more = Constraints(min_background=16.0, max_mc_uncertainty=1.0, of_variations=True)
    np.testing.assert_array_equal(more.met(yields), [False, False, False])


def test_shortfall_has_a_slope_towards_the_constraint():
    def total(background):
        yields = Yields(background, background, background, 4 * background, *2 * [background[None]])
        return Constraints(10.0, 0.5).shortfall(yields).sum()

    slope = jax.grad(total)(jnp.array([5.0, 12.0, 100.0]))
    assert (slope[:2] < 0).all()
    assert slope[2] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constraints(min_background=-1.0), "min_background=-1"),
        (lambda: Constraints(max_mc_uncertainty=0.0), "0.15 is 15 %"),
        (lambda: Asimov(background_uncertainty=-0.1), "must not be negative"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
