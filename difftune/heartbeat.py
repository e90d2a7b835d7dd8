"""Says what is going on where long work is silent, such as compiling a program.

A thread does so, since what is silent is often a single step of Python. It goes through the log, so
it is heard where the log is, and nowhere else.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

logger = logging.getLogger("difftune")

EVERY = 8.0
"""Seconds of silence after which something is said."""

NAME = "difftune.heartbeat"
"""Name of the logger of these lines, by which files leave them out."""


class Heart:
    """What is going on, and how long nothing has been said.

    Args:
        what: What is going on.
        every: Seconds of silence after which it is said.
        clock: Tells the seconds.
    """

    def __init__(
        self, what: str, *, every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ):
        self.what, self._every, self._clock = what, every, clock
        self._since = self._said = clock()
        self._over = threading.Event()

    def doing(self, what: str, *, goes_on: bool = False) -> None:
        """From now on it is something else.

        Args:
            what: What is going on.
            goes_on: Whether it is still the same work, so that its seconds count on.
        """
        self.what = what
        if not goes_on:
            self._since = self._clock()

    def heard(self, record: logging.LogRecord) -> bool:
        """Notes that something was said; as a filter of the logger, which lets all pass.

        Args:
            record: What was said.
        """
        self._said = self._clock()
        return True

    def beat(self) -> None:
        """Says what is going on, if nothing has been said for a while."""
        now = self._clock()
        if now - self._said >= self._every:
            logging.getLogger(NAME).info("%s (%.0f s)", self.what, now - self._since)
            self._said = now

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beats in a thread of its own."""
        thread = threading.Thread(target=self._run, daemon=True, name="difftune heartbeat")
        logger.addFilter(self.heard)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            logger.removeFilter(self.heard)
            # It may be held up by a terminal that takes no line.
            thread.join(timeout=1.0)

    def _run(self) -> None:
        while not self._over.wait(max(self._said + self._every - self._clock(), 0.01)):
            self.beat()


_heart: ContextVar[Heart | None] = ContextVar("heart", default=None)


@contextmanager
def heartbeat(what: str) -> Iterator[None]:
    """Work that may be silent for long, about which there is a line every few seconds.

    Within other such work it only says what is going on.

    Args:
        what: What is going on, until `doing` says otherwise.
    """
    around = _heart.get()
    if around is not None:
        before = around.what
        around.doing(what)
        try:
            yield
        finally:
            around.doing(before)
        return
    heart = Heart(what, every=EVERY)
    token = _heart.set(heart)
    try:
        with heart.beating():
            yield
    finally:
        _heart.reset(token)


def doing(what: str, *, goes_on: bool = False) -> None:
    """Says what the work is at from now on, for whoever waits for it.

    Args:
        what: What is going on.
        goes_on: Whether it is still the same work, so that its seconds count on.
    """
    heart = _heart.get()
    if heart is not None:
        heart.doing(what, goes_on=goes_on)
