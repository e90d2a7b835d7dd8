"""Progress of a search, for a person and for a program."""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from difftune import heartbeat
from difftune.heartbeat import doing
from difftune.report import to_json
from difftune.search import Progress, Watcher

logger = logging.getLogger("difftune")


class LogFile(logging.FileHandler):
    """The log of a run; what cannot be written any more is said once, and the run goes on.

    It is without the lines that only say that the work goes on.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.addFilter(lambda record: record.name != heartbeat.NAME)

    def handleError(self, record: logging.LogRecord) -> None:
        """Called where a line could not be written."""
        error = sys.exc_info()[1]
        logger.removeHandler(self)
        logger.warning(
            "%s cannot be written any more (%s); the run goes on without it.",
            *(self.baseFilename, error),
        )

    def close(self) -> None:
        """Closes the file, also where what is left cannot be written: that has been said."""
        with contextlib.suppress(OSError):
            super().close()


class RoundLog(Watcher):
    """Progress of a search as lines for a person, and as JSON lines for a program.

    Within a round it tells the heartbeat how far it is.

    Args:
        stage: What is trained.
        path: File that the JSON lines are added to, if any.
    """

    def __init__(self, stage: str, path: Path | None = None):
        self.name, self.path = stage, path
        self._spent: list[float] = []
        self._failed = False

    def begin(self, members: int, epochs: int, rounds: int | None) -> None:
        """Says what begins."""
        length = f"{rounds} round{'s' * (rounds > 1)}" if rounds else "rounds as time allows"
        size = f"{members} member{'s' * (members > 1)}, {length}"
        logger.info("%s: %s of %d epochs; the first one is compiled", self.name, size, epochs)
        doing(f"{self.name}: compiling its programs, and the first epoch")

    def epoch(self, number: int, epochs: int, rounds: int) -> None:
        """Tells how far it is."""
        done, within = divmod(number, epochs)
        if within:
            doing(f"{self.name}: round {done + 1}/{rounds}, epoch {within + 1} of {epochs}")
        else:
            doing(f"{self.name}: round {done}/{rounds}, keeping the best networks")

    def __call__(self, progress: Progress) -> None:
        """Writes one round."""
        if progress.round < progress.rounds:
            doing(f"{self.name}: round {progress.round + 1}/{progress.rounds}")
        self._spent.append(progress.seconds)
        # The first round compiles, so the others tell how long the rest will take.
        typical = self._spent[-1] if len(self._spent) == 1 else min(self._spent[-3:])
        left = typical * (progress.rounds - progress.round)
        minutes = time.strftime("%M:%S", time.gmtime(left))
        logger.info("%s: %s  %s left", self.name, progress, minutes)
        if self.path is None:
            return
        row = {
            "stage": self.name,
            "round": progress.round,
            "rounds": progress.rounds,
            "best": progress.best,
            "selection_score": progress.selection_score,
            "scores": progress.score,
            "running": progress.running,
            "diverged": progress.diverged,
            "seconds": round(progress.seconds, 3),
            "events_per_second": round(progress.events_per_second),
        }
        # One line; what is not finite is null.
        line = json.dumps(json.loads(to_json(row))) + "\n"
        try:
            with self.path.open("a") as file:
                file.write(line)
        except OSError as error:
            if not self._failed:
                logger.warning(
                    "%s cannot be written (%s); the search goes on, and says this once. Make room, "
                    "or its checkpoints cannot be written either.",
                    *(self.path, error),
                )
            self._failed = True


def watching(
    name: str, watcher: Callable[[Progress], None] | None, path: Path | None = None
) -> Callable[[Progress], None]:
    """What looks on at a stage: its log, and whoever else wants to.

    Args:
        name: Of the stage.
        watcher: A plain function, or a `Watcher`, which is told of the stage.
        path: File for JSON lines, as of `RoundLog`.
    """
    log = RoundLog(name, path)
    if watcher is None:
        return log
    if isinstance(watcher, Watcher):
        watcher.stage(name)
    return _Both(log, watcher)


class _Both(Watcher):
    """The log of a stage, and another one who looks on."""

    def __init__(self, log: RoundLog, other: Callable[[Progress], None]):
        self.log, self.other = log, other

    def begin(self, members: int, epochs: int, rounds: int | None) -> None:
        """Tells both."""
        self.log.begin(members, epochs, rounds)
        if isinstance(self.other, Watcher):
            self.other.begin(members, epochs, rounds)

    def epoch(self, number: int, epochs: int, rounds: int) -> None:
        """Tells both."""
        self.log.epoch(number, epochs, rounds)
        if isinstance(self.other, Watcher):
            self.other.epoch(number, epochs, rounds)

    def __call__(self, progress: Progress) -> None:
        """Tells both."""
        self.log(progress)
        self.other(progress)
