"""CLs, gradients and batches, with pyhf and finite differences as judges."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import Status, fit, hypotest, impacts, upper_limit
from tests import shared_data

SMALL = ["SH4b_50bins", "susy-2018-31_sbottom-A_sbottom_600_280_150"]


def published(name: str) -> Model:
    return Model.from_spec(json.loads(shared_data.path(f"workspaces/{name}.json").read_text()))


def simple(observed=(51.0, 48.0)) -> Model:
    """Background with uncorrelated uncertainties: shapesys, whose auxiliary data carry gradient."""
    model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
    return Model.from_spec(pyhf.Workspace.build(model, [*observed, *model.config.auxdata]))


@pytest.fixture
def _tight_minuit():
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    yield
    pyhf.set_backend("numpy", "scipy")


@pytest.mark.slow
@pytest.mark.usefixtures("_tight_minuit")
@pytest.mark.parametrize("name", SMALL)
def test_cls_of_published_likelihoods_is_that_of_a_converged_pyhf(name):
    model = published(name)
    observed, expected = pyhf.infer.hypotest(
        1.0, model.data().tolist(), model.to_pyhf(), return_expected_set=True
    )
    ours = hypotest(1.0, model)
    np.testing.assert_allclose(ours.observed, observed, atol=1e-5)
    np.testing.assert_allclose(ours.expected, expected, atol=1e-5)


@pytest.mark.usefixtures("_tight_minuit")
@pytest.mark.parametrize("mu", [-0.5, 0.4, 1.5])
@pytest.mark.parametrize("observed", [(41.0, 40.0), (61.0, 58.0)], ids=["deficit", "excess"])
def test_a_signal_that_may_be_negative_is_tested_as_in_pyhf(observed, mu):
    model, bounds = simple(observed), {"mu": (-10.0, 10.0)}
    best, _ = fit(model, bounds=bounds).parameter("mu")
    assert best < -0.5 if observed[0] < 50 else 0.4 < best < 1.5
    judge = model.to_pyhf()
    wide = judge.config.suggested_bounds()
    wide[judge.config.poi_index] = bounds["mu"]
    theirs, bands = pyhf.infer.hypotest(
        mu, model.data().tolist(), judge, test_stat="q", par_bounds=wide, return_expected_set=True
    )
    ours = hypotest(mu, model, test_stat="q", bounds=bounds)
    np.testing.assert_allclose(ours.observed, theirs, atol=1e-5)
    np.testing.assert_allclose(ours.expected, bands, atol=1e-5)
    assert (ours.q == 0) == (best > mu)


@pytest.mark.usefixtures("_tight_minuit")
@pytest.mark.parametrize("name", [SMALL[0], pytest.param(SMALL[1], marks=pytest.mark.slow)])
def test_best_fit_is_never_above_that_of_pyhf(name):
    model = published(name)
    judge, data = model.to_pyhf(), model.data()
    toys = np.random.default_rng(4).poisson(
        np.maximum(model.expected(fit(model).values), 0), (3, model.structure.n_bins)
    )
    for pseudo in [data, model.asimov(), *model.data(toys.astype(float))]:
        theirs, twice_nll = pyhf.infer.mle.fit(pseudo.tolist(), judge, return_fitted_val=True)
        ours = fit(model, pseudo)
        assert ours.twice_nll / 2 <= twice_nll / 2 + 1e-6
        np.testing.assert_allclose(
            ours.twice_nll, -2 * judge.logpdf(ours.values.tolist(), pseudo.tolist())[0], rtol=1e-12
        )
        scale = np.where(ours.uncertainties > 0, ours.uncertainties, 1)
        np.testing.assert_allclose((ours.values - np.asarray(theirs)) / scale, 0, atol=0.05)


def limits(model):
    found = upper_limit(model)
    return found.expected[1], found.observed


def cls_and_q(model):
    found = hypotest(1.3, model)
    return found.observed, found.q


def mu_and_sigma(model):
    found = fit(model)
    return found.values[0], found.uncertainties[0]


@pytest.mark.slow
@pytest.mark.parametrize("quantities", [limits, cls_and_q, mu_and_sigma])
def test_gradients_are_those_of_finite_differences(quantities):
    model = simple(observed=(61.0, 58.0))

    def value(numbers):
        return jnp.stack(quantities(model.replace(numbers=numbers)))

    with jax.enable_x64(True):
        compiled = jax.jit(value)
        reverse = jax.jit(jax.jacrev(value))(jnp.asarray(model.numbers))
        numeric = []
        for index, number in enumerate(model.numbers):
            sides = []
            for sign in (1, -1):
                shifted = model.numbers.copy()
                shifted[index] += sign * 1e-4 * number
                sides.append(np.asarray(compiled(jnp.asarray(shifted))))
            numeric.append((sides[0] - sides[1]) / (2e-4 * number))
    largest = np.abs(numeric).max(axis=0)
    assert np.all(largest > 1e-3)
    for ours, theirs, size in zip(reverse, np.transpose(numeric), largest, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-7 * size)


def test_a_batch_is_the_single_fits_and_a_failure_stays_alone():
    model = simple()
    batch = np.array([[51.0, 48.0], [70.0, 40.0], [np.nan, 48.0]])
    found = fit(model, batch)
    counts = fit(model, batch[:2].astype(int))
    np.testing.assert_array_equal(counts.values, found.values[:2])
    assert found.status.tolist() == [Status.CONVERGED, Status.CONVERGED, Status.NOT_FINITE]
    assert np.isnan(found.values[2]).all()
    for index in range(2):
        alone = fit(model, batch[index])
        np.testing.assert_allclose(found.values[index], alone.values, rtol=1e-9)
        np.testing.assert_allclose(found.uncertainties[index], alone.uncertainties, rtol=1e-9)


def test_an_array_of_strengths_is_each_of_them():
    strengths = np.linspace(0.2, 3, 20)
    together = hypotest(strengths, simple())
    for index in (0, 7, 19):
        alone = hypotest(strengths[index], simple())
        np.testing.assert_allclose(together.observed[index], alone.observed, rtol=1e-9)
        np.testing.assert_allclose(together.expected[index], alone.expected, rtol=1e-9)


@pytest.mark.slow
def test_toys_agree_with_the_asymptotic_formulae_where_these_hold():
    model = pyhf.simplemodels.uncorrelated_background([120.0], [5000.0], [30.0])
    ours = Model.from_spec(pyhf.Workspace.build(model, [5060.0, *model.config.auxdata]))
    toys, formula = hypotest(1.0, ours, toys=4000, seed=3), hypotest(1.0, ours)
    # Four standard deviations of a binomial with 4 000 trials.
    np.testing.assert_allclose(toys.clsb, formula.clsb, atol=0.03)
    np.testing.assert_allclose(toys.clb, formula.clb, atol=0.03)
    np.testing.assert_allclose(toys.expected[2], formula.expected[2], atol=0.06)


def test_impacts_are_refits_by_minuit():
    model = simple(observed=(61.0, 58.0))
    found = impacts(model)
    judge, data = model.to_pyhf(), model.data().tolist()
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-6))
    try:
        best = pyhf.infer.mle.fit(data, judge)
        for name, up, down in zip(found.names, found.up, found.down, strict=True):
            index = found.fit.names.index(name)
            for change, sign in ((up, 1), (down, -1)):
                start = list(found.fit.values)
                start[index] += sign * found.fit.uncertainties[index]
                fixed = [i == index for i in range(len(start))]
                moved = pyhf.infer.mle.fit(data, judge, init_pars=start, fixed_params=fixed)
                np.testing.assert_allclose(change, moved[0] - best[0], atol=2e-4)
    finally:
        pyhf.set_backend("numpy", "scipy")


def test_bad_questions_are_refused():
    model = simple()
    with pytest.raises(InputError, match=r"'mu' is bounded at 0.*bounds="):
        hypotest(1.0, model, test_stat="q")
    with pytest.raises(InputError, match=r"3 entries; the model has 2 bins and 2 auxiliary"):
        fit(model, [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match=r"No parameter 'muu'.*'mu'"):
        fit(model, bounds={"muu": (0.0, 1.0)})
    with pytest.raises(InputError, match=r"best fit of 'mu' is at its bound"):
        impacts(simple(observed=(20.0, 20.0)))
    with pytest.raises(InputError, match="bin 0 has nan: counts are numbers"):
        fit(model, [np.nan, 50.0])
