"""Compiled programs in the user's cache folder, so that the second start compiles nothing."""

import hashlib
import logging
import platform
import time
from pathlib import Path

import jax

from difftune.files import caches_wanted, user_cache

logger = logging.getLogger("difftune")

_SECONDS_WORTH_KEEPING = 0.3
_DAYS_KEPT = 60


def use_compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Lets JAX keep what it compiles in a folder: the next start of the same job compiles nothing.

    A setting of JAX for the whole process, and so never made by an import; the command line makes
    it. To be called before JAX compiles anything. A cache that is set already is left alone, and
    with the environment variable `DIFFTUNE_NO_CACHE` set to anything but 0 nothing happens. What is
    older than 60 days is removed.

    Args:
        folder: Where; by default `difftune/jax` in the user's cache folder, that is
            `$XDG_CACHE_HOME` or `~/.cache` (Linux), `~/Library/Caches` (macOS) or `%LOCALAPPDATA%`
            (Windows). In it each kind of processor has a folder of its own, since programs are made
            for one, and home directories are shared.

    Returns:
        The folder in use; None without a cache.
    """
    if not caches_wanted():
        return None
    already = jax.config.values.get("jax_compilation_cache_dir")
    if already:
        return Path(already)
    place = (Path(folder) if folder else user_cache() / "difftune" / "jax") / processor()
    try:
        place.mkdir(parents=True, exist_ok=True)
        _remove_old(place)
    except OSError as error:
        logger.debug("Compiled programs are not kept: %s", error)
        return None
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS_WORTH_KEEPING)
    return place


def processor() -> str:
    """A short name of what this processor can do; JAX's own key does not tell all of them apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    described = "\n".join([platform.machine(), platform.processor(), *told])
    return hashlib.sha256(described.encode()).hexdigest()[:12]


def _remove_old(place: Path) -> None:
    before = time.time() - _DAYS_KEPT * 24 * 3600
    for file in place.iterdir():
        if file.is_file() and file.stat().st_mtime < before:
            file.unlink(missing_ok=True)
