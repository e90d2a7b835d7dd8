"""Parquet and Arrow (Feather) files, through pyarrow; and its columns as numpy arrays."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from difftune.data.kinds import Kind
from difftune.data.names import Chunk, DataTable
from difftune.errors import InputError

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
            for batch in handle.iter_batches(step, columns=list(columns)):
                yield start, columns_of(file, {n: _at(batch, paths[n][0]) for n in columns})
                start += batch.num_rows

    return DataTable(file, None, {n: kind_of(type_) for n, (_, type_) in paths.items()}, rows, read)


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
                    yield start, columns_of(file, {n: _at(part, paths[n][0]) for n in columns})
                    start += part.num_rows

    return DataTable(file, None, {n: kind_of(type_) for n, (_, type_) in paths.items()}, rows, read)


def kind_of(type_: pa.DataType) -> Kind:
    """The kind of a column of this type."""
    plain = _plain(type_)
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
    return "array" if "list" in str(plain).split("<")[0] else "other"


def columns_of(file: str, arrays: Mapping[str, pa.Array]) -> dict[str, np.ndarray]:
    """Numbers, bools, or strings as bytes.

    Raises:
        InputError: A blank where a column is true or false elsewhere.
    """
    columns = {}
    for name, values in arrays.items():
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


def _paths(schema: pa.Schema) -> dict[str, tuple[tuple[str, ...], pa.DataType]]:
    """Columns, and fields of structs as `column.field`: by name the way to them, and the type."""
    paths: dict[str, tuple[tuple[str, ...], pa.DataType]] = {
        field.name: ((field.name,), field.type) for field in schema
    }
    todo = list(paths.values())
    while todo:
        path, type_ = todo.pop()
        if pa.types.is_struct(type_):
            for field in type_:
                below = ((*path, field.name), field.type)
                paths.setdefault(".".join(below[0]), below)
                todo.append(below)
    return paths


def _at(batch: pa.RecordBatch, path: tuple[str, ...]) -> pa.Array:
    values = batch.column(path[0])
    for name in path[1:]:
        values = pc.struct_field(values, name)
    return values


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
