"""How soon difftune answers, in fresh processes."""

import subprocess
import sys
from pathlib import Path

from benchmarks.common.running import clocked
from benchmarks.common.table import Row, median


def run(*, quick: bool) -> list[Row]:
    """Time of an import and of `difftune --version`."""
    command = str(Path(sys.executable).with_name("difftune"))
    rows = []
    for what, bound, arguments in (
        ("import difftune, s", "<= 1.0", [sys.executable, "-c", "import difftune"]),
        ("difftune --version, s", "<= 0.5", [command, "--version"]),
    ):

        def ask(arguments=arguments) -> None:
            subprocess.run(arguments, check=True, capture_output=True)

        ask()  # fills the bytecode cache
        rows.append(median(what, [clocked(ask)[1] for _ in range(1 if quick else 5)], bound))
    return rows
