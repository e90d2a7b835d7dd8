"""Bounds of the parameter of interest in tests; closed forms, pyhf and cabinetry are the judges."""

import importlib
import json
import logging

import cabinetry
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy.optimize import minimize, minimize_scalar

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.histfactory import arrays as xp
from difftune.inference import (
    FitError,
    Status,
    expected_significance,
    fit,
    hypotest,
    impacts,
    upper_limit,
)
from difftune.inference.tested import never_negative
from difftune.precision import FEW
from tests.inference.on_off import OnOff, workspace

NEGATIVE = {"mu": (-5.0, 10.0)}
CASES = [
    (1e-3, 10.0, 2.0, 40.0),
    (5.0, 10.0, 1.5, 4.0),
    (4e-3, 31.0, 4.0, 25.0),
    (6.0, 9.0, 2.0, 0.0),
]


def model_of(s: float, b: float, u: float, n: float) -> Model:
    return Model.from_spec(workspace(s, b, u, n))


@pytest.mark.parametrize(("s", "b", "u", "n"), CASES)
@pytest.mark.parametrize("bounds", [None, NEGATIVE], ids=["workspace", "negative"])
def test_cls_is_the_closed_form_whatever_the_bounds(s, b, u, n, bounds):
    model, judge = model_of(s, b, u, n), OnOff(s, b, u)
    # From well inside the bounds to far beyond them.
    for sigmas in (0.3, 1.5, 3.0):
        mu = max((n - b) / s, 0.0) + sigmas * np.sqrt(max(n, b)) / s
        found = hypotest(mu, model, bounds=bounds)
        np.testing.assert_allclose(found.observed, judge.cls(mu, n), rtol=1e-6)


