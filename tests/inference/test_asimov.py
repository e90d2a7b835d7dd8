from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax.test_util import check_grads

from difftune.inference import asimov_llr, asimov_significance

# s/b from 1e-7 to 1e5, across the switch between series and closed form.
S = np.array([1e-3, 3.0, 0.9, 4.99, 5.01, 40.0, 1e3])
B = np.array([1e4, 1e6, 1e3, 100.0, 100.0, 10.0, 1e-2])


def exact(s: float, b: float, sigma: float = 0.0) -> float:
    """The published formulae with 60 digits."""
    with localcontext(prec=60):
        s, b, v = Decimal(s), Decimal(b), Decimal(sigma) ** 2
        if v == 0:
            return float(2 * ((s + b) * (1 + s / b).ln() - s))
        first = (s + b) * ((s + b) * (b + v) / (b**2 + (s + b) * v)).ln()
        second = b**2 / v * (1 + v * s / (b * (b + v))).ln()
        return float(2 * (first - second))


@pytest.mark.parametrize("x64", [True, False])
def test_closed_form_in_both_precisions(x64):
    expected = [exact(s, b) for s, b in zip(S, B, strict=True)]
    with jax.enable_x64(x64):
        each = asimov_llr(jnp.asarray(S)[:, None], jnp.asarray(B)[:, None])
        np.testing.assert_allclose(each, expected, rtol=1e-13 if x64 else 4e-6)
        total = asimov_significance(jnp.asarray(S), jnp.asarray(B))
        np.testing.assert_allclose(total, np.sqrt(sum(expected)), rtol=1e-13 if x64 else 4e-6)


@pytest.mark.parametrize("relative", [1e-6, 0.01, 0.1, 1.0])
def test_closed_form_with_background_uncertainty(relative):
    expected = [exact(s, b, relative * b) for s, b in zip(S, B, strict=True)]
    with jax.enable_x64(True):
        s, b = jnp.asarray(S)[:, None], jnp.asarray(B)[:, None]
        np.testing.assert_allclose(asimov_llr(s, b, relative * b), expected, rtol=1e-9)
        np.testing.assert_array_equal(asimov_llr(s, b, 0 * b), asimov_llr(s, b))


@pytest.mark.parametrize("uncertainty", [None, 0.2])
def test_is_the_q0_of_pyhf(uncertainty):
    s, b = [3.0, 5.0, 2.0], [50.0, 20.0, 4.0]
    spread = None if uncertainty is None else uncertainty * np.array(b)
    model = (
        pyhf.simplemodels.uncorrelated_background(s, b, list(spread))
        if spread is not None
        else pyhf.Model(
            {
                "channels": [
                    {
                        "name": "c",
                        "samples": [
                            {
                                "name": "s",
                                "data": s,
                                "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                            },
                            {"name": "b", "data": b, "modifiers": []},
                        ],
                    }
                ]
            },
            poi_name="mu",
        )
    )
    pars = model.config.suggested_init()
    data = model.expected_data(pars)
    q0 = pyhf.infer.test_statistics.q0(
        0.0,
        data,
        model,
        pars,
        model.config.suggested_bounds(),
        model.config.suggested_fixed(),
    )
    with jax.enable_x64(True):
        ours = asimov_llr(
            jnp.asarray(s), jnp.asarray(b), None if spread is None else jnp.asarray(spread)
        )
    np.testing.assert_allclose(ours, q0, rtol=1e-5)


@pytest.mark.parametrize("function", [asimov_llr, asimov_significance])
@pytest.mark.parametrize("uncertainty", [None, 0.1])
def test_gradients_forward_reverse_and_finite_differences(uncertainty, function):
    with jax.enable_x64(True):
        arrays = [jnp.asarray(S[1:6]), jnp.asarray(B[1:6])]
        if uncertainty is not None:
            arrays.append(uncertainty * arrays[1])
        check_grads(
            jax.jit(function),
            arrays,
            order=1,
            modes=["fwd", "rev"],
            rtol=1e-4,
        )


def test_empty_and_negative_bins_count_nothing():
    s = jnp.array([0.0, 1.0, 1.0, -1.0, 0.0, -1.0, 5.0, 1.0, 1e-40])
    b = jnp.array([1.0, 0.0, -2.0, 3.0, 0.0, -3.0, 20.0, 1e-38, 1e-40])
    sigma = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0, -1.0, 0.0, 1.0, 1.0])
    for uncertainty in (None, sigma):
        both = jax.jit(jax.value_and_grad(asimov_significance, argnums=(0, 1)))
        value, gradients = both(s, b, uncertainty)
        np.testing.assert_allclose(value, np.sqrt(exact(5, 20)), rtol=1e-6)
        for gradient in gradients:
            assert jnp.isfinite(gradient).all()
            np.testing.assert_array_equal(np.flatnonzero(gradient), [6])


def test_no_signal_at_all_has_a_gradient_of_zero():
    zeros, ones = jnp.zeros(3), jnp.ones(3)
    both = jax.jit(jax.value_and_grad(asimov_significance, argnums=(0, 1, 2)))
    value, gradients = both(zeros, ones, ones)
    assert value == 0
    np.testing.assert_array_equal(gradients, np.zeros((3, 3)))


def test_batches_and_vmap_agree():
    s, b = jnp.asarray(np.stack([S, S[::-1]]), jnp.float32), jnp.ones((2, 7)) * 3
    batched = asimov_llr(s, b)
    assert batched.shape == (2,)
    np.testing.assert_allclose(batched, jax.jit(jax.vmap(asimov_llr))(s, b), rtol=1e-6)


def test_nan_stays_visible():
    bad, good = jnp.array([1.0, jnp.nan]), jnp.ones(2)
    assert jnp.isnan(asimov_llr(bad, good))
    assert jnp.isnan(asimov_significance(good, bad))
