"""A run with two scores: from the analysis file to the picture of the front."""

import json

import numpy as np
import pytest

from difftune import job, objectives
from difftune.errors import InputError
from difftune.job import build, run
from tests.job.small import write_small

SCORES = 'score = ["discovery_significance", "robustness"]\nrobust_against = ["jes", "btag"]\n'
FILE = {
    "data": {"files": "a.root", "features": ["x"]},
    "samples": [{"name": "s", "role": "signal"}, {"name": "b"}],
}


@pytest.mark.slow
def test_a_run_with_two_scores(tmp_path, undrawn):
    file = write_small(tmp_path)
    text = file.read_text().replace('score = "significance"\n', SCORES)
    file.write_text(text)
    alone = [f"comparison.{name}" for name in ("repetitions=1", "seeds=0", "replicas=0")]
    outcome = run(job.load(file, alone), tmp_path / "run")
    front = outcome.tuned.pareto_front
    assert {tuple(rank.scores) for rank in front} == {("discovery_significance", "robustness")}
    values = np.array([list(rank.scores.values()) for rank in front])
    # The better in one score, the worse in the other.
    assert np.all(np.diff(values[:, 0]) <= 0)
    assert np.all(np.diff(values[:, 1]) >= 0)
    chosen = outcome.tuned.ranking[0]
    assert chosen.score == pytest.approx(np.sqrt(np.prod(list(chosen.scores.values()))), rel=1e-5)
    # Robustness is a share, and these two uncertainties are not all that there is.
    assert np.all((values[:, 1] > 0.1) & (values[:, 1] < 1.0))
    shown = json.loads((tmp_path / "run" / "plots" / "front.json").read_text())
    np.testing.assert_allclose(shown["front"], values, rtol=1e-6)
    header = (tmp_path / "run" / "history.csv").read_text().splitlines()[0]
    assert "discovery_significance,robustness" in header
    kept = [
        n for n in range(len(outcome.tuned.result.best.score)) if n not in outcome.tuned.missing
    ]
    networks = dict(zip(kept, outcome.tuned.networks, strict=True))
    other, events = outcome.tuned.choosing(front[-1].member), outcome.tuned.split.validation
    np.testing.assert_array_equal(
        other.network.score(events),
        networks[front[-1].member].score(events),
    )
    with pytest.raises(InputError, match=r"choosing\(99\)"):
        outcome.tuned.choosing(99)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"score": ["significance", "significance"]}, "'significance' more than once"),
        ({"robust_against": ["jes"]}, "robust_against: the score is not robustness"),
        ({"min_signal_efficiency": 0.3}, "'figure', which has no cut"),
        (
            {"score": "significance", "min_signal_efficiency": 0.3},
            "'significance', which has no cut",
        ),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        build.metric(job.from_dict(FILE | {"training": given}))


def test_the_file_says_what_the_tradeoff_is_of():
    given = {"score": ["roc_area", "cut_ams"], "min_signal_efficiency": 0.3}
    metric = build.metric(job.from_dict(FILE | {"training": given}))
    assert metric.names == ("roc_area", "cut_ams")
    assert metric.scores["cut_ams"] == objectives.CutAMS(min_signal_efficiency=0.3)
