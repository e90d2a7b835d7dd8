"""Gives a contestant of `benchmarks.wall_time` its time, and takes what it has at the end of it."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.common import running
from benchmarks.common.running import Child
from benchmarks.peers import contest
from benchmarks.peers.contest import Network, Order

# Seconds in which a process may end by itself. What it still finds in them does not count.
GRACE = 15.0


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Who takes part: a function of `benchmarks.peers.tuners`, and the packages that it needs."""

    name: str
    who: str
    packages: tuple[str, ...] = ()
    each_core: bool = False  # a process for each core, or one that sees to all of them


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was on a contestant's disk at the end of its time, or when it ended before."""

    network: Network
    trials: int  # begun from start values
    epochs: int  # of all networks together
    seconds: float


def found(one: Contestant, order: Order, budget: float) -> Found:
    """Starts a contestant, whose folder is empty, and waits for so many seconds."""
    folder, began = Path(order.folder), time.time()
    order = replace(order, deadline=began + budget)
    # A thread for each process of a peer; difftune takes one device a core whatever this says.
    # Ray would send statistics of its use, and write all results in three formats.
    variables = running.threads(1)
    variables |= {"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    function = f"benchmarks.peers.tuners:{one.who}"
    workers = range(order.cores if one.each_core else 1)
    orders = [asdict(replace(order, worker=worker)) for worker in workers]
    children = [Child(function, variables=variables, session=True, **each) for each in orders]
    processes = [child.process for child in children]
    try:
        while order.left > 0.0:
            ends = [process.poll() for process in processes]
            # All have ended, or one is broken.
            if None not in ends or any(ends):
                break
            time.sleep(0.05)
        seconds = time.time() - began
        network, (trials, epochs) = contest.chosen(folder), contest.done(folder)
        broken = [child for child in children if child.process.poll()]
    finally:
        _end(processes)
    if broken:
        raise broken[0].failed("broke")
    if network is None:
        raise children[0].failed("found nothing in time")
    for child in children:
        child.close()
    return Found(network=network, trials=trials, epochs=epochs, seconds=seconds)


def _end(processes: list[subprocess.Popen]) -> None:
    """Waits until all have ended, and sees to it: the next contestant needs the cores."""
    for process in processes:
        for last in (signal.SIGTERM, signal.SIGKILL):
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
            # Also what is left of the group of one that has ended.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, last)
        process.wait()
