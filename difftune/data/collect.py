"""Reads the streams of a plan, chunk by chunk, and keeps what the programs make of them."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from difftune.data.names import Values
from difftune.data.plan import Job, Plan, Request, SampleKey, Stream
from difftune.data.program import Piece
from difftune.data.sources import rows_in
from difftune.data.table import Chunk
from difftune.errors import InputError

Progress = Callable[[int, int | None], None]


class Collected:
    """What has been read of one process in one sample."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.entries = 0


Collection = dict[tuple[SampleKey, int], Collected]
"""By sample and number of the process."""


def collect(plan: Plan, chunk_size: str | int, progress: Progress | None) -> Collection:
    """Reads everything that the plan asks for.

    Args:
        plan: What to read.
        chunk_size: See `read`.
        progress: See `read`.

    Raises:
        InputError: A file breaks off, processes overlap, or a value is not finite.
    """
    streams = list(plan.streams.values())
    rows = [stream.table.rows for stream in streams]
    total = None if None in rows else sum(r for r in rows if r is not None)
    collection: Collection = {}
    done = 0
    for stream in streams:
        kinds = stream.table.kinds
        # Texts of unknown length count as 16 bytes.
        width = sum({"string": 16, "bool": 1}.get(kinds[name], 8) for name in stream.columns)
        chunks = stream.table.read(stream.columns, rows_in(chunk_size, width))
        before = {id(job): _collected(collection, job).entries for job in stream.jobs}
        for start, columns in _named(chunks, stream):
            count = len(next(iter(columns.values())))
            entry = np.arange(start, start + count)
            _read_chunk(stream, plan.request, columns, entry, collection, before)
            done += count
            if progress is not None:
                progress(done, total)
    return collection


def _named(chunks: Iterator[Chunk], stream: Stream) -> Iterator[Chunk]:
    """The same chunks; what goes wrong with the file is said with its name."""
    try:
        yield from chunks
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{stream.table.place}: reading {', '.join(stream.columns)} failed: "
            f"{type(error).__name__}: {error}"
        ) from error


def _collected(collection: Collection, job: Job) -> Collected:
    return collection.setdefault((job.sample, job.process), Collected())


def _read_chunk(
    stream: Stream,
    request: Request,
    columns: dict[str, np.ndarray],
    entry: np.ndarray,
    collection: Collection,
    before: Mapping[int, int],
) -> None:
    taken: dict[tuple[SampleKey, bool], np.ndarray] = {}
    for job in stream.jobs:
        values = Values(job.program.names, columns, entry)
        mask = job.program.selected(values)
        role = request.processes[job.process].role
        owner = taken.setdefault((job.sample, role == "data"), np.full(len(entry), -1))
        _check_overlap(stream, request, job, mask, owner, entry)
        owner[mask] = job.process
        collected = _collected(collection, job)
        collected.entries += len(entry)
        if mask.any():
            offset = before[id(job)]
            collected.pieces.append(job.program.run(values.where(mask), offset))


def _check_overlap(
    stream: Stream,
    request: Request,
    job: Job,
    mask: np.ndarray,
    owner: np.ndarray,
    entry: np.ndarray,
) -> None:
    shared = mask & (owner >= 0)
    if shared.any():
        first = int(np.argmax(shared))
        other, process = request.processes[owner[first]], request.processes[job.process]
        raise InputError(
            f"processes {other.name!r} and {process.name!r} overlap: their selections "
            f"`{other.selection or ''}` and `{process.selection or ''}` share "
            f"{int(shared.sum())} of the entries {entry[0]} to {entry[-1]} of "
            f"{stream.table.place}, the first one at entry {entry[first]}. Make the selections "
            "exclude each other."
        )
