"""Fits of a small model side by side: the ends of fits one by one, which pyhf judges elsewhere."""

import numpy as np
import pytest

from benchmarks.common.workspaces import sparse
from difftune import inference
from difftune.histfactory import Model
from difftune.inference import minima, side_by_side
from difftune.inference.problems import limits, make_problem
from difftune.inference.solver import Problem, Status, minimise
from tests.histfactory import specs

WIDE = {"mu": (-10.0, 10.0)}


def rows_of(problem: Problem, count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fluctuating data, starts near and far and at bounds, and one parameter fixed."""
    rng, size = np.random.default_rng(3), len(problem.start)
    data = rng.poisson(problem.data, (count, len(problem.data))).astype(float)
    data[:, -size // 2 :] = problem.data[-size // 2 :]
    far = np.repeat([0.0, 0.3, 3.0, 30.0], count // 4)[:, None]
    start = np.clip(
        problem.start + far * rng.normal(size=(count, size)), problem.lower, problem.upper
    )
    fixed = np.repeat(np.asarray(problem.fixed)[None], count, axis=0)
    chosen = rng.integers(0, size, count)
    start[np.arange(count), chosen] = problem.start[chosen]
    fixed[np.arange(count), chosen] = True
    return data, start, fixed


SPECS = {
    "sparse": lambda: sparse(2, 8, 3, every=2, staterror=True),
    "counts": specs.ALL["shapesys with bins of no yield and no uncertainty"],
}


@pytest.mark.parametrize("name", SPECS)
def test_the_same_as_one_by_one(name: str) -> None:
    model = Model.from_spec(SPECS[name]())
    structure = model.structure
    problem = make_problem(model, model.data(), limits(structure))
    assert side_by_side.fits_side_by_side(problem)
    data, start, fixed = rows_of(problem)
    for together, alone in (
        (side_by_side.minimise_each, minimise),
        (minima.minimum_each, minima.minimum),
    ):
        found, same, converged = together(structure, problem, data, start, fixed), 0, 0
        for row in range(len(data)):
            own = problem._replace(data=data[row], start=start[row], fixed=fixed[row])
            other = alone(structure, own)
            if other.status != Status.CONVERGED:
                continue
            assert found.status[row] == Status.CONVERGED
            converged += 1
            # From far away either may end in another of several minima.
            if abs(found.deviance[row] - other.deviance) < 1e-8:
                same += 1
                if name == "sparse":  # in the other not all parameters are determined
                    np.testing.assert_allclose(
                        found.parameters[row], other.parameters, rtol=1e-4, atol=1e-4
                    )
        assert same >= 0.9 * converged > 20


def test_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> list[np.ndarray]:
        model = Model.from_spec(sparse(2, 8, 3, every=2, staterror=True))
        scan = inference.profile(model, "mu", [0.0, 0.7, 2.0], bounds=WIDE)
        ranked = inference.impacts(model, bounds=WIDE)
        limit = inference.upper_limit(model)
        return [scan.q, ranked.up, ranked.prefit_down, limit.observed, limit.expected]

    together = asked()
    monkeypatch.setattr(side_by_side, "_SMALL", 0)
    for one, other in zip(together, asked(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
