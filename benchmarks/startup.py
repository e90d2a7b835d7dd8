"""How soon difftune answers, in fresh processes."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.table import Row


def run(*, quick: bool) -> list[Row]:
    """Time of an import and of `difftune --version`."""
    command = Path(sys.executable).with_name("difftune")
    rows = []
    for what, bound, arguments in (
        ("import difftune, s", "<= 1.0", [sys.executable, "-c", "import difftune"]),
        ("difftune --version, s", "<= 0.5", [str(command), "--version"]),
    ):
        subprocess.run(arguments, check=True, capture_output=True)  # fills the bytecode cache
        times = []
        for _ in range(1 if quick else 5):
            began = time.perf_counter()
            subprocess.run(arguments, check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        spread = f"({min(times):.2f} to {max(times):.2f})"
        rows.append(
            Row(what=what, required=bound, measured=statistics.median(times), spread=spread)
        )
    return rows
