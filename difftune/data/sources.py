"""Finds files, and opens ROOT trees, Parquet and CSV files as a `Table`."""

import glob
import os
import re

from difftune.data.root import open_root
from difftune.data.table import Table
from difftune.data.variations import Files
from difftune.errors import InputError

_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
}
_ENDINGS = ".root, .parquet, .pq, .csv, .csv.gz"


def resolve(files: Files, where: str) -> list[str]:
    """All files that paths, globs and addresses name, each once, globs sorted.

    Args:
        files: One or several of them; an address has `://` in it and is taken as it is.
        where: Who asks, for messages.

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
            if os.path.isdir(match):
                raise InputError(f"{where}: {match!r} is a folder; add a pattern, as in '*.root'.")
            found.setdefault(os.path.realpath(match), match)
    return list(found.values())


def open_table(file: str, tree: str | None, where: str) -> Table:
    """Reads the metadata of a file.

    Args:
        file: Path or address; its ending decides the format.
        tree: Name of the tree; None if there is just one, and for Parquet and CSV.
        where: Who asks, for messages.

    Raises:
        InputError: The file cannot be opened, or the tree is not there.
    """
    ending = file.lower().removesuffix(".gz").removesuffix(".bz2")
    if ending.endswith(".root"):
        return open_root(file, tree, where)
    if not ending.endswith((".parquet", ".pq", ".csv")):
        raise InputError(f"{where}: {file!r} is of no known kind: {_ENDINGS} can be read.")
    if tree is not None:
        raise InputError(f"{where}: {file!r} has no trees; leave tree = {tree!r} out.")
    try:
        from difftune.data import arrow
    except ImportError as error:
        raise InputError(
            f"{where}: reading {file!r} needs pyarrow: pip install 'difftune[arrow]'."
        ) from error
    return arrow.open_csv(file, where) if ".csv" in ending[-4:] else arrow.open_parquet(file, where)


def rows_in(size: str | int, bytes_a_row: int) -> int:
    """Rows of a chunk.

    Args:
        size: Number of rows, or a text such as "100 MB".
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
