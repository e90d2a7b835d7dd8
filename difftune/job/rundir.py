"""The run directory: one run, and everything needed to repeat or continue it."""

import errno
import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from difftune import files
from difftune.analysis import LogFile
from difftune.errors import DifftuneError, InputError
from difftune.files import write
from difftune.job.config import Config
from difftune.report import to_json
from difftune.training import PACKAGES, describe, differences, listed, rounds_kept, versions

logger = logging.getLogger("difftune")

OF_RUN = (*PACKAGES, "uproot", "pyhf")

# Where a run lives, what is drawn, who looks on and how much is held in memory at a time do not
# change what it is; nor does it change what was trained whether observed events are looked at,
# variations are pruned, or another luminosity is measured at.
MAY_CHANGE = (
    *("general.output", "general.figures", "general.watcher", "training.chunk"),
    *("fit.blind_above", "fit.unblind", "fit.prune", "fit.noise", "fit.luminosity_scale"),
    *("general.label", "general.detail"),
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


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
    with files.usable(folder, remedy=_ELSEWHERE):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; choose a directory with --output.")
        if folder.is_symlink() and not folder.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        above = next(each for each in folder.absolute().parents if each.exists())
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{above} is a file")
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not stored.is_file():
        if resume and "checkpoints" in there:
            logger.warning(
                "%s has no config.json; its checkpoints are compared with the configuration that "
                "is given now.",
                folder,
            )
        elif there - {".lock"}:
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
    before = files.read_json(
        stored,
        remedy="Remove that file and run again with --resume, which then compares the checkpoints "
        "with your analysis file; or choose another directory with --output.",
    )
    # A run of an older version has no keys that are newer: these have their defaults.
    with suppress(ValueError, InputError):
        before = json.loads(json.dumps(Config.model_validate(before).model_dump()))
    changed = [
        line
        for line in differences(before, json.loads(json.dumps(config.model_dump())))
        if line.partition(":")[0] not in MAY_CHANGE
    ]
    if changed:
        scaled = {line.partition(":")[0] for line in changed} & {"data.luminosity", "data.scale"}
        remedy = (
            f" For another luminosity nothing has to be trained: difftune report {folder} "
            "--luminosity 300, or --set fit.luminosity_scale=2."
        )
        raise InputError(
            f"{folder} holds a run of another configuration. {listed(changed)}. Resume with the "
            "configuration that it began with, or choose another directory with --output."
            + (remedy if scaled else "")
        )


_ELSEWHERE = "Choose a directory that can be made and written to, with --output."


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
    with ExitStack() as stack:
        with files.usable(folder, remedy=_ELSEWHERE):
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / ".lock").open("w"))
        import fcntl  # not on Windows, where the library works and the run directory does not

        try:
            # The kernel lets go of it when the process dies, however it dies.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is running in {folder}; wait for it or choose another directory "
                "with --output."
            ) from None
        with files.usable(folder, remedy=_ELSEWHERE):
            handler = LogFile(folder / "log.txt")
            stack.callback(handler.close)
            # Python's JSON keeps a NaN, which stands for itself among the missing values.
            write(folder / "config.json", json.dumps(config.model_dump(), indent=2) + "\n")
            write_json(folder / "environment.json", environment(config))
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        stack.callback(logger.removeHandler, handler)
        try:
            yield folder
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise DifftuneError(
                f"{error.filename or folder} cannot be written ({error.strerror}). What was "
                f"trained is kept in {folder}: make room and continue with --resume."
            ) from error


def kept(folder: Path) -> str:
    """What an interrupted run leaves behind, as a phrase; empty if nothing."""
    stages = {path.name: rounds_kept(path) for path in sorted((folder / "checkpoints").glob("*"))}
    rounds = [f"{name} up to round {number}" for name, number in stages.items() if number]
    if chosen := len(list((folder / "selection").glob("**/round_*.json"))):
        rounds.insert(0, f"{chosen} rounds of the selection of variables")
    return ", ".join(rounds)


def environment(config: Config) -> dict[str, Any]:
    """Versions, seed and devices of a run."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions(OF_RUN),
        "seed": config.general.seed,
        "devices": describe(),
        "arguments": sys.argv[1:],
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
