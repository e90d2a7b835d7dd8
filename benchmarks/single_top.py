"""The main job: how long it takes, and what tuning brings on the single-top sample."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common.running import ROOT, clocked
from benchmarks.common.table import Row

CONFIG = ROOT / "examples" / "single_top" / "single_top.toml"
REDUCED = ("search.population=2", "search.rounds=2", "search.epochs_per_round=1")
REDUCED += ("comparison.seeds=2", "comparison.searches=2")
# Most of a small job is to draw its variables.
REDUCED += ('data.features=["top_mass", "lightjet_abs_eta", "mtw"]',)


def run(*, quick: bool) -> list[Row]:
    """Runs the command of the README in a scratch directory."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "run"
        command = [str(Path(sys.executable).with_name("difftune")), "run", str(CONFIG)]
        command += ["--output", str(output), "--quiet"]
        for change in REDUCED if quick else ():
            command += ["--set", change]
        _, seconds = clocked(lambda: subprocess.run(command, check=True))
        found = json.loads((output / "results.json").read_text())["significance"]
    rows = [Row("whole job, s", seconds, "<= 600")]
    for kind, name in (("stat_only", "stat-only"), ("expected", "with systematics")):
        # Of the mean significances, with its standard error.
        tuned, default = (np.asarray(found[n][kind]) for n in ("tuned", "default"))
        ratio = np.mean(tuned) / np.mean(default)
        error = ratio * np.hypot(*(relative_error(x) for x in (tuned, default)))
        rows.append(Row(f"Z tuned / Z default, {name}", float(ratio), "", f"± {error:.4f}"))
    return rows


def relative_error(values: np.ndarray) -> float:
    """Of the mean."""
    return float(np.std(values, ddof=1) / np.mean(values) / np.sqrt(len(values)))
