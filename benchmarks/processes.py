"""How a search scales with processes, each with one core, and whether its result stays the same.

The network and the events of `benchmarks population`, PBT, and processes that `jax.distributed`
connects. More processes than cores share these, and are here for the sameness alone. Times are of
the rounds after the second, when everything is compiled: training, validation, and the exchange of
scores after each epoch and of all members after each round.
"""

import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.peers import arena
from benchmarks.table import Row


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done: processes, members, rounds, epochs a round, events, turns."""

    processes: tuple[int, ...] = (1, 2, 4)
    members: int = 32
    rounds: int = 6
    epochs: int = 2
    events: int = 50_000
    turns: int = 3


QUICK = Size(processes=(1, 2), members=4, rounds=3, epochs=1, events=2_000, turns=1)


def run(*, quick: bool) -> list[Row]:
    """Seconds of a round by the number of processes, and what of it is exchange."""
    size = QUICK if quick else Size()
    seconds: dict[int, list[float]] = {count: [] for count in size.processes}
    results = set()
    for turn in range(size.turns):
        for count in size.processes:
            found = together(count, size)
            seconds[count].append(statistics.median(found[0]["rounds"][2:]))
            results |= {each["result"] for each in found}
            arena.say(f"turn {turn + 1}, {count} processes: {seconds[count][-1]:.3f} s a round")
    first = seconds[size.processes[0]]
    rows = []
    for count, times in seconds.items():
        ratio, words = arena.ratios(first, times)
        crowded = " (more than cores)" if count > arena.cores() else ""
        rows += [
            Row(
                what=f"{count} processes{crowded}: a round, s",
                required="",
                measured=statistics.median(times),
                spread=arena.spread(times),
            ),
            Row(
                what=f"{count} processes{crowded}: as fast as one, times",
                required="" if crowded or count == 1 else f">= {0.8 * count:g}",
                measured=ratio,
                spread=words,
            ),
        ]
    what = f"different results among {size.turns} turns of {list(size.processes)} processes"
    rows.append(Row(what=what, required="<= 1", measured=len(results)))
    return rows


def together(count: int, size: Size) -> list[dict]:
    """Runs the search in so many processes; what each of them prints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    flags = "--xla_force_host_platform_device_count=1 --xla_cpu_multi_thread_eigen=false"
    order = {"count": count, "address": address} | vars(size)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.processes", json.dumps(order | {"rank": rank})],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=arena.ROOT,
            # A thread for the core that it has.
            env=arena.environment(XLA_FLAGS=flags, PJRT_NPROC="1"),
        )
        for rank in range(count)
    ]
    said = [process.communicate() for process in started]
    for process, (_, error) in zip(started, said, strict=True):
        if process.returncode:
            raise RuntimeError(f"a process ended with {process.returncode}: {error[-500:]}")
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


def child(order: dict) -> None:
    """One of the processes, bound to a core: XLA alone would take more, whatever its flags say."""
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {usable[order["rank"] % len(usable)]})
    import jax
    import numpy as np

    if order["count"] > 1:
        jax.distributed.initialize(order["address"], order["count"], order["rank"])
    from dataclasses import replace

    from benchmarks.peers import ours
    from difftune.training import connect

    processes = connect("jax" if order["count"] > 1 else "none")
    population = ours.population(
        members=order["members"],
        batch=1024,
        events=order["events"],
        validation=2_000,
        width=64,
        dropout=0.1,
    )
    population = replace(population, processes=processes)
    # The first process alone hears of rounds.
    marks = [time.perf_counter()]
    found = ours.search(
        population,
        order["rounds"],
        order["epochs"],
        on_round=lambda _: marks.append(time.perf_counter()),
    )
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(found.best)]
    name = hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()
    print(json.dumps({"rounds": np.diff(marks).tolist(), "result": name}), flush=True)


if __name__ == "__main__":
    child(json.loads(sys.argv[1]))
    # What `jax.distributed` waits for at the end has nothing to do with the search.
    sys.stdout.flush()
    os._exit(0)
