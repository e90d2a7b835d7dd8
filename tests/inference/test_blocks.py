"""Large models in blocks of channels: the same numbers as in one block, and as pyhf's."""

import numpy as np
import pyhf
import pytest

from benchmarks.common.workspaces import sparse
from difftune import inference
from difftune.errors import InputError
from difftune.histfactory import Model, kernel
from difftune.inference import curvature
from difftune.inference.problems import limits, make_problem
from difftune.inference.solver import deviance, deviances, expand
from tests.histfactory.specs import MU, channel, everything, factors, sample, templates, workspace

WIDE = {"mu": (-10.0, 10.0)}


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """However small a model is, it has blocks, and no matrices of all parameters."""
    monkeypatch.setattr(kernel, "_SMALL", 0)
    monkeypatch.setattr(kernel, "_SPARSE", 2.0)
    monkeypatch.setattr(curvature, "MANY", 0)
    kernel._places_of.clear()
    yield monkeypatch
    kernel._places_of.clear()


def spec_of(name: str) -> dict:
    return everything() if name == "everything" else sparse(5, 30, 4, every=3, staterror=True)


@pytest.mark.parametrize("name", ["everything", "sparse"])
def test_likelihood_and_derivatives(in_blocks: pytest.MonkeyPatch, name: str) -> None:
    model = Model.from_spec(spec_of(name))
    assert model.has_blocks
    structure = model.structure
    problem = make_problem(model, model.data(), limits(structure))
    dense = problem._replace(kernel=None)
    judge, layout = model.to_pyhf(), structure.layout
    perfect = deviance(structure, dense, layout.start) + float(
        judge.logpdf(layout.start, model.data())[0]
    )
    rng, points, values = np.random.default_rng(1), [], []
    for size in (0.0, 0.3, 2.0):
        shift = size * rng.normal(size=len(layout.start))
        point = np.clip(
            layout.start + np.where(layout.lower < -1, shift, 0.1 * shift),
            np.maximum(layout.lower, 0.5 * layout.start - 4),
            layout.upper,
        )
        expected = np.asarray(judge.main_model.expected_data(point))
        np.testing.assert_allclose(problem.kernel.rates(point), expected, rtol=1e-12)
        value = deviance(structure, problem, point)
        theirs = perfect - float(judge.logpdf(point, model.data())[0])
        assert value == pytest.approx(theirs, rel=1e-10, abs=1e-9)
        points.append(point)
        values.append(theirs)
        found, other = (expand(structure, each, point) for each in (problem, dense))
        np.testing.assert_allclose(found.slope, other.slope, atol=1e-11 * abs(other.slope).max())
        for one, all_pairs in ((found.hessian, other.hessian), (found.fisher, other.fisher)):
            largest = np.abs(all_pairs).max()
            np.testing.assert_allclose(curvature.dense(one), all_pairs, atol=1e-11 * largest)
    together = deviances(structure, problem, np.stack(points))
    np.testing.assert_allclose(together, values, rtol=1e-10, atol=1e-9)


def test_several_points_where_a_factor_is_negative() -> None:
    """As of published models: between 0.01 and 7.5 the polynomial of a normsys crosses 0."""
    far = [factors("a", 7.5, 0.01), factors("b", 0.2, 1.1)]
    shape = templates("c", [7.0, 2.0], [4.0, 6.0])
    channels = [
        channel("A", sample("s", [5.0, 3.0], MU, *far), sample("t", [9.0, 1.0], far[0], shape))
    ]
    model = Model.from_spec(workspace(channels))
    problem = make_problem(model, model.data(), limits(model.structure))
    judge = model.to_pyhf()
    order = judge.config.par_order
    rows = [
        {"a": a, "b": b, "c": c, "mu": 1.5}
        for a in (-0.6, 0.3, 2.0)
        for b, c in ((-2, 0.5), (0.4, -3))
    ]
    points = np.array([[row[name] for name in order] for row in rows])
    expected = np.array([judge.main_model.expected_data(point) for point in points])
    assert (expected < 0).any()
    np.testing.assert_allclose(problem.kernel.rates(points), expected, rtol=1e-12)
    # Without the point of the negative factor.
    np.testing.assert_allclose(problem.kernel.rates(points[2:]), expected[2:], rtol=1e-12)


