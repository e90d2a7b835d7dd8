"""Events that a process has more than once: copies of a file, samples that overlap."""

import hashlib
import logging
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Int, UInt64

from difftune.data.collect import Collection
from difftune.data.keys import mixed
from difftune.data.names import Values
from difftune.data.plan import Plan
from difftune.data.program import Piece
from difftune.data.request import Request
from difftune.data.variations import TreeVariation
from difftune.errors import InputError, nearest

logger = logging.getLogger("difftune")

Duplicates = Literal["warn", "refuse", "allow"]
"""What happens where a process has events more than once."""

_BLOCKS = 16  # of each file: as many coincidences are expected in a block as in any other.
_SHOWN = 4


class _Found(NamedTuple):
    """Repeated events: which, how many too many, and what is known of them."""

    rows: Bool[np.ndarray, " events"]
    surplus: int
    finding: str
    remedy: str


def on_duplicates(value: str) -> Duplicates:
    """What the user wants to happen.

    Raises:
        InputError: It is none of the possibilities.
    """
    for known in get_args(Duplicates):
        if value == known:
            return known
    raise InputError(
        f"duplicates = {value!r} is none of {', '.join(get_args(Duplicates))}."
        + nearest(str(value), get_args(Duplicates))
    )


def check_copies(request: Request, collection: Collection, duplicates: Duplicates) -> None:
    """Warns of events that a process has more than once.

    With an event number these are the events that share one. Without, they are those that agree in
    all features and the weight, where that is no coincidence.

    Raises:
        InputError: There are such events, and `duplicates` is "refuse".
    """
    own = {v.name for v in request.variations if isinstance(v, TreeVariation)}
    for (sample, index), collected in collection.items():
        varied = sample is not None
        if duplicates == "allow" or (sample is not None and sample[0] not in own):
            continue
        pieces = collected.pieces
        if not pieces:
            continue
        files = list(dict.fromkeys(piece.place for piece in pieces))
        file = np.repeat(
            [files.index(piece.place) for piece in pieces], [len(piece.weight) for piece in pieces]
        )
        found = _by_number(pieces) if request.number else _by_content(pieces, file)
        if found is None:
            continue
        counts = np.bincount(file[found.rows], minlength=len(files))
        listed = [f"{counts[i]} in {files[i]}" for i in np.flatnonzero(counts)]
        more = f" and {len(listed) - _SHOWN} more files" if len(listed) > _SHOWN else ""
        who = f"process {request.processes[index].name!r}"
        if varied:
            who += f" (variation {sample[0]!r} {sample[1]})"  # type: ignore[index]
        message = (
            f"{who}: {found.surplus} of {len(file)} events are there more than once: "
            f"{found.finding} ({', '.join(listed[:_SHOWN])}{more}). {found.remedy}, or say "
            "duplicates = 'allow'."
        )
        if duplicates == "refuse":
            raise InputError(message)
        logger.warning("%s", message)


def check_parts(plan: Plan, collection: Collection, duplicates: Duplicates) -> None:
    """Refuses events that two parts of a process share.

    These have one event number and, of simulated events, the same features: generated samples
    number their events alike.

    Raises:
        InputError: With the first of them, unless `duplicates` is "allow".
    """
    request = plan.request
    for index, process in enumerate(request.processes):
        pieces = collection[None, index].pieces
        if len(process.parts) < 2 or not request.number or not pieces or duplicates == "allow":
            continue
        part = np.repeat(collection[None, index].parts, [len(piece.weight) for piece in pieces])
        number = np.concatenate([piece.number for piece in pieces])
        key = number.view(np.uint64)
        if process.role != "data":
            key = mixed(key ^ _content(pieces, weight=False))
        order = np.lexsort((part, key))
        again = (np.diff(part[order]) != 0) & (key[order][1:] == key[order][:-1])
        if not again.any():
            continue
        # The first in the order in which they were read.
        pair = np.flatnonzero(again)
        second = order[pair + 1]
        place = int(np.argmin(second))
        one, other = order[pair[place]], second[place]
        names = [process.parts[part[row]].name for row in (one, other)]
        shown = _key(plan, index, int(part[other]), int(number[other]))
        raise InputError(
            f"process {process.name!r}: parts {names[0]!r} and {names[1]!r} overlap: they share "
            f"{len(pair)} events, the first one {shown}. "
            "Leave these out of one of them with its selection, as by the triggers that the other "
            "one has; or say duplicates = 'allow'."
        )


