"""The run directory: one run, and everything needed to repeat or continue it."""

import importlib.metadata
import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import difftune
from difftune.config import Config
from difftune.errors import InputError
from difftune.report import to_json
from difftune.training import describe

logger = logging.getLogger("difftune")

PACKAGES = ("difftune", "jax", "jaxlib", "flax", "optax", "numpy", "uproot", "pyhf")


def write(path: Path, text: str) -> None:
    """Writes a text file in one step: it is there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file in one step; what is not finite becomes null."""
    write(path, to_json(content) + "\n")


def check_folder(folder: Path, config: Config, *, resume: bool) -> None:
    """Refuses a directory that a run must not be written to.

    Args:
        folder: The run directory; need not exist.
        config: The resolved configuration.
        resume: Whether to continue the run that is there.

    Raises:
        InputError: When another run, or something else, is there.
    """
    folder = Path(folder)
    stored = folder / "config.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; choose a directory with --output.")
    if not stored.is_file():
        if folder.is_dir() and any(p.name != ".lock" for p in folder.iterdir()):
            raise InputError(
                f"{folder} exists, is not empty and holds no run of difftune; choose another "
                "directory with --output."
            )
        return
    if not resume:
        raise InputError(
            f"{folder} already holds a run. Continue it with --resume, choose another directory "
            "with --output, or remove it."
        )
    before = json.loads(stored.read_text())
    changed = [
        f"{key}: {old!r} -> {new!r}" for key, old, new in _changes(before, config.model_dump())
    ]
    if changed:
        raise InputError(
            f"{folder} holds a run of another configuration: {'; '.join(changed[:5])}. Resume "
            "with the configuration that it began with, or choose another directory with "
            "--output."
        )


@contextmanager
def open_run(folder: Path, config: Config, *, resume: bool) -> Iterator[Path]:
    """Takes a directory for a run, and holds it until the end.

    Args:
        folder: The run directory.
        config: The resolved configuration.
        resume: Whether to continue the run that is there.

    Yields:
        The folder, with `config.json` and `environment.json` in it, and with the log being
        written.

    Raises:
        InputError: As `check_folder`, and when another process is running there.
    """
    check_folder(folder, config, resume=resume)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        import fcntl  # not on Windows, where the library works and the run directory does not

        try:
            # The kernel lets go of it when the process dies, however it dies.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another process is running in {folder}; wait for it or choose another directory "
                "with --output."
            ) from None
        handler = logging.FileHandler(folder / "log.txt")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        try:
            # Python's JSON keeps a NaN, which stands for itself among the missing values.
            write(folder / "config.json", json.dumps(config.model_dump(), indent=2) + "\n")
            write_json(folder / "environment.json", environment(config))
            yield folder
        finally:
            logger.removeHandler(handler)
            handler.close()


def _changes(old: Any, new: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Keys whose values differ, with the old and the new value."""
    if isinstance(new, dict) and isinstance(old, dict):
        names = sorted({*new, *old})
        return [
            row
            for name in names
            for row in _changes(old.get(name), new.get(name), f"{key}.{name}".strip("."))
        ]
    # Where the run lives does not change what it is; and NaN is not equal to itself.
    same = json.dumps(new) == json.dumps(old)
    return [] if same or key == "general.output" else [(key, old, new)]


def environment(config: Config) -> dict[str, Any]:
    """Versions, seed and devices of a run."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = difftune.__version__ if name == "difftune" else "not installed"
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
        "seed": config.general.seed,
        "devices": describe(),
        "arguments": sys.argv[1:],
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
