"""CSV and its relatives, through pyarrow: other separators, encodings and compressions.

What a file is, its first bytes say; its name does not have to.
"""

import csv
import lzma
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from difftune.data.arrow import DAMAGED, columns_of, kind_of
from difftune.data.names import Chunk, DataTable
from difftune.errors import InputError

_PEEK = 1 << 20
_SEPARATORS = ",;\t|"
_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xfd7zXZ\x00": "xz",
}
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*")


@dataclass(frozen=True)
class _Layout:
    """How a text is to be read.

    Attributes:
        names: Of the columns.
        skip: Lines before the first row of numbers.
        separator: Between columns.
        decimal: Point or comma of a number.
        encoding: Of the text.
    """

    names: list[str]
    skip: int
    separator: str
    decimal: str
    encoding: str

    def reader(self, source: Any, block: int, **convert: Any) -> pyarrow.csv.CSVStreamingReader:
        """Opens a stream of batches."""
        return pyarrow.csv.open_csv(
            source,
            read_options=pyarrow.csv.ReadOptions(
                block_size=block,
                column_names=self.names,
                skip_rows=self.skip,
                encoding=self.encoding,
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self.separator, invalid_row_handler=_without_comments
            ),
            convert_options=pyarrow.csv.ConvertOptions(decimal_point=self.decimal, **convert),
        )


def open_text(file: str, where: str) -> DataTable:
    """The header of a text file, and the kinds of its columns from the first rows.

    Raises:
        InputError: It cannot be opened, or is no table with the names of the columns on top.
    """
    try:
        with _stream(file) as stream:
            head = stream.read(_PEEK)
        layout = _layout(head, lambda problem: InputError(f"{where}: {file!r} {problem}"))
        with _stream(file) as stream, layout.reader(stream, _PEEK) as reader:
            schema = reader.schema
            first = next(iter(reader), None)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{where}: {file!r} cannot be opened as CSV: {error}. {DAMAGED}"
        ) from error
    # The first rows cannot promise that integers stay integers, nor that blanks stay blank.
    whole = {f.name for f in schema if _may_be_whole(f, first)}
    types = {f.name: pa.string() if f.name in whole else f.type for f in schema}

    def read(columns: Sequence[str], step: int) -> Iterator[Chunk]:
        # A row of text takes about as many bytes as its columns take in memory.
        block = min(max(step * 8 * len(schema.names), _PEEK), 1 << 30)
        wanted = list(columns)
        chosen = {name: types[name] for name in wanted}
        start = 0
        with (
            _stream(file) as stream,
            layout.reader(stream, block, include_columns=wanted, column_types=chosen) as reader,
        ):
            for batch in reader:
                for offset in range(0, batch.num_rows, step):
                    part = batch.slice(offset, step)
                    arrays = {
                        name: _numbers(part.column(name), file, name, layout.decimal)
                        if name in whole
                        else part.column(name)
                        for name in wanted
                    }
                    yield start, columns_of(file, arrays)
                    start += part.num_rows

    kinds = {name: "number" if name in whole else kind_of(types[name]) for name in types}
    empty = first is None or not first.num_rows
    return DataTable(file, None, kinds, 0 if empty else None, read)


def _stream(file: str) -> Any:
    with pa.OSFile(file) as raw:
        head = raw.read(8)
    for magic, name in _COMPRESSIONS.items():
        if head.startswith(magic):
            if name == "xz":
                return lzma.open(file)
            return pa.input_stream(file, compression=name)
    return pa.input_stream(file, compression=None)


def _layout(head: bytes, error: Callable[[str], InputError]) -> _Layout:
    encoding = _encoding(head, error)
    text = head.decode(encoding, "ignore").removeprefix("\ufeff")
    lines = re.split(r"\r\n|\n|\r", text)
    if len(head) == _PEEK and len(lines) > 1:
        lines.pop()
    skip = 0
    while skip < len(lines) and (not lines[skip].strip() or lines[skip].lstrip().startswith("#")):
        skip += 1
    if skip == len(lines):
        raise error("is empty: it has no line with the names of its columns.")
    separator = max(_SEPARATORS, key=lambda sign: len(_fields(lines[skip], sign)))
    names = _fields(lines[skip], separator)
    blanks = [len(line.split()) for line in lines[skip : skip + 2]]
    if len(names) == 1 and len(blanks) == 2 and blanks[0] == blanks[1] > 1:
        raise error(
            "has columns that blanks separate: put commas in their place, or write it with "
            "pandas.read_csv(..., sep=r'\\s+').to_csv(..., index=False)."
        )
    data = skip + 1
    if 2 * sum(bool(_NUMBER.fullmatch(name)) for name in names) >= len(names):
        above = _fields(lines[skip - 1].strip().lstrip("# "), separator) if skip else []
        if len(above) != len(names):
            raise error(
                f"has no names of columns: its first line is `{lines[skip][:80]}`. Put a line with "
                "the names on top."
            )
        names, data = above, skip
    names = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(names)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise error(f"has two columns {twice[0]!r}: rename one of them.")
    rows = [_fields(line, separator) for line in lines[data : data + 100]]
    comma = separator != "," and any(_DECIMAL_COMMA.fullmatch(v) for row in rows for v in row)
    return _Layout(names, data, separator, "," if comma else ".", encoding)


def _encoding(head: bytes, error: Callable[[str], InputError]) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in head:
        raise error(
            "is no text: it has bytes that are 0. ROOT, Parquet, Arrow and CSV can be read."
        )
    try:
        # What follows the last whole line may end within a character.
        head[: head.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _without_comments(row: pyarrow.csv.InvalidRow) -> str:
    return "skip" if row.text is not None and row.text.lstrip().startswith("#") else "error"


def _may_be_whole(field: pa.Field, first: pa.RecordBatch | None) -> bool:
    """Whether a column has integers, which doubles would round, or nothing yet."""
    if pa.types.is_integer(field.type) or pa.types.is_null(field.type):
        return True
    if first is None or not pa.types.is_floating(field.type):
        return False
    values = first.column(field.name).drop_null().to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        # Beyond int64, pyarrow takes integers for doubles.
        whole, size = values == np.floor(values), np.abs(values)
    return bool(whole.all() and size.max(initial=0) >= 2.0**53 and np.isfinite(size).all())


def _numbers(texts: pa.Array, file: str, name: str, decimal: str) -> pa.Array:
    """As integers if all of them are, exactly; else as doubles."""
    texts = pc.utf8_trim_whitespace(texts)
    blank = pc.is_in(texts, value_set=pa.array(pyarrow.csv.ConvertOptions().null_values))
    texts = pc.if_else(blank, None, texts)
    if decimal != ".":
        texts = pc.replace_substring(texts, decimal, ".")
    for kind in (pa.int64(), pa.uint64(), pa.float64()):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    bad = next(text for text in texts.to_pylist() if text and not _NUMBER.fullmatch(text))
    raise InputError(
        f"{file}: column {name!r} has {bad[:40]!r} where there are numbers elsewhere. Mend it, or "
        "leave it blank and call NaN missing."
    )
