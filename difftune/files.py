"""Files: written whole or not at all, and read without believing them.

What a disk does not take or give back, and what is no JSON, is an `InputError` with its path.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from difftune.errors import InputError

_LARGEST = 2**26
"""Bytes of a JSON file of ours at most; what is longer is arrays, and in other files."""


def write(path: Path, content: str | bytes) -> None:
    """Writes a file in one step, and makes folders where there are none.

    A reader, also after a power cut, finds the old content or the new one.

    Args:
        path: The file.
        content: Text is written as UTF-8.

    Raises:
        OSError: The system does not let us. See `writing` for a message to a user.
    """
    with _replacing(path, binary=True) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(path: str | Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A file to write to, which appears under its name when it is complete.

    Args:
        path: The file; its folder is made if need be.
        binary: Whether bytes are written; else text, as UTF-8.

    Raises:
        InputError: When the system does not let us; what was there before stays.
    """
    try:
        with _replacing(Path(path), binary=binary) as stream:
            yield stream
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def _replacing(path: Path, *, binary: bool) -> Iterator[IO[Any]]:
    # Of this process alone: two that write the same file do not write into one another's.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb" if binary else "w", encoding=None if binary else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
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


def read_json(
    path: Path, *, remedy: str = "Take another copy, or write it anew."
) -> dict[str, Any]:
    """The JSON object of a file that we wrote ourselves.

    Args:
        path: The file.
        remedy: What to do when it cannot be read, as a sentence.

    Raises:
        InputError: It cannot be read, or holds no object.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(
                f"{path} has more than {_LARGEST >> 20} MiB: it is no file of ours. {remedy}"
            )
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is no whole JSON file ({str(error)[:200]}): it was cut or changed. {remedy}"
        ) from error
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


NO_CACHE = "DIFFTUNE_NO_CACHE"
"""Environment variable that turns off all caches of the user, if it is anything but 0."""


def caches_wanted() -> bool:
    """Whether programs and events may be kept for the next start where nobody names a folder."""
    return os.environ.get(NO_CACHE, "0") in ("", "0")


def user_cache() -> Path:
    """Where the platform wants caches of a user."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    name, usual = (
        ("LOCALAPPDATA", "AppData/Local") if os.name == "nt" else ("XDG_CACHE_HOME", ".cache")
    )
    given = os.environ.get(name, "")
    # A relative path is to be ignored, says the XDG specification.
    return Path(given) if Path(given).is_absolute() else Path.home() / usual
