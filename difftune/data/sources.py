"""Finds files, and opens ROOT trees, Parquet and CSV files as a `DataTable`."""

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from difftune.data.names import DataTable
from difftune.data.root import open_root, trees_in
from difftune.data.variations import Files, Trees
from difftune.errors import InputError, nearest

_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
}
_ENDINGS = {
    ".root": "root",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "arrow",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".dat": "text",
}
_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".xz")
_MAGIC = {
    b"root": "root",
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",
}
_FOREIGN = {
    b"\x89HDF": "HDF5: write it as Parquet, with pandas.read_hdf(...).to_parquet(...)",
    b"PK\x03\x04": "a zip archive (of Excel or numpy too): unpack it, or write its table as CSV",
    b"\x93NUMPY": "a numpy array: give it to difftune.Events.from_arrays",
    b"FEA1": "Feather of the first version: write it again with pyarrow.feather.write_feather",
}


def resolve(files: Files, where: str) -> list[str]:
    """All files that paths, globs and addresses name, each once, globs sorted.

    Args:
        files: One or several of them; an address has `://` in it and is taken as it is.
        where: The caller, for messages.

    Raises:
        InputError: A file is missing, or a glob matches nothing.
    """
    found: dict[str, str] = {}
    several = [files] if isinstance(files, str | os.PathLike) else files
    wanted = [os.fspath(name) for name in several]
    if not wanted:
        raise InputError(f"{where}: the list of files is empty.")
    for name in wanted:
        if "://" in name:
            found[name] = name
            continue
        path = os.path.expanduser(name)
        if os.path.exists(path):
            matches = [path]
        elif glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise InputError(f"{where}: no file matches {name!r} (seen from {os.getcwd()}).")
        else:
            hint = ""
            if re.search(r"\.root:[^/]+$", path):
                hint = " Give the name of the tree as `tree`, not behind the file name."
            raise InputError(
                f"{where}: file {name!r} does not exist (seen from {os.getcwd()}).{hint}"
            )
        for match in matches:
            for file in _inside(match, where) if os.path.isdir(match) else [match]:
                found.setdefault(os.path.realpath(file), file)
    seen = _SEEN.get()
    if seen is not None:
        seen.append(Resolved(tuple(wanted), tuple(found), tuple(map(_changed, found))))
    return list(found.values())


class Resolved(NamedTuple):
    """What paths and globs were found to name.

    Attributes:
        wanted: Paths, globs and addresses.
        found: The real paths of the files, or addresses.
        changed: When each was changed last, in nanoseconds; 0 for an address.
    """

    wanted: tuple[str, ...]
    found: tuple[str, ...]
    changed: tuple[int, ...]


_SEEN: ContextVar[list[Resolved] | None] = ContextVar("seen", default=None)


@contextmanager
def resolving() -> Iterator[list[Resolved]]:
    """Collects all that `resolve` finds meanwhile."""
    seen: list[Resolved] = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def _changed(file: str) -> int:
    return 0 if "://" in file else os.stat(file).st_mtime_ns


def _inside(folder: str, where: str) -> list[str]:
    """The files of a data set of Parquet files, which is a folder."""
    files = [
        str(path)
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and not any(p[0] in "._" for p in path.relative_to(folder).parts)
    ]
    if not files or any(_form_by_name(file) != "parquet" for file in files):
        raise InputError(
            f"{where}: {folder!r} is a folder; add a pattern, as in '*.root'. (One that has "
            "nothing but Parquet files can be given as it is.)"
        )
    return files


def open_table(file: str, tree: str | None, where: str) -> DataTable:
    """Reads the metadata of a file.

    Args:
        file: Path or address. What it is, its first bytes say, or its ending where they do not.
        tree: Name of the tree; None if there is just one, and for all but ROOT files.
        where: The caller, for messages.

    Raises:
        InputError: The file cannot be opened, or the tree is not there.
    """
    form = _form(file, where)
    if form is None:
        raise InputError(
            f"{where}: {file!r} is of no known kind: {', '.join(_ENDINGS)} can be read, the last "
            f"ones also with {', '.join(_COMPRESSED)} behind."
        )
    if form == "root":
        return open_root(file, tree, where)
    if tree is not None:
        raise InputError(f"{where}: {file!r} has no trees; leave tree = {tree!r} out.")
    try:
        from difftune.data import arrow, text
    except ImportError as error:
        raise InputError(
            f"{where}: reading {file!r} needs pyarrow: pip install 'difftune[arrow]'."
        ) from error
    readers: dict[str, Callable[[str, str], DataTable]] = {
        "text": text.open_text,
        "parquet": arrow.open_parquet,
        "arrow": arrow.open_arrow,
    }
    return readers[form](file, where)


def trees_of(file: str, wanted: Trees | None, where: str) -> list[str | None]:
    """The trees of a file that are read, in the order of the file.

    Args:
        file: Path or address.
        wanted: A name, which is not looked for here, or a pattern, or several of them; None for
            the only one.
        where: The caller, for messages.

    Raises:
        InputError: The file cannot be opened, or nothing fits a pattern, or one of several names.
    """
    if wanted is None or (isinstance(wanted, str) and not glob.has_magic(wanted)):
        return [wanted]
    if not is_root(file, where):
        raise InputError(f"{where}: {file!r} has no trees; leave tree = {wanted!r} out.")
    known = trees_in(file, where)
    patterns = [wanted] if isinstance(wanted, str) else wanted
    fits = {
        pattern: [pattern] if pattern in known else fnmatch.filter(known, pattern)
        for pattern in patterns
    }
    for pattern, found in fits.items():
        if not found:
            raise InputError(
                f"{where}: {file!r} has no tree {pattern!r}.{nearest(pattern, known)} "
                f"Trees in it: {', '.join(known) or 'none'}."
            )
    return [name for name in known if any(name in found for found in fits.values())]


def is_root(file: str, where: str) -> bool:
    """Whether a file is one of ROOT, by its first bytes or its ending.

    Raises:
        InputError: It cannot be read.
    """
    return _form(file, where) == "root"


def _form(file: str, where: str) -> str | None:
    return _form_by_name(file) if "://" in file else _form_by_content(file, where)


def _form_by_name(file: str) -> str | None:
    name = file.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return next((form for ending, form in _ENDINGS.items() if name.endswith(ending)), None)


def _form_by_content(file: str, where: str) -> str | None:
    try:
        with open(file, "rb") as handle:
            head = handle.read(8)
    except OSError as error:
        raise InputError(f"{where}: {file!r} cannot be read: {error.strerror}.") from error
    named = _form_by_name(file)
    if not head and named:
        raise InputError(f"{where}: {file!r} is empty, it has not one byte. Write it again.")
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise InputError(f"{where}: {file!r} is {what}.")
    return next((form for magic, form in _MAGIC.items() if head.startswith(magic)), named)


def rows_in(size: str | int, bytes_a_row: int) -> int:
    """Rows of a chunk.

    Args:
        size: Number of rows, or a string such as "100 MB".
        bytes_a_row: Size of one row in memory.
    """
    if isinstance(size, int):
        rows = size
    else:
        match = re.fullmatch(r"\s*([0-9.]+)\s*(|[kKmMgG]i?)[bB]\s*", size)
        if match is None:
            raise InputError(f"chunk_size = {size!r} is neither a number of events nor '100 MB'.")
        rows = max(1, int(float(match[1]) * _UNITS[match[2].lower()]) // max(1, bytes_a_row))
    if rows < 1:
        raise InputError(f"chunk_size = {size!r}: at least one event is needed.")
    return rows
