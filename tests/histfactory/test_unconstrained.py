"""Parameters without a constraint, against pyhf's likelihood of the bins alone."""

import numpy as np
import pyhf
import pytest
from scipy.optimize import minimize

from difftune.errors import InputError
from difftune.histfactory import Model, without_constraints
from difftune.inference import fit
from tests.histfactory import specs


def spec() -> dict:
    signal = specs.sample("signal", [2.0, 6.0, 9.0, 3.0], specs.MU)
    background = specs.sample(
        "background",
        [50.0, 40.0, 30.0, 10.0],
        specs.templates("shape", [55.0, 41.0, 27.0, 8.0], [46.0, 39.0, 32.0, 12.0]),
        specs.factors("norm", 1.08, 0.95),
    )
    return specs.workspace([specs.channel("SR", signal, background)])


DATA = np.array([68.0, 49.0, 33.0, 9.0])


def test_the_fit_is_that_of_pyhf_without_the_constraint():
    free = without_constraints(Model.from_spec(spec()), ["shape"])
    theirs = pyhf.Workspace(spec()).model()
    norm = theirs.config.par_order.index("norm")
    assert free.config.nauxdata == theirs.config.nauxdata - 1

    def nll(values):
        main = theirs.mainlogpdf(DATA, values)
        return -float(main) + 0.5 * values[norm] ** 2

    point = np.asarray(theirs.config.suggested_init())
    assert free.nll(point, DATA) == pytest.approx(nll(point) + 0.5 * np.log(2 * np.pi), rel=1e-9)
    bounds = [(0, 10) if name == "mu" else (-20, 20) for name in theirs.config.par_order]
    best = minimize(nll, point, bounds=bounds, tol=1e-12)
    found = fit(free, DATA)
    np.testing.assert_allclose(found.values, best.x, atol=2e-3)
    # The constraint would have held it back.
    shape = theirs.config.par_order.index("shape")
    held = minimize(lambda p: nll(p) + 0.5 * p[shape] ** 2, point, bounds=bounds, tol=1e-12)
    assert abs(found.values[shape]) > 1.2 * abs(held.x[shape])


def test_nothing_changes_without_names_and_others_are_refused():
    model = Model.from_spec(spec())
    assert without_constraints(model, []) is model
    for name in ("mu", "shap"):
        with pytest.raises(InputError, match=f"no constrained parameter '{name}'"):
            without_constraints(model, [name])
    with pytest.raises(InputError, match="'shape' is unconstrained"):
        without_constraints(model, ["shape"]).spec()
