"""Fits of a fixed number of steps: converged where that is enough, finite where it is not."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import Status, fit, hypotest
from tests import shared_data
from tests.histfactory import specs
from tests.histfactory.specs import factors, modifier, sample, templates


def two_channels() -> Model:
    """A signal region and a control region for its background, with every constraint there is."""
    ttbar = [
        modifier("normfactor", "norm_ttbar"),
        modifier("lumi", "lumi"),
        factors("jes", 1.08, 0.95),
    ]
    control = specs.channel(
        "CR",
        sample(
            "ttbar",
            [310.0, 205.0],
            *ttbar,
            templates("tune", [320.0, 190.0], [303.0, 214.0]),
            modifier("staterror", "stat_CR", [9.0, 6.0]),
        ),
        sample("fakes", [40.0, 25.0], modifier("shapesys", "fakes_CR", [7.0, 4.0])),
    )
    search = specs.channel(
        "SR",
        sample(
            "signal",
            [2.0, 6.0, 9.0],
            specs.MU,
            modifier("lumi", "lumi"),
            modifier("staterror", "stat_SR", [0.2, 0.4, 0.7]),
        ),
        sample(
            "ttbar",
            [52.0, 31.0, 12.0],
            *ttbar,
            templates("tune", [55.0, 34.0, 12.5], [49.0, 29.0, 11.0]),
            modifier("staterror", "stat_SR", [2.5, 1.5, 0.9]),
        ),
    )
    return Model.from_spec(specs.workspace([control, search], specs.LUMI))


def sbottom() -> Model:
    path = shared_data.path("workspaces/susy-2018-31_sbottom-A_sbottom_600_280_150.json")
    return Model.from_spec(json.loads(path.read_text()))


MODELS = {
    "two channels": (two_channels, 1.0),
    # 64 parameters, at the expected limit.
    "sbottom": (sbottom, 0.3),
}


def point(model: Model, strength: float) -> np.ndarray:
    """The nominal point with a strength of the signal."""
    values = model.structure.layout.init.copy()
    values[model.structure.poi_index] = strength
    return values


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_four_steps_are_enough_on_asimov_data(name):
    make, mu = MODELS[name]
    model = make()
    data = model.asimov(point(model, 0.0))
    found, converged = hypotest(mu, model, data, steps=4), hypotest(mu, model, data)
    for ours, same in zip(found[:-1], converged[:-1], strict=True):
        np.testing.assert_allclose(ours, same, rtol=1e-9, atol=1e-12)
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    try:
        observed, expected = pyhf.infer.hypotest(
            mu, data.tolist(), model.to_pyhf(), return_expected_set=True
        )
    finally:
        pyhf.set_backend("numpy", "scipy")
    np.testing.assert_allclose(found.observed, observed, atol=1e-5)
    np.testing.assert_allclose(found.expected, expected, atol=1e-5)

    found, converged = fit(model, data, steps=4), fit(model, data)
    scale = np.where(converged.uncertainties > 0, converged.uncertainties, 1.0)
    np.testing.assert_allclose((found.values - converged.values) / scale, 0, atol=1e-8)
    np.testing.assert_allclose(found.uncertainties, converged.uncertainties, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["CLs", "uncertainty"])
def test_gradients_side_by_side_are_those_of_converged_fits_and_of_finite_differences(quantity):
    model = two_channels()
    keys = ("SR", "signal"), ("SR", "ttbar")
    nominal = np.concatenate([model.get(*key) for key in keys])
    members = nominal * np.array([[1.0], [1.3], [0.6]])
    shifts = 1e-4 * np.diag(nominal)

    def value(numbers, steps):
        changed = model.with_numbers(dict(zip(keys, (numbers[:3], numbers[3:]), strict=True)))
        if quantity == "CLs":
            data = changed.asimov(point(model, 0.0))
            return hypotest(1.0, changed, data, steps=steps).observed
        found = fit(changed, changed.asimov(), steps=steps)
        return found.uncertainties[model.structure.poi_index]

    def of_members(steps):
        return jax.jit(jax.vmap(jax.value_and_grad(lambda numbers: value(numbers, steps))))

    with jax.enable_x64(True):
        everyone = jnp.concatenate([members, nominal + shifts, nominal - shifts])
        found, slopes = map(np.asarray, of_members(4)(everyone))
        converged, exact = of_members(None)(jnp.asarray(members))
    assert len(set(found[:3].round(4))) == 3
    np.testing.assert_allclose(found[:3], converged, rtol=1e-9)
    np.testing.assert_allclose(slopes[:3], exact, rtol=1e-7, atol=1e-9)
    up, down = np.split(found[3:], 2)
    numeric = (up - down) / (2e-4 * nominal)
    np.testing.assert_allclose(slopes[0], numeric, rtol=1e-5, atol=1e-6 * np.abs(numeric).max())


@jax.jit
@jax.grad
def median_slope(numbers, data):
    changed = two_channels().replace(numbers=numbers)
    return hypotest(1.0, changed, data, steps=1).expected[2]


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_too_few_steps_are_said_and_stay_finite(factor):
    model = two_channels()
    data = model.data(factor * np.asarray(model.observed))
    index = model.structure.poi_index
    found, converged = fit(model, data, steps=1), fit(model, data)
    assert (found.status, found.steps) == (Status.TOO_MANY_STEPS, 1)
    assert abs(found.values[index] - converged.values[index]) > 0.1 * converged.uncertainties[index]
    for numbers in (found.values, found.uncertainties, found.covariance, found.correlation):
        assert np.isfinite(numbers).all()
    # They are those of where the fit ended.
    twice_nll = -2 * model.to_pyhf().logpdf(found.values.tolist(), data.tolist())[0]
    np.testing.assert_allclose(found.twice_nll, twice_nll, rtol=1e-12)
    assert found.twice_nll > converged.twice_nll

    test = hypotest(1.0, model, data, steps=1)
    assert test.status == Status.TOO_MANY_STEPS
    for numbers in test[:-1]:
        assert np.isfinite(numbers).all()
    with jax.enable_x64(True):
        slope = median_slope(jnp.asarray(model.numbers), data)
    assert np.isfinite(slope).all()


def test_more_steps_than_it_takes_change_nothing():
    model = two_channels()
    data = model.data(3 * np.asarray(model.observed))
    found, converged = fit(model, data, steps=30), fit(model, data)
    assert found.status == Status.CONVERGED
    assert found.steps == converged.steps < 30
    np.testing.assert_allclose(found.values, converged.values, rtol=1e-12)
    together = fit(model, np.stack([data, model.asimov()]), steps=30)
    np.testing.assert_allclose(together.values[0], converged.values, rtol=1e-9)
    assert together.status.tolist() == [Status.CONVERGED, Status.CONVERGED]


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_refused(steps):
    model = two_channels()
    for call in (lambda: fit(model, steps=steps), lambda: hypotest(1.0, model, steps=steps)):
        with pytest.raises(InputError, match=rf"steps={steps}: give at least 1"):
            call()
    with pytest.raises(InputError, match="the fits of toys take the steps they need"):
        hypotest(1.0, model, toys=10, steps=4)
