"""The run directory: what is there, what may be written, and what is said where it cannot."""

import errno
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from difftune import cli
from difftune.analysis.progress import RoundLog
from difftune.errors import DifftuneError, InputError
from difftune.job import load
from difftune.job.rundir import check_folder, kept, open_run
from difftune.search import Progress
from difftune.training import Checkpoints
from tests.job.small import write_small


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return load(write_small(tmp_path_factory.mktemp("small"), events=10))


@pytest.fixture
def begun(tmp_path, config):
    folder = tmp_path / "run"
    with open_run(folder, config, resume=False):
        Checkpoints(folder / "checkpoints" / "search").save(3, {"a": np.zeros(2)}, {})
    return folder


def test_what_is_kept(begun):
    assert kept(begun) == "search up to round 3"
    assert kept(begun / "nothing") == ""


def test_what_is_said_when_a_run_is_interrupted(begun, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["difftune", "run", "my analysis.toml", "--set", "a.b=1 2"])
    assert cli._kept(begun) == (
        f"Kept in {begun}: search up to round 3. Go on with: difftune run 'my analysis.toml' "
        "--set 'a.b=1 2' --resume"
    )
    again = tmp_path / "again"
    again.mkdir()
    (again / "config.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["difftune", "run", "a.toml", "--resume"])
    assert cli._kept(again) == (
        f"No round had ended in {again}. Go on with: difftune run a.toml --resume"
    )
    for nothing in (None, tmp_path / "nowhere"):
        assert cli._kept(nothing).startswith("Nothing had begun")


def test_the_same_configuration_goes_on(begun, config):
    elsewhere = config.model_copy(
        update={
            "training": config.training.model_copy(update={"chunk": 64}),
            "general": config.general.model_copy(update={"output": "elsewhere"}),
        }
    )
    for given in (config, elsewhere):
        check_folder(begun, given, resume=True)
    with pytest.raises(InputError, match="Continue it with --resume"):
        check_folder(begun, config, resume=False)


def test_another_configuration_is_refused_with_what_differs(begun, config):
    other = config.model_copy(
        update={
            "general": config.general.model_copy(update={"seed": 7}),
            "training": config.training.model_copy(update={"batch_size": 77}),
        }
    )
    with pytest.raises(InputError) as refused:
        check_folder(begun, other, resume=True)
    assert f"general.seed: {config.general.seed} then, 7 now" in str(refused.value)
    assert "training.batch_size" in str(refused.value)


def test_keys_that_are_newer_than_the_run_have_their_defaults(begun, config):
    stored = begun / "config.json"
    before = json.loads(stored.read_text())
    del before["data"]["objects"], before["data"]["folds"], before["fit"]["luminosity_scale"]
    stored.write_text(json.dumps(before))
    check_folder(begun, config, resume=True)
    data = config.data.model_copy(update={"folds": 7})
    with pytest.raises(InputError, match=f"data.folds: {config.data.folds} then, 7 now"):
        check_folder(begun, config.model_copy(update={"data": data}), resume=True)


@pytest.mark.parametrize("damage", ["", '{"general": {"na', "[1, 2]", "null", "\x00\x00"])
def test_a_damaged_configuration_is_refused_and_the_remedy_works(begun, config, damage, caplog):
    stored = begun / "config.json"
    stored.write_text(damage)
    with pytest.raises(InputError) as refused:
        check_folder(begun, config, resume=True)
    assert str(stored) in str(refused.value)
    assert "Remove that file and run again with --resume" in str(refused.value)
    stored.unlink()
    with open_run(begun, config, resume=True):
        pass
    assert "no config.json" in caplog.text
    check_folder(begun, config, resume=True)


@pytest.mark.parametrize(
    "where", ["a file", "below a file", "dangling link", "too long", "too long within", "read-only"]
)
def test_output_that_cannot_be(tmp_path, config, where):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "deep")
    folder = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "a" / "run",
        "dangling link": tmp_path / "link",
        "too long": tmp_path / ("x" * 300),
        "too long within": tmp_path / "/".join(["y" * 200] * 25),
        "read-only": Path("/proc/run"),
    }[where]
    before = {path.name for path in tmp_path.iterdir()}
    with (
        pytest.raises(InputError, match="--output") as refused,
        open_run(folder, config, resume=False),
    ):
        pass
    assert len(str(refused.value)) < 500
    assert {path.name for path in tmp_path.iterdir()} == before
    if where not in ("read-only",):
        # Before the data are read.
        with pytest.raises(InputError, match="--output"):
            check_folder(folder, config, resume=False)


def test_a_full_disk_at_the_end_keeps_what_was_trained(tmp_path, config):
    def full():
        with open_run(tmp_path / "run", config, resume=False):
            raise OSError(errno.ENOSPC, "No space left on device", "report.html")

    with pytest.raises(DifftuneError, match=r"report\.html cannot be written.*--resume"):
        full()


PROGRESS = Progress(
    round=1,
    rounds=3,
    score=np.array([1.0, np.nan]),
    best=1.0,
    selection_score=0.5,
    running=2,
    diverged=0,
    seconds=0.5,
    events_per_second=1e4,
)


def test_a_full_disk_is_said_once(caplog, capfd, config, tmp_path):
    """`/dev/full` takes nothing, as a full disk."""
    log = RoundLog("search", Path("/dev/full"))
    with caplog.at_level(logging.INFO, logger="difftune"):
        for _ in range(3):
            log(PROGRESS)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]
    assert sum("round 1/3" in r.getMessage() for r in caplog.records) == 3

    caplog.clear()
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log.txt").symlink_to("/dev/full")
    (folder / ".lock").write_text("")
    logger = logging.getLogger("difftune")
    with caplog.at_level(logging.INFO, logger="difftune"):
        (folder / "checkpoints").mkdir()
        with open_run(folder, config, resume=True):
            for number in range(3):
                logger.info("line %d", number)
    warnings = [r.getMessage() for r in caplog.records if "cannot be written any more" in r.msg]
    assert len(warnings) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_one_line_a_round(tmp_path):
    log = RoundLog("search", tmp_path / "progress.jsonl")
    log(PROGRESS)
    log(PROGRESS)
    rows = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [row["scores"] for row in rows] == [[1.0, None]] * 2
    assert os.path.getsize(tmp_path / "progress.jsonl") < 1000
