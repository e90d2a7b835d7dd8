"""How a search scales with processes, each with one core, and whether its result stays the same.

The network and the events of `benchmarks population`, PBT, and processes that `jax.distributed`
connects. More processes than cores share these, and are here for the sameness alone. Times are of
the rounds after the second, when everything is compiled: training, validation, and the exchange of
scores after each epoch and of all members after each round.
"""

import hashlib
import os
import socket
import statistics
import time

from benchmarks.common import running
from benchmarks.common.table import Row, median, ratio


def run(*, quick: bool) -> list[Row]:
    """Seconds of a round by the number of processes, and what of it is exchange."""
    counts, turns = ((1, 2), 1) if quick else ((1, 2, 4), 3)
    results = set()

    def round_of(count: int) -> float:
        found = together(count, quick=quick)
        results.update(each["result"] for each in found)
        return statistics.median(found[0]["rounds"][2:])

    seconds = running.in_turns({n: (lambda n=n: round_of(n)) for n in counts}, turns)
    rows = []
    for count, times in seconds.items():
        crowded = " (more than cores)" if count > running.cores() else ""
        who = f"{count} processes{crowded}"
        rows.append(median(f"{who}: a round, s", times))
        if count > 1:
            bound = "" if crowded else f">= {0.8 * count:g}"
            rows.append(ratio(f"{who}: as fast as one, times", seconds[1], times, bound))
    what = f"different results among {turns} turns of {list(counts)} processes"
    return [*rows, Row(what, len(results), "<= 1")]


def together(count: int, *, quick: bool) -> list[dict]:
    """Runs the search in so many processes; what each of them found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    # A thread for the core that it has.
    variables = running.devices(1, threads=False) | {"PJRT_NPROC": "1"}
    size = running.sizes(
        quick, members=(32, 4), rounds=(6, 3), epochs=(2, 1), events=(50_000, 2_000)
    )
    options = {"variables": variables, "count": count, "address": address, **vars(size)}
    function = "benchmarks.processes:search"
    children = [running.Child(function, rank=rank, **options) for rank in range(count)]
    return [child.result() for child in children]


def search(*, rank: int, count: int, address: str, rounds: int, epochs: int, **options) -> None:
    """One of the processes, bound to a core: XLA alone would take more, whatever its flags say."""
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {usable[rank % len(usable)]})
    import jax
    import numpy as np

    if count > 1:
        jax.distributed.initialize(address, count, rank)
    from benchmarks.peers import ours
    from difftune.training import connect

    processes = connect("jax" if count > 1 else "none")
    population = ours.population(dropout=0.1, processes=processes, **options)
    # The first process alone hears of rounds.
    marks = [time.perf_counter()]
    found = ours.search(
        population, rounds, epochs, on_round=lambda _: marks.append(time.perf_counter())
    )
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(found.best)]
    name = hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()
    # What `jax.distributed` waits for at the end has nothing to do with the search.
    running.leave({"rounds": np.diff(marks).tolist(), "result": name})
