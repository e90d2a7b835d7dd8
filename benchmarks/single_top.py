"""The main job: how long it takes, and what tuning brings on the single-top sample."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.table import Row

CONFIG = Path(__file__).parents[1] / "examples" / "single_top" / "single_top.toml"
REDUCED = ("search.population=2", "search.rounds=2", "search.epochs_per_round=1")
REDUCED += ("comparison.seeds=2", "comparison.searches=2")


def run(*, quick: bool) -> list[Row]:
    """Runs the command of the README in a scratch directory."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "run"
        command = [str(Path(sys.executable).with_name("difftune")), "run", str(CONFIG)]
        command += ["--output", str(output), "--quiet"]
        for change in REDUCED if quick else ():
            command += ["--set", change]
        began = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - began
        found = json.loads((output / "results.json").read_text())["significance"]

    def compare(kind: str) -> tuple[float, float]:
        """Ratio of the mean significances, tuned over default, and its standard error."""
        tuned, default = (np.asarray(found[n][kind]) for n in ("tuned", "default"))
        relative = [np.std(x, ddof=1) / np.mean(x) / np.sqrt(len(x)) for x in (tuned, default)]
        ratio = np.mean(tuned) / np.mean(default)
        return float(ratio), float(ratio * np.hypot(*relative))

    rows = [Row(what="whole job, s", required="<= 600", measured=seconds)]
    for kind, name in (("stat_only", "stat-only"), ("expected", "with systematics")):
        ratio, error = compare(kind)
        rows.append(
            Row(
                what=f"Z tuned / Z default, {name}",
                required="",
                measured=ratio,
                spread=f"± {error:.4f}",
            )
        )
    return rows
