"""A run that is under way, followed from another terminal."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from difftune.errors import InputError


def watch(
    folder: str | Path, *, every: float = 1.0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Lines about the rounds of a run, those that there are and those to come, until it ends.

    Args:
        folder: The run directory.
        every: Seconds between two looks.
        sleep: Waits for so many seconds.

    Yields:
        A line for each round, and a last one that says how the run ended.

    Raises:
        InputError: There is no run.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no run of difftune: give the folder of one.")
    progress, position, rest = folder / "progress.jsonl", 0, b""
    while True:
        # Asked first, so that nothing is missed that is written until the answer.
        running = _is_running(folder)
        if progress.is_file():
            with progress.open("rb") as file:
                file.seek(position)
                new = file.read()
            position += len(new)
            # The last line may not be complete yet.
            *lines, rest = (rest + new).split(b"\n")
            yield from (line for each in lines if (line := _line(each)))
        if not running:
            break
        sleep(every)
    if (folder / "results.json").is_file():
        yield f"the run in {folder} is complete: see report.html"
    else:
        yield (
            f"no process is running in {folder}, and it has no results yet: its log.txt says why; "
            "difftune run ... --resume goes on"
        )


def _line(raw: bytes) -> str:
    """A round as a line for a person; nothing for what is no line of a run."""
    try:
        row: Any = json.loads(raw)
    except ValueError:
        return ""
    if not isinstance(row, dict):
        return ""

    def number(key: str, form: str) -> str:
        value = row.get(key)
        return format(value, form) if isinstance(value, int | float) else "-"

    return (
        f"{row.get('stage', '?')}: round {row.get('round', '?')}/{row.get('rounds', '?')}  best "
        f"selection score {number('selection_score', '.4g')} (score {number('best', '.4g')})  "
        f"{number('running', 'd')} running, {number('diverged', 'd')} diverged  "
        f"{number('seconds', '.1f')} s"
    )


def _is_running(folder: Path) -> bool:
    """Whether a process holds the run directory."""
    import fcntl  # not on Windows, where no run directory is written

    try:
        with (folder / ".lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
