import numpy as np
import pytest

from difftune.report import (
    clustered_correlations,
    importance_table,
    selection_path,
    selection_table,
    variable_importance,
)
from difftune.report.plots.features import cluster_order
from difftune.selection import DataIssues, Importance, Ranking, Selection, Step
from tests.report.readable import assert_readable, texts

NAMES = tuple(f"jet_pt_of_number_{i}" for i in range(12))


def ranking(seed: int) -> Ranking:
    rng = np.random.default_rng(seed)
    return Ranking(value=rng.exponential(size=12) - 0.1, uncertainty=0.1 * rng.random(12))


IMPORTANCE = Importance(
    names=NAMES,
    methods={"conditional gate": ranking(0), "leave one out": ranking(1)},
    correlation=np.eye(12),
    variables=NAMES,
    issues=DataIssues((NAMES[3],), ((NAMES[0], NAMES[5]),)),
)


def selection(direction: str) -> Selection:
    sets = [NAMES[: 12 - i] for i in range(8)]
    sets = sets if direction == "backward" else [NAMES[: 1 + i] for i in range(8)]
    moved = [NAMES[11 - i] for i in range(7)] if direction == "backward" else NAMES[:8]
    steps = [
        Step(
            before=() if direction == "forward" and not i else NAMES[:3],
            score=-0.4,
            tried=(name,),
            improvement=(0.01 * i,),
            uncertainty=(0.002,),
            taken=name,
            trainings=4,
            seconds=1.0,
        )
        for i, name in enumerate(moved)
    ]
    score = np.random.default_rng(0).normal(size=(8, 2, 2)) * 0.01 - 0.4
    return Selection(
        direction=direction,
        steps=tuple(steps),
        sets=tuple(sets),
        score=score,
        chosen=4,
        variables=sets[4],
        trainings=99,
    )


def test_methods_side_by_side():
    figure = variable_importance(IMPORTANCE)
    assert_readable(figure)
    order = IMPORTANCE.order("conditional gate")
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == order
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    value = IMPORTANCE.methods["conditional gate"].value
    np.testing.assert_allclose(widths, np.sort(value)[::-1] / value.max())
    assert figure.numbers["names"] == order
    assert {"conditional\ngate", "leave one\nout"} <= {axes.get_xlabel() for axes in figure.axes}


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_path_and_table(direction):
    found = selection(direction)
    figure = selection_path(found)
    assert_readable(figure)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), found.score.mean(axis=(1, 2)))
    assert f"Chosen: {len(found.sets[4])}" in texts(figure)
    table = selection_table(found)
    assert [row[1] for row in table.rows] == [len(units) for units in found.sets]
    assert [row[-1] for row in table.rows].index("chosen") == 4
    assert table.rows[2][0] == found.steps[1 if direction == "backward" else 2].taken
    assert r"\toprule" in table.latex()
    assert len(table.csv().splitlines()) == 9


def test_importance_table():
    table = importance_table(IMPORTANCE)
    notes = {row[0]: row[-1] for row in table.rows}
    assert notes[NAMES[3]] == "constant"
    assert notes[NAMES[5]] == f"copy of {NAMES[0]}"
    assert [row[0] for row in table.rows] == IMPORTANCE.order("conditional gate")


def test_those_alike_are_neighbours():
    rng = np.random.default_rng(1)
    sources = rng.normal(size=(3, 500))
    x = np.concatenate([sources, -sources, sources]) + 0.1 * rng.normal(size=(9, 500))
    matrix = np.corrcoef(x)
    matrix[0, 1] = matrix[1, 0] = np.nan
    kinds = [number % 3 for number in cluster_order(matrix)]
    assert [kinds[i] for i in (0, 3, 6)] == [kinds[i] for i in (2, 5, 8)]
    figure = clustered_correlations(matrix, [f"x{i}" for i in range(9)])
    assert_readable(figure)
    assert cluster_order(np.eye(2)) == [0, 1]