def _key(plan: Plan, index: int, part: int, number: int) -> str:
    """The event number as it stands in the file, and where."""
    for stream in plan.streams.values():
        for job in stream.jobs:
            if (job.process, job.part, job.sample) != (index, part, None):
                continue
            for start, columns in stream.table.read(job.columns, 1_000_000):
                entry = np.arange(start, start + len(next(iter(columns.values()))))
                values = Values(job.program.names, columns, entry)
                parts = [np.asarray(values.evaluate(each)) for each in job.program.number]
                found = np.flatnonzero(job.program.numbers(values, 0) == number)
                if len(found):
                    shown = ", ".join(
                        f"{each.text} = {value[found[0]]:g}"
                        if value.dtype.kind == "f"
                        else f"{each.text} = {value[found[0]]}"
                        for each, value in zip(job.program.number, parts, strict=True)
                    )
                    return f"{shown} (entry {entry[found[0]]} of {stream.table.place})"
    return f"{number}"


def _by_number(pieces: list[Piece]) -> _Found | None:
    number = np.concatenate([piece.number for piece in pieces])
    if (number[1:] > number[:-1]).all():  # as in most files
        return None
    ordered = np.sort(number)
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    group, size = _groups(number.view(np.uint64))
    rows = size[group] > 1
    surplus = len(number) - len(size)
    content = _content(pieces)
    whole = np.unique(np.stack([number.view(np.uint64)[rows], content[rows]]), axis=1)
    equal = int(rows.sum()) - whole.shape[1]
    if equal:
        return _Found(
            rows,
            surplus,
            f"they share their event number, and {equal} of them all features and the weight",
            "They count twice in the yields. Leave one of the files out",
        )
    return _Found(
        rows,
        surplus,
        "they share their event number, but not their features",
        "If they are different events, the number does not tell them apart: give event_number all "
        "columns that do, as in ['run', 'lumi', 'event']. If not, leave one of the files out",
    )


def _by_content(pieces: list[Piece], file: Int[np.ndarray, " events"]) -> _Found | None:
    content = _content(pieces)
    group, size = _groups(content)
    if len(size) == len(content):
        return None
    surplus = _whole_files(content, file)
    rows = np.isin(file, sorted(surplus))
    if not rows.any():
        rows = _no_coincidence(group, size, file)
        if not rows.any():
            return None
        rows &= size[group] > 1
        count = int(rows.sum()) - len(np.unique(group[rows]))
    else:
        count = sum(surplus.values())
    return _Found(
        rows,
        count,
        "they agree in all features and the weight",
        "They count twice in the yields, and without an event_number a copy may be in another "
        "fold: training events would be tested. Leave one of the files out, give event_number",
    )


def _whole_files(
    content: UInt64[np.ndarray, " events"], file: Int[np.ndarray, " events"]
) -> dict[int, int]:
    """Files that hold the same events in the same order: by number of the file its surplus."""
    seen: dict[bytes, int] = {}
    surplus: dict[int, int] = {}
    for number in range(int(file.max()) + 1):
        own = content[file == number]
        distinct = len(np.unique(own))
        # A few events of a few possible values agree by chance.
        if distinct < 2 or (len(own) < 20 and 2 * distinct < len(own)):
            continue
        first = seen.setdefault(hashlib.blake2b(own.tobytes()).digest(), number)
        if first != number:
            surplus.setdefault(first, 0)
            surplus[number] = len(own)
    return surplus


def _no_coincidence(
    group: Int[np.ndarray, " events"],
    size: Int[np.ndarray, " groups"],
    file: Int[np.ndarray, " events"],
) -> Bool[np.ndarray, " events"]:
    """Events of the files in which more events are found again than chance explains.

    A file is cut into blocks. Chance finds an event again in its own block as often as in any other
    one of that size; a copy is in another block.
    """
    length = np.bincount(file)
    place = np.arange(len(file)) - (np.cumsum(length) - length)[file]
    block = file * _BLOCKS + place * _BLOCKS // length[file]
    together, both = _groups((group * (int(block.max()) + 1) + block).astype(np.uint64))
    inside, elsewhere = both[together] > 1, size[group] > both[together]
    chance = np.bincount(file, inside)
    again = np.bincount(file, elsewhere)
    expected = (chance + 3 * np.sqrt(chance) + 3) * (len(file) / (length / _BLOCKS) - 1)
    return ((again > expected) & (again >= 0.05 * length))[file]


def _content(pieces: list[Piece], *, weight: bool = True) -> UInt64[np.ndarray, " events"]:
    """A number for the features and, where it counts, the weight of each event."""
    found = []
    for piece in pieces:
        number = np.zeros(len(piece.weight), np.uint64)
        for column in (*piece.features.T, *((piece.weight,) if weight else ())):
            number = mixed(number ^ np.ascontiguousarray(column).view(np.uint32))
        found.append(number)
    return np.concatenate(found)


def _groups(
    values: UInt64[np.ndarray, " events"],
) -> tuple[Int[np.ndarray, " events"], Int[np.ndarray, " groups"]]:
    """Number of the group of equal values that each belongs to, and the size of each group."""
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    return group.reshape(-1), size
