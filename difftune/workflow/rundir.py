"""The run directory: one run, and everything needed to repeat or continue it."""

import fcntl
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import difftune
from difftune.config import Config
from difftune.errors import InputError
from difftune.search import Progress
from difftune.training import describe

logger = logging.getLogger("difftune")

PACKAGES = ("difftune", "jax", "jaxlib", "flax", "optax", "numpy", "uproot", "pyhf", "iminuit")


def write(path: Path, text: str) -> None:
    """Writes a text file in one step: it is there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file in one step."""
    write(path, json.dumps(content, indent=2) + "\n")


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
        InputError: When another run is there, or is going on there.
    """
    folder = Path(folder)
    stored = folder / "config.json"
    resolved = config.model_dump(mode="json")
    if stored.is_file():
        before = json.loads(stored.read_text())
        if not resume:
            raise InputError(
                f"{folder} already holds a run. Continue it with --resume, choose another "
                "directory with --output, or remove it."
            )
        changed = [f"{k}: {before.get(k)!r} -> {v!r}" for k, v in _flat(resolved, before)]
        if changed:
            raise InputError(
                f"{folder} holds a run of another configuration: {'; '.join(changed[:5])}. "
                "Resume with the configuration that it began with, or choose another directory "
                "with --output."
            )
    elif folder.is_dir() and any(folder.iterdir()) and not (folder / ".lock").exists():
        raise InputError(
            f"{folder} exists, is not empty and holds no run of difftune; choose another directory "
            "with --output."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
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
            write_json(stored, resolved)
            write_json(folder / "environment.json", environment(config))
            yield folder
        finally:
            logger.removeHandler(handler)
            handler.close()


def _flat(new: Any, old: Any, key: str = "") -> list[tuple[str, Any]]:
    """Keys whose values differ, with the new value."""
    if isinstance(new, dict) and isinstance(old, dict):
        names = sorted({*new, *old})
        return [
            row
            for name in names
            for row in _flat(new.get(name), old.get(name), f"{key}.{name}".strip("."))
        ]
    # Where the run lives does not change what it is.
    return [] if new == old or key == "general.output" else [(key, new)]


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


class RoundLog:
    """Progress of a search as lines for a person, and as JSON lines for a program.

    Args:
        stage: What is trained.
        path: File that the JSON lines are added to.
    """

    def __init__(self, stage: str, path: Path):
        self.stage, self.path = stage, path
        self._spent: list[float] = []

    def __call__(self, progress: Progress) -> None:
        """Writes one round."""
        self._spent.append(progress.seconds)
        # The first round compiles, so the others tell how long the rest will take.
        typical = self._spent[-1] if len(self._spent) == 1 else min(self._spent[-3:])
        left = typical * (progress.rounds - progress.round)
        scores = sorted(float(s) for s in progress.score if s == s)
        spread = f"{scores[0]:.4g} to {scores[-1]:.4g}" if scores else "none finite"
        dead = f", {progress.diverged} diverged" if progress.diverged else ""
        logger.info(
            "%s: round %d/%d  best %.4g  now %s  (%d training%s)  %.2g events/s  %s left",
            self.stage,
            progress.round,
            progress.rounds,
            progress.best,
            spread,
            progress.running,
            dead,
            progress.events_per_second,
            time.strftime("%M:%S", time.gmtime(left)),
        )
        row = {
            "stage": self.stage,
            "round": progress.round,
            "rounds": progress.rounds,
            "best": progress.best,
            "scores": [float(s) for s in progress.score],
            "running": progress.running,
            "diverged": progress.diverged,
            "seconds": round(progress.seconds, 3),
            "events_per_second": round(progress.events_per_second),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(row).replace("NaN", "null") + "\n")
