import re

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from difftune.histfactory import FreeNormalisation, Model, build_workspace
from difftune.inference import FitError, Status, fit, impacts
from tests.histfactory import samples
from tests.inference.test_fits import counting


@pytest.fixture
def pyhf_in_jax():
    """Gives pyhf its jax backend, which switches jax to float64 as a whole, and takes it back."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    pyhf.set_backend("jax")
    yield
    pyhf.set_backend("numpy")
    jax.config.update("jax_enable_x64", before)


def with_poisson_constraints() -> dict:
    """A workspace whose background is uncertain bin by bin: pyhf's shapesys."""
    model = pyhf.simplemodels.uncorrelated_background([6.0, 9.0], [50.0, 52.0], [5.0, 7.0])
    return dict(pyhf.Workspace.build(model, [61.0, 55.0, *model.config.auxdata]))


WORKSPACES = {
    "toy": (samples.toy_workspace, False),
    "shapesys": (with_poisson_constraints, False),
    "1e6 events a bin": (lambda: samples.large_workspace(bins=6, processes=3, systematics=5), True),
}


@pytest.mark.parametrize(
    "name",
    [
        name if name == "shapesys" else pytest.param(name, marks=pytest.mark.slow)
        for name in WORKSPACES
    ],
)
def test_uncertainties_are_those_of_automatic_differentiation(name, pyhf_in_jax):
    make, asimov = WORKSPACES[name]
    workspace = make()
    ours_model = Model.from_spec(workspace)
    ours = fit(ours_model, ours_model.asimov() if asimov else None)
    parsed = pyhf.Workspace(workspace)
    model = parsed.model()
    data = jax.jit(model.expected_data)(jnp.array(ours.values)) if asimov else parsed.data(model)
    gradient = jax.jit(jax.grad(lambda p: -model.logpdf(p, jnp.asarray(data))[0]))
    free = np.flatnonzero(~np.array(model.config.suggested_fixed()))
    information = np.zeros((len(free), len(free)))
    for row, index in enumerate(free):
        step = np.zeros(len(ours.values))
        step[index] = 1e-4 * ours.uncertainties[index]
        sides = [np.asarray(gradient(ours.values + sign * step)) for sign in (1, -1)]
        information[row] = (sides[0] - sides[1])[free] / (2 * step[index])
    scale = np.sqrt(np.diag(information))
    covariance = np.linalg.inv(information / np.outer(scale, scale)) / np.outer(scale, scale)
    sigma = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(ours.uncertainties[free], sigma, rtol=1e-4)
    np.testing.assert_allclose(
        ours.correlation[np.ix_(free, free)], covariance / np.outer(sigma, sigma), atol=1e-4
    )


def test_uncertainty_of_a_counting_experiment_is_the_closed_form():
    s, b = np.array([3.0, 5.0, 2.0]), np.array([50.0, 20.0, 4.0])
    value, uncertainty = fit(Model.from_spec(counting(s, b))).parameter("mu")
    np.testing.assert_allclose(value, 1, rtol=1e-12)
    np.testing.assert_allclose(uncertainty, 1 / np.sqrt(np.sum(s**2 / (s + b))), rtol=1e-9)


def test_uncertainty_away_from_the_expectation_is_the_closed_form():
    # One bin: mu = (n - b) / s exactly, and the second derivative is n s² / (mu s + b)² = s² / n.
    value, uncertainty = fit(Model.from_spec(counting([5.0], [20.0], observed=[32.0]))).parameter(
        "mu"
    )
    np.testing.assert_allclose(value, 12 / 5, rtol=1e-4)
    np.testing.assert_allclose(uncertainty, np.sqrt(32) / 5, rtol=1e-3)


def test_a_parameter_that_nothing_determines_is_named(caplog):
    free = [FreeNormalisation("one", ("Background",)), FreeNormalisation("two", ("Background",))]
    model = Model.from_spec(build_workspace([samples.toy()], free=free))
    with caplog.at_level("WARNING", logger="difftune"):
        found = fit(model)
    assert re.search(r"along '(one|two)': the data do not determine it", caplog.text)
    assert found.status == Status.UNDETERMINED
    assert np.isnan(found.uncertainties).all()
    # The minimum itself is one, wherever it lies along the valley.
    twice_nll = -2 * model.to_pyhf().logpdf(found.values.tolist(), model.data().tolist())[0]
    np.testing.assert_allclose(found.twice_nll, twice_nll, rtol=1e-12)
    with pytest.raises(FitError, match="no impacts"):
        impacts(model)


def test_fixed_parameters_have_no_uncertainty():
    workspace = samples.toy_workspace()
    workspace["measurements"][0]["config"]["parameters"].append({"name": "Modeling", "fixed": True})
    ours = fit(Model.from_spec(workspace))
    fixed = ours.names.index("Modeling")
    assert ours.uncertainties[fixed] == 0
    assert np.isnan(ours.widths[fixed])
    np.testing.assert_array_equal(ours.correlation[fixed], np.zeros(len(ours.names)))
    assert (np.delete(ours.uncertainties, fixed) > 0).all()
