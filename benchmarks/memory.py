"""What memory a search takes beside its events: peak of a process, over the size of the events.

Random search over two members, one epoch each, of events that are in memory already, as `tune`
gets them from `Events.from_arrays`. The peak is that of the whole process (`ru_maxrss`) less what
it holds after a search over a few events of the same form: Python, libraries, and most of what
compiling takes. docs/populations.md says what each copy of the events is for.
"""

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass

from benchmarks.peers import arena
from benchmarks.table import Row

VARIABLES = 30


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is trained: events, members, epochs, on how many devices."""

    events: int = 5_000_000
    members: int = 2
    epochs: int = 2
    devices: tuple[int, ...] = (1, 2)


QUICK = Size(events=300_000, epochs=1, devices=(2,))


def run(*, quick: bool) -> list[Row]:
    """Peak memory of a search in bytes per byte of its events."""
    size = QUICK if quick else Size()
    rows = []
    for devices in size.devices:
        found = measured(size, devices)
        where = f"{size.members} members on {devices} CPU device{'s' * (devices > 1)}"
        rows += [
            Row(
                what=f"{where}: peak over the size of {size.events:,} events, times",
                required="<= 3",
                measured=(found["peak"] - found["before"]) / found["events"],
            ),
            Row(
                what=f"{where}: peak of the whole process, GiB",
                required="",
                measured=found["peak"] / 2**30,
            ),
        ]
    return rows


def measured(size: Size, devices: int) -> dict[str, int]:
    """Bytes: of the events, of the process before them, and of its peak."""
    order = {"events": size.events, "members": size.members, "epochs": size.epochs}
    flags = f"--xla_force_host_platform_device_count={devices}"
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", json.dumps(order)],
        capture_output=True,
        text=True,
        cwd=arena.ROOT,
        env=arena.environment(XLA_FLAGS=f"{flags} --xla_cpu_multi_thread_eigen=false"),
        check=False,
    )
    if found.returncode:
        raise RuntimeError(f"the process ended with {found.returncode}: {found.stderr[-500:]}")
    return json.loads(found.stdout.splitlines()[-1])


def _peak() -> int:
    """Bytes that this process had at most."""
    # macOS counts bytes, Linux kilobytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _made(count: int):
    """Events of two processes, in the memory that they need and no more."""
    import numpy as np

    import difftune as dt

    rng = np.random.default_rng(0)
    features = rng.standard_normal((count, VARIABLES), dtype=np.float32)
    process = (np.arange(count) % 2).astype(np.int32)
    features[:, 0] += process
    return dt.Events.from_arrays(
        features,
        process,
        np.full(count, 1e-3, np.float32),
        feature_names=[f"x{i}" for i in range(VARIABLES)],
        processes=[dt.Process(name="b", role="background"), dt.Process(name="s", role="signal")],
    )


def child(order: dict) -> None:
    """A search in a process of its own, which says what memory it took."""
    import jax

    import difftune as dt
    from difftune.search import Random

    def search(count: int):
        events = _made(count)
        strategy = Random(population=order["members"], rounds=1, epochs_per_round=order["epochs"])
        dt.tune(events, search=strategy, batch_size=4096)
        return events

    search(20_000)
    before = _peak()
    events = search(order["events"])
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(events))
    print(json.dumps({"events": held, "before": before, "peak": _peak()}), flush=True)


if __name__ == "__main__":
    child(json.loads(sys.argv[1]))
    # What a backend does at its end has nothing to do with the search.
    sys.stdout.flush()
    os._exit(0)
