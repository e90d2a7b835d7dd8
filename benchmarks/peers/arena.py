"""Contestants in processes of their own, run in turn."""

import importlib
import json
import math
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial

from benchmarks.common import running
from benchmarks.common.running import Child, Failed, clocked, say
from benchmarks.common.table import Row, median, ratio


def serve(module: str) -> None:
    """Makes and runs contestants on orders from stdin; for a process of its own.

    The module of this package has a function `make(**options)`, which returns a function: given a
    count of units (epochs, models), it does the work and returns one number, a loss if it trains.
    """
    contestants: dict[str, Callable[[int], float]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if "make" in order:
                make = importlib.import_module(f"benchmarks.peers.{module}").make
                contestants[order["make"]] = make(**order["options"])
                order = {"run": order["make"], "count": 1}
            value, took = clocked(partial(contestants[order["run"]], order["count"]))
            running.answer({"seconds": took, "value": float(value)})
        except Exception as error:
            traceback.print_exc()
            running.answer({"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]})


class Stage(ExitStack):
    """The processes of some contestants, started when they are asked for, ended at the exit."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, list[Child]] = {}

    def group(self, module: str, *, count: int = 1, **variables: str) -> list[Child]:
        """Processes of a module of this package; the same ones for the same question."""
        key = repr((module, count, sorted(variables.items())))
        if key not in self.groups:
            options = {"variables": variables, "module": module}
            started = (Child("benchmarks.peers.arena:serve", **options) for _ in range(count))
            self.groups[key] = [self.enter_context(closing(each)) for each in started]
        return self.groups[key]


@dataclass(eq=False)
class Contestant:
    """Something to be timed, in one process or shared out over several."""

    name: str
    processes: list[Child]  # each gets the whole of `options` and does `count` units
    options: dict  # for `make` of its module
    events: float = 0.0  # event passes (events times members) of one unit of one process
    essential: bool = False  # whether nothing is worth measuring where it fails; a peer may
    first: float = math.nan  # seconds of the first unit, with compilation, in the slowest process
    # What the second unit returned, in the mean over the processes: of a training the loss of an
    # epoch in which the start values are forgotten.
    value: float = math.nan
    count: int = 1  # units of a measurement
    seconds: list[float] = field(default_factory=list)  # of one unit, for each measurement
    values: list[float] = field(default_factory=list)  # what the measurements returned

    def _told(self, **order) -> tuple[float, float, float]:
        """Seconds of an order, those of the slowest process, and the mean of what all found."""
        began = time.perf_counter()
        for process in self.processes:
            process.tell(order)
        # All must be heard, or an answer is left over for the next question.
        answers = [process.hear() for process in self.processes]
        took = time.perf_counter() - began
        if errors := [answer["error"] for answer in answers if "error" in answer]:
            raise Failed(errors[0])
        slowest = max(answer["seconds"] for answer in answers)
        return took, slowest, statistics.fmean(answer["value"] for answer in answers)

    def prepare(self, least: float) -> None:
        """Makes it, compiles it, and finds how many units take `least` seconds."""
        _, self.first, _ = self._told(make=self.name, options=self.options)
        warm, _, self.value = self._told(run=self.name, count=1)
        self.count = max(1, math.ceil(least / warm))
        say(f"ready: {self.name} (first {self.first:.1f} s)")

    def measure(self) -> None:
        """Takes its time once."""
        took, _, value = self._told(run=self.name, count=self.count)
        self.seconds.append(took / self.count)
        self.values.append(value)

    @property
    def rates(self) -> list[float]:
        """Events times members a second, for each measurement."""
        return [self.events * len(self.processes) / seconds for seconds in self.seconds]


def compete(contestants: Iterable[Contestant], *, repeats: int, least: float) -> list[Contestant]:
    """Runs all in turn, several times over, so that a slow minute of the machine hits everyone.

    A measurement takes `least` seconds at least. Those that can take part are returned.
    """
    ready = list(contestants)

    def each(action: Callable[[Contestant], None]) -> None:
        for one in list(ready):
            try:
                action(one)
            except Failed as error:
                if one.essential:
                    raise
                ready.remove(one)
                say(f"FAILED {one.name}: {error}")

    each(lambda one: one.prepare(least))
    for turn in range(repeats):
        each(Contestant.measure)
        say(f"turn {turn + 1} of {repeats}")
    return ready


def best(peers: Iterable[Contestant]) -> Contestant:
    """The fastest."""
    return max(peers, key=lambda peer: statistics.median(peer.rates))


UNITS = {"thousand": 1e3, "million": 1e6}


def rate(what: str, one: Contestant, unit: str = "million") -> Row:
    """Events times members a second."""
    return median(f"{what}, {unit} events·members/s", [each / UNITS[unit] for each in one.rates])


def against(what: str, upper: Contestant, lower: Contestant, required: str = "") -> Row:
    """How many times as fast `upper` is as `lower`, with which it took turns."""
    return ratio(what, upper.rates, lower.rates, required, note=f"({lower.name})")


def workers(count: int) -> tuple[dict[str, str], str]:
    """Variables that share out the cores to so many processes, and these in words."""
    each = running.cores() // count
    words = f"{count} process{'es' * (count > 1)} of {each} thread{'s' * (each > 1)}"
    return running.threads(each), words
