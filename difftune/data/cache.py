"""Events that were read before, kept on disk while neither files nor the request change.

What is kept is known by all arguments of `read`, by the code of the reader, and by the versions of
what it reads with. It is used only if the same paths and globs name the same files, and each file
has its size, its time of change to the nanosecond, and its first and last 64 kB as before. Files at
addresses cannot be told to be unchanged: with one of them nothing is kept.
"""

import functools
import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from difftune.arguments import said
from difftune.data.events import Events
from difftune.data.sources import Resolved, resolve, resolving
from difftune.errors import InputError
from difftune.files import caches_wanted, user_cache, writing

logger = logging.getLogger("difftune")

_WORTH = 1.0
"""Seconds of reading from which on events are kept."""
_LIMIT = 10 * 2**30
"""Bytes of a folder; what was not used for longest goes."""
_ENDS = 2**16
_PACKAGES = ("uproot", "awkward", "numpy")
_OURS = re.compile(r"[0-9a-f]{32}\.npz|\.[0-9a-f]{32}\.npz\.\d+\.partial")
"""Names of files that are kept, and that are being written."""
_CLASSES = "difftune.data."
# NaN is equal to nothing but, in a tuple, to the same object: that of numpy, as everywhere.
_CONSTANTS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


def as_cache(given: Any) -> Path | None:
    """The folder for events, if they are to be kept.

    Args:
        given: A folder; True for that of difftune among the caches of the user, unless the
            environment variable `DIFFTUNE_NO_CACHE` turns these off; False or None for none.

    Raises:
        InputError: It is something else.
    """
    if given is None or given is False:
        return None
    if given is True:
        return user_cache() / "difftune" / "events" if caches_wanted() else None
    if isinstance(given, str | os.PathLike) and os.fspath(given) and "\0" not in os.fspath(given):
        return Path(given).expanduser()
    raise InputError(
        f"cache = {said(given)}: give a folder, true for difftune's own, or false to keep nothing."
    )


def through(
    folder: Path | None, arguments: Mapping[str, Any], make: Callable[[], Events]
) -> Events:
    """The events that are kept in a folder or, if they are not, those that are made, to be kept.

    Args:
        folder: Where they are kept; None for no cache.
        arguments: All that says what is read.
        make: Reads the events.
    """
    key = None if folder is None else _key(arguments)
    if folder is None or key is None:
        return make()
    path = folder / f"{key}.npz"
    kept = _load(path)
    if kept is not None:
        logger.info(
            "%d events from the cache %s: no file has changed since they were read. "
            "cache = false reads them again",
            len(kept),
            path,
        )
        return kept
    begin = time.monotonic()
    with resolving() as resolved, _hearing() as warnings:
        events = make()
    if time.monotonic() - begin >= _WORTH:
        _store(path, events, resolved, warnings)
    return events


def _key(arguments: Mapping[str, Any]) -> str | None:
    """A name for a request; None for one that cannot be told from others."""
    try:
        request = json.dumps(_encoded(dict(arguments), None))
    except TypeError:
        return None
    parts = (request, os.getcwd(), _reader())
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


@functools.cache
def _reader() -> str:
    """Which reader this is: its code, and the versions of what it reads with."""
    digest = hashlib.blake2b()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    versions = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    return f"{digest.hexdigest()} {' '.join(versions)}"


