"""How the analysis file says in which way the bin edges are chosen."""

import json

import numpy as np
import pytest

from difftune import binning, job
from difftune.errors import InputError
from difftune.job import build, run
from tests.job.small import write_small

OWN = """
from difftune.binning import BinningRule

def halves(scores, weight, signal):
    return [0, 0.5, 1]

class Equal(BinningRule):
    def __init__(self, bins=3):
        self.bins = bins

    def __call__(self, scores, weight, signal, *, variations=None, trained=None):
        return [i / self.bins for i in range(self.bins + 1)]

def one(scores):
    return scores
"""
LEARNED = {"name": "asimov_llr", "learned_edges": True}


def made(fit, *objective, **more):
    config = job.from_dict(
        {
            "data": {"features": ["pt", "mass"]},
            "samples": [{"name": "higgs", "role": "signal"}, {"name": "ttbar"}],
            "fit": fit,
            "objective": list(objective) or [{"name": "cross_entropy"}],
            **more,
        }
    )
    return build.binning(config)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ({}, binning.EqualSignal()),
        (
            {"bins": 8, "min_background": 0, "max_mc_uncertainty": 0.3},
            binning.EqualSignal(bins=8, min_background=0.0, max_mc_uncertainty=0.3),
        ),
        ({"binning": "exact", "bins": 12}, binning.Exact(bins=12)),
        ({"binning": "gradient", "min_background": 5}, binning.Gradient(min_background=5.0)),
        ({"binning": [0, 0.5, 1]}, binning.GivenEdges((0.0, 0.5, 1.0))),
    ],
)
def test_a_name_with_its_keys_is_the_object(fit, expected):
    assert made(fit) == expected


def test_every_name_is_described():
    described = job.measured_sections.Fit.model_fields["binning"].description
    assert all(f"`{name}`" in described for name in binning.RULES)


def test_learned_edges_are_those_of_a_term():
    assert made({"binning": "learned"}, {"name": "focal"}, LEARNED) == binning.Learned()


def test_ones_own_stands_beside_the_file(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    file = write_small(tmp_path)
    text = file.read_text()
    for name, bins in (("halves", 2), ("Equal", 5)):
        keys = f'binning = "own.py:{name}"' + ("\n" if name == "halves" else "\nbins = 5\n")
        file.write_text(text.replace("bins = 5\n", keys))
        # What a run leaves behind is read again with all keys.
        config = job.from_dict(job.load(file).model_dump())
        rule = build.binning(config)
        edges = rule(np.zeros(3), np.ones(3), np.ones(3, bool))
        np.testing.assert_allclose(edges, np.linspace(0, 1, bins + 1))


@pytest.mark.parametrize(
    ("fit", "objective", "message"),
    [
        ({"binning": "exat"}, [], "fit.binning = 'exat' is unknown. Did you mean 'exact'"),
        ({"binning": [0, 1, 0.5]}, [], "each larger than the one before"),
        ({"binning": [0, 1], "bins": 4}, [], r"fit.bins does not belong to .* leave it out"),
        ({"binning": "learned", "min_background": 3}, [LEARNED], "fit.min_background does not"),
        ({"binning": "learned"}, [], "no terms of the objective train edges"),
        ({"binning": "learned"}, [LEARNED, LEARNED], "2 terms of the objective train edges"),
        ({"binning": "nowhere.py:name"}, [], "fit.binning = 'nowhere.py:name': there is no file"),
        ({"binning": "exact", "max_mc_uncertainty": "x"}, [], "valid number"),
        ({"binning": 3}, [], "fit.binning"),
    ],
)
def test_what_is_wrong_is_said_before_the_training(fit, objective, message):
    with pytest.raises(InputError, match=message):
        made(fit, *objective)


def test_networks_of_an_ensemble_have_edges_of_their_own():
    search = {"executions": 2, "ensemble": "trial"}
    with pytest.raises(InputError, match=r"search\.ensemble = false, or another binning"):
        made({"binning": "learned"}, LEARNED, search=search)


def test_a_function_of_other_arguments(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(InputError, match="is called with"):
        made({"binning": f"{tmp_path}/own.py:one"})


@pytest.mark.slow
def test_a_run_in_the_bins_that_were_trained(tmp_path, undrawn):
    file = write_small(tmp_path)
    text = file.read_text().replace("bins = 5\n", 'binning = "learned"\n')
    term = 'name = "cross_entropy"\n\n[[objective]]\nname = "asimov_llr"\nlearned_edges = true\n'
    text = text.replace('name = "cross_entropy"\n', f"{term}bins = 4\nscale = 0.1\n")
    file.write_text(text.replace("population = 4", "population = 2"))
    settings = job.load(file, ["comparison.repetitions=1", "comparison.seeds=1"])
    outcome = run(settings, tmp_path / "run")
    edges = outcome.network.edges
    np.testing.assert_array_equal(outcome.measurement.templates.edges, edges)
    assert len(edges) == 5
    # Cross-entropy trains none.
    assert outcome.default.networks[0].edges is None
    assert not np.array_equal(outcome.default_measurements[0].templates.edges, edges)
    stored = json.loads((tmp_path / "run" / "network" / "network.json").read_text())
    np.testing.assert_array_equal(stored["edges"], edges)