@pytest.mark.parametrize("few", [0.0, 1.0], ids=["of parameters", "of bins"])
def test_systems_of_equations(in_blocks: pytest.MonkeyPatch, few: float) -> None:
    in_blocks.setattr(curvature, "_FEW", few)
    model = Model.from_spec(spec_of("sparse"))
    problem = make_problem(model, model.data(), limits(model.structure))
    matrix = expand(model.structure, problem, problem.start + 0.1).hessian
    every, rng = matrix.dense(), np.random.default_rng(2)
    for held in ([], [0], [3, 7]):
        free = ~np.isin(np.arange(len(every)), held)
        right = rng.normal(size=len(every))
        kept = np.ix_(free, free)
        solved = matrix.solve(right, free)
        np.testing.assert_allclose(
            solved[free], np.linalg.solve(every[kept], right[free]), rtol=1e-5, atol=1e-7
        )
        assert (solved[~free] == 0).all()
        inverse, positive = matrix.inverse(free, 1e-13)
        assert positive
        np.testing.assert_allclose(inverse[kept], np.linalg.inv(every[kept]), atol=1e-10)
        assert (inverse[~free] == 0).all()
    # Not positive, as far from a minimum: no step follows from it.
    assert np.isnan(matrix.plus(-2 * matrix.diagonal()).solve(right, free)).all()


@pytest.mark.slow
def test_fit_limit_and_impacts(in_blocks: pytest.MonkeyPatch) -> None:
    def asked() -> list[np.ndarray]:
        model = Model.from_spec(spec_of("sparse"))
        best = inference.fit(model, bounds=WIDE)
        limit = inference.upper_limit(model)
        chosen = inference.impacts(model, parameters=["norm_3", "stat_1"], bounds=WIDE)
        assert set(chosen.names) == {"norm_3", *(f"stat_1[{i}]" for i in range(4))}
        numbers = [best.values, best.covariance, limit.expected, limit.observed]
        return [*numbers, best.twice_nll, chosen.up, chosen.prefit_down]

    blocks = asked()
    in_blocks.undo()
    kernel._places_of.clear()
    for one, other in zip(blocks, asked(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)
    judge = Model.from_spec(spec_of("sparse")).to_pyhf()
    data = Model.from_spec(spec_of("sparse")).data()
    wide = judge.config.suggested_bounds()
    wide[judge.config.poi_index] = WIDE["mu"]
    pyhf.set_backend("numpy", pyhf.optimize.scipy_optimizer(tolerance=1e-12, maxiter=100_000))
    _, theirs = pyhf.infer.mle.fit(data, judge, par_bounds=wide, return_fitted_val=True)
    pyhf.set_backend("numpy")
    assert float(blocks[4]) <= float(theirs) + 1e-7
    assert float(blocks[4]) == pytest.approx(float(theirs), abs=1e-3)


def test_limit_of_blocks_is_that_of_pyhf(in_blocks: pytest.MonkeyPatch) -> None:
    model = Model.from_spec(sparse(3, 8, 3, every=3, staterror=True))
    assert model.has_blocks
    found = inference.upper_limit(model)
    judge, data = model.to_pyhf(), model.data()
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    for where, number in ((found.observed, None), (found.expected[2], 2)):
        observed, band = pyhf.infer.hypotest(float(where), data, judge, return_expected_set=True)
        value = observed if number is None else band[number]
        assert float(value) == pytest.approx(0.05, abs=2e-4)
    pyhf.set_backend("numpy")


def test_impacts_of_parameters_that_have_none() -> None:
    model = Model.from_spec(spec_of("sparse"))
    with pytest.raises(InputError, match="'mu' is fixed, or what is asked for"):
        inference.impacts(model, parameters="mu", bounds=WIDE)
