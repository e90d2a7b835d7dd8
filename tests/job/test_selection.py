"""Variables are chosen before the tuning, without the events that are measured."""

import json
import tomllib

import numpy as np
import pytest

from difftune.analysis import Split
from difftune.errors import InputError
from difftune.histograms import effective_count
from difftune.job import build, check, load
from difftune.job.stages import Job
from difftune.training import CrossFitted
from tests.job.running import difftune, kill_run, succeeded
from tests.job.small import changed, write_small

SELECTION = """
[selection]
epochs = 8
seeds = 1
tolerance = 1.0
score = "loss"
keep = ["mtw"]
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The small analysis with a column that is nothing but noise."""
    path = write_small(tmp_path_factory.mktemp("variables"))
    changed(
        path,
        ('"log_mass"]', '"noise"]'),
        ("[data.derived]", '[data.derived]\nnoise = "(43758.5453 * sin(event_number)) % 1"'),
        ("population = 4\nrounds = 3", "population = 2\nrounds = 2"),
        ("seeds = 2\nrepetitions = 2", "seeds = 1\nrepetitions = 1"),
        ("[search]", SELECTION + "\n[search]"),
    )
    return path


@pytest.fixture(scope="module")
def crossed(config):
    """The same cross-fitted, by the figure of merit."""
    path = config.parent / "crossed.toml"
    path.write_text(config.read_text())
    changed(path, ("cross_fit = false", "folds = 3"), ('score = "loss"', "patience = 3"))
    return path


@pytest.fixture(scope="module")
def selected(config):
    folder = config.parent / "selected"
    return folder, succeeded("select", config, "--output", folder)


@pytest.mark.slow
def test_noise_is_dropped_and_what_must_stay_stays(selected):
    folder, result = selected
    found = json.loads((folder / "selection.json").read_text())
    (only,) = found["selections"]
    assert "noise" in only["dropped"]
    assert {"mtw", "lightjet_abs_eta"} <= set(only["kept"])
    assert "mtw" not in only["path"]
    # The curve has a score for each set on the path, from all variables on.
    assert only["sizes"] == list(range(6, 6 - len(only["score"]), -1))
    assert list(found["votes"].values()) == sorted(found["votes"].values(), reverse=True)
    line = tomllib.loads(result.stdout.splitlines()[-1])
    assert line["features"] == only["kept"]
    for name in ("plots/selection.pdf", "tables/selection.tex", "tables/variables.csv"):
        assert (folder / name).stat().st_size > 0


@pytest.mark.slow
def test_a_run_goes_on_with_what_was_selected(selected, config):
    folder, _ = selected
    rounds = sorted((folder / "selection").glob("round_*.json"))
    before = [path.stat().st_mtime_ns for path in rounds]
    succeeded("run", config, "--output", folder, "--resume")
    assert [path.stat().st_mtime_ns for path in rounds] == before
    found = json.loads((folder / "results.json").read_text())
    assert found["selection"] == json.loads((folder / "selection.json").read_text())
    names = [rung["name"] for rung in found["ladder"]]
    assert names == ["default network", "variables selected", "hyperparameters tuned"]
    facts = json.loads((folder / "network" / "network.json").read_text())
    unused = [facts["feature_names"][number] for number in facts["transform"]["unused"]]
    assert unused == found["selection"]["selections"][0]["dropped"]
    assert "Kept: " in (folder / "report.html").read_text()
    other = difftune("run", config, "--output", folder, "--resume", "--set", "selection.seeds=2")
    assert other.returncode == 2
    assert "selection.seeds" in other.stderr


@pytest.fixture(scope="module")
def finished(crossed):
    folder = crossed.parent / "crossed"
    succeeded("run", crossed, "--output", folder)
    return folder


@pytest.mark.slow
def test_the_network_of_a_fold_is_blind_to_what_its_own_choice_has_dropped(finished, crossed):
    found = json.loads((finished / "results.json").read_text())
    assert [rung["name"] for rung in found["ladder"]][1:3] == [
        "default network, cross-fitted",
        "variables selected",
    ]
    selections = found["selection"]["selections"]
    assert any(selection["dropped"] for selection in selections)
    events = build.events(load(crossed))
    network = CrossFitted.load(finished / "network")
    for own, selection in zip(network.networks, selections, strict=True):
        features = np.asarray(events.features)
        score = own.score(features)
        for number, name in enumerate(events.feature_names):
            other = features.copy()
            other[:, number] = np.roll(other[:, number], 1)
            assert np.array_equal(own.score(other), score) == (name in selection["dropped"])


@pytest.mark.slow
def test_a_selection_that_is_killed_goes_on_to_what_a_run_selects(finished, crossed):
    folder = crossed.parent / "killed"
    round_one = folder / "selection" / "fold_1" / "round_001.json"
    kill_run(crossed, folder, round_one.exists, verb="select")
    succeeded("select", crossed, "--output", folder, "--resume")
    selected = json.loads((folder / "selection.json").read_text())
    assert selected == json.loads((finished / "results.json").read_text())["selection"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("selection.keep=['mtv']", "'mtv' is neither a variable nor a group here"),
        ("selection.groups={a=['mtw', 'mtv']}", "'mtv', which is no variable"),
        ("selection.tolerance=-1", "selection.tolerance"),
    ],
)
def test_what_cannot_be_selected(config, change, message):
    with pytest.raises(InputError, match=message):
        check(load(config, [change]))


@pytest.mark.slow
def test_select_wants_a_selection(config, tmp_path):
    path = config.parent / "without.toml"
    path.write_text(config.read_text().replace(SELECTION, ""))
    result = difftune("select", path, "--output", tmp_path / "run")
    assert result.returncode == 2
    assert "add a line [selection]" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("events", [150, 700, 3000])
def test_few_events_have_few_bins_or_the_loss(tmp_path, caplog, events):
    """What is compared has as many bins as leave 25 effective events of each process in each."""
    path = write_small(tmp_path, events=events)
    changed(path, ("[search]", SELECTION.replace('score = "loss"\n', "") + "\n[search]"))
    settings = load(path)
    sample = Split(events=build.events(settings))
    least = min(
        effective_count(weight)
        for fold in range(sample.events.folds)
        for process in range(3)
        for weight in [
            np.asarray(sample.events.weight)[
                (sample.events.fold == fold) & (sample.events.process == process)
            ]
        ]
    )
    asked, few = settings.training.score_bins, int(least / 25)
    with caplog.at_level("WARNING", "difftune"):
        metric = Job.from_config(settings).of(sample).elimination.metric
    if few < min(4, asked):
        assert metric is None
        assert "compared by the loss" in caplog.text
    else:
        assert f"bins={min(few, asked)}," in repr(metric)
        assert (f"it has {few} bins there instead of {asked}" in caplog.text) == (few < asked)