def two_minima() -> dict:
    """A likelihood with a minimum at α ≈ 2 and a worse one at α < 0, which ends at μ = 0.5."""

    def varied(nominal, up, down):
        effect = {"hi_data": up, "lo_data": down}
        modifiers = [{"name": "a", "type": "histosys", "data": effect}]
        return {"name": "b", "data": nominal, "modifiers": modifiers}

    factor = {"name": "mu", "type": "normfactor", "data": None}
    signal = {"name": "s", "data": [33.0, 25.0], "modifiers": [factor]}
    background = varied([100.0, 100.0], [137.0, 107.0], [75.0, 90.0])
    return {
        "channels": [
            {"name": "SR", "samples": [signal, background]},
            {"name": "CR", "samples": [varied([100.0], [155.0], [116.0])]},
        ],
        "observations": [{"name": "SR", "data": [137.0, 143.0]}, {"name": "CR", "data": [202.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


def test_a_negative_q_is_no_answer_of_a_whole_test():
    """From the wrong side the free fit ends in the worse minimum, and the one at 0.5 does not."""
    spec, tested = two_minima(), 0.5
    model = Model.from_spec(spec)
    with pytest.raises(FitError, match=r"mu = 0.5 .*worse than that at a tested value.*start="):
        hypotest(tested, model, start={"a": -2.0})
    several = hypotest(np.array([tested]), model, start={"a": -2.0})
    assert several.status.tolist() == [Status.NEGATIVE]
    assert np.isnan(several.observed).all()
    assert np.isnan(several.expected).all()
    # From the other side all is well: pyhf's likelihood, minimised from everywhere.
    judge = pyhf.Workspace(spec).model()
    data = pyhf.Workspace(spec).data(judge)
    order = [judge.config.par_names.index(name) for name in ("mu", "a")]

    def deviance(at):
        point = np.empty(2)
        point[order] = at
        return -2 * float(judge.logpdf(point, data)[0])

    sides = [(-5.0, 0.0), (0.0, 5.0)]
    here = [minimize_scalar(lambda a: deviance((tested, a)), bounds=s).fun for s in sides]
    best = [minimize(deviance, (1.0, sum(s) / 2), method="Nelder-Mead").fun for s in sides]
    found = hypotest(tested, model, start={"a": 2.0})
    assert found.q == pytest.approx(min(here) - min(best), abs=1e-3)
    assert min(here) < max(best)


@pytest.mark.slow
@pytest.mark.parametrize("b", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("share", [0.01, 0.1])
def test_limits_of_large_yields_are_the_closed_form(b, share):
    """Of many events with 1 % uncertainty, where ln L is a small difference of large terms."""
    for pull in (-2.0, 0.5, 2.0):
        s, u = share * b, 0.01 * b
        n = round(b + pull * np.hypot(np.sqrt(b), u))
        found = upper_limit(model_of(s, b, u, n)).observed
        np.testing.assert_allclose(found, OnOff(s, b, u).limit(n), rtol=1e-6)


def test_a_value_beyond_its_bounds_is_tested_and_said(caplog):
    model = model_of(*CASES[0])
    with caplog.at_level(logging.WARNING, "difftune"):
        found = hypotest([45000.0, 60000.0], model)
    np.testing.assert_allclose(found.observed, [0.01952629, 6.688975e-05], rtol=1e-6)
    assert "60000 is tested, beyond its bounds [0, 10]" in caplog.text
    assert "best fit of 'mu' is 3e+04, beyond its bounds" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("s", "b", "u", "n"), CASES)
def test_limits_are_the_closed_form_whatever_the_bounds(s, b, u, n):
    model, judge = model_of(s, b, u, n), OnOff(s, b, u)
    for bounds in (None, NEGATIVE, {"mu": (0.5, 0.7)}):
        found = upper_limit(model, bounds=bounds)
        np.testing.assert_allclose(found.observed, judge.limit(n), rtol=1e-6)


def test_a_workspace_with_a_negative_bound_has_the_limit_of_cabinetry():
    given = workspace(5, 10, 1.5, 4, {"name": "mu", "bounds": [[-5, 10]], "inits": [1.0]})
    ours = upper_limit(Model.from_spec(given)).observed
    np.testing.assert_allclose(ours, 0.82916, rtol=1e-5)
    parsed = pyhf.Workspace(given)
    model = parsed.model()
    theirs = cabinetry.fit.limit(model, parsed.data(model), poi_tolerance=1e-3)
    np.testing.assert_allclose(ours, theirs.observed_limit, rtol=5e-3)


def test_q_is_had_by_name():
    s, b, u, n = CASES[1]
    model, judge = model_of(s, b, u, n), OnOff(s, b, u)
    for mu in (0.4, 1.2, 20.0):
        found = hypotest(mu, model, test_stat="q", bounds=NEGATIVE)
        np.testing.assert_allclose(found.observed, judge.cls(mu, n, "q"), rtol=1e-6)
    limit = upper_limit(model, test_stat="q", bounds=NEGATIVE).observed
    np.testing.assert_allclose(limit, judge.limit(n, "q"), rtol=1e-6)
    assert limit < judge.limit(n) - 0.03
    with pytest.raises(InputError, match=r"there are 'qtilde' and 'q'"):
        upper_limit(model, test_stat="q0")
    with pytest.raises(InputError, match=r"bounded at 0.*bounds="):
        upper_limit(model, test_stat="q")


def test_q_at_its_lower_bound_says_so_and_tests_nothing_below(caplog):
    model = model_of(*CASES[1])
    narrow = {"mu": (-0.5, 10.0)}
    with caplog.at_level(logging.WARNING, "difftune"):
        hypotest(1.0, model, test_stat="q", bounds=narrow)
    assert "ends at its lower bound -0.5 in hypotest" in caplog.text
    with pytest.raises(InputError, match=r"-0\.7, below its lower bound -0\.5: widen"):
        hypotest(-0.7, model, test_stat="q", bounds=narrow)
    many = hypotest([-0.7, 1.0], model, test_stat="q", bounds=narrow)
    assert many.status.tolist() == [Status.OUTSIDE, Status.CONVERGED]
    assert np.isnan(many.observed).tolist() == [True, False]
    with jax.enable_x64(True):

        def traced(mu):
            return hypotest(mu, model, test_stat="q", bounds=narrow).status

        assert jax.jit(traced)(jnp.array(-0.7)) == Status.OUTSIDE


def test_a_discovery_is_not_limited_by_the_upper_bound():
    s, b, u, n = CASES[0]
    model, judge = model_of(s, b, u, n), OnOff(s, b, u)
    tau = (b / u) ** 2
    found = expected_significance(model)
    np.testing.assert_allclose(found.observed**2, judge.statistic(0.0, n, tau, "q0"), rtol=1e-6)
    assert found.observed > 4
    near = expected_significance(model_of(5.0, b, u, n), bounds={"mu": (0.0, 0.5)}).expected
    expected = OnOff(5.0, b, u).statistic(0.0, b + 5.0, tau, "q0")
    np.testing.assert_allclose(near**2, expected, rtol=1e-6)


@pytest.mark.slow
def test_toys_of_a_negative_best_fit_are_those_of_the_formula():
    model = model_of(30.0, 1000.0, 20.0, 960.0)
    toys = hypotest(1.0, model, toys=2000, seed=2, bounds={"mu": (-20.0, 0.9)})
    formula = hypotest(1.0, model)
    np.testing.assert_allclose(toys.q, formula.q, rtol=1e-6)
    # Four standard deviations of a binomial with 2 000 trials.
    np.testing.assert_allclose(toys.clsb, formula.clsb, atol=0.045)
    np.testing.assert_allclose(toys.clb, formula.clb, atol=0.045)
    with pytest.raises(InputError, match="tests one value of one model"):
        hypotest([1.0, 2.0], model, toys=10)


def test_a_best_fit_that_is_none_is_a_status():
    with jax.enable_x64(True):
        many = jax.vmap(lambda q: never_negative(q, jnp.array(3.0)))
        value, status = many(jnp.array([-1e-3, -1e-9, 0.5]))
    assert value.tolist() == [0.0, 0.0, 0.5]
    assert status.tolist() == [Status.NEGATIVE, Status.CONVERGED, Status.CONVERGED]


@pytest.mark.slow
def test_a_fit_that_misses_its_minimum_is_an_error_of_the_whole_test(monkeypatch):
    """The free fit is put on the other side of the hill; what comes out was CLs = 0.5."""
    judge, given = OnOff(5.0, 10.0, 1.5), workspace(5.0, 10.0, 1.5, 14.0)
    given["channels"][0]["name"] = given["observations"][0]["name"] = "missed"
    model = Model.from_spec(given)
    module = importlib.import_module("difftune.inference.hypotest")
    whole = module.minima

    def missing(structure, *problems, **options):
        found = whole(structure, *problems, **options)
        if len(problems) == 3:
            index = structure.poi_index
            away = xp.put(found[1].parameters, index, 0.0)
            found[1] = found[1]._replace(parameters=away)
        return found

    np.testing.assert_allclose(hypotest(1.0, model).observed, judge.cls(1.0, 14.0), rtol=1e-6)
    monkeypatch.setattr(module, "minima", missing)
    with pytest.raises(FitError, match=r"worse than that at a tested value.*another start="):
        hypotest(1.0, model)
    # At 5 the likelihood is less than at 0, so that the ratio stays positive there.
    tested = np.tile([1.0, 5.0], FEW)
    for many in (hypotest(tested[:2], model), hypotest(tested, model)):
        assert (many.status[::2] == Status.NEGATIVE).all()
        assert (many.status[1::2] == Status.CONVERGED).all()
        assert np.isnan(many.observed[::2]).all()
        assert np.isfinite(many.observed[1::2]).all()


@pytest.fixture(scope="module")
def fixed_poi() -> Model:
    given = workspace(6, 50, 5, 52, {"name": "mu", "fixed": True})
    normsys = {"name": "n", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    given["channels"][0]["samples"][1]["modifiers"] = [normsys]
    return Model.from_spec(given)


def test_a_parameter_of_interest_that_the_measurement_fixes_is_free_in_every_test(
    fixed_poi, caplog
):
    with caplog.at_level(logging.WARNING, "difftune"):
        limit = upper_limit(fixed_poi).observed
        at_limit = hypotest(limit, fixed_poi).observed
    np.testing.assert_allclose(limit, 3.2415, rtol=1e-4)
    np.testing.assert_allclose(at_limit, 0.05, rtol=1e-6)
    assert "measurement fixes 'mu'. hypotest leaves it free" in caplog.text
    found = impacts(fixed_poi, bounds={"mu": (-10.0, 10.0)})
    # 10 % of 50 events are 5/6 of the signal.
    np.testing.assert_allclose(found.up, [-5 / 6], rtol=1e-6)
    # A fit is what the measurement says.
    assert fit(fixed_poi).parameter("mu") == (1.0, 0.0)
    with pytest.raises(InputError, match=r"fixed=\.\.\.\) holds 'mu', which is what is asked for"):
        hypotest(1.0, fixed_poi, fixed={"mu"})


def test_impacts_go_beyond_the_bound_of_the_poi_and_say_what_is_clipped(fixed_poi, caplog):
    narrow = {"mu": (0.2, 10.0), "n": (-0.5, 5.0)}
    with caplog.at_level(logging.WARNING, "difftune"):
        found = impacts(fixed_poi, bounds=narrow)
    np.testing.assert_allclose(found.up, [-5 / 6], rtol=1e-6)
    # What pyhf makes of the background where the shift ends, by its own interpolation.
    factor = pyhf.interpolators.code4(np.array([[[[0.9], [1.0], [1.1]]]]), subscribe=False)
    background = 50 * np.ravel(factor(np.array([[-0.5]])))
    np.testing.assert_allclose(found.down, (50 - background) / 6, rtol=1e-6)
    assert found.clipped[:, 0].tolist() == [False, True, False, True]
    assert "'n' (down, prefit_down)" in caplog.text


def test_a_shapefactor_of_one_bin_is_tested_as_in_pyhf():
    given = workspace(5, 50, 5, 57)
    signal, background = given["channels"][0]["samples"]
    signal["modifiers"] = [{"name": "mu", "type": "shapefactor", "data": None}]
    normsys = {"name": "n", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    background["modifiers"] = [normsys]
    model = Model.from_spec(given)
    parsed = pyhf.Workspace(given)
    judge = parsed.model()
    theirs = pyhf.infer.hypotest(2.0, parsed.data(judge), judge)
    np.testing.assert_allclose(hypotest(2.0, model).observed, theirs, rtol=1e-4)
    best = fit(model)
    assert best.parameter("mu") == best.parameter(best.poi) == best.parameter("mu[0]")
    assert Model.from_spec(given, poi="mu[0]").structure == model.structure


def interference() -> dict:
    """The nominal strength of 1 leaves -3 events in the first bin."""
    given = workspace(1, 1, 1, 1, {"name": "mu", "inits": [1.0], "bounds": [[-10, 10]]})
    signal, background = given["channels"][0]["samples"]
    signal["data"], background["data"], background["modifiers"] = [-8.0, 6.0], [5.0, 40.0], []
    given["observations"][0]["data"] = [4.0, 50.0]
    return given


def test_a_model_that_is_negative_at_the_nominal_point_alone(caplog):
    with caplog.at_level(logging.WARNING, "difftune"):
        model = Model.from_spec(interference())
    assert "expects -3 events at its nominal point, of which -8 from sample 's'" in caplog.text
    np.testing.assert_allclose(model.logpdf([0.2]), -5.43880624, rtol=1e-8)
    assert model.config.suggested_init() == [1.0]
    # The best fit solves Σ x (n / (x μ + b) - 1) = 0.
    signal, background, data = (np.array(x) for x in ([-8.0, 6.0], [5.0, 40.0], [4.0, 50.0]))
    for found in (fit(model), fit(model, start={"mu": 0.6}), fit(model, start=[-0.3])):
        expected = signal * found.values[0] + background
        np.testing.assert_allclose(np.sum(signal * (data / expected - 1)), 0, atol=1e-6)
    # Beyond 5/8 nothing is possible, and so excluded.
    limit = upper_limit(model)
    assert (limit.expected < 5 / 8).all()
    np.testing.assert_allclose(hypotest(limit.observed, model).observed, 0.05, rtol=1e-5)
    with pytest.raises(FitError, match="a yield is negative"):
        hypotest(1.0, model)


def test_what_no_value_makes_positive_is_refused():
    given = interference()
    given["measurements"][0]["config"]["parameters"][0]["bounds"] = [[0.7, 10]]
    with pytest.raises(InputError, match=r"'SR', bin 0: .* -8 from sample 's'.*widen the bounds"):
        Model.from_spec(given)


@pytest.mark.parametrize("mu", [None, "one", np.nan, np.inf, [], [[1.0]]])
def test_values_that_cannot_be_tested(mu):
    with pytest.raises(InputError, match="tested"):
        hypotest(mu, model_of(*CASES[1]))


def test_a_fixed_nuisance_parameter_is_fixed_as_in_pyhf():
    given = workspace(*CASES[1])
    model = Model.from_spec(given)
    parsed = pyhf.Workspace(json.loads(json.dumps(given)))
    judge = parsed.model()
    init, fixed = [1.0, 1.1], [False, True]
    theirs = pyhf.infer.hypotest(0.9, parsed.data(judge), judge, init_pars=init, fixed_params=fixed)
    for asked in ({"fixed": {"unc": 1.1}}, {"fixed": ["unc"], "start": {"unc[0]": 1.1}}):
        found = hypotest(0.9, model, **asked)
        np.testing.assert_allclose(found.observed, theirs, rtol=1e-4)
    limit = upper_limit(model, fixed={"unc[0]": 1.1}).observed
    again = hypotest(limit, model, fixed={"unc": 1.1}).observed
    np.testing.assert_allclose(again, 0.05, rtol=1e-6)


KNOWN = {"unc": 1.1}
"""The background without its constraint: 1.1 times the nominal one, in every test."""
FIXED = [{"fixed": KNOWN}, {"fixed": ["unc"], "start": {"unc[0]": 1.1}}]
# A start that is wrong in all, and has no effect.
AWAY = {"start": {"mu": 7.0, "unc": 1.7}}


@pytest.mark.parametrize("asked", FIXED)
def test_a_limit_with_a_fixed_nuisance_parameter_is_that_of_pyhf(asked):
    given = workspace(*CASES[1])
    parsed = pyhf.Workspace(given)
    judge = parsed.model()
    theirs, bands = pyhf.infer.intervals.upper_limits.upper_limit(
        parsed.data(judge), judge, init_pars=[1.0, 1.1], fixed_params=[False, True]
    )
    found = upper_limit(Model.from_spec(given), **asked)
    np.testing.assert_allclose(found.observed, theirs, rtol=1e-3)
    np.testing.assert_allclose(found.expected, np.array(bands), rtol=1e-3)


@pytest.mark.parametrize(("s", "b", "u", "n"), CASES)
def test_no_start_changes_what_is_found(s, b, u, n):
    model, judge = model_of(s, b, u, n), OnOff(s, b, u)
    np.testing.assert_allclose(upper_limit(model, **AWAY).observed, judge.limit(n), rtol=1e-6)
    found = expected_significance(model, **AWAY)
    tau = (b / u) ** 2
    np.testing.assert_allclose(found.observed**2, judge.statistic(0.0, n, tau, "q0"), atol=1e-8)
    expected = judge.statistic(0.0, b + s, tau, "q0")
    np.testing.assert_allclose(found.expected**2, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("asked", FIXED)
def test_a_significance_over_a_known_background_is_the_closed_form(asked):
    s, b, n = 5.0, 10.0, 17.0
    found = expected_significance(model_of(s, b, 1.5, n), **asked)
    known = 1.1 * b
    for z, count in ((found.expected, s + known), (found.observed, n)):
        q0 = 2 * (count * np.log(count / known) - (count - known))
        np.testing.assert_allclose(z, np.sqrt(q0), rtol=1e-8)


@pytest.mark.parametrize(
    "asked",
    [
        {"fixed": {"k": 1.0}},
        {"fixed": {"k"}, "start": {"k": 1.0}},
        {"fixed": {"k": 1.0}, "start": {"mu": -3.0, "n": 2.0}},
    ],
)
def test_impacts_with_a_fixed_nuisance_parameter_are_the_closed_form(asked):
    s, b, observed = 6.0, 50.0, 58.0
    given = workspace(s, b, 5.0, observed, {"name": "mu", "bounds": [[-10.0, 10.0]]})
    given["channels"][0]["samples"][1]["modifiers"] = [
        {"name": name, "type": "normsys", "data": {"hi": 1 + size, "lo": 1 - size}}
        for name, size in (("n", 0.1), ("k", 0.05))
    ]
    found = impacts(Model.from_spec(given), **asked)
    # One bin: μ takes up what the background leaves, and n stays at 0 with its prior width.
    assert found.names == ("n",)
    np.testing.assert_allclose(found.fit.parameter("mu")[0], (observed - 1.05 * b) / s, rtol=1e-6)
    np.testing.assert_allclose(found.up, [-0.1 * 1.05 * b / s], rtol=1e-5)
    np.testing.assert_allclose(found.down, [0.1 * 1.05 * b / s], rtol=1e-5)
    np.testing.assert_allclose(found.constraints, [1.0], rtol=1e-5)
