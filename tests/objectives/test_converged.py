"""The significance is that of a fit that has ended, also where variations are mostly noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from difftune.histfactory import Model
from difftune.objectives import DiscoverySignificance
from difftune.precision import in_float64
from tests.histfactory import specs


def noisy(seed: int) -> dict:
    """A background known to a few per cent, whose variations go up and down from bin to bin."""
    rng = np.random.default_rng(seed)
    b, s = np.linspace(180e3, 60e3, 4).round(), np.linspace(900.0, 2700.0, 4)
    variations = [
        specs.templates(name, *(np.round(b * (1 + 0.12 * rng.normal(size=4))) for _ in "ud"))
        for name in ("isr", "fsr", "jes")
    ]
    more = specs.modifier("normfactor", "norm"), specs.modifier("staterror", "stat", 0.04 * b)
    background = specs.sample("background", b, *variations, *more)
    return specs.workspace([specs.channel("SR", background, specs.sample("signal", s, specs.MU))])


@pytest.mark.parametrize("seed", [8, 37])
def test_the_significance_is_pyhfs_with_noisy_variations(seed, minuit):
    spec = pyhf.Workspace(noisy(seed))
    theirs = spec.model()
    config, start = theirs.config, theirs.config.suggested_init()
    data = np.asarray(theirs.expected_data(start)).tolist()
    given = start, config.suggested_bounds(), config.suggested_fixed()
    q0 = pyhf.infer.test_statistics.q0(0.0, data, theirs, *given)
    model = Model.from_spec(noisy(seed))

    @jax.jit
    def values(model):
        losses = (DiscoverySignificance(), DiscoverySignificance(steps=4))
        return jnp.stack([jnp.exp(-each.of_model(model)) for each in losses])

    ended, early = in_float64(values)(model)
    assert ended == pytest.approx(float(q0), rel=1e-4)
    # A fit that is stopped on its way takes what it has not found for signal.
    assert early > 10 * ended
