import json

import cabinetry
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy.stats import norm

from difftune.errors import InputError
from difftune.histfactory import Luminosity, Model, NormalisationUncertainty, build_workspace
from difftune.histograms import Histogram, Template, Templates
from difftune.inference import (
    FitError,
    asimov_significance,
    examine,
    expected_significance,
    fit,
)
from difftune.inference.minima import minimum as lowest_minimum
from difftune.inference.problems import limits, make_problem
from difftune.inference.solver import minimise
from tests import shared_data
from tests.histfactory import samples
from tests.inference.second_fit import minimum

SPREAD = {"normalisation": [NormalisationUncertainty("b_xs", 0.1, None, ("b",))]}


@pytest.fixture(autouse=True)
def _numpy_and_minuit():
    pyhf.set_backend("numpy", "minuit")
    yield
    pyhf.set_backend("numpy", "scipy")


def read(workspace: dict) -> tuple[pyhf.Model, list[float]]:
    parsed = pyhf.Workspace(workspace)
    model = parsed.model()
    return model, parsed.data(model)


def counting(signal, background, observed=None, **options) -> dict:
    edges = np.linspace(0, 1, len(signal) + 1)
    zeros = np.zeros(len(signal))

    def of(yields) -> Histogram:
        return Histogram(edges, np.array(yields, float), zeros)

    templates = Templates(
        channel="SR",
        edges=edges,
        processes={"s": Template(of(signal)), "b": Template(of(background))},
        signal=("s",),
        data=None if observed is None else of(observed),
    )
    return build_workspace([templates], mc_statistics=False, **options)


def test_significance_is_that_of_pyhf():
    workspace = samples.toy_workspace()
    model, data = read(workspace)
    ours = expected_significance(Model.from_spec(workspace))
    nominal = model.expected_data(model.config.suggested_init())
    p_expected = pyhf.infer.hypotest(0.0, nominal, model, test_stat="q0")
    p_observed = pyhf.infer.hypotest(0.0, data, model, test_stat="q0")
    np.testing.assert_allclose(ours.expected, norm.isf(p_expected), rtol=1e-4)
    np.testing.assert_allclose(ours.observed, norm.isf(p_observed), rtol=1e-4)


def test_significance_without_uncertainties_is_the_closed_form():
    s, b = [3.0, 5.0, 2.0], [50.0, 20.0, 4.0]
    ours = expected_significance(Model.from_spec(counting(s, b)))
    np.testing.assert_allclose(ours.expected, asimov_significance(jnp.array(s), jnp.array(b)), 1e-6)
    assert ours.observed is None


def test_a_deficit_is_no_discovery():
    workspace = counting([3.0, 5.0], [50.0, 20.0], observed=[40.0, 12.0])
    assert expected_significance(Model.from_spec(workspace)).observed == 0
    assert fit(Model.from_spec(workspace)).parameter("mu")[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"scale": 1e-3}], ids=["1e6 events a bin", "1e3"])
def test_fits_of_large_workspaces_reach_the_minimum(options):
    """From wherever another optimizer starts, it finds no better one."""
    workspace = samples.large_workspace(**options)
    model, _ = read(workspace)
    nominal = model.config.suggested_init()
    asimov = model.expected_data(nominal)
    best = -2 * model.logpdf(nominal, asimov)[0]
    ours = expected_significance(Model.from_spec(workspace)).expected
    for seed in range(2):
        _, background = minimum(model, asimov, 0.0, spread=1.0, seed=seed)
        np.testing.assert_allclose(ours**2, background - best, rtol=1e-5, atol=5e-5)
    if not options:
        templates = samples.large()
        without = asimov_significance(
            jnp.asarray(templates.total("signal").sumw, jnp.float32),
            jnp.asarray(templates.total("background").sumw, jnp.float32),
        )
        assert 10 < ours < 20 < without


