"""The functions that are numpy's or JAX's: both, and what they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from difftune.histfactory import arrays as xp
from difftune.histfactory import interpolation

STEP = 1e-5


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def both(function, *arguments):
    """What comes of plain arrays, and of JAX's."""
    plain, others = function(*arguments), function(*jax.tree.map(jnp.asarray, arguments))
    assert not xp.in_jax(plain)
    assert xp.in_jax(others)
    return plain, others


def test_places():
    array, index = np.zeros(4), np.array([1, 1, 3])
    for found in both(lambda a, v: xp.add_at(a, index, v), array, np.array([1.0, 2.0, 5.0])):
        np.testing.assert_array_equal(found, [0, 3, 0, 5])
    for found in both(lambda a, v: xp.put(a, np.array([0, 2]), v), array, np.array([7.0, 8.0])):
        np.testing.assert_array_equal(found, [7, 0, 8, 0])
    for found in both(lambda v: xp.largest(v, 2), np.array([1.0, 9.0, 3.0])):
        np.testing.assert_array_equal(found, [1, 2])
    np.testing.assert_array_equal(array, 0)


def test_positive_matrices():
    root = np.random.default_rng(3).normal(size=(4, 4))
    positive, right = root @ root.T, np.arange(4.0)
    for found in both(xp.solve_positive, positive, right):
        np.testing.assert_allclose(found, scipy.linalg.solve(positive, right), rtol=1e-9)
    for found in both(xp.solve_positive, -positive, right):
        assert np.isnan(found).all()
    for found in both(xp.is_positive, positive):
        assert bool(found)
    for found in both(xp.is_positive, positive - 30 * np.eye(4)):
        assert not bool(found)


def test_derivative_along_a_direction():
    point, direction = np.array([0.3, 2.0]), np.array([1.0, -0.5])

    def function(q):
        return xp.log_ndtr(-xp.sqrt(q)) * xp.sum(q)

    ahead, behind = (function(point + step * direction) for step in (STEP, -STEP))
    numeric = (ahead - behind) / (2 * STEP)
    for value, slope in both(lambda q, along: xp.jvp(function, q, along), point, direction):
        np.testing.assert_allclose(value, function(point), rtol=1e-12)
        np.testing.assert_allclose(slope, numeric, rtol=1e-5)


def test_loops_and_branches():
    for found in both(lambda x: xp.while_loop(lambda s: s < 40, lambda s: 2 * s, x), np.float64(3)):
        assert float(found) == 48
    for found in both(lambda x: xp.repeat(3, lambda s: 2 * s, x), np.float64(3)):
        assert float(found) == 24
    for found in both(
        lambda x: xp.each(lambda row: row[0] - row[1], x), np.arange(6.0).reshape(3, 2)
    ):
        np.testing.assert_array_equal(found, [-1, -1, -1])
    for found in both(lambda c: xp.select(c, (1.0, 2.0), (3.0, 4.0)), np.bool_(False)):
        assert tuple(map(float, found)) == (3.0, 4.0)


@pytest.mark.parametrize("code", interpolation.ADDITIVE)
@pytest.mark.parametrize("alpha", [-2.3, -0.7, 0.2, 0.9, 1.4])
def test_derivatives_of_additive_codes(code, alpha):
    at = [interpolation.additive(code, np.array([alpha + s * STEP])) for s in (-1, 0, 1)]
    for found in both(lambda a: interpolation.additive_derivatives(code, a), np.array([alpha])):
        for i in range(2):
            low, here, high = (part[i] for part in at)
            np.testing.assert_allclose(found[0][i], (high - low) / (2 * STEP), atol=1e-7)
            np.testing.assert_allclose(found[1][i], (high - 2 * here + low) / STEP**2, atol=1e-3)


@pytest.mark.parametrize("code", interpolation.MULTIPLICATIVE)
@pytest.mark.parametrize("alpha", [-2.3, -0.7, 0.2, 0.9, 1.4])
def test_derivatives_of_multiplicative_codes(code, alpha):
    up, down = np.log([1.2, 7.5, 0.8]), np.log([0.7, 0.01, 1.3])
    terms = interpolation.polynomial(up, down) if code == "code4" else None
    at = [
        interpolation.log_factor(np.full(3, alpha + s * STEP), up, down, terms)[0]
        for s in (-1, 0, 1)
    ]
    found = both(
        lambda u, d, t: interpolation.log_factor_derivatives(np.full(3, alpha), u, d, t),
        up,
        down,
        terms,
    )
    for first, second in found:
        np.testing.assert_allclose(first, (at[2] - at[0]) / (2 * STEP), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(second, (at[2] - 2 * at[1] + at[0]) / STEP**2, atol=2e-3)
