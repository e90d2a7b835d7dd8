"""Ctrl-C and SIGTERM: end soon, and say what is kept and how to go on.

Python sees a signal only between two of its own steps, and compiling a program is one step that can
take a minute. So another thread hears of the signal as well, and ends the process where Python has
not done so in time. Checkpoints are complete at any moment, so nothing is lost by that.

What a handler raises within a finalizer or a callback of the garbage collector is dropped by
Python, and JAX runs such a callback often. The signal is then sent again.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

logger = logging.getLogger("difftune")

_PATIENCE = 2.0
_AGAIN = 0.05
_ENDING = (signal.SIGTERM, signal.SIGINT)


class Terminated(SystemExit):
    """SIGTERM came, as from a batch system before it ends a job."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def exit_code(error: BaseException) -> int:
    """What a process that is ended by it returns, by convention 128 and the signal's number."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def _terminate(number: int, frame: object) -> None:
    raise Terminated


@contextmanager
def explained(kept: Callable[[], str], *, program: bool = False) -> Iterator[None]:
    """Says what is kept when the work is interrupted, and lets the interruption pass.

    Handlers of signals are installed for the time of the work, and in the main thread alone. A
    handler of SIGTERM that is there already stays.

    Args:
        kept: What is kept and how to go on, as sentences; nothing is said where it is empty.
        program: Whether the process is ours: then Ctrl-C also ends it, within seconds, where
            something cannot be interrupted. Else only SIGTERM does, which would have ended it in
            any case.
    """
    said = threading.Lock()

    def say(name: str) -> None:
        if said.acquire(blocking=False) and (text := kept()):
            logger.warning("interrupted (%s). %s", name, text)

    main = threading.current_thread() is threading.main_thread()
    # None is a handler that was not installed by Python, as that of jax.distributed.
    ours = program or (main and signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, None))
    if not (main and ours):
        # Signals come to the main thread alone.
        with _saying(say), _sent_again(KeyboardInterrupt) if main else nullcontext():
            yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    watch = _Watch(_ENDING if program else (signal.SIGTERM,), say)
    try:
        with _saying(say), _sent_again(KeyboardInterrupt, Terminated):
            yield
        watch.leave()
    except (KeyboardInterrupt, Terminated):
        # A program of ours is at its end then, and must not wait for others at the exit.
        if not program:
            watch.leave()
        raise
    except BaseException:
        watch.leave()
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


@contextmanager
def _saying(say: Callable[[str], None]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say("Ctrl-C")
        raise
    except Terminated:
        say("SIGTERM")
        raise


@contextmanager
def _sent_again(*interruptions: type[BaseException]) -> Iterator[None]:
    """Sends the signal once more whose exception is one of these and has been dropped."""
    before = sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        if dropped.exc_type not in interruptions:
            before(dropped)
            return
        number = signal.SIGTERM if dropped.exc_type is Terminated else signal.SIGINT
        # Later, since what would be raised here is dropped as well.
        again = threading.Timer(_AGAIN, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


class _Watch:
    """A thread that hears of signals at once, and ends the process if nobody else does.

    Args:
        signals: Those that end it.
        say: Says what is kept, given the name of the signal.
    """

    def __init__(self, signals: tuple[signal.Signals, ...], say: Callable[[str], None]):
        self._signals, self._say = signals, say
        self._left = threading.Event()
        self._there = False
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        if before != -1:
            # Somebody else listens already, as asyncio does.
            signal.set_wakeup_fd(before)
            self.leave()
            return
        self._there = True
        threading.Thread(target=self._listen, daemon=True, name="difftune signals").start()

    def _listen(self) -> None:
        while heard := self._read.recv(1):
            if heard[0] not in self._signals:
                continue
            if self._left.wait(_PATIENCE):
                break
            self._say("SIGTERM" if heard[0] == signal.SIGTERM else "Ctrl-C")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + heard[0])
        self._read.close()

    def leave(self) -> None:
        """Hears no more."""
        self._left.set()
        if self._there:
            signal.set_wakeup_fd(-1)
        else:
            self._read.close()
        self._write.close()