def test_fit_agrees_with_cabinetry():
    workspace = samples.toy_workspace()
    ours = fit(Model.from_spec(workspace))
    theirs = cabinetry.fit.fit(*read(workspace))
    assert list(ours.names) == theirs.labels
    assert ours.poi == "Signal_norm"
    free = ours.uncertainties > 0
    pulls = (ours.values - theirs.bestfit)[free] / ours.uncertainties[free]
    np.testing.assert_allclose(pulls, 0, atol=0.01)
    np.testing.assert_allclose(ours.uncertainties, theirs.uncertainty, rtol=0.02)
    np.testing.assert_allclose(ours.correlation, theirs.corr_mat, atol=0.02)
    np.testing.assert_allclose(ours.twice_nll, theirs.best_twice_nll, atol=1e-3)
    before = cabinetry.model_utils.prefit_uncertainties(read(workspace)[0])
    np.testing.assert_allclose(np.nan_to_num(ours.widths), before, rtol=1e-12)
    np.testing.assert_array_equal(ours.centers, [0, 0, 1, 0, 1, 1, 1, 1])


def test_fit_of_a_published_likelihood_agrees_with_cabinetry():
    """50 bins, some of them without any expectation."""
    path = shared_data.path("workspaces/SH4b_50bins.json")
    workspace = json.loads(path.read_text())
    ours, theirs = fit(Model.from_spec(workspace)), cabinetry.fit.fit(*read(workspace))
    np.testing.assert_allclose(ours.values, theirs.bestfit, atol=1e-3)
    np.testing.assert_allclose(ours.uncertainties, theirs.uncertainty, rtol=0.01)
    np.testing.assert_allclose(ours.twice_nll, theirs.best_twice_nll, atol=1e-4)


def test_fit_of_real_templates_reaches_the_minimum():
    workspace = build_workspace(samples.agc(), luminosity=Luminosity(0.03))
    model, data = read(workspace)
    ours = fit(Model.from_spec(workspace))
    point, twice_nll = minimum(model, data, spread=0.5)
    np.testing.assert_allclose(ours.twice_nll, twice_nll, atol=5e-3)
    np.testing.assert_allclose((ours.values - point) / ours.uncertainties, 0, atol=0.05)
    assert 0.5 < ours.parameter("mu")[0] < 1.5
    assert (ours.uncertainties > 0).all()


def test_a_narrow_valley_is_followed_to_its_end():
    """Data of a signal, described without one: the variations bend to make up for it."""
    spec = samples.large_workspace(bins=6, processes=3, systematics=5)
    model = Model.from_spec(spec)
    judge, index = model.to_pyhf(), model.config.poi_index
    nominal = np.array(model.structure.layout.init)
    nominal[index] = 1.0
    data = model.asimov(nominal)
    ours = fit(model, data, fixed={model.config.poi_name: 0.0})
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    theirs = pyhf.infer.mle.fixed_poi_fit(0.0, data.tolist(), judge, return_fitted_val=True)[1]
    pyhf.set_backend("numpy", "scipy")
    assert ours.twice_nll <= theirs + 1e-6
    assert ours.twice_nll > theirs - 0.1
    assert ours.steps < 50


def test_fit_to_the_expectation_returns_it():
    workspace = samples.toy_workspace()
    model, _ = read(workspace)
    ours_model = Model.from_spec(workspace)
    ours = fit(ours_model, ours_model.asimov())
    nominal = model.config.suggested_init()
    expectation = model.expected_data(nominal)
    np.testing.assert_allclose(ours.values, nominal, atol=1e-9)
    best = -2 * model.logpdf(nominal, expectation)[0]
    np.testing.assert_allclose(ours.twice_nll, best, atol=1e-9)
    # Nothing fits its own expectation better.
    assert minimum(model, expectation, spread=0.5)[1] > ours.twice_nll - 1e-9
    assert fit(Model.from_spec(workspace)).twice_nll != ours.twice_nll


@pytest.mark.parametrize("options", [{}, SPREAD])
def test_a_workspace_that_no_fit_describes_says_so(options):
    workspace = counting([5.0], [1.0], observed=[4.0], **options)
    workspace["channels"][0]["samples"][1]["data"] = [0.0]
    with pytest.raises(FitError, match=r"fit for mu = 0.0 has a likelihood that is not finite"):
        expected_significance(Model.from_spec(workspace))


