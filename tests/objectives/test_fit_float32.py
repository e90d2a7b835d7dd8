"""The statistics run in float64 inside the float32 program of a training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.objectives import PoiUncertainty
from tests.objectives.fits import EVENTS, SMALL, sample
from tests.objectives.samples import NONE


@pytest.mark.slow
def test_in_a_float32_program_value_and_slope_are_those_of_float64():
    """Side by side, one after the other, in a loop: JAX is set to float32 all the while."""
    objective = PoiUncertainty(model=SMALL)

    def loss(scores, b):
        return objective(scores, b, NONE, NONE)

    with jax.enable_x64(True):
        exact = jax.jit(jax.value_and_grad(loss))(*sample())
    scores, b = sample(jnp.float32)
    members = jnp.stack([scores, 1.2 * scores, -scores])

    def descend(scores, _):
        value, slope = jax.value_and_grad(loss)(scores, b)
        return scores - slope, (value, slope)

    def trained(scores, runs):
        """As the training has it: a loop, unless a member has stopped."""

        def stopped(scores):
            nothing = jnp.zeros(2), jnp.zeros((2, EVENTS))
            return scores, nothing

        return jax.lax.cond(
            runs, lambda s: jax.lax.scan(descend, s, None, length=2), stopped, scores
        )

    running = jnp.ones(len(members), bool)
    ended, (value, slope) = jax.jit(jax.vmap(trained))(members, running)
    assert {ended.dtype, value.dtype, slope.dtype} == {jnp.dtype("float32")}
    assert jnp.zeros(()).dtype == jnp.float32
    # Of a logarithm; the histograms are float32.
    np.testing.assert_allclose(value[0, 0], exact[0], atol=1e-6)
    scale = np.abs(exact[1]).max()
    np.testing.assert_allclose(slope[0, 0], exact[1], atol=1e-5 * scale)
    assert (value[:, 1] < value[:, 0]).all()
    _, (one_by_one, slopes) = jax.jit(lambda *all_: jax.lax.map(lambda one: trained(*one), all_))(
        members, running
    )
    np.testing.assert_allclose(value, one_by_one, rtol=1e-5)
    np.testing.assert_allclose(slope, slopes, rtol=1e-3, atol=1e-4 * scale)
