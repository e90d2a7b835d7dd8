"""What memory a search takes beside its events: peak of a process, over the size of the events.

Random search over two members, one epoch each, of events that are in memory already, as `tune`
gets them from `Events.from_arrays`. The peak is that of the whole process less what
it holds after a search over a few events of the same form: Python, libraries, and most of what
compiling takes. docs/populations.md says what each copy of the events is for.
"""

from benchmarks.common import running
from benchmarks.common.table import Row

VARIABLES = 30


def run(*, quick: bool) -> list[Row]:
    """Peak memory of a search in bytes per byte of its events."""
    count, epochs, devices = (300_000, 1, (2,)) if quick else (5_000_000, 2, (1, 2))
    rows = []
    for number in devices:
        found = running.call(
            "benchmarks.memory:search",
            variables=running.devices(number, threads=False),
            count=count,
            epochs=epochs,
        )
        where = f"2 members on {number} CPU device{'s' * (number > 1)}"
        over = (found["peak"] - found["before"]) / found["events"]
        rows += [
            Row(f"{where}: peak over the size of {count:,} events, times", over, "<= 3"),
            Row(f"{where}: peak of the whole process, GiB", found["peak"] / 2**30),
        ]
    return rows


def search(count: int, epochs: int) -> None:
    """In a process of its own: bytes of the events, of it before them, and of its peak."""
    import jax

    import difftune as dt

    def tuned(count: int):
        events = _made(count)
        strategy = dt.search.Random(population=2, rounds=1, epochs_per_round=epochs)
        dt.tune(events, search=strategy, batch_size=4096)
        return events

    tuned(20_000)
    before = running.peak_memory()
    events = tuned(count)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(events))
    running.leave({"events": held, "before": before, "peak": running.peak_memory()})


def _made(count: int):
    """Events of two processes, in the memory that they need and no more."""
    import numpy as np

    import difftune as dt

    features = np.random.default_rng(0).standard_normal((count, VARIABLES), dtype=np.float32)
    process = (np.arange(count) % 2).astype(np.int32)
    features[:, 0] += process
    return dt.Events.from_arrays(
        features,
        process,
        np.full(count, 1e-3, np.float32),
        feature_names=[f"x{i}" for i in range(VARIABLES)],
        processes=[dt.Process(name="b"), dt.Process(name="s", role="signal")],
    )
