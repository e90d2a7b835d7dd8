"""Parquet and Arrow (Feather) files, through pyarrow; and its columns as numpy arrays."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from difftune.data.jagged import without_options
from difftune.data.kinds import Kind, within_lists
from difftune.data.names import Chunk, DataTable
from difftune.errors import InputError


class _Place(NamedTuple):
    """The way to a column by the names of members, its type, and how many lists are on the way."""

    way: tuple[str, ...]
    type: pa.DataType
    deep: int


DAMAGED = "If it is one, it is damaged or cut short: copy it again."


def open_parquet(file: str, where: str) -> DataTable:
    """The metadata of a Parquet file.

    Raises:
        InputError: It cannot be opened.
    """
    try:
        with pyarrow.parquet.ParquetFile(file) as handle:
            schema, rows = handle.schema_arrow, handle.metadata.num_rows
        paths = _paths(schema)
    except Exception as error:
        raise InputError(
            f"{where}: {file!r} cannot be opened as Parquet: {error}. {DAMAGED}"
        ) from error

    def read(columns: Sequence[str], step: int) -> Iterator[Chunk]:
        # Where the file has checksums, damage is found.
        with pyarrow.parquet.ParquetFile(file, page_checksum_verification=True) as handle:
            start = 0
            stored = _stored(handle, [paths[name].way for name in columns])
            for batch in handle.iter_batches(step, columns=stored):
                yield start, columns_of(file, {n: _at(batch, paths[n].way) for n in columns})
                start += batch.num_rows

    return _table(file, paths, rows, read)


def open_arrow(file: str, where: str) -> DataTable:
    """The schema of an Arrow file, also called Feather, or of a stored Arrow stream.

    Raises:
        InputError: It cannot be opened.
    """
    try:
        with pa.OSFile(file) as source, _batches(source) as reader:
            paths = _paths(reader.schema)
            rows = sum(batch.num_rows for batch in _each(reader))
    except Exception as error:
        raise InputError(
            f"{where}: {file!r} cannot be opened as Arrow file: {error}. {DAMAGED}"
        ) from error

    def read(columns: Sequence[str], step: int) -> Iterator[Chunk]:
        start = 0
        with pa.OSFile(file) as source, _batches(source) as reader:
            for batch in _each(reader):
                for offset in range(0, batch.num_rows, step):
                    part = batch.slice(offset, step)
                    yield start, columns_of(file, {n: _at(part, paths[n].way) for n in columns})
                    start += part.num_rows

    return _table(file, paths, rows, read)


def _table(file: str, paths: Mapping[str, _Place], rows: int, read: Any) -> DataTable:
    kinds = {name: kind_of(place.type, place.deep) for name, place in paths.items()}
    return DataTable(file, None, kinds, rows, read)


def kind_of(type_: pa.DataType, deep: int = 0) -> Kind:
    """The kind of a column of this type, or of so many lists of it."""
    plain = _plain(type_)
    while _is_list(plain):
        plain, deep = _plain(plain.value_type), deep + 1
    kind = _kind_of_one(plain)
    return kind if kind == "other" else within_lists(kind, deep)


def _is_list(type_: pa.DataType) -> bool:
    return "list" in str(type_).split("<")[0]


def _kind_of_one(plain: pa.DataType) -> Kind:
    if pa.types.is_boolean(plain):
        return "bool"
    if pa.types.is_integer(plain) or pa.types.is_floating(plain) or pa.types.is_decimal(plain):
        return "number"
    if pa.types.is_null(plain):
        # It is empty throughout.
        return "number"
    if str(plain) in ("string", "large_string", "string_view"):
        return "string"
    if str(plain) in ("binary", "large_binary", "binary_view"):
        return "string"
    return "other"


def columns_of(file: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, bools, or strings as bytes; lists as awkward arrays.

    Raises:
        InputError: A blank where a column is true or false elsewhere.
    """
    columns = {}
    for name, values in arrays.items():
        if isinstance(values, ak.Array):
            columns[name] = without_options(values)
            continue
        if pa.types.is_boolean(_plain(values.type)) and values.null_count:
            raise InputError(
                f"{file}: {values.null_count} blanks in column {name!r}, which is true or false "
                "elsewhere. Store it as a number, or fill the blanks."
            )
        columns[name] = _array(values)
    return columns


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type of the values themselves: without dictionaries, runs and extensions."""
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return _plain(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        return _plain(type_.storage_type)
    return type_


def _paths(schema: pa.Schema) -> dict[str, _Place]:
    """Columns, and members of structs and of lists of structs as `column.member`, by name."""
    paths = {field.name: _Place((field.name,), field.type, 0) for field in schema}
    todo = list(paths.values())
    while todo:
        way, type_, deep = todo.pop()
        type_ = _plain(type_)
        while _is_list(type_):
            type_, deep = _plain(type_.value_type), deep + 1
        if pa.types.is_struct(type_):
            for field in type_:
                below = _Place((*way, field.name), field.type, deep)
                paths.setdefault(".".join(below.way), below)
                todo.append(below)
    return paths


def _stored(handle: pyarrow.parquet.ParquetFile, ways: Sequence[tuple[str, ...]]) -> list[str]:
    """What Parquet calls columns: `jets.list.element.pt` is the way to the member of a list."""
    names = [handle.schema.column(i).path for i in range(len(handle.schema))]
    first: dict[str, list[str]] = {}
    for name in names:
        first.setdefault(name.split(".")[0], []).append(name)
    stored: dict[str, None] = {}
    for way in ways:
        if len(way) == 1:
            stored[way[0]] = None
            continue
        for name in first.get(way[0], ()):
            parts = iter(name.split("."))
            if all(member in parts for member in way):
                stored[name] = None
    return list(stored)


def _at(batch: pa.RecordBatch, way: Sequence[str]) -> Any:
    """A column, or what its members hold; lists as awkward arrays."""
    values = batch.column(way[0])
    for depth, name in enumerate(way[1:], 1):
        if _is_list(_plain(values.type)):
            found = ak.from_arrow(values)
            for member in way[depth:]:
                found = found[member]
            return found
        values = pc.struct_field(values, name)
    return ak.from_arrow(values) if _is_list(_plain(values.type)) else values


def _array(values: pa.Array) -> np.ndarray:
    if isinstance(values, pa.ExtensionArray):
        return _array(values.storage)
    if pa.types.is_dictionary(values.type):
        return _array(values.dictionary_decode())
    if pa.types.is_run_end_encoded(values.type):
        return _array(pc.run_end_decode(values))
    if kind_of(values.type) == "string":
        texts = values.cast(pa.large_binary()).fill_null(b"").to_numpy(zero_copy_only=False)
        return texts.astype("S") if len(texts) else np.zeros(0, "S1")
    if pa.types.is_decimal(values.type) or values.null_count:
        # Only a float can say that there is no value.
        values = values.cast(pa.float64(), safe=False)
    return values.to_numpy(zero_copy_only=False)


def _batches(source: Any) -> Any:
    magic = source.read(6)
    source.seek(0)
    return pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)


def _each(reader: Any) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchFileReader):
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)
    else:
        yield from reader
