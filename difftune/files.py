"""Files: written whole or not at all, and read without believing them.

What a disk does not take or give back, and what is no JSON, is an `InputError` with its path.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from difftune.errors import InputError

_LARGEST = 2**26
"""Bytes of a JSON file of ours at most; what is longer is arrays, and in other files."""


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: When it cannot be read, or is no JSON.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} has more than {_LARGEST >> 20} MiB: it is no file of ours.")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is no whole JSON file ({str(error)[:200]}). It was cut or changed: take "
            "another copy, or write it anew."
        ) from error


def unwritable(path: str | Path, error: OSError) -> InputError:
    """What to say when a file cannot be written.

    Args:
        path: The file, or the folder.
        error: What the system said.
    """
    why = error.strerror or str(error) or type(error).__name__
    return InputError(
        f"{path} cannot be written ({why}). Make room there, or choose another place or a shorter "
        "name."
    )


@contextmanager
def writing(path: str | Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A file to write to, which appears under its name when it is complete.

    Args:
        path: The file; its folder is made if need be.
        binary: Whether bytes are written; else text, as UTF-8.

    Raises:
        InputError: When the system does not let us; what was there before stays.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb" if binary else "w", encoding=None if binary else "utf-8") as stream:
            yield stream
        os.replace(partial, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
