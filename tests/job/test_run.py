"""The whole chain on a small part of the single-top sample, through the command line."""

import html.parser
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyhf
import pytest
import uproot

from difftune.job import build, load
from difftune.job.rundir import kept
from difftune.training import Ensemble, TrainedNetwork
from tests.job.drawn import drawn
from tests.job.running import (
    ENVIRONMENT,
    ROOT,
    difftune,
    kill_run,
    succeeded,
)
from tests.job.small import write_small

# A shell starts what runs in the background with SIGINT ignored, and Python leaves it so.
INTERRUPTIBLE = [
    *(sys.executable, "-c"),
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from difftune.cli import main; main()",
]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_small(tmp_path_factory.mktemp("small"))


WATCHER = """
from difftune.search import Watcher

class Lines(Watcher):
    def __init__(self, folder):
        self.path = folder / "watched.txt"
    def stage(self, name):
        self.say("stage", name)
    def begin(self, members, epochs, rounds):
        self.say("begin", members, epochs, rounds)
    def epoch(self, number, epochs, rounds):
        self.say("epoch", number, epochs, rounds)
    def __call__(self, progress):
        self.say("round", progress.round, progress.rounds)
    def figure(self, name, value, uncertainty):
        self.say("figure", name, value, uncertainty)
    def say(self, *words):
        with self.path.open("a") as file:
            print(*words, sep="|", file=file)
"""


@pytest.fixture(scope="module")
def finished(config):
    folder = config.parent / "finished"
    (config.parent / "watch.py").write_text(WATCHER)
    watched = ["--set", 'general.watcher="watch.py:Lines"']
    return folder, succeeded("run", config, "--output", folder, *watched, program=drawn)


def test_run_directory_is_complete(finished):
    folder, result = finished
    for name in (
        "config.json",
        "environment.json",
        "log.txt",
        "progress.jsonl",
        "history.csv",
        "network/network.npz",
        "network/network.json",
        "templates/templates.root",
        "templates/templates.json",
        "workspace.json",
        "results.json",
        "report.html",
        "tables/yields.tex",
    ):
        assert (folder / name).stat().st_size > 0, name
    for name in (
        "signal_region",
        "score",
        "roc",
        "history",
        "correlations",
        "pulls",
        "gammas",
        "ranking",
    ):
        for kind in ("pdf", "png", "json"):
            assert (folder / "plots" / f"{name}.{kind}").stat().st_size > 0, name
    assert "hyperparameters tuned" in result.stdout
    assert "search: round 3/3" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_is_watched(finished):
    """What looks on is told all that there is to tell, in order."""
    folder, _ = finished
    told = [line.split("|") for line in (folder / "watched.txt").read_text().splitlines()]
    starts = [i for i, each in enumerate(told) if each[0] == "stage"]
    assert [told[i][1] for i in starts] == ["search", "search 2", "default, cross-entropy"]
    first = told[: starts[1]]
    progress = (folder / "progress.jsonl").read_text().splitlines()
    rounds = [row for row in map(json.loads, progress) if row["stage"] == "search"]
    assert [each[0] for each in first].count("round") == len(rounds) == 3
    assert first[1][0] == "begin"
    assert first[-1] == ["round", "3", "3"]
    epochs = [int(each[1]) for each in first if each[0] == "epoch"]
    assert epochs == list(range(1, len(epochs) + 1))
    ladder = json.loads((folder / "results.json").read_text())["ladder"]
    figures = [each for each in told if each[0] == "figure"]
    assert [each[1] for each in figures] == [rung["name"] for rung in ladder]
    assert [float(each[2]) for each in figures] == [rung["value"] for rung in ladder]


def test_history_has_every_member_and_epoch(finished):
    folder, _ = finished
    table = np.genfromtxt(folder / "history.csv", delimiter=",", names=True)
    assert len(table) == 4 * 3
    assert set(table["member"]) == {0, 1, 2, 3}
    assert np.all(table["learning_rate"] >= 1e-3 * (1 - 1e-6))


@pytest.fixture(scope="module")
def averaged(config):
    """One trial, trained on all folds that are not for the test."""
    folder = config.parent / "averaged"
    wanted = ("population=1", "rounds=1", "cross_validation=true", "ensemble='trial'")
    options = [part for each in wanted for part in ("--set", f"search.{each}")]
    result = difftune("run", config, "--output", folder, *options, timeout=500)
    assert result.returncode == 0, result.stderr
    return folder


def _check_templates(folder: Path, network, config: Path) -> None:
    events = build.events(load(config))
    test = events.in_folds([4])
    with uproot.open(folder / "templates" / "templates.root") as file:
        for index, name in enumerate(("tchannel", "ttbar", "wjets")):
            stored = file[f"signal_region/{name}/nominal"]
            mine = np.asarray(test.process) == index
            full = np.asarray(events.weight, np.float64)[np.asarray(events.process) == index].sum()
            weight = np.asarray(test.weight, np.float64)[mine]
            weight *= full / weight.sum()
            score = network.score(test)[mine]
            sumw, _ = np.histogram(score, stored.axis().edges(), weights=weight)
            sumw2, _ = np.histogram(score, stored.axis().edges(), weights=weight**2)
            np.testing.assert_allclose(stored.values(), sumw, rtol=1e-5)
            np.testing.assert_allclose(stored.variances(), sumw2, rtol=1e-5)


