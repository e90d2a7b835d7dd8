"""Reads the streams of a plan, chunk by chunk, and joins what programs make of them to events."""

import ctypes
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from difftune.data.events import Events, VariedSample, VariedWeights
from difftune.data.names import Chunk, Values
from difftune.data.object_rules import sentinels_of
from difftune.data.plan import Job, Plan, SampleKey, Stream, own_selection, same
from difftune.data.program import Piece, WeightKey
from difftune.data.request import Request
from difftune.data.sources import rows_in
from difftune.data.sums import Normalisation
from difftune.data.variations import WeightVariation
from difftune.errors import InputError
from difftune.heartbeat import doing, heartbeat

_AHEAD = 3
"""So many files are read at once, a chunk of each ahead of what is computed."""
_BLOCK = 2**24
"""Bytes of a block of features, of which there are as many as it takes."""
Progress = Callable[[int, int | None], None]


class Collected:
    """What has been read of one process in one sample.

    Attributes:
        pieces: The selected events of each chunk.
        entries: How many rows there were.
        undecided: By condition of a selection, in how many of them it is absent.
    """

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.parts: list[int] = []  # that of each piece
        self.entries = 0
        self.entries_of: Counter[int] = Counter()  # by number of the part
        self.undecided: Counter[str] = Counter()
        self._kept = 0
        self._room = np.empty((0, 0), np.float32)

    def add(self, piece: Piece, part: int) -> None:
        """Keeps a piece.

        Features of many pieces lie in one block: what is large goes back to the system once it is
        not needed, and what is small stays with the process.
        """
        rows, columns = piece.features.shape
        if len(self._room) < rows:
            most = _BLOCK // (4 * max(1, columns))
            self._room = np.empty(
                (max(rows, min(most, 2 * rows + self._kept)), columns), np.float32
            )
        features, self._room = self._room[:rows], self._room[rows:]
        features[:] = piece.features
        self._kept += rows
        self.pieces.append(dataclasses.replace(piece, features=features))
        self.parts.append(part)

    def end(self) -> None:
        """Says that there are no more pieces."""
        self._room = np.empty((0, 0), np.float32)


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
    done, before = 0, dict[int, int]()
    opened = set[str]()
    files = len({stream.table.file for stream in streams})
    began = time.monotonic()
    with heartbeat("reading the events"):
        for stream, (start, columns) in _ahead(streams, chunk_size):
            for job in stream.jobs if start == 0 else ():
                before[id(job)] = _collected(collection, job).entries
            count = len(next(iter(columns.values())))
            entry = np.arange(start, start + count)
            _read_chunk(stream, plan.request, columns, entry, collection, before)
            del columns
            done += count
            opened.add(stream.table.file)
            far = _how_far(done, total, time.monotonic() - began, len(opened), files)
            doing(far, goes_on=True)
            if progress is not None:
                progress(done, total)
    for collected in collection.values():
        collected.end()
    _give_back()
    return collection


def _how_far(done: int, total: int | None, seconds: float, file: int, files: int) -> str:
    """How far reading is and how fast, for whoever waits for it."""
    of = "" if total is None else f" of {total:,}"
    which = f", file {file} of {files}" if files > 1 else ""
    rate = done / max(seconds, 1e-3)
    return f"reading the events: {done:,}{of}, {rate:,.0f} a second{which}"


