"""Every entry of a table in its order, for those who add to it: selected ones as events."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from difftune.data.events import Events, Process
from difftune.data.expressions import parse
from difftune.data.friends import with_defaults, with_friend
from difftune.data.names import DataTable, Names, Values, parse_derived, with_features
from difftune.data.object_rules import collection_rules, sentinels_of
from difftune.data.objects import collections_of
from difftune.data.program import Program
from difftune.data.reading import Reading
from difftune.data.root import trees_in
from difftune.data.sources import is_root, open_table, rows_in
from difftune.data.transform import Missing


def program_of(reading: Reading, table: DataTable) -> Program:
    """What is computed from the rows of a table.

    Args:
        reading: How rows become events.
        table: From `open_table`.

    Raises:
        InputError: It has not the columns that are needed.
    """
    number = reading.event_number
    keys = [] if number is None else [number] if isinstance(number, str) else list(number)
    replaced = {name: parse(text, f"in place of {name}") for name, text in reading.replaced.items()}
    derived = with_features(parse_derived(reading.derived), reading.features, table)
    program = Program(
        names=Names(table, derived, replaced, Missing.of(reading.missing)),
        process=table.place,
        sample="",
        selection=() if reading.selection is None else (parse(reading.selection, "selection"),),
        features=tuple(reading.features),
        weight=parse("1", "weight"),
        weights={},
        regions=(),
        number=tuple(parse(key, "event_number") for key in keys),
        folds=reading.folds,
        collections=collection_rules(reading.objects, len(reading.features)),
    )
    _ = program.columns  # all of them are there
    return program


def tables_of(file: str, where: str) -> list[DataTable]:
    """All trees of a ROOT file, or the table of any other.

    Args:
        file: Path or address.
        where: The caller, for messages.

    Raises:
        InputError: The file cannot be opened.
    """
    if is_root(file, where):
        return [open_table(file, tree, where) for tree in trees_in(file, where)]
    return [open_table(file, None, where)]


def completed(table: DataTable, reading: Reading, where: str) -> DataTable:
    """The table with the columns of its friends, and with defaults for those that it lacks.

    Args:
        table: From `tables_of`.
        reading: How rows become events.
        where: The caller, for messages.

    Raises:
        InputError: A friend is not there, or does not fit.
    """
    for friend in reading.friends:
        table = with_friend(table, friend, where)
    return with_defaults(table, reading.defaults)


def entries(
    table: DataTable, reading: Reading, *, chunk_size: str | int = "100 MB"
) -> Iterator[tuple[Bool[np.ndarray, " rows"], Events]]:
    """The rows of a table, chunk by chunk: which are selected, and these as events.

    Args:
        table: From `open_table`, or `completed`.
        reading: How rows become events.
        chunk_size: See `read`.

    Raises:
        InputError: A column is not there, or a value is not finite and not declared missing.
    """
    program = program_of(reading, table)
    flat = tuple(reading.features)
    collections = collections_of(reading.objects, len(flat))
    names = (*flat, *(name for each in collections for name in each.columns))
    sentinels = sentinels_of(Missing.of(reading.missing), flat, reading.objects)
    columns = program.columns
    process = (Process(name="events", role="data"),)
    for start, chunk in table.read(columns, rows_in(chunk_size, 8 * len(columns))):
        count = len(next(iter(chunk.values())))
        values = Values(program.names, chunk, np.arange(start, start + count))
        kept = program.selected(values)
        piece = program.run(values.where(kept), 0)
        yield (
            kept,
            Events(
                features=piece.features,
                process=np.zeros(len(piece.fold), np.int32),
                weight=np.ones(len(piece.fold), np.float32),
                fold=piece.fold,
                number=piece.number,
                feature_names=names,
                processes=process,
                folds=reading.folds,
                sentinels=sentinels,
                collections=collections,
            ),
        )
