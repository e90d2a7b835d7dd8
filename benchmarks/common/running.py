"""Processes and clocks. Imports nothing that would take a contestant's time."""

import importlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

ROOT = Path(__file__).parents[2]

COMPILED = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)
"""Environment variables that tell JAX where compiled programs are kept."""


def sizes(quick: bool, **pairs: tuple[Any, Any]) -> SimpleNamespace:
    """How much is done: of each pair the first in full, the second in a smoke run."""
    return SimpleNamespace(**{name: pair[quick] for name, pair in pairs.items()})


def say(text: str) -> None:
    """Progress, for whoever watches: the whole takes long."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def interpreter(package: str | None) -> str:
    """The Python that has a package: this one, or what the variable `PYTHON_OF_...` names.

    For packages that cannot be installed beside the others.
    """
    return os.environ.get(f"PYTHON_OF_{package.upper()}" if package else "", sys.executable)


def taking_part(name: str, *packages: str) -> bool:
    """Whether a peer's packages are there, without importing them; says so where they are not."""
    there = all(
        interpreter(each) != sys.executable or importlib.util.find_spec(each) for each in packages
    )
    if not there:
        say(f"{name} is left out: {', '.join(packages)} not installed")
    return there


def clocked(action: Callable) -> tuple[Any, float]:
    """What an action gives, and its seconds."""
    began = time.perf_counter()
    result = action()
    return result, time.perf_counter() - began


def seconds(action: Callable, repeats: int) -> float:
    """The median seconds of a call that leaves nothing running."""
    return statistics.median(clocked(action)[1] for _ in range(repeats))


def peak_memory() -> int:
    """Bytes that this process has had at most."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`, which on Linux begins with what the parent held.
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    # macOS counts bytes, others kilobytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_turns(measures: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """Figures of several that take turns, so that a slow minute of the machine hits all."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for turn in range(turns):
        for name, measure in measures.items():
            found[name].append(measure())
        say(f"turn {turn + 1} of {turns}")
    return found


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def environment(**variables: str) -> dict[str, str]:
    """That of a contestant: this repository, no settings of ours, and what it asks for.

    What is compiled already counts in a smoke run alone: `python -m benchmarks` forgets it else.
    So do flags of the compiler, but those that whoever started it asked for.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if name in COMPILED or not name.startswith(("XLA_", "JAX_", "OMP_"))
    }
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    flags = [each.get("XLA_FLAGS") for each in (os.environ, variables)]
    clean |= {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"} | variables
    return clean | {"XLA_FLAGS": " ".join(filter(None, flags))}


def threads(count: int) -> dict[str, str]:
    """Variables that give the thread pools of a process this size."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(count))


def devices(count: int, *, threads: bool) -> dict[str, str]:
    """Variables that give JAX so many CPU devices, with threads of their own or one each."""
    flags = f"--xla_force_host_platform_device_count={count}"
    return {"XLA_FLAGS": flags + ("" if threads else " --xla_cpu_multi_thread_eigen=false")}


class Failed(Exception):
    """A process could not do what it was told."""


class Child:
    """A fresh process that calls a function, and may be told more while it runs.

    The function is `"module:function"`, its options must fit into JSON. With `session` it gets a
    group of its own, so that what it starts can end with it; with `package` it is one of the
    `interpreter` that has this package.
    """

    def __init__(self, function: str, *, variables=None, session=False, package=None, **options):
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (close() closes it)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.log}
        self.process = subprocess.Popen(
            [interpreter(package), "-c", OBEY, function, json.dumps(options)],
            text=True,
            cwd=ROOT,
            env=environment(**(variables or {})),
            start_new_session=session,
            **pipes,
        )

    def tell(self, order) -> None:
        """Gives an order and does not wait."""
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.failed("is gone") from None

    def hear(self):
        """Waits for the next answer."""
        if line := self.process.stdout.readline():
            return json.loads(line)
        raise self.failed("ended")

    def result(self):
        """Waits for the end; what the function returned."""
        out, _ = self.process.communicate()
        if self.process.returncode:
            raise self.failed(f"ended with {self.process.returncode}")
        self.close()
        return json.loads(out.splitlines()[-1])

    def failed(self, how: str) -> Failed:
        """What to raise, with the last words of the process."""
        self.log.seek(0)
        words = self.log.read()[-500:].strip().replace("\n", " | ")
        return Failed(f"the process {how}: {words}")

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            stream.close()


def call(function: str, **options):
    """What a function returns in a fresh process; options are those of `Child`."""
    return Child(function, **options).result()


OBEY = "from benchmarks.common import running; running.obey()"
_answers: IO[str] = sys.stdout


def obey() -> None:
    """In the process of a `Child`: calls its function, and answers what it returns."""
    global _answers
    # Libraries print; the answers get a stream that nobody else knows.
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, name = sys.argv[1].split(":")
    answer(getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2])))


def answer(value) -> None:
    """Sends a line of JSON to the process that started this one."""
    _answers.write(json.dumps(value) + "\n")
    _answers.flush()


def leave(value) -> None:
    """The last answer: what a backend does at its end does not count."""
    answer(value)
    os._exit(0)
