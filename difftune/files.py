"""Files that are there whole or not at all, and that say what is wrong with them when read."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from difftune.errors import InputError


def write(path: Path, content: str | bytes) -> None:
    """Writes a file in one step, and makes folders where there are none.

    Whoever reads it, also after a power cut, finds the old content or the new one.

    Args:
        path: The file.
        content: Text is written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    settle(path.parent)


def settle(folder: Path) -> None:
    """Has the names in a folder written to the disk, where the system can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:  # nor do some network disks
        return
    finally:
        os.close(handle)


def read_json(path: Path, *, remedy: str) -> dict[str, Any]:
    """A JSON object that we wrote ourselves.

    Args:
        path: The file.
        remedy: What to do when it cannot be read, as a sentence.

    Raises:
        InputError: It cannot be read, or holds no object.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). {remedy}") from error
    except (ValueError, RecursionError) as error:
        empty = path.stat().st_size == 0
        reason = "is empty" if empty else f"is damaged or cut short ({error})"
        raise InputError(f"{path} {reason}. {remedy}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object. {remedy}")
    return content


@contextmanager
def usable(folder: Path, *, remedy: str) -> Iterator[None]:
    """Says which folder cannot be used when what is done in it fails.

    Args:
        folder: What is made or written to.
        remedy: What to do then, as a sentence.

    Raises:
        InputError: For every error of the operating system.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if os.path.islink(folder) and not os.path.exists(folder):
            reason = f"it is a link to {os.readlink(folder)}, which does not exist"
        shown = str(folder) if len(str(folder)) <= 200 else f"{str(folder)[:200]}…"
        raise InputError(f"{shown} cannot be used: {reason}. {remedy}") from error
