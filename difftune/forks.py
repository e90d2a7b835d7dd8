"""Refuses to work in a process that was forked after JAX had started its threads.

A fork copies the locks of those threads but not the threads, so what waits for one waits for ever.
"""

import os
import sys

from difftune.errors import InputError

_parent: int | None = None


def refuse_fork() -> None:
    """Ends a call that would hang.

    Raises:
        InputError: This process was forked from one in which JAX had started.
    """
    if _parent is not None:
        raise InputError(
            f"this process ({os.getpid()}) was forked from process {_parent}, in which JAX had "
            "started already; JAX would hang here. Start processes afresh: "
            'multiprocessing.get_context("spawn"), or mp_context= of a ProcessPoolExecutor; or '
            "fork before anything of JAX or difftune runs."
        )


def _started() -> bool:
    """Whether JAX has made its devices, and with them its threads."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    told = getattr(bridge, "backends_are_initialized", None)
    # A JAX that does not say: if it is imported, it has most likely been used.
    return bridge is not None and (told is None or bool(told()))


def _note() -> None:
    global _parent
    if _started():
        _parent = os.getppid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)