def test_what_moved_far_is_named():
    shape = {"hi_data": [1100.0, 1200.0], "lo_data": [900.0, 800.0]}
    modifiers = [
        {"name": "scale", "type": "histosys", "data": shape},
        {"name": "small", "type": "normsys", "data": {"hi": 1.01, "lo": 0.99}},
        {"name": "mu", "type": "normfactor", "data": None},
    ]
    spec = {
        "version": "1.0.0",
        "channels": [
            {
                "name": "c",
                "samples": [
                    {"name": "b", "data": [1000.0, 1000.0], "modifiers": modifiers[:2]},
                    {"name": "s", "data": [1.0, 1.0], "modifiers": modifiers[2:]},
                ],
            }
        ],
        "observations": [{"name": "c", "data": [1320.0, 1610.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }
    workspace = pyhf.Workspace(spec)
    model = workspace.model(
        modifier_settings={"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
    )
    pyhf.set_backend("numpy", "minuit")
    best = pyhf.infer.mle.fit(workspace.data(model), model)
    pyhf.set_backend("numpy", "scipy")
    pulls = dict(zip(model.config.par_names, best, strict=True))
    assert abs(pulls["small"]) < 2 < pulls["scale"]
    found = examine(Model.from_spec(spec), ("fit",))
    assert found.fit.pulled() == pytest.approx({"scale": pulls["scale"]}, rel=1e-3)
    assert f"far from where they began: scale (+{pulls['scale']:.1f} σ)" in found.lines()


def test_without_a_parameter_of_interest_there_is_a_fit_but_no_significance():
    workspace = counting([5.0], [1.0], observed=[4.0])
    workspace["measurements"][0]["config"]["poi"] = ""
    model = Model.from_spec(workspace)
    assert fit(model).poi is None
    with pytest.raises(InputError, match="needs a parameter of interest"):
        expected_significance(model)


@pytest.mark.slow
def test_the_fit_finds_the_lower_of_two_minima():
    # Both variations lower the same bins, so a shortage can be explained on either side of 0.
    background, up, down = [40.0, 60.0, 50.0], [30.0, 52.0, 26.0], [34.0, 45.0, 32.0]
    workspace = counting([1.0, 2.0, 4.0], background, background)
    shape = {"name": "shape", "type": "histosys", "data": {"hi_data": up, "lo_data": down}}
    workspace["channels"][0]["samples"][1]["modifiers"].append(shape)
    model, (judge, data) = Model.from_spec(workspace), read(workspace)
    rng = np.random.default_rng(2)
    toys = np.tile(data, (40, 1))
    toys[:, :3] = rng.poisson(rng.uniform(0.5, 1.0, (40, 1)) * background)
    side = model.structure.names.index("shape")

    @jax.jit
    def from_there(toy, start):
        given = limits(model.structure)
        problem = make_problem(model, toy, given)
        problem = problem._replace(start=problem.start.at[side].set(start))
        found = lowest_minimum(model.structure, problem)
        return minimise(model.structure, problem).deviance, found.deviance

    with jax.enable_x64(True):
        many = jax.vmap(jax.vmap(from_there, (0, None)), (None, 0))
        nearest, lowest = jax.device_get(many(toys, np.array([-1.5, 1.5])))
    # Which of them is the nearest depends on the start, and which is the lower rarely does.
    assert np.sum(np.abs(nearest[1] - nearest[0]) > 1e-3) >= 10
    assert np.sum(np.abs(lowest[1] - lowest[0]) > 1e-8) <= 5
    assert np.all(lowest <= nearest + 1e-9)
    # Minuit fails on some of them.
    pyhf.set_backend("numpy", "scipy")
    for toy, twice_nll in zip(toys, fit(model, toys).twice_nll, strict=True):
        start = judge.config.suggested_init()
        for start[side] in (-1.0, 0.0, 1.0):
            _, theirs = pyhf.infer.mle.fit(toy, judge, init_pars=start, return_fitted_val=True)
            assert twice_nll <= theirs + 1e-6
