"""The verbs for a run that is there: apply, compare, watch."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uproot
from click.testing import CliRunner

from difftune.cli import cli
from difftune.errors import InputError
from difftune.job import apply, build, compare, load, watch
from difftune.job.rundir import open_run
from difftune.training import CrossFitted
from tests.job.small import FEATURES, write_small
from tests.training.test_applying import network


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Of the small analysis, whose network has two of its variables."""
    path = write_small(tmp_path_factory.mktemp("small"), events=300)
    overrides = ['data.features=["mtw", "log_mass"]', 'data.derived={log_mass="log(top_mass)"}']
    return load(path, [*overrides, 'data.selection="jet3_pt != -999"'])


@pytest.fixture
def finished(tmp_path, config) -> Path:
    folder = tmp_path / "run"
    with open_run(folder, config, resume=False):
        reading = build.events(config).reading
        own = [
            replace(network(seed), feature_names=("mtw", "log_mass"), reading=reading)
            for seed in range(config.data.folds)
        ]
        CrossFitted(own).save(folder / "network")
    return folder


@pytest.mark.slow
def test_a_run_remembers_how_its_files_were_read(finished, config, tmp_path):
    """The scores of the file that it was made with are those of the events that it read."""
    (written,) = apply(finished, config.data.files)
    assert written == finished / "scores" / "small.root"
    events = build.events(config)
    scores = CrossFitted.load(finished / "network").score(events)
    with uproot.open(written) as friends, uproot.open(config.data.files) as file:
        assert set(friends.keys(cycle=False)) == set(file.keys(cycle=False))
        for index, process in enumerate(("tchannel", "ttbar", "wjets")):
            found = friends[process]["score"].array(library="np")
            columns = file[process].arrays([*FEATURES, "event_number"], library="np")
            kept = columns["jet3_pt"] != -999
            np.testing.assert_array_equal(np.isfinite(found), kept)
            np.testing.assert_allclose(found[kept], scores[events.process == index], rtol=1e-6)
            varied = friends[f"{process}_jes_up"]["score"].array(library="np")
            assert len(varied) == file[f"{process}_jes_up"].num_entries

    arguments = ["apply", finished, config.data.files, "--tree", "ttbar", "--branch", "nn"]
    output = tmp_path / "friends"
    result = CliRunner().invoke(cli, [*map(str, arguments), "--output", str(output)])
    assert result.exit_code == 0, result.output
    with uproot.open(output / "small.root") as again, uproot.open(written) as friends:
        assert again.keys(cycle=False) == ["ttbar"]
        np.testing.assert_array_equal(
            again["ttbar"]["nn"].array(library="np"), friends["ttbar"]["score"].array(library="np")
        )


def test_what_is_no_finished_run(tmp_path, config):
    with open_run(tmp_path / "run", config, resume=False):
        pass
    for verb in (
        lambda f: apply(f, config.data.files),
        lambda f: compare([f]),
        lambda f: [*watch(f)],
    ):
        with pytest.raises(InputError, match="holds no run"):
            verb(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no network yet.*--resume"):
        apply(tmp_path / "run", config.data.files)
    with pytest.raises(InputError, match=r"has not ended.*--resume"):
        compare([tmp_path / "run"])


RESULTS = {
    "significance": {
        "default": {"expected": [2.0, 2.2], "stat_only": [3.0]},
        "tuned": {"expected": [2.5, 2.7, 2.9]},
    },
    "cls": {"poi": 1.0, "observed": 0.03, "expected": [0.001, 0.01, 0.04, 0.1, 0.3]},
    "fit": {
        "names": ["mu", "jes"],
        "values": [1.02, 0.3],
        "uncertainties": [0.21, 0.9],
        "twice_nll": 40.0,
        "correlation": [[1.0, 0.1], [0.1, 1.0]],
    },
    "ranking": [{"score": 1.0}],
    "schedule": {"dropout": [0.1, 0.2]},
    "seconds": 61.5,
}


def test_figures_of_runs_side_by_side(tmp_path, config):
    folders = [tmp_path / "one" / "run", tmp_path / "two" / "run"]
    settings = config.model_dump()
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        settings["general"]["seed"] = 1 + number
        (folder / "config.json").write_text(json.dumps(settings))
        found = RESULTS | {"seconds": 61.5 + number}
        if number:
            found["limit"] = 1.25
        (folder / "results.json").write_text(json.dumps(found))
    result = CliRunner().invoke(cli, ["compare", *map(str, folders)])
    assert result.exit_code == 0, result.output
    shown, settings = result.output.split("\n\n")
    table = [line.split("  ") for line in shown.splitlines()]
    rows = {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in table}
    assert rows[""] == ["one/run", "two/run"]
    # The spread of 2.5, 2.7, 2.9 is 0.2.
    assert rows["significance tuned expected"] == ["2.7 ± 0.2 (3)"] * 2
    assert rows["significance default expected"] == [f"2.1 ± {0.2 / math.sqrt(2):.2g} (2)"] * 2
    assert rows["significance default stat_only"] == ["3"] * 2
    assert rows["cls expected (median)"] == ["0.04"] * 2
    assert rows["fitted mu"] == ["1.02 ± 0.21"] * 2
    assert rows["seconds"] == ["61.5", "62.5"]
    assert rows["limit"] == ["-", "1.25"]
    assert "general.seed: 1 in one/run, 2 in two/run" in settings
    assert "dropout" not in result.output
    assert "poi" not in result.output


def test_a_run_is_followed_until_it_ends(tmp_path, config):
    """Lines that come in pieces, and a process that ends between two looks."""
    folder, looks = tmp_path / "run", []
    row = {"stage": "search", "rounds": 3, "best": None, "selection_score": 1.5, "running": 4}
    running = open_run(folder, config, resume=False)
    with running:
        progress = folder / "progress.jsonl"
        progress.write_text(json.dumps(row | {"round": 1}) + "\n")

        def sleep(seconds: float) -> None:
            looks.append(seconds)
            with progress.open("a") as file:
                line = json.dumps(row | {"round": 2, "best": 1.75}) + "\n"
                file.write(line[:30] if len(looks) == 1 else line[30:] if len(looks) == 2 else "")
            if len(looks) == 3:
                # As a process that ends: what it held is let go of.
                (folder / "results.json").write_text("{}")
                os.replace(folder / ".lock", folder / ".lock_of_before")

        said = list(watch(folder, every=0.25, sleep=sleep))
    assert looks == [0.25] * 3
    assert said[0].startswith("search: round 1/3  best selection score 1.5 (score -)  4 running")
    assert said[1].startswith("search: round 2/3  best selection score 1.5 (score 1.75)")
    assert said[2:] == [f"the run in {folder} is complete: see report.html"]
    (folder / "results.json").unlink()
    result = CliRunner().invoke(cli, ["watch", str(folder)])
    assert result.output.splitlines()[:2] == said[:2]
    assert "no process is running" in result.output
    assert "--resume goes on" in result.output
