"""The command line in a process of its own: to its end, or until it is killed."""

import atexit
import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests import XLA_FLAGS
from tests.job.undrawn import undrawn

ROOT = Path(__file__).parents[2]
# The tests' own process must not fix the number of devices of the runs.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
ENVIRONMENT["XLA_FLAGS"] = XLA_FLAGS
# A process that has imported what a run imports, and forks for each: a third of a small run less.
_PREPARED = multiprocessing.get_context("forkserver")
_PREPARED.set_forkserver_preload(["tests.job.imported"])


def _become(program, arguments, out, err, environment, cores):
    """In a process of its own: the command, which writes into files."""
    os.environ.clear()
    os.environ.update(environment)
    os.sched_setaffinity(0, cores)
    for descriptor, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), descriptor)
    os.chdir(ROOT)
    sys.argv = ["difftune", *arguments]
    try:
        program()
    finally:
        # A forked process leaves this out: JAX would take it for dead, and end those beside it.
        atexit._run_exitfuncs()


def _started(arguments, *, program=undrawn, out=os.devnull, err=os.devnull, cores=None, **told):
    """A process that runs the command."""
    words = [str(each) for each in arguments]
    given = (words, out, err, ENVIRONMENT | told, cores or os.sched_getaffinity(0))
    process = _PREPARED.Process(target=_become, args=(program, *given))
    process.start()
    return process


def _end(process, timeout) -> int:
    """What a process returns, which must end in time."""
    process.join(timeout)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"the command took more than {timeout} s")
    return process.exitcode


def difftune(*arguments, program=undrawn, timeout=500):
    """What a command returned and said; its figures are not drawn, but by the program `drawn`."""
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        code = _end(_started(arguments, program=program, out=out.name, err=err.name), timeout)
        return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


def succeeded(*arguments, program=undrawn, timeout=500):
    """The same of a command that must end well."""
    result = difftune(*arguments, program=program, timeout=timeout)
    assert result.returncode == 0, result.stderr
    return result


def shared(size: int, *arguments) -> list[str]:
    """What each of several processes of `mpirun` said, which must all end well.

    mpirun itself is not needed for it. Each is on a core, where there are enough.
    """
    here, started = sorted(os.sched_getaffinity(0)), []
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.NamedTemporaryFile("r")) for _ in range(size)]
        for rank, file in enumerate(files):
            told = {
                "OMPI_MCA_orte_hnp_uri": f"{os.getpid() * 4096}.0;tcp://127.0.0.1:1",
                "OMPI_COMM_WORLD_SIZE": str(size),
                "OMPI_COMM_WORLD_RANK": str(rank),
                "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
            }
            both = {"out": file.name, "err": file.name}
            started.append(_started(arguments, cores={here[rank % len(here)]}, **both, **told))
        codes = [_end(process, 500) for process in started]
        said = [file.read() for file in files]
    assert codes == [0] * size, said
    return said


def kill_run(config: Path, folder: Path, when: Callable[[], bool], *, verb: str = "run") -> None:
    """Starts a run, or another verb, and kills it as soon as something is so."""
    process = _started([verb, config, "--output", folder])
    deadline = time.monotonic() + 400
    try:
        while not when():
            assert process.is_alive(), "the run ended before it could be killed"
            assert time.monotonic() < deadline, "there was nothing to kill it for"
            time.sleep(0.02)
    finally:
        process.kill()
        process.join()
    assert not (folder / "results.json").exists()
