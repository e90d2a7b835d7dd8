"""What is said while work is silent."""

import contextvars
import logging
import os
import subprocess
import sys
import threading

import pytest

from difftune import heartbeat as module
from difftune.analysis import LogFile
from difftune.heartbeat import Heart, doing, heartbeat

LOGGER = logging.getLogger("difftune")


@pytest.fixture
def lines(caplog):
    """What was said so far."""
    with caplog.at_level(logging.INFO, "difftune"):
        yield lambda: [record.getMessage() for record in caplog.records]


def beats() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "difftune heartbeat"]


@pytest.fixture
def quick(monkeypatch):
    """A line every few milliseconds."""
    monkeypatch.setattr(module, "EVERY", 0.01)


def test_it_speaks_only_after_silence(lines):
    now = 0.0
    heart = Heart("compiling", every=8.0, clock=lambda: now)
    LOGGER.addFilter(heart.heard)
    try:
        for now in range(1, 40):
            if now == 12:
                LOGGER.info("round 1")
                heart.doing("epoch 2")
            heart.beat()
    finally:
        LOGGER.removeFilter(heart.heard)
    assert lines() == [
        "compiling (8 s)",
        "round 1",
        "epoch 2 (8 s)",
        "epoch 2 (16 s)",
        "epoch 2 (24 s)",
    ]


def test_silent_work_is_heard_of_and_ends_with_its_thread(lines, quick):
    heard = threading.Event()
    with heartbeat("reading"):
        assert len(beats()) == 1
        with heartbeat("reading more"):
            assert len(beats()) == 1
            _until(lambda: any(line.startswith("reading more (") for line in lines()), heard)
        doing("fitting")
        _until(lambda: any(line.startswith("fitting (") for line in lines()), heard)
    assert beats() == []
    after = len(lines())
    heard.wait(0.05)
    assert len(lines()) == after
    doing("nothing")


def _until(true, event):
    for _ in range(1000):
        if true():
            return
        event.wait(0.01)
    raise AssertionError("nothing was said")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_interruption_passes_and_ends_it(error, quick):
    with pytest.raises(error), heartbeat("reading"):
        raise error
    assert beats() == []


def test_each_thread_has_its_own(quick):
    """Two searches in one process say each what they do themselves."""
    found = []

    def other():
        found.append(module._heart.get())
        with heartbeat("other"):
            found.append(module._heart.get().what)
            found.append(len(beats()))

    with heartbeat("mine"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert module._heart.get().what == "mine"
    assert found == [None, "other", 2]
    assert contextvars.copy_context().get(module._heart) is None


def test_files_and_quiet_terminals_are_left_without(tmp_path, quick, capsys):
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    file = LogFile(tmp_path / "log.txt")
    level = LOGGER.level
    LOGGER.setLevel(logging.INFO)
    seen = logging.Handler()
    seen.emit = lambda record: heard.set() if record.name == module.NAME else None
    heard = threading.Event()
    handlers = (terminal, file, seen)
    try:
        for each in handlers:
            LOGGER.addHandler(each)
        LOGGER.info("a line")
        with heartbeat("reading"):
            assert heard.wait(10)
    finally:
        for each in handlers:
            LOGGER.removeHandler(each)
        LOGGER.setLevel(level)
        file.close()
    assert (tmp_path / "log.txt").read_text().splitlines() == ["a line"]
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_within_it_ends_and_says_nothing():
    code = """if True:
        import logging, os, sys, time
        from difftune import heartbeat
        logging.basicConfig(level="INFO", format=f"{os.getpid()} %(message)s", stream=sys.stdout)
        heartbeat.EVERY = 0.02
        with heartbeat.heartbeat("working"):
            time.sleep(0.1)
            child = os.fork()
            if child == 0:
                logging.getLogger().handlers[0].setFormatter(logging.Formatter("child %(message)s"))
                time.sleep(0.1)
        if child == 0:
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "working (0 s)" in done.stdout
    assert "child" not in done.stdout


def test_without_a_log_warnings_still_reach_the_terminal():
    """Python writes a warning to stderr where there is no handler; a listener must not be one."""
    code = """if True:
        import logging
        from difftune.heartbeat import heartbeat
        with heartbeat("working"):
            logging.getLogger("difftune").warning("watch out")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "watch out\n")
