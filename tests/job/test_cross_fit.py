"""The main job cross-fitted, in stages: on a small part of the single-top sample."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import difftune as dt
from difftune.analysis import CrossFit
from difftune.errors import InputError
from difftune.job import build, load
from difftune.training import CrossFitted
from tests.job.running import difftune, kill_run, shared, succeeded
from tests.job.small import changed, write_small

STAGE = """
[[stage]]
bins = 4

[stage.search]
strategy = "random"
population = 2
rounds = 2
epochs_per_round = 1

[stage.space]
learning_rate = { log_uniform = [1e-3, 3e-3] }
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The small analysis in three folds, cross-fitted, for precision, with a second stage."""
    path = write_small(tmp_path_factory.mktemp("crossed"), events=900)
    changed(
        path,
        ("cross_fit = false", "folds = 3"),
        ('score = "significance"\n', ""),
        ("[fit]\n", '[fit]\nfigure = "precision"\nbinning = "exact"\n'),
        ("bins = 5\n", "bins = 4\n"),
        ("population = 4\nrounds = 3", "population = 2\nrounds = 2"),
        ("seeds = 2\nrepetitions = 2", "seeds = 1\nrepetitions = 1"),
        ("[comparison]", STAGE + "\n[comparison]"),
    )
    return path


@pytest.fixture(scope="module")
def finished(config):
    folder = config.parent / "run"
    return folder, succeeded("run", config, "--output", folder)


@pytest.mark.slow
def test_the_ladder_is_what_comes_out(finished):
    folder, result = finished
    found = json.loads((folder / "results.json").read_text())
    names = [rung["name"] for rung in found["ladder"]]
    assert names == [
        "default network, one fold",
        "default network, cross-fitted",
        "hyperparameters tuned",
        "through the fit",
        "bins optimised",
    ]
    for rung in found["ladder"]:
        assert rung["value"] > 0
        assert rung["uncertainty"] > 0
        assert rung["name"] in result.stdout
    assert found["figure"]["name"] == "precision"
    assert found["figure"]["value"] == pytest.approx(found["ladder"][-1]["value"])
    assert "σ(μ)" in result.stdout
    assert (folder / "history_fold_2.csv").is_file()
    table = np.genfromtxt(folder / "history_fold_0.csv", delimiter=",", names=True)
    # Both stages: two members, two rounds of one epoch each.
    assert set(table["epoch"]) == {0, 1, 2, 3}


@pytest.mark.slow
def test_every_event_is_measured_by_the_network_of_its_fold(finished, config):
    folder, _ = finished
    network = CrossFitted.load(folder / "network")
    settings = load(config)
    events = build.events(settings)
    crossed = CrossFit(events=events)
    again = dt.measure(
        network,
        crossed,
        figure="precision",
        binning=build.binning(settings),
        **build.nuisances(settings),
    )
    found = json.loads((folder / "results.json").read_text())
    assert again.value == pytest.approx(found["figure"]["value"], rel=1e-4)
    total = sum(p.nominal.sumw.sum() for p in again.templates.processes.values())
    assert total == pytest.approx(events.yields().sum(), rel=1e-5)


@pytest.mark.slow
def test_a_run_that_is_killed_in_its_second_stage_goes_on_to_the_same_numbers(finished, config):
    folder = config.parent / "killed"
    second = folder / "checkpoints" / "search_stage_2"
    kill_run(config, folder, lambda: any(second.glob("*")))
    succeeded("run", config, "--output", folder, "--resume")
    one, two = (
        json.loads((each / "results.json").read_text())["ladder"] for each in (finished[0], folder)
    )
    assert one == two


@pytest.mark.slow
def test_two_processes_of_mpirun_give_each_fold_the_networks_that_one_gives(finished, config):
    """More processes than there are default networks of one fold."""
    folder = config.parent / "two"
    said = shared(2, "run", config, "--output", folder)
    assert "wrote" in said[0]
    assert "wrote" not in said[1]
    one, two = (CrossFitted.load(each / "network") for each in (finished[0], folder))
    assert len(one.networks) == len(two.networks) == 3
    for fold, (a, b) in enumerate(zip(one.networks, two.networks, strict=True)):
        # The tests' programs are not optimised, and round differently on one device and on two.
        for x, y in zip(jax.tree.leaves(a.weights), jax.tree.leaves(b.weights), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5, err_msg=f"fold {fold}")
        assert a.hyperparameters == pytest.approx(b.hyperparameters)
    assert not np.array_equal(*(jax.tree.leaves(each.weights)[0] for each in one.networks[:2]))
    ladders = [
        json.loads((each / "results.json").read_text())["ladder"] for each in (finished[0], folder)
    ]
    for alone, together in zip(*ladders, strict=True):
        assert alone["name"] == together["name"]
        # An event may be on the other side of an edge.
        assert alone["value"] == pytest.approx(together["value"], rel=0.1)


def test_who_has_folds_of_his_own_is_not_cross_fitted(config):
    assert load(config).data.cross_fit
    assert not load(config, ["data.test_folds=[2]", "data.validation_folds=[1]"]).data.cross_fit
    with pytest.raises(InputError, match="cross_fit = true wants event_number"):
        dt.job.from_dict(
            {
                "data": {"features": ["x"], "cross_fit": True},
                "samples": [{"name": "a", "role": "signal"}, {"name": "b"}],
            }
        )


@pytest.mark.slow
def test_what_a_stage_cannot_be(config):
    for change, message in (
        ("stage=[{space={no_such={uniform=[0,1]}}}]", "no_such"),
        ("stage=[{name='a'},{name='a'}]", "used twice"),
        ("stage=[{objective=[{name='focall'}]}]", "focall"),
        ("search.cross_validation=true", "does not touch"),
    ):
        with pytest.raises(InputError, match=message):
            dt.job.check(load(config, [change]))


def totals(folder: Path) -> dict[str, float]:
    """Expected events of each sample of the workspace, over all bins."""
    workspace = json.loads((folder / "workspace.json").read_text())
    (channel,) = workspace["channels"]
    return {sample["name"]: sum(sample["data"]) for sample in channel["samples"]}


@pytest.mark.slow
def test_another_luminosity_trains_nothing(finished, config, tmp_path):
    """Yields scale, the fit is made again, and the networks are those that were."""
    folder, copy = finished[0], tmp_path / "copy"
    shutil.copytree(folder, copy)
    result = succeeded("report", copy, "--set", "fit.luminosity_scale=4")
    assert "round 1/" not in result.stderr
    assert "on all simulated events at 4 times their luminosity" in result.stdout
    assert "All simulated events are taken at 4 times" in (copy / "report.html").read_text()
    before, after = totals(folder), totals(copy)
    assert after == {name: pytest.approx(4 * total, rel=1e-2) for name, total in before.items()}
    events = build.events(load(config))
    one, other = (CrossFitted.load(each / "network").networks for each in (folder, copy))
    assert len(one) == len(other) == 3
    for before, after in zip(one, other, strict=True):
        np.testing.assert_array_equal(before.score(events), after.score(events))
    sigma = []
    for each in (folder, copy):
        fitted = json.loads((each / "results.json").read_text())["fit"]
        sigma.append(fitted["uncertainties"][fitted["names"].index("mu")])
    # Of statistics alone it would be half.
    assert sigma[1] < sigma[0]
    result = difftune("report", copy, "--luminosity", 300, timeout=100)
    assert result.returncode == 2
    assert "says no luminosity" in result.stderr
    result = difftune(
        *("run", config, "--output", folder, "--resume", "--set", "data.scale=2"), timeout=100
    )
    assert result.returncode == 2
    assert "difftune report" in result.stderr


@pytest.mark.slow
def test_a_run_that_has_not_ended_is_not_reported(tmp_path):
    result = difftune("report", tmp_path, timeout=100)
    assert result.returncode == 2
    assert "no finished run" in result.stderr


def test_a_first_answer_is_the_same_analysis_made_small(config):
    whole = load(config, ["search.population=40", "search.rounds=1", "comparison.seeds=7"])
    quick = dt.job.quickened(whole)
    assert (quick.search.population, quick.search.rounds) == (1, 1)
    assert not quick.stage
    assert not quick.space
    assert quick.hyperparameters["learning_rate"] == pytest.approx((1e-3 * 1e-2) ** 0.5)
    assert quick.comparison.seeds == 0
    assert quick.fit == whole.fit
    assert quick.data == whole.data


@pytest.mark.slow
def test_a_first_answer_comes_out(config):
    folder = config.parent / "quick"
    result = succeeded("run", config, "--quick", "--output", folder)
    assert "Left out: the search" in result.stderr
    assert "the stage 'through the fit'" in result.stderr
    found = json.loads((folder / "results.json").read_text())
    assert [rung["name"] for rung in found["ladder"]] == ["trained", "bins optimised"]
    assert found["figure"]["default"] == []
    assert (folder / "report.html").is_file()
    drawn = {path.stem for path in (folder / "plots").glob("*.pdf")}
    assert {"score", "roc", "signal_region", "pulls", "gammas", "ranking"} <= drawn
    assert not {"features", "correlations", "fold_1_history"} & drawn
