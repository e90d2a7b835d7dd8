"""Progress of a search, for a person and for a program."""

import json
import logging
import time
from pathlib import Path

from difftune.search import Progress

logger = logging.getLogger("difftune")


class RoundLog:
    """Progress of a search as lines for a person, and as JSON lines for a program.

    Args:
        stage: What is trained.
        path: File that the JSON lines are added to, if any.
    """

    def __init__(self, stage: str, path: Path | None = None):
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
        if self.path is None:
            return
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
