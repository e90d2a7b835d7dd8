"""Regions in the analysis file, from the table to the run."""

import json
from types import SimpleNamespace

import numpy as np
import pyhf
import pytest
from click.testing import CliRunner

from difftune import job
from difftune.binning import EqualSignal, Exact
from difftune.cli import cli
from difftune.errors import InputError
from difftune.job import build, load
from tests.job.running import succeeded
from tests.job.small import write_small

REGIONS = """
[[samples]]
name = "observed"
role = "data"
tree = "ttbar"
weight = "1.3 * weight"

[[regions]]
name = "signal"
selection = "jet3_pt <= 40"

[[regions]]
name = "control"
selection = "jet3_pt > 40 and mtw <= 80"
role = "control"
observable = "mtw"
edges = [50, 65, 80]

[[regions]]
name = "validation"
selection = "jet3_pt > 40 and mtw > 80"
role = "validation"

[[norm_factors]]
name = "k_ttbar"
samples = ["ttbar"]
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = write_small(tmp_path_factory.mktemp("regions"), events=600)
    path.write_text(path.read_text() + REGIONS)
    return path


def test_events_are_in_the_regions_of_the_file(config):
    settings = load(config)
    events = build.events(settings)
    assert [(r.name, r.role, r.observable) for r in events.regions] == [
        ("signal", "signal", "score"),
        ("control", "control", "mtw"),
        ("validation", "validation", "count"),
    ]
    jet3, mtw = (
        np.asarray(events.features)[:, events.feature_names.index(name)]
        for name in ("jet3_pt", "mtw")
    )
    expected = np.select([np.isnan(jet3) | (jet3 <= 40), mtw <= 80], [0, 1], 2)
    np.testing.assert_array_equal(events.region, expected)
    np.testing.assert_allclose(events.observable[expected == 1], mtw[expected == 1])


def test_a_region_may_have_a_binning_of_its_own(config):
    assert isinstance(build.binning(load(config)), EqualSignal)
    text = config.read_text().replace(
        'selection = "jet3_pt <= 40"',
        'selection = "jet3_pt <= 40"\nbinning = { name = "exact", bins = 3 }',
    )
    own = config.parent / "own.toml"
    own.write_text(text)
    found = build.binning(load(own))
    assert found == {"signal": Exact(bins=3)}
    own.write_text(text.replace('name = "exact", bins = 3', 'name = "learned"'))
    with pytest.raises(InputError, match=r"regions\.0\.binning: trained edges are for all"):
        build.binning(load(own))


@pytest.mark.parametrize(
    ("changed", "to", "message"),
    [
        ('role = "control"', 'role = "contrl"', r"regions\.1\.role = 'contrl'.*'control'"),
        ("edges = [50, 65, 80]", "", r"regions\.1: region 'control': observable 'mtw' needs edges"),
        ("edges = [50, 65, 80]", "edges = [0]", r"regions\.1\.edges"),
        ("edges = [50, 65, 80]", "edges = [0, 9, 9]", r"regions\.1: .* do not increase"),
        ("edges = [50, 65, 80]", "edge = [0, 40]", r"unknown key 'regions\.1\.edge'.*'edges'"),
        ("edges = [50, 65, 80]", "edges = [0, 9]\nbinning = 'exact'", "binning is of the score"),
        ('name = "validation"', 'name = "control"', "regions: the name 'control' is used twice"),
        (
            "batch_size = 256",
            'batch_size = 256\nregions = ["controll"]',
            r"training\.regions: there is no region 'controll'.*'control'",
        ),
    ],
)
def test_mistakes_are_named_with_their_place(config, changed, to, message):
    text = config.read_text()
    assert changed in text
    wrong = config.parent / "wrong.toml"
    wrong.write_text(text.replace(changed, to))
    with pytest.raises(InputError, match=message):
        load(wrong)


def test_regions_that_overlap_are_an_error_of_check(config):
    wrong = config.parent / "wrong.toml"
    wrong.write_text(config.read_text().replace("mtw <= 80", "mtw <= 90"))
    with pytest.raises(InputError, match="regions 'control' and 'validation' overlap"):
        build.events(load(wrong))


@pytest.mark.parametrize(
    ("arguments", "unblind"),
    [
        (["run", "{file}"], False),
        (["run", "{file}", "--unblind"], True),
        (["run", "{file}", "--set", "fit.unblind=true"], True),
        (["unblind", "{run}"], True),
        (["report", "{run}"], False),
    ],
)
def test_only_who_asks_sees_the_data(config, tmp_path, monkeypatch, arguments, unblind):
    """What the command line asks of a run."""
    asked = []

    def run(settings, folder, **_):
        asked.append(settings)
        return SimpleNamespace(summary="done")

    def again(folder, overrides, **_):
        return run(load(folder / "config.json", overrides), folder)

    monkeypatch.setattr(job, "run", run)
    monkeypatch.setattr(job, "measured_again", again)
    monkeypatch.setattr("difftune.training.use_cpu_cores", lambda: None)
    monkeypatch.setattr("difftune.training.use_compilation_cache", lambda: None)
    (tmp_path / "config.json").write_text(load(config).model_dump_json())
    (tmp_path / "results.json").write_text("{}")
    words = [each.format(file=config, run=tmp_path) for each in arguments]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert "done" in result.output
    assert [settings.fit.unblind for settings in asked] == [unblind]


@pytest.fixture(scope="module")
def runs(config, undrawn):
    """A blinded run of few trainings, and the same after it was unblinded, by verb and by flag."""
    small = (
        *("search.rounds=1", "search.population=2", "comparison.repetitions=1"),
        *("comparison.seeds=1", "data.folds=3", "data.validation_folds=[1]", "data.test_folds=[2]"),
        *("training.max_overtraining=inf", "fit.min_background=1", "fit.max_mc_uncertainty=1.0"),
    )
    folder = config.parent / "run"

    def results():
        return json.loads((folder / "results.json").read_text())

    summary = job.run(load(config, small), folder).summary
    first, files = (summary, results()), read_run(folder)
    for key in ("unblind", "run"):
        more = [] if key == "unblind" else ["--output", folder, "--resume", "--unblind"]
        more += [part for each in small if more for part in ("--set", each)]
        done = succeeded(key, folder if key == "unblind" else config, *more)
        if key == "unblind":
            second, opened = (done.stdout, results()), read_run(folder)
    # The flag does what the verb does.
    again = results()
    assert {**again, "seconds": 0} == {**second[1], "seconds": 0}
    assert done.stdout.splitlines()[:-1] == second[0].splitlines()[:-1]
    return first, files, second, opened


def read_run(folder):
    return {
        "workspace": json.loads((folder / "workspace.json").read_text()),
        "extended": json.loads((folder / "workspace_with_validation.json").read_text()),
        "templates": json.loads((folder / "templates" / "templates.json").read_text()),
        "report": (folder / "report.html").read_text(),
        "plots": {path.name for path in (folder / "plots").glob("*_fit.pdf")},
        "yields": (folder / "tables" / "yields_after.csv").read_text(),
    }


@pytest.mark.slow
def test_a_run_fits_control_regions_and_stays_blinded_until_it_is_asked(runs):
    (said, results), files, (said_seen, seen), opened = runs
    assert results["blinded"] == ["signal"]
    assert results["data"] == "observed data (control) and Asimov data (signal, blinded)"
    assert f"(fit to {results['data']})" in said
    assert seen["blinded"] == []
    assert "(fit to observed data)" in said_seen
    channels = {t["channel"]: t["data"] for t in files["templates"]["channels"]}
    assert channels["signal"] is None
    assert sum(channels["control"]["sumw"]) > 0
    assert all(t["data"] is not None for t in opened["templates"]["channels"])
    # The network is the same, and what it is expected to give.
    assert seen["significance"]["default"] == results["significance"]["default"]

    workspace = pyhf.Workspace(files["workspace"])
    model = workspace.model()
    best = pyhf.infer.mle.fit(workspace.data(model), model)
    found = dict(zip(results["fit"]["names"], results["fit"]["values"], strict=True))
    ours = best[model.config.par_names.index("k_ttbar")]
    assert found["k_ttbar"] == pytest.approx(ours, rel=0.02)
    assert {c["name"] for c in files["extended"]["channels"]} == {
        *("signal", "control", "validation"),
    }


@pytest.mark.slow
def test_the_report_shows_all_regions_before_and_after_the_fit(runs):
    _, files, _, opened = runs
    for name in ("signal", "control", "validation"):
        assert f"{name}_before_fit.pdf" in files["plots"]
        assert f"{name}_after_fit.pdf" in files["plots"]
    assert "Asimov data (blinded)" in files["report"]
    assert "blinded" not in opened["report"].split("<h2")[-2]
    header, *rows = files["yields"].splitlines()
    assert header.split(",")[0] == "Process"
    assert any(row.startswith("Data") for row in rows)