@contextmanager
def _hearing() -> Iterator[list[str]]:
    """Collects the warnings of the log, which are said again with the events."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear(logging.WARNING)
    logger.addHandler(ear)
    try:
        yield heard
    finally:
        logger.removeHandler(ear)


@dataclass(frozen=True)
class _State:
    """How a file was when it was read."""

    size: int
    changed: int
    ends: str

    @classmethod
    def of(cls, file: str) -> "_State":
        with open(file, "rb") as stream:
            status = os.fstat(stream.fileno())
            digest = hashlib.blake2b(stream.read(_ENDS), digest_size=16)
            stream.seek(max(0, status.st_size - _ENDS))
            digest.update(stream.read(_ENDS))
        return cls(status.st_size, status.st_mtime_ns, digest.hexdigest())


def _store(path: Path, events: Events, resolved: Sequence[Resolved], warnings: list[str]) -> None:
    files = {file for each in resolved for file in each.found}
    if any("://" in file for file in files):
        logger.debug("files at addresses: the events are not kept")
        return
    arrays: list[np.ndarray] = []
    try:
        states = {file: _State.of(file) for file in sorted(files)}
        if any(
            states[file].changed != changed
            for each in resolved
            for file, changed in zip(each.found, each.changed, strict=True)
        ):
            return  # a file was written to while it was read
        content = {
            "resolved": [[list(each.wanted), list(each.found)] for each in resolved],
            "files": {file: list(vars(state).values()) for file, state in states.items()},
            "warnings": warnings,
            "events": _encoded(events, arrays),
        }
        size = sum(array.nbytes for array in arrays)
        if size > _LIMIT // 2:
            return
        stored: dict[str, Any] = {f"a{i}": array for i, array in enumerate(arrays)}
        stored["content"] = np.frombuffer(json.dumps(content).encode(), np.uint8)
        with writing(path, binary=True) as stream:
            np.savez(stream, **stored)
        _keep_within(path.parent, _LIMIT)
    except (InputError, OSError, TypeError) as error:
        logger.warning("the events are not kept in the cache %s: %s", path.parent, error)
        return
    logger.info("the events are kept in the cache %s (%.0f MB)", path, size / 1e6)


def _keep_within(folder: Path, limit: int) -> None:
    """Removes what was not used for longest until the folder is small enough.

    A user may have files of other kinds in the folder, and another process may remove some, too.
    """
    entries = []
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            if _OURS.fullmatch(file.name):
                entries.append((file.stat(), file))
    entries.sort(key=lambda entry: -entry[0].st_mtime_ns)
    total = 0
    for status, file in entries:
        total += status.st_size
        if total > limit:
            file.unlink(missing_ok=True)


def _load(path: Path) -> Events | None:
    """Kept events; None if there are none, or if anything has changed."""
    try:
        there = path.exists()
    except OSError:  # writing says why it cannot be used
        return None
    if not there:
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            content = json.loads(stored["content"].tobytes(), parse_constant=_CONSTANTS.get)
            if not _current(content):
                return None
            count = len(stored.files) - 1
            events = _decoded(content["events"], [stored[f"a{i}"] for i in range(count)])
        if not isinstance(events, Events):
            raise TypeError("it holds no events")
        warnings = list(content["warnings"])
    except Exception as error:  # whatever what is no archive any more leads to
        logger.warning(
            "the cache %s is damaged (%s): the files are read again", path, type(error).__name__
        )
        return None
    with suppress(OSError):  # a folder that others may only read
        os.utime(path)
    for warning in warnings:
        logger.warning("%s", warning)
    return events


def _current(content: Any) -> bool:
    """Whether the same files are there, as they were."""
    try:
        for wanted, found in content["resolved"]:
            now = [os.path.realpath(file) for file in resolve(wanted, "cache")]
            if now != list(found):
                return False
        return all(_State.of(file) == _State(*state) for file, state in content["files"].items())
    except (InputError, OSError):
        # Reading says what is wrong.
        return False


def _encoded(value: Any, arrays: list[np.ndarray] | None) -> Any:
    """Something of JSON for plain values, dataclasses of this folder, and arrays.

    Args:
        value: What it is for.
        arrays: Where arrays go; None to put what they hold in their place.

    Raises:
        TypeError: It is something else.
    """
    match value:
        case None | bool() | str() | int() | float():
            return value
        case os.PathLike():
            return os.fspath(value)
        case np.generic():
            return value.item()
        case np.ndarray() | jax.Array():
            array = np.asarray(value)
            if arrays is None:
                return {"array": array.tolist(), "type": str(array.dtype)}
            arrays.append(array)
            return {"array": len(arrays) - 1}
        case Mapping():
            pairs = [[_encoded(each, arrays) for each in pair] for pair in value.items()]
            return {"mapping": pairs}
        case list() | tuple():
            name = "list" if isinstance(value, list) else "tuple"
            return {name: [_encoded(each, arrays) for each in value]}
    cls = type(value)
    if not (is_dataclass(value) and cls.__module__.startswith(_CLASSES)):
        raise TypeError(f"{said(value)} cannot be kept")
    own = {each.name: _encoded(getattr(value, each.name), arrays) for each in fields(cls)}
    return {"class": [cls.__module__, cls.__qualname__], "fields": own}


def _decoded(value: Any, arrays: Sequence[np.ndarray]) -> Any:
    """What `_encoded` made it of; a mapping becomes a dict."""
    match value:
        case {"array": int(number)}:
            return arrays[number]
        case {"mapping": pairs}:
            return {_decoded(k, arrays): _decoded(v, arrays) for k, v in pairs}
        case {"list": items}:
            return [_decoded(each, arrays) for each in items]
        case {"tuple": items}:
            return tuple(_decoded(each, arrays) for each in items)
        case {"class": [str(module), str(name)], "fields": dict(own)}:
            return _made(module, name, {k: _decoded(v, arrays) for k, v in own.items()})
    return value


def _made(module: str, name: str, own: Mapping[str, Any]) -> Any:
    if not module.startswith(_CLASSES):
        raise TypeError(f"{module} is not of the reader")
    cls = getattr(importlib.import_module(module), name)
    if not (isinstance(cls, type) and is_dataclass(cls)) or {f.name for f in fields(cls)} != set(
        own
    ):
        raise TypeError(f"{name} is another class now")
    value = object.__new__(cls)
    for field, content in own.items():
        object.__setattr__(value, field, content)
    return value
