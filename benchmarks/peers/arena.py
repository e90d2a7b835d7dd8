"""Contestants in processes of their own, run in turn."""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

COMPILED = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
)
"""Environment variables that tell JAX where compiled programs are kept."""


def cores() -> int:
    """Cores that this process may use."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def environment(**variables: str) -> dict[str, str]:
    """That of a contestant: this repository, no settings of ours, and what it asks for.

    What is compiled already counts in a smoke run alone: `python -m benchmarks` forgets it else.

    Args:
        variables: Set as they are.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if name in COMPILED or not name.startswith(("XLA_", "JAX_", "OMP_"))
    }
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return clean | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"} | variables


@contextmanager
def compiled_once() -> Iterator[str]:
    """A folder of compiled programs: for what differs in numbers alone, one serves all.

    The folder that JAX was told of, or one that is removed at the end.
    """
    import jax

    told = jax.config.jax_compilation_cache_dir
    with nullcontext(told) if told else tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        yield folder


def threads(count: int) -> dict[str, str]:
    """Variables that give the thread pools of a process this size."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(count))


def say(text: str) -> None:
    """Progress, for whoever watches: the whole takes long."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


class Failed(Exception):
    """A contestant could not do what it was told."""


class Process:
    """One process that waits for orders. It rests while others run."""

    def __init__(self, module: str, variables: dict[str, str]):
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (close() closes it)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.worker", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env=environment(**variables),
        )

    def tell(self, order: dict[str, Any]) -> None:
        """Gives an order and does not wait."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"the process is gone: {self._last_words()}") from None

    def hear(self) -> dict[str, Any]:
        """Waits for the answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"the process ended: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def _last_words(self) -> str:
        self.log.seek(0)
        return self.log.read()[-300:].strip().replace("\n", " | ")

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream is not None:
                stream.close()


class Stage:
    """The processes of some contestants, started when they are asked for, ended at the exit."""

    def __init__(self) -> None:
        self.groups: dict[str, list[Process]] = {}

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        for group in self.groups.values():
            for process in group:
                process.close()

    def group(self, module: str, *, count: int = 1, **variables: str) -> list[Process]:
        """Processes of a module of this package; the same ones for the same question.

        Args:
            module: Name of the module.
            count: How many processes.
            variables: Environment variables.
        """
        key = repr((module, count, sorted(variables.items())))
        if key not in self.groups:
            self.groups[key] = [Process(module, variables) for _ in range(count)]
        return self.groups[key]


@dataclass(eq=False)
class Contestant:
    """Something to be timed, in one process or shared out over several.

    Attributes:
        name: How it is called in the table.
        processes: Where it runs; each gets the whole of `options` and does `count` units.
        options: For `make` of its module.
        events: Event passes of one unit of one process (events times members).
        essential: Whether nothing is worth measuring where it fails; a peer may.
        first: Seconds of the first unit, with compilation, in the slowest process.
        value: What the second unit returned: the mean loss of a second epoch, in which the start
            values are forgotten. The mean over the processes.
        count: Units of a measurement.
        seconds: One unit, for each measurement.
        values: What the measurements returned.
    """

    name: str
    processes: list[Process]
    options: dict[str, Any]
    events: float = 0.0
    essential: bool = False
    first: float = math.nan
    value: float = math.nan
    count: int = 1
    seconds: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def _all(self, order: dict[str, Any]) -> tuple[float, list[dict[str, Any]]]:
        began = time.perf_counter()
        for process in self.processes:
            process.tell(order)
        answers, errors = [], []
        for process in self.processes:
            # All must be heard, or an answer is left over for the next question.
            try:
                answers.append(process.hear())
            except Failed as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return time.perf_counter() - began, answers

    def prepare(self, least: float) -> None:
        """Makes it, compiles it, and finds how many units take `least` seconds."""
        _, answers = self._all({"make": self.name, "options": self.options})
        self.first = max(answer["seconds"] for answer in answers)
        warm, answers = self._all({"run": self.name, "count": 1})
        self.value = _mean(answers)
        self.count = max(1, math.ceil(least / warm))

    def measure(self) -> None:
        """Takes its time once."""
        seconds, answers = self._all({"run": self.name, "count": self.count})
        self.seconds.append(seconds / self.count)
        self.values.append(_mean(answers))

    def drop(self) -> None:
        """Frees its memory."""
        self._all({"drop": self.name})

    @property
    def time(self) -> float:
        """Median seconds of one unit."""
        return statistics.median(self.seconds)

    @property
    def rates(self) -> list[float]:
        """Events times members a second, for each measurement."""
        return [self.events * len(self.processes) / seconds for seconds in self.seconds]

    @property
    def rate(self) -> float:
        """The median of `rates`."""
        return statistics.median(self.rates)


def _mean(answers: list[dict[str, Any]]) -> float:
    return statistics.fmean(answer["value"] for answer in answers)


def compete(
    contestants: Iterable[Contestant], *, repeats: int, least: float, failures: dict[str, str]
) -> list[Contestant]:
    """Runs all in turn, several times over, so that a slow minute of the machine hits everyone.

    Args:
        contestants: In the order of their turns.
        repeats: How many times each is measured.
        least: Seconds that a measurement takes at least.
        failures: Gets the name and the reason of those that cannot take part.

    Returns:
        Those that took part.
    """
    ready = list(contestants)

    def each(action: Callable[[Contestant], None]) -> None:
        for one in list(ready):
            try:
                action(one)
            except Failed as error:
                if one.essential:
                    raise
                failures[one.name] = str(error)
                ready.remove(one)
                say(f"FAILED {one.name}: {error}")

    def prepare(one: Contestant) -> None:
        one.prepare(least)
        say(f"ready: {one.name} (first {one.first:.1f} s)")

    each(prepare)
    for turn in range(repeats):
        each(Contestant.measure)
        say(f"turn {turn + 1} of {repeats}")
    for one in ready:
        say(f"{one.name}: {one.time:.3f} s a unit")
        one.drop()
    return ready


def ratios(upper: list[float], lower: list[float], *, times: float = 1.0) -> tuple[float, str]:
    """Median and spread of the ratios within each turn.

    Args:
        upper: Numerators.
        lower: Denominators.
        times: Multiplies the denominators.
    """
    found = [a / (times * b) for a, b in zip(upper, lower, strict=True)]
    return statistics.median(found), spread(found)


def spread(found: list[float]) -> str:
    """The range of several measurements, in words."""
    return f"({min(found):.3g} to {max(found):.3g})"
