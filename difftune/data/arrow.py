"""Parquet and CSV files, through pyarrow."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from difftune.data.compiling import Kind
from difftune.data.table import Chunk, Table
from difftune.errors import InputError

_PEEK = 1 << 20


def open_parquet(file: str, where: str) -> Table:
    """The metadata of a Parquet file.

    Raises:
        InputError: It cannot be opened.
    """
    try:
        with pyarrow.parquet.ParquetFile(file) as handle:
            schema, rows = handle.schema_arrow, handle.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{where}: {file!r} cannot be opened as Parquet: {error}") from error

    def read(columns: Sequence[str], step: int) -> Iterator[Chunk]:
        with pyarrow.parquet.ParquetFile(file) as handle:
            start = 0
            for batch in handle.iter_batches(step, columns=list(columns)):
                yield start, _columns(file, batch, columns)
                start += batch.num_rows

    return Table(file, None, {f.name: _kind(f.type) for f in schema}, rows, read)


def open_csv(file: str, where: str) -> Table:
    """The header of a CSV file (also .csv.gz), and the kinds of its columns from the first rows.

    Raises:
        InputError: It cannot be opened.
    """
    try:
        options = pyarrow.csv.ReadOptions(block_size=_PEEK)
        with pyarrow.csv.open_csv(file, read_options=options) as reader:
            schema = reader.schema
            empty = all(batch.num_rows == 0 for batch in _first(reader))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{where}: {file!r} cannot be opened as CSV: {error}") from error
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        raise InputError(f"{where}: {file!r} has two columns {twice[0]!r}: rename one of them.")
    # The first rows cannot promise that integers stay integers, nor that blanks stay blank.
    types = {
        f.name: pa.float64() if pa.types.is_integer(f.type) or pa.types.is_null(f.type) else f.type
        for f in schema
    }

    def read(columns: Sequence[str], step: int) -> Iterator[Chunk]:
        # A row of text takes about as many bytes as its columns take in memory.
        block = min(max(step * 8 * len(schema.names), _PEEK), 1 << 30)
        wanted = list(columns)
        reader = pyarrow.csv.open_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(block_size=block),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=wanted,
                column_types={name: types[name] for name in wanted},
            ),
        )
        start = 0
        with reader:
            for batch in reader:
                for offset in range(0, batch.num_rows, step):
                    part = batch.slice(offset, step)
                    yield start, _columns(file, part, wanted)
                    start += part.num_rows

    kinds = {name: _kind(type_) for name, type_ in types.items()}
    return Table(file, None, kinds, 0 if empty else None, read)


def _first(reader: pyarrow.csv.CSVStreamingReader) -> Iterator[pa.RecordBatch]:
    try:
        yield reader.read_next_batch()
    except StopIteration:
        return


def _kind(type_: pa.DataType) -> Kind:
    if pa.types.is_dictionary(type_):
        return _kind(type_.value_type)
    if pa.types.is_boolean(type_):
        return "bool"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return "number"
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_binary(type_):
        return "string"
    nested = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    return "array" if nested or pa.types.is_fixed_size_list(type_) else "other"


def _columns(file: str, batch: pa.RecordBatch, names: Sequence[str]) -> dict[str, np.ndarray]:
    columns = {}
    for name in names:
        values = batch.column(name)
        if pa.types.is_boolean(values.type) and values.null_count:
            raise InputError(
                f"{file}: {values.null_count} blanks in column {name!r}, which is true or false "
                "elsewhere. Store it as a number, or fill the blanks."
            )
        columns[name] = _array(values)
    return columns


def _array(values: pa.Array) -> np.ndarray:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if _kind(values.type) == "string":
        texts = values.cast(pa.large_binary()).fill_null(b"").to_numpy(zero_copy_only=False)
        return texts.astype("S") if len(texts) else np.zeros(0, "S1")
    if pa.types.is_decimal(values.type) or values.null_count:
        # Only a float can say that there is no value.
        values = values.cast(pa.float64())
    return values.to_numpy(zero_copy_only=False)
