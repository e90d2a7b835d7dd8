"""What is asked once is computed in numpy, without compiling, and as the compiled program does."""

import json
import logging
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pyhf
import pytest

from difftune.histfactory import Model
from difftune.inference import (
    Status,
    expected_significance,
    fit,
    hypotest,
    impacts,
    upper_limit,
)
from difftune.precision import FEW
from tests import shared_data
from tests.histfactory import specs
from tests.histfactory.specs import factors, modifier, sample, templates


def bent(second: float = 31.0) -> Model:
    """Two regions with every kind of modifier, one of them with one-sided variations."""
    control = specs.channel(
        "CR",
        sample(
            "ttbar",
            [310.0, 205.0],
            modifier("normfactor", "norm_ttbar"),
            factors("jes", 1.08, 0.95),
            templates("tune", [320.0, 190.0], [314.0, 194.0]),
            modifier("staterror", "stat_CR", [9.0, 6.0]),
        ),
        sample("fakes", [40.0, 25.0], modifier("shapesys", "fakes_CR", [7.0, 4.0])),
    )
    search = specs.channel(
        "SR",
        sample("signal", [2.0, 6.0, 9.0], specs.MU, modifier("lumi", "lumi")),
        sample(
            "ttbar",
            [52.0, second, 12.0],
            modifier("normfactor", "norm_ttbar"),
            factors("jes", 1.06, 0.93),
            templates("tune", [55.0, 34.0, 12.5], [49.0, 29.0, 11.0]),
        ),
    )
    return Model.from_spec(specs.workspace([control, search], specs.LUMI))


def published() -> Model:
    path = shared_data.path("workspaces/ttZ_4l.json")
    return Model.from_spec(json.loads(path.read_text()))


def compiled(question: Callable[[Model], Any], model: Model) -> Any:
    """The same question in a program that JAX compiles."""
    with jax.enable_x64(True):
        program = jax.jit(lambda numbers: question(model.replace(numbers=numbers)))
        return jax.tree.map(np.asarray, program(np.asarray(model.numbers)))


QUESTIONS: dict[str, Callable[[Model], Any]] = {
    "fit": lambda model: fit(model)._replace(names=None, poi=None, steps=None),
    "fixed steps": lambda model: fit(model, model.asimov(), steps=3)._replace(names=None, poi=None),
    "qtilde": lambda model: hypotest(1.3, model),
    "q": lambda model: hypotest(1.3, model, test_stat="q", bounds={"mu": (-10.0, 10.0)}),
    "q0": lambda model: hypotest(0.0, model, test_stat="q0"),
    "scan": lambda model: hypotest(np.array([0.5, 2.0]), model),
    "data": lambda model: (
        fit(model, np.array([[340, 220, 55, 40, 25], [360, 240, 60, 33, 12.0]])).covariance
    ),
    "limit": upper_limit,
    "yields": lambda model: model.expected(model.structure.layout.init * 1.1 + 0.2),
    "logpdf": lambda model: model.logpdf(model.structure.layout.init * 1.1 + 0.2),
}
# To compile.
LONG = ("fixed steps", "qtilde", "q", "q0", "scan", "data", "limit")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in QUESTIONS],
)
def test_numpy_and_the_compiled_program_agree(name):
    model = bent()
    here, there = QUESTIONS[name](model), compiled(QUESTIONS[name], model)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(here))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-7, atol=1e-9), here, there)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fit", "qtilde", "limit"])
def test_they_agree_on_a_published_likelihood(name):
    model = published()
    here, there = QUESTIONS[name](model), compiled(QUESTIONS[name], model)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7), here, there)


@pytest.mark.slow
def test_first_answers_compile_nothing_and_are_those_of_pyhf(caplog):
    with jax.log_compiles(), caplog.at_level(logging.DEBUG):
        model = bent(second=30.0)
        best, test, limit = fit(model), hypotest(1.0, model), upper_limit(model)
        ranking, found = impacts(model, bounds={"mu": (-10.0, 10.0)}), expected_significance(model)
        several = model.with_numbers({("SR", "signal"): np.array([[2.0, 6, 9], [4.0, 12, 18]])})
        signals = upper_limit(several)
    assert not [record for record in caplog.records if "ompil" in record.getMessage()]
    assert ranking.fit.status == Status.CONVERGED
    assert found.expected > 0

    judge, data = model.to_pyhf(), model.data().tolist()
    pyhf.set_backend("numpy", "minuit")
    try:
        least = pyhf.infer.mle.fit(data, judge, return_fitted_val=True)[1]
        cls, bands = pyhf.infer.hypotest(1.0, data, judge, return_expected_set=True)
    finally:
        pyhf.set_backend("numpy")
    assert best.twice_nll == pytest.approx(float(least), abs=1e-4)
    assert test.observed == pytest.approx(float(cls), rel=2e-3)
    assert test.expected == pytest.approx(np.array(bands, float), rel=2e-3)
    # Twice the signal is half the limit on its strength.
    np.testing.assert_allclose(signals.expected[0], limit.expected, rtol=1e-7)
    np.testing.assert_allclose(signals.expected[1], limit.expected / 2, rtol=1e-6)


@pytest.mark.slow
def test_what_is_asked_again_and_again_is_compiled(caplog):
    spec = pyhf.simplemodels.uncorrelated_background([5.0], [50.0], [7.0]).spec
    model = Model.from_spec(spec, poi="mu")

    def ask(count: int) -> float:
        return float(fit(model, [50.0 + count]).values[0])

    found = [ask(count) for count in range(FEW)]
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        again = [ask(count) for count in range(FEW)]
    said = [record.getMessage() for record in caplog.records]
    assert sum("XLA compilation of jit(_fit)" in line for line in said) == 1
    np.testing.assert_allclose(again, found, rtol=1e-7, atol=1e-9)
    # The best fit, within the bounds that pyhf suggests.
    np.testing.assert_allclose(found, np.minimum(np.arange(FEW) / 5.0, 10.0), atol=1e-6)


@pytest.mark.slow
def test_numbers_that_are_not_finite_are_no_error_of_jax():
    """Under `jax_debug_nans` a fit that fails has its status, as it has without."""
    spec = pyhf.simplemodels.uncorrelated_background([6.0], [50.0], [7.0]).spec
    model = Model.from_spec(spec, poi="mu")
    rows = np.full((FEW + 1, 1), 52.0)
    rows[3] = np.nan
    good = np.arange(FEW + 1) != 3
    alone = hypotest(1.0, model, [52.0]), upper_limit(model, [52.0]), fit(model, [52.0])
    with jax.debug_nans(True), jax.debug_infs(True):
        found = hypotest(1.0, model, rows), upper_limit(model, rows), fit(model, rows)
        assert jax.config.jax_debug_nans
    for many, one in zip(found, alone, strict=True):
        assert (many.status[good] == Status.CONVERGED).all()
        assert many.status[3] == Status.NOT_FINITE
        many, one = (x.values if hasattr(x, "values") else x.observed for x in (many, one))
        assert np.isnan(many[3]).all()
        np.testing.assert_allclose(many[good], np.broadcast_to(one, many[good].shape), rtol=1e-6)