def test_templates_are_hard_histograms_of_the_test_fold(finished, config):
    folder, _ = finished
    _check_templates(folder, TrainedNetwork.load(folder / "network"), config)


@pytest.mark.slow
def test_an_ensemble_makes_the_templates_together(averaged, config):
    network = Ensemble.load(averaged / "network")
    assert len(network.networks) == 4
    _check_templates(averaged, network, config)
    assert "the mean of 4 trainings of the trial" in (averaged / "report.html").read_text()


def test_pyhf_command_line_gives_the_reported_cls(finished):
    folder, _ = finished
    reported = json.loads((folder / "results.json").read_text())["cls"]
    command = [str(Path(sys.executable).with_name("pyhf")), "cls", "--optimizer", "minuit"]
    # At its default tolerance Minuit is off by some permille in the tails.
    command += ["--optconf", "tolerance=0.01"]
    out = subprocess.run(
        [*command, str(folder / "workspace.json")], capture_output=True, text=True, check=True
    )
    found = json.loads(out.stdout)
    np.testing.assert_allclose(found["CLs_exp"], reported["expected"], rtol=2e-3, atol=1e-12)
    np.testing.assert_allclose(found["CLs_obs"], reported["observed"], rtol=2e-3)
    workspace = pyhf.Workspace(json.loads((folder / "workspace.json").read_text()))
    kinds = {kind for _, kind in workspace.model().config.modifiers}
    assert kinds == {"normfactor", "normsys", "histosys", "staterror", "lumi"}


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.images = [], 0

    def handle_starttag(self, tag, attrs):
        self.images += tag == "img"
        self.links += [v for k, v in attrs if k in ("src", "href") and v]


def test_report_is_self_contained(finished):
    folder, _ = finished
    page = _Links()
    page.feed((folder / "report.html").read_text())
    assert page.images >= 8
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in page.links)


def _numbers(folder: Path) -> dict:
    results = json.loads((folder / "results.json").read_text())
    results.pop("seconds")
    return results


def _interrupted(arguments: list[str], folder: Path, sent: signal.Signals) -> tuple[int, str]:
    """Runs the command, and ends it in the middle of the round that follows another one."""
    progress = folder / "progress.jsonl"
    before = progress.stat().st_size if progress.exists() else 0
    process = subprocess.Popen(
        [*INTERRUPTIBLE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 300
    while not (progress.exists() and progress.stat().st_size > before):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no round ended"
        time.sleep(0.02)
    told = time.monotonic()
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    # Two seconds, on a machine that has nothing else to do.
    assert time.monotonic() - told < 20
    return process.returncode, said


@pytest.mark.slow
def test_same_seed_same_numbers_however_often_it_is_ended(finished, config):
    """One more run, killed as soon as the first checkpoint is there, then resumed.

    It is ended by SIGTERM, then by Ctrl-C; the command that each of them prints is run as it
    stands.
    """
    folder = config.parent / "killed"
    progress = folder / "progress.jsonl"
    kill_run(config, folder, lambda: progress.exists() and progress.stat().st_size > 0)

    refused = difftune("run", config, "--output", folder, timeout=120)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr

    changed = difftune(
        "run", config, "--output", folder, "--resume", "--set", "general.seed=2", timeout=120
    )
    assert changed.returncode == 2
    assert "general.seed" in changed.stderr

    arguments = ["run", str(config), "--output", str(folder), "--resume"]
    for sent, name in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")):
        code, said = _interrupted(arguments, folder, sent)
        assert code == 128 + sent, said
        assert "Traceback" not in said
        assert "resumed after round" in said
        found = re.search(
            rf"interrupted \({name}\)\. Kept in (\S+): (search.* up to round \d+)\. "
            r"Go on with: (.+)\n",
            said,
        )
        assert found, said
        assert found[1] == str(folder)
        assert found[2] == kept(folder)
        program, *printed = shlex.split(found[3])
        assert program == "difftune"
        assert printed == arguments
        assert not (folder / "results.json").exists()
    ended = succeeded(*arguments)
    assert "resumed after round" in ended.stderr
    assert _numbers(folder) == _numbers(finished[0])
    assert (folder / "history.csv").read_text() == (finished[0] / "history.csv").read_text()


@pytest.mark.slow
def test_a_finished_run_is_reported_again_without_training(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    (folder / "report.html").unlink()
    result = succeeded("report", folder)
    assert "round 1/" not in result.stderr
    assert (folder / "report.html").is_file()
    again, first = (
        json.loads((each / "results.json").read_text())["ladder"] for each in (folder, finished[0])
    )
    assert again == first


def test_check_reads_everything_and_trains_nothing(config):
    result = difftune("check", config, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "tchannel" in result.stdout
    assert "variations: btag, jes" in result.stdout


def test_progress_and_results_are_strict_json(finished):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    folder, _ = finished
    lines = (folder / "progress.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [r["round"] for r in rows if r["stage"] == "search"] == [1, 2, 3]
    json.loads((folder / "results.json").read_text(), parse_constant=refuse)