def _give_back() -> None:
    """Has glibc return to the system what reading has freed; by itself it keeps much of it."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _ahead(streams: Sequence[Stream], chunk_size: str | int) -> Iterator[tuple[Stream, Chunk]]:
    """All chunks in their order, while threads read what comes next: of this file and of others."""
    reads = [_named(_chunks(stream, chunk_size), stream) for stream in streams]
    pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="difftune reading")
    coming: dict[int, Future[Chunk | None]] = {}
    try:
        for number, stream in enumerate(streams):
            for other in range(number, min(number + _AHEAD, len(streams))):
                if other not in coming:
                    coming[other] = pool.submit(next, reads[other], None)
            while (chunk := coming.pop(number).result()) is not None:
                coming[number] = pool.submit(next, reads[number], None)
                yield stream, chunk
                del chunk  # not to be kept while the next one is waited for
    finally:
        pool.shutdown(cancel_futures=True)
        for read in reads:
            read.close()


def _chunks(stream: Stream, chunk_size: str | int) -> Iterator[Chunk]:
    kinds = stream.table.kinds
    # Strings and lists of unknown length count as so many bytes.
    widths = {"string": 16, "bool": 1, "number": 8}
    width = sum(widths.get(kinds[name], 64) for name in stream.columns)
    return stream.table.read(stream.columns, rows_in(chunk_size, width))


def _named(chunks: Iterator[Chunk], stream: Stream) -> Generator[Chunk, None, None]:
    """The same chunks; what goes wrong with the file is said with its name."""
    try:
        yield from chunks
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{stream.table.place}: reading {', '.join(stream.columns)} failed: "
            f"{type(error).__name__}: {error}. The file is damaged, or cut short: copy it again."
        ) from error


def _collected(collection: Collection, job: Job) -> Collected:
    return collection.setdefault((job.sample, job.process), Collected())


def _read_chunk(
    stream: Stream,
    request: Request,
    columns: dict[str, Any],
    entry: np.ndarray,
    collection: Collection,
    before: Mapping[int, int],
) -> None:
    taken: dict[tuple[SampleKey, bool], np.ndarray] = {}
    whole = Values(stream.jobs[0].program.names, columns, entry)
    rows = {id(job.program.names): whole.renamed(job.program.names) for job in stream.jobs}
    wanted = {key: np.zeros(len(entry), bool) for key in rows}
    masks = []
    for number, job in enumerate(stream.jobs):
        key = id(job.program.names)
        mask = job.program.selected(rows[key])
        role = request.processes[job.process].role
        owner = taken.setdefault((job.sample, role == "data"), np.full(len(entry), -1))
        _check_overlap(stream, request, number, mask, owner, entry)
        owner[mask] = number
        collected = _collected(collection, job)
        collected.undecided.update(rows[key].undecided)
        rows[key].undecided.clear()
        collected.entries += len(entry)
        collected.entries_of[job.part] += len(entry)
        wanted[key] |= mask
        masks.append(mask)
    for key, some in wanted.items():
        # Where most are wanted, to leave some out costs more than to compute them, too.
        if 2 * np.count_nonzero(some) > len(some):
            some[:] = True
        rows[key] = rows[key].where(some)
    for job, mask in zip(stream.jobs, masks, strict=True):
        if mask.any():
            key = id(job.program.names)
            own = rows[key].where(mask[wanted[key]], shared=True)
            _collected(collection, job).add(job.program.run(own, before[id(job)]), job.part)


def _check_overlap(
    stream: Stream,
    request: Request,
    number: int,
    mask: np.ndarray,
    owner: np.ndarray,
    entry: np.ndarray,
) -> None:
    shared = mask & (owner >= 0)
    if shared.any():
        first = int(np.argmax(shared))
        other, job = stream.jobs[owner[first]], stream.jobs[number]
        raise InputError(
            f"{same(other, job, request.processes)} overlap: their selections "
            f"`{own_selection(other, request.processes)}` and "
            f"`{own_selection(job, request.processes)}` share "
            f"{int(shared.sum())} of the entries {entry[0]} to {entry[-1]} of "
            f"{stream.table.place}, the first one at entry {entry[first]}. Make the selections "
            "exclude each other."
        )


def assemble(plan: Plan, collection: Collection) -> Events:
    """Makes events from what has been collected, process by process.

    Raises:
        InputError: The selection has left nothing of a process.
    """
    request = plan.request
    _check_left(request, collection)
    nominal = _sample(request, collection, None)
    weights: dict[str, VariedWeights | VariedSample] = {}
    for variation in request.variations:
        name, touched = (
            variation.name,
            tuple(p.name for p in request.touched(variation)),
        )
        if isinstance(variation, WeightVariation):
            up = _weights(request, collection, (name, "up"))
            down = None if variation.down is None else _weights(request, collection, (name, "down"))
            weights[name] = VariedWeights(up=up, down=down, processes=touched)
        else:
            up_sample = _sample(request, collection, (name, "up"))
            has_down = any(key == (name, "down") for key, _ in collection)
            down_sample = _sample(request, collection, (name, "down")) if has_down else None
            weights[name] = VariedSample(up=up_sample, down=down_sample, processes=touched)
    return dataclasses.replace(
        nominal, variations=weights, normalisations=_normalisations(plan, collection)
    )


def _normalisations(plan: Plan, collection: Collection) -> tuple[Normalisation, ...]:
    """What the normalisation of each part came to."""
    found = []
    for (index, part), normalisation in plan.normalisations.items():
        collected = collection[None, index]
        own = zip(collected.pieces, collected.parts, strict=True)
        weights = [piece.weight for piece, number in own if number == part]
        weight = np.concatenate(weights) if weights else np.zeros(0)
        found.append(normalisation.seen(collected.entries_of[part], weight))
    return tuple(found)


def _check_left(request: Request, collection: Collection) -> None:
    for (sample, index), collected in collection.items():
        if not collected.pieces:
            process = request.processes[index]
            varied = f" (variation {sample[0]!r} {sample[1]})" if sample else ""
            cuts = [f"`{s}`" for s in (request.selection, process.selection) if s]
            cuts += ["those of the regions"] if request.regions else []
            how = f"the selection {' and '.join(cuts)} keeps" if cuts else "there are"
            of = f" of {collected.entries} entries" if collected.entries else ""
            never = [f"`{c}`" for c, n in collected.undecided.items() if n == collected.entries]
            gone = f" (none of them has what {', '.join(never)} asks for)" if never else ""
            raise InputError(
                f"process {process.name!r}{varied}: {how} no events{of}{gone}. "
                "Loosen the selection, correct the files, or leave the process out."
            )


def _sample(request: Request, collection: Collection, sample: SampleKey) -> Events:
    groups = [
        (index, collection[sample, index].pieces)
        for index in range(len(request.processes))
        if (sample, index) in collection
    ]
    total = sum(len(piece.weight) for _, pieces in groups for piece in pieces)
    features = np.empty((total, len(request.columns)), np.float32)
    process, fold = np.empty(total, np.int32), np.empty(total, np.int32)
    weight, number = np.empty(total, np.float32), np.empty(total, np.int64)
    start = 0
    for index, pieces in groups:
        for i, piece in enumerate(pieces):
            stop = start + len(piece.weight)
            features[start:stop] = piece.features
            process[start:stop], fold[start:stop] = index, piece.fold
            weight[start:stop], number[start:stop] = piece.weight, piece.number
            # Let go at once, so that they are not held twice.
            gone = {
                name: getattr(piece, name)[:0].copy() for name in ("features", "fold", "number")
            }
            pieces[i] = dataclasses.replace(piece, **gone)
            start = stop

    def targets() -> np.ndarray | None:
        if not request.targets:
            return None
        wide = len(request.targets)
        found = [
            # Those of data, which have none, are not known.
            piece.target if piece.target.shape[1] else np.full((len(piece.weight), wide), np.nan)
            for _, pieces in groups
            for piece in pieces
        ]
        return np.concatenate(found)

    def joined(column: str) -> np.ndarray | None:
        columns = [getattr(piece, column) for _, pieces in groups for piece in pieces]
        return np.concatenate(columns) if request.regions else None

    return Events(
        features=features,
        process=process,
        weight=weight,
        fold=fold,
        number=number,
        region=joined("region"),
        observable=joined("observable"),
        target=targets(),
        target_names=tuple(request.targets),
        feature_names=request.columns,
        collections=tuple(rule.collection for rule in request.rules),
        processes=request.processes,
        regions=request.regions,
        folds=request.folds,
        sentinels=sentinels_of(request.missing, request.features, request.objects),
    )


def _weights(request: Request, collection: Collection, key: WeightKey) -> np.ndarray:
    columns = [
        piece.weights.get(key, piece.weight)
        for index in range(len(request.processes))
        for piece in collection[None, index].pieces
    ]
    return np.concatenate(columns)
