"""Asymmetric errors, scans and contours, against iminuit on pyhf's likelihood."""

import json

import iminuit
import numpy as np
import pyhf
import pytest
from scipy.optimize import brentq
from scipy.stats import chi2, poisson

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import (
    FitError,
    contours,
    examine,
    exclusion,
    fit,
    goodness_of_fit,
    grouped_impacts,
    hypotest,
    minos,
    predictions,
    profile,
    upper_limit,
)
from tests.histfactory import samples
from tests.inference.on_off import workspace
from tests.inference.test_groups import WIDE, linear


def minuit(spec, bounds):
    """iminuit on pyhf's likelihood, at its minimum."""
    workspace = pyhf.Workspace(spec)
    model = workspace.model()
    data, names = workspace.data(model), model.config.par_names
    judge = iminuit.Minuit(
        lambda at: -2 * model.logpdf(at, data)[0], model.config.suggested_init(), name=names
    )
    judge.errordef, judge.strategy, judge.tol = 1.0, 2, 1e-3
    for name, pair in zip(names, model.config.suggested_bounds(), strict=True):
        judge.limits[name] = bounds.get(name, pair)
    judge.migrad()
    return judge


@pytest.fixture(scope="module")
def toy():
    return samples.toy_workspace(), {"Signal_norm": (-10.0, 10.0)}


def test_errors_are_those_of_minos(toy):
    spec, bounds = toy
    found = minos(Model.from_spec(spec), bounds=bounds)
    judge = minuit(spec, bounds)
    judge.minos(*found.names)
    assert len(found.names) == len(judge.values)
    for i, name in enumerate(found.names):
        scale = judge.errors[name]
        assert found.values[i] == pytest.approx(judge.values[name], abs=1e-3 * scale)
        assert found.up[i] == pytest.approx(judge.merrors[name].upper, abs=1e-3 * scale)
        assert found.down[i] == pytest.approx(judge.merrors[name].lower, abs=1e-3 * scale)
    assert not found.at_bound.any()
    # And not those of the second derivatives.
    assert np.abs(found.up + found.down).max() > 0.02 * found.up.max()


