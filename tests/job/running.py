"""The command line in a process of its own: to its end, or until it is killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests import XLA_FLAGS

ROOT = Path(__file__).parents[2]
# The tests' own process must not fix the number of devices of the runs.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
ENVIRONMENT["XLA_FLAGS"] = XLA_FLAGS
# Of one run the figures are looked at.
DRAWN = [sys.executable, "-m", "tests.job.drawn"]
UNDRAWN = [sys.executable, "-m", "tests.job.undrawn"]


def difftune(*arguments, command=UNDRAWN, **options):
    """What a command returned and said."""
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
        **options,
    )


def succeeded(*arguments, command=UNDRAWN, timeout=500):
    """The same of a command that must end well."""
    result = difftune(*arguments, command=command, timeout=timeout)
    assert result.returncode == 0, result.stderr
    return result


def shared(size: int, *arguments) -> list[str]:
    """What each of several processes of `mpirun` said, which must all end well.

    mpirun itself is not needed for it. Each is on a core, where there are enough.
    """
    here, started = sorted(os.sched_getaffinity(0)), []
    for rank in range(size):
        told = {
            "OMPI_MCA_orte_hnp_uri": f"{os.getpid() * 4096}.0;tcp://127.0.0.1:1",
            "OMPI_COMM_WORLD_SIZE": str(size),
            "OMPI_COMM_WORLD_RANK": str(rank),
            "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
        }
        process = subprocess.Popen(
            ["taskset", "-c", str(here[rank % len(here)]), *UNDRAWN, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT | told,
            cwd=ROOT,
        )
        started.append(process)
    said = [process.communicate(timeout=500)[0] for process in started]
    assert [process.returncode for process in started] == [0] * size, said
    return said


def kill_run(config: Path, folder: Path, when: Callable[[], bool]) -> None:
    """Starts a run, and kills it as soon as something is so."""
    process = subprocess.Popen(
        [*UNDRAWN, "run", str(config), "--output", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 400
    try:
        while not when():
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "there was nothing to kill it for"
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert not (folder / "results.json").exists()
