"""neos' own losses on difftune's models: values by pyhf, slopes by finite differences."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy.stats import norm

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.models import MLP
from difftune.objectives import (
    ExpectedCLs,
    FitModel,
    NeosLoss,
    loss_from_model,
)
from difftune.objectives import neos as bridge
from difftune.training import ModuleDef
from tests.histfactory import specs
from tests.objectives.samples import NONE, batch, logits


@pytest.fixture(scope="module")
def neos():
    return pytest.importorskip("neos", reason=bridge.INSTALL)


def spec() -> dict:
    """neos' model of its four blobs: signal, and a background with a histosys."""
    signal = specs.sample("signal", [1.0, 3.0, 7.0, 9.0], specs.MU)
    background = specs.sample(
        "background",
        [50.0, 30.0, 15.0, 5.0],
        specs.templates("shape", [44.0, 31.0, 18.0, 7.0], [55.0, 29.0, 13.0, 3.0]),
    )
    return specs.workspace([specs.channel("region", signal, background)])


@pytest.fixture(scope="module")
def theirs() -> pyhf.Model:
    return pyhf.Workspace(spec()).model()


@pytest.fixture
def minuit():
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    yield
    pyhf.set_backend("numpy", "scipy")


def asimov(theirs: pyhf.Model, strength: float) -> np.ndarray:
    point = theirs.config.suggested_init()
    point[theirs.config.poi_index] = strength
    return np.asarray(theirs.expected_data(point))


def covariance(theirs: pyhf.Model, strength: float) -> np.ndarray:
    """From central differences of pyhf's log-likelihood."""
    data = asimov(theirs, strength)
    point = np.asarray(theirs.config.suggested_init())
    point[theirs.config.poi_index] = strength
    steps = 1e-3 * np.eye(len(point))

    def nll(values):
        return -theirs.logpdf(values, data)[0]

    hessian = [
        [nll(point + a + b) - nll(point + a - b) - nll(point - a + b) + nll(point - a - b)]
        for a in steps
        for b in steps
    ]
    return np.linalg.inv(np.reshape(hessian, (len(point), -1)) / 4e-6)


def test_values_are_pyhfs(neos, theirs, minuit):
    model = Model.from_spec(spec())
    with jax.enable_x64(True):
        found = jax.jit(lambda: {name: loss_from_model(model, name) for name in bridge.LOSSES})()
    cls = pyhf.infer.hypotest(1.0, asimov(theirs, 0.0), theirs, return_expected=True)[1]
    assert 1e-6 < float(cls) < 0.5
    assert float(found["cls"]) == pytest.approx(float(cls), rel=1e-4)
    config, data = theirs.config, asimov(theirs, 1.0)
    given = config.suggested_init(), config.suggested_bounds(), config.suggested_fixed()
    q0 = pyhf.infer.test_statistics.q0(0.0, data, theirs, *given)
    expected = norm.sf(np.sqrt(float(q0)))
    assert float(found["discovery"]) == pytest.approx(expected, rel=1e-4)
    sigma = np.sqrt(covariance(theirs, 1.0)[config.poi_index, config.poi_index])
    assert float(found["poi_uncert"]) == pytest.approx(sigma, rel=1e-4)
    volume = np.linalg.det(covariance(theirs, 0.0))
    assert float(found["generalised_variance"]) == pytest.approx(volume, rel=1e-3)


def test_slopes_through_histograms_of_neos_and_a_network_of_difftune(neos):
    """`hists_from_nn` fills the model, and the loss goes back to the network and the edges."""
    module_def = ModuleDef(MLP(hidden=(5,)), inputs=2, outputs=1)
    rng = np.random.default_rng(2)
    places = {"sig": (-1, 1), "bkg": (1, -1), "up": (2.5, 2), "down": (-2.5, -1.5)}
    model = Model.from_spec(spec())
    keys = {
        "sig": ("region", "signal"),
        "bkg": ("region", "background"),
        "up": ("region", "background", "histosys", "shape", "hi_data"),
        "down": ("region", "background", "histosys", "shape", "lo_data"),
    }
    yields = {"sig": 20.0, "bkg": 100.0, "up": 100.0, "down": 100.0}
    with jax.enable_x64(True):
        data = {name: jnp.asarray(rng.normal(at, 1, (300, 2))) for name, at in places.items()}
        weights = module_def.init(jax.random.key(1))
        point = jax.tree.map(
            lambda leaf: jax.lax.convert_element_type(leaf, np.float64),
            (weights, jnp.linspace(0, 1, 5)),
        )

        def network(weights, x):
            return jax.nn.sigmoid(module_def.evaluate(weights, {}, x))

        def filled(weights, edges):
            hists = neos.hists_from_nn(
                weights, data, network, bandwidth=0.1, bins=edges, scale_factors=yields
            )
            return model.with_numbers({keys[name]: hist for name, hist in hists.items()})

        def loss(point):
            there = filled(*point)
            return sum(jnp.log(loss_from_model(there, name)) for name in bridge.LOSSES)

        both = jax.jit(jax.value_and_grad(loss))
        along = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), point)
        up, down = (
            both(jax.tree.map(lambda p, a, s=s: p + s * a, point, along))[0] for s in (1e-5, -1e-5)
        )
        numeric = (up - down) / 2e-5
        ours = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, both(point)[1], along)))
        assert abs(numeric) > 1
        np.testing.assert_allclose(ours, numeric, rtol=1e-4)


def test_the_objective_is_what_difftune_calls_expected_cls(neos):
    model = FitModel(bins=4, mc_statistics=False)

    @jax.jit
    def both(scores):
        b = batch(dtype=jnp.float32, weight=np.full(60, 2.0))
        return [jax.value_and_grad(each)(scores, b, NONE, NONE) for each in losses]

    losses = NeosLoss(model=model), ExpectedCLs(model=model, steps=6)
    (cls, slope), (log_cls, log_slope) = both(logits())
    assert float(cls) == pytest.approx(np.exp(float(log_cls)), rel=1e-5)
    scale = float(np.abs(slope).max())
    np.testing.assert_allclose(slope, cls * log_slope, atol=1e-4 * scale)


def test_the_modules_of_neos_stay_as_they_are(neos):
    bridge._losses(6)
    assert neos.losses.relaxed.__name__ == "relaxed"
    assert neos.top_level.cls_value is neos.losses.cls_value


def test_without_neos_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "neos", None)
    bridge._losses.cache_clear()
    for make in (NeosLoss, lambda: loss_from_model(Model.from_spec(spec()))):
        with pytest.raises(InputError, match="pip install --no-deps neos"):
            make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NeosLoss(loss="bce"), "loss='bce'.*cls, discovery"),
        (lambda: loss_from_model(Model.from_spec(spec()), "CLs"), "loss='CLs'.*choose one of"),
        (lambda: loss_from_model(Model.from_spec(spec()), steps=0), "steps=0"),
        (lambda: loss_from_model(Model.from_spec(spec(), poi=None)), "parameter of interest"),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()