def test_a_count_has_the_errors_of_its_poisson_likelihood():
    n, b, s = 7.0, 3.0, 2.0
    mu = {"name": "mu", "type": "normfactor", "data": None}
    spec = {
        "version": "1.0.0",
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {"name": "s", "data": [s], "modifiers": [mu]},
                    {"name": "b", "data": [b], "modifiers": []},
                ],
            }
        ],
        "observations": [{"name": "SR", "data": [n]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }
    model, best = Model.from_spec(spec), (n - b) / s

    def q(at):
        return 2 * (poisson.logpmf(n, n) - poisson.logpmf(n, s * at + b))

    for sigmas in (1.0, 2.0):
        found = minos(model, parameters="mu", sigmas=sigmas, bounds={"mu": (-1.4, 30.0)})
        up = brentq(lambda at, z=sigmas: q(at) - z**2, best, 20.0)
        down = brentq(lambda at, z=sigmas: q(at) - z**2, -1.49, best)
        np.testing.assert_allclose(found.values + found.up, up, rtol=1e-6)
        np.testing.assert_allclose(found.values + found.down, down, rtol=1e-6)
    scan = profile(model, "mu", [0.5, 2.0, 4.0])
    np.testing.assert_allclose(scan.q, q(np.array([0.5, 2.0, 4.0])), atol=1e-9)


def test_an_error_that_ends_at_a_bound_says_so(toy, caplog):
    spec, _ = toy
    model = Model.from_spec(spec)
    value, sigma = fit(model).parameter("Signal_norm")
    found = minos(model, parameters="Signal_norm", bounds={"Signal_norm": (value - 0.3, 10.0)})
    assert found.at_bound.tolist() == [[False], [True]]
    assert found.down[0] == pytest.approx(-0.3, abs=1e-6)
    assert found.up[0] > sigma / 2
    assert "'Signal_norm' (down)" in caplog.text


def test_a_scan_is_what_minuit_finds_with_the_parameter_fixed(toy):
    spec, bounds = toy
    model = Model.from_spec(spec)
    name = model.structure.names[1]
    scan = profile(model, name, points=5, bounds=bounds)
    assert scan.q[2] == pytest.approx(0, abs=1e-6)
    least = minuit(spec, bounds).fval
    for value, q, point in zip(scan.values, scan.q, scan.parameters, strict=True):
        judge = minuit(spec, bounds)
        judge.values[name], judge.fixed[name] = value, True
        judge.migrad()
        assert q == pytest.approx(judge.fval - least, abs=1e-3)
        np.testing.assert_allclose((point - judge.values) / judge.errors, 0, atol=0.02)


def test_contours_are_those_of_minuit():
    """Minuit's points lie on lines of its own: its likelihood at ours says how near we are."""
    spec, names = samples.toy_workspace(), ("Signal_norm", "Luminosity")
    bounds = {"Signal_norm": (-10.0, 10.0)}
    found = contours(Model.from_spec(spec), *names, points=8, bounds=bounds)
    least = minuit(spec, bounds).fval
    for level, curve in zip(found.levels, found.points, strict=True):
        for point in curve[::2]:
            judge = minuit(spec, bounds)
            for name, value in zip(names, point, strict=True):
                judge.values[name], judge.fixed[name] = value, True
            judge.migrad()
            assert judge.fval - least == pytest.approx(chi2(2).ppf(level), abs=2e-3)


def test_minuit_s_contour_is_ours():
    spec = linear()
    found = contours(Model.from_spec(spec), "mu", "k", points=100, levels=[0.95], bounds=WIDE)
    theirs = np.asarray(minuit(spec, WIDE).mncontour("mu", "k", cl=0.95, size=6))
    (ours,) = found.points
    closed = np.vstack([ours, ours[:1]])
    part = np.linspace(0, 1, 21)[:, None, None]
    line = (closed[:-1] * (1 - part) + closed[1:] * part).reshape(-1, 2)
    # Distance of their points from our line, next to the size of the contour.
    distance = (theirs[:, None, :] - line[None, :, :]) / np.ptp(ours, axis=0)
    assert np.linalg.norm(distance, axis=2).min(axis=1).max() < 2e-3


def test_many_points_are_compiled_and_the_same():
    model = Model.from_spec(linear())
    few = contours(model, "mu", "JES_1", points=8, levels=[0.95], bounds=WIDE)
    many = contours(model, "mu", "JES_1", points=160, levels=[0.95], bounds=WIDE)
    np.testing.assert_allclose(many.points[:, ::20], few.points, atol=1e-5)


def test_what_is_refused(toy):
    model = Model.from_spec(toy[0])
    with pytest.raises(InputError, match="No parameter 'Signal_nrm'"):
        minos(model, parameters=["Signal_nrm"])
    with pytest.raises(InputError, match="'Luminosity' is fixed"):
        minos(model, parameters="Luminosity", fixed={"Luminosity": 0.0})
    with pytest.raises(InputError, match="given twice"):
        contours(model, "Luminosity", "Luminosity")
    with pytest.raises(InputError, match="between 0 and 1"):
        contours(model, "Signal_norm", "Luminosity", levels=[95.0])
    with pytest.raises(InputError, match="finite numbers"):
        profile(model, "Luminosity", [np.nan])
    with pytest.raises(InputError, match="one row of data"):
        minos(model, np.ones((2, model.structure.n_bins)))


def test_a_parameter_of_interest_that_the_measurement_fixes_is_free_where_it_is_asked_for(caplog):
    """One rule for all: also in the limit, the test, and the impacts."""
    free = Model.from_spec(workspace(5.0, 50.0, 4.0, 57.0))
    held = Model.from_spec(workspace(5.0, 50.0, 4.0, 57.0, {"name": "mu", "fixed": True}))
    for ask in (
        lambda model: minos(model, parameters="mu")[1:4],
        lambda model: profile(model, "mu", points=5)[1:3],
        lambda model: contours(model, "mu", "unc[0]", points=4)[3:4],
    ):
        for ours, wanted in zip(ask(held), ask(free), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-6)
    assert sum("The measurement fixes 'mu'" in message for message in caplog.messages) == 3
    with pytest.raises(InputError, match="'mu' is fixed"):
        profile(held, "mu", fixed={"mu"})


def test_beyond_a_bound_the_likelihood_may_be_larger():
    model = Model.from_spec(workspace(5.0, 50.0, 4.0, 40.0))
    with pytest.raises(FitError, match=r"At mu = -1, beyond its bounds \[0, 10\].*Widen them"):
        profile(model, "mu", [0.0, -1.0])
    assert profile(model, "mu", [0.0, -1.0], bounds={"mu": (-5, 10)}).q[1] > 0


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: minos(m, parameters=3), r"parameters = 3: give names"),
        (lambda m: minos(m, parameters=[]), r"parameters = \[\]: name one"),
        (lambda m: minos(m, sigmas="1"), r"minos\(sigmas='1'\): '1' is no number"),
        (lambda m: minos(m, sigma=1), r"minos\(sigma=...\).* Did you mean 'sigmas'"),
        (lambda m: minos(m, data="x"), r"data = 'x': give the counts of the bins"),
        (lambda m: minos(m, data=[-1.0]), r"data: bin 0 has -1.0: counts are"),
        (lambda m: minos(m, data=[np.nan]), r"data: bin 0 has nan: counts are"),
        (lambda m: profile(m, "mu", "a"), r"profile: values = 'a': give finite numbers"),
        (lambda m: profile(m, "mu", points=2.5), r"profile\(points=2.5\): 2.5 is no whole number"),
        (lambda m: profile(m, "mu", sigmas=-1.0), r"sigmas=-1.0: give a positive number"),
        (lambda m: contours(m, "mu", "unc[0]", levels=[]), r"levels = \[\]: give prob"),
        (lambda m: contours(m, "mu", "unc[0]", levels="a"), r"levels = 'a': give prob"),
        (lambda m: goodness_of_fit(m, toys=-1), r"toys = -1: must be at least 0"),
        (lambda m: goodness_of_fit(m, toys=9, seed=-1), r"seed = -1: must be at least 0"),
        (lambda m: goodness_of_fit(m, toys=9, seed=2**40), r"seed = .*: must be less than"),
        (lambda m: grouped_impacts(m, groups={"a": 3}), r"groups\['a'\] = 3: give names"),
        (lambda m: examine(m, 3), r"parts = 3: give names"),
        (lambda m: examine(m, data=[[3.0], [4.0]]), r"examine takes one fit"),
        (lambda m: hypotest(m, 1.0), r"model = 1.0: give a model, as in Model.from_spec"),
        (lambda m: upper_limit(m, level="0.05"), r"upper_limit\(level='0.05'\): .* is no number"),
        (lambda _: fit(None), r"model = None: give a model"),
        (lambda m: predictions(m, 3), r"result = 3: give what fit\(...\) returns"),
        (lambda m: exclusion(m), r"grid = a Model: give models by name"),
        (lambda m: exclusion({"a": m}, level="0.05"), r"level='0.05'.* is no number"),
        (lambda m: exclusion({"a": 3}), r"model = 3: give a model"),
    ],
)
def test_mistakes_are_answered_with_the_remedy(ask, message):
    with pytest.raises(InputError, match=message):
        ask(Model.from_spec(workspace(5.0, 50.0, 4.0, 57.0)))


def test_a_workspace_is_taken_for_its_model(tmp_path):
    spec = workspace(5.0, 50.0, 4.0, 57.0)
    file = tmp_path / "workspace.json"
    file.write_text(json.dumps(spec))
    wanted = minos(Model.from_spec(spec)).up
    for given in (spec, file, str(file), pyhf.Workspace(spec)):
        np.testing.assert_array_equal(minos(given).up, wanted)
