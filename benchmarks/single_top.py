"""The main job: how long it takes, what it brings on the single-top sample, and that it closes.

Its parts can be run one after the other (`--part NAME`, minutes each): what they find is kept in
`runs/benchmark_single_top`, and rows that compare are made of what is there.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

import difftune as dt
from benchmarks.common import samples
from benchmarks.common.running import COMPILED, ROOT, say, sizes, taking_part
from benchmarks.common.table import Row, mean
from difftune.binning import EqualSignal, Gradient, Profiled

KEPT = ROOT / "runs" / "benchmark_single_top"
SEEDS = ("seed 1", "seed 2", "seed 3")
REDUCED = [
    "data.folds=3",
    # Most of a small job is to draw its variables.
    "data.features=['top_mass', 'lightjet_abs_eta', 'mtw']",
    samples.ONE_SYSTEMATIC,
    "search.population=2",
    "search.rounds=2",
    "search.epochs_per_round=1",
    "comparison.seeds=1",
    "comparison.replicas=2",
    # Stages are those of the tests.
    "stage=[]",
]


def run(*, quick: bool, parts: Sequence[str] = ()) -> list[Row]:
    """Runs the command of the README with three seeds, and measures beside it what else is.

    Ratios and spreads are of whole repetitions with other seeds; σ(μ) is that of the fit with all
    systematics and the statistics of the simulation. Without `parts` all are run, afresh.
    """
    folder = Path(tempfile.mkdtemp(prefix="single_top_")) if quick else KEPT
    if not parts:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    job = _Job(folder, quick=quick)
    rows = []
    # A smoke run of the command with --quick is that of CI's main job.
    left_out = ("answers", *SEEDS[1:]) if quick else ()
    for name in parts or [name for name in PARTS if name not in left_out]:
        rows += PARTS[name](job)
    return rows + _compared(job.found)


class _Job:
    """The analysis file: its command, and its events to measure other classifiers on.

    With a folder for what the parts find.
    """

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.changes = REDUCED if quick else []
        # Figures take as long as the rest of a small run.
        self.program = "tests.job.undrawn" if quick else "difftune"
        self.size = sizes(
            quick,
            experiments=(500, 4),
            epochs=(24, 1),
            bins=((12, 20), (6,)),
            trees=(2000, 20),
            one_in=(1, 4),  # of the events, but for those of the command
        )

    @property
    def found(self) -> dict[str, Any]:
        """σ(μ) by name of the part; of a seed, those of its ladder."""
        path = self.folder / "found.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def keep(self, name: str, value: Any) -> None:
        """Adds to them."""
        content = json.dumps(self.found | {name: value}, indent=2)
        (self.folder / "found.json").write_text(content + "\n")

    def command(self, scratch: Path, *options: str) -> tuple[float, float, Path]:
        """Seconds of the command with options, its longest silence, and what it leaves.

        The runs of a folder share a cache of compiled programs.
        """
        scratch.mkdir(exist_ok=True)
        output = Path(tempfile.mkdtemp(prefix="run_", dir=scratch)) / "run"
        command = [sys.executable, "-m", self.program, "run", str(samples.SINGLE_TOP), *options]
        command += ["--output", str(output), *(f"--set={change}" for change in self.changes)]
        clean = {k: v for k, v in os.environ.items() if k in COMPILED or not k.startswith("JAX_")}
        clean["XDG_CACHE_HOME"] = str(scratch / "cache")
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        began, silence = time.monotonic(), 0.0
        last = began
        with subprocess.Popen(command, cwd=ROOT, env=clean, **pipes) as process:
            for line in process.stdout:
                now = time.monotonic()
                silence, last = max(silence, now - last), now
                print(line, end="", file=sys.stderr, flush=True)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return time.monotonic() - began, silence, output

    @cached_property
    def config(self) -> Any:
        """The analysis file."""
        return dt.job.load(samples.SINGLE_TOP, self.changes)

    @cached_property
    def sample(self) -> Any:
        """Its events, of which each fold is the test once."""
        dt.use_cpu_cores()
        events = samples.single_top(*self.changes, one_in=self.size.one_in)
        return dt.CrossFit(events=events)

    def measure(self, network: Any, binning: Any, **options: Any) -> Any:
        """Of σ(μ), on all folds."""
        options |= {"figure": "precision", "binning": binning}
        options |= dt.job.build.nuisances(self.config)
        return dt.measure(network, self.sample, **options)

    def smooth(self, found: Any) -> Any:
        """The same network in the same bins, with the noise of variations smoothed."""
        return self.measure(found.score, found.templates.edges, noise="smooth")

    def plain(self, network: Any) -> Any:
        """In bins of equal signal, as the analysis file wants them."""
        return self.measure(network, dt.job.build.binning(self.config))

    def in_best_bins(self, what: str, network: Any) -> list[Row]:
        """σ(μ) with the best bins, and closure; and with the noise of variations smoothed."""
        same, rules, rows = {"max_mc_uncertainty": 0.05}, {}, []
        profiled = {"figure_of_merit": Profiled(strength=1.0), **same}
        for count in self.size.bins:
            rules[f"{count} of equal signal"] = EqualSignal(bins=count, **same)
            rules[f"{count} by gradient"] = Gradient(bins=count, **profiled)
        found = {name: self.measure(network, rule) for name, rule in rules.items()}
        smooth = {name: self.smooth(one) for name, one in found.items()}
        for title, each in ((what, found), (f"{what}, smoothed", smooth)):
            for name, one in each.items():
                say(f"{title}, {name}: {one.value:.4f}")
            # It is no less for having more chances.
            name = min(each, key=lambda name: each[name].value)
            self.keep(title, each[name].value)
            rows.append(Row(f"σ(μ) {title}, its best bins", each[name].value, "", f"({name})"))
            rows += self.closure(f"{title}, its best bins", each[name])
        return rows

    def closure(self, what: str, measurement: Any) -> list[Row]:
        """Whether the uncertainty that is claimed is that of pseudo-experiments."""
        found = dt.analysis.closure(measurement, self.sample, experiments=self.size.experiments)
        say(f"{what}: {found}")
        (bias, error), (ratio, ratio_error) = found.bias, found.spread
        share, share_error = found.coverage
        figures = (
            ("|mean of μ - 1| / its error", abs(bias) / error, "<= 2", f"({bias:+.4f})"),
            ("|spread / claimed - 1|", abs(ratio - 1), "<= 0.1", f"± {ratio_error:.3f}"),
            ("|coverage - 68.3 %|", abs(share - 0.683), "<= 0.04", f"± {share_error:.3f}"),
        )
        return [Row(f"{what}: {figure}", *more) for figure, *more in figures]


def _answers(job: _Job) -> list[Row]:
    """The first answer, without compiled programs and with them."""
    shutil.rmtree(job.folder / "answers", ignore_errors=True)
    first, second = (job.command(job.folder / "answers", "--quick")[0] for _ in range(2))
    again = Row("--quick once more, with its programs compiled, s", second)
    return [Row("--quick, s", first, "<= 60"), again]


def _seed(seed: int, job: _Job) -> list[Row]:
    """The README's command, without compiled programs."""
    folder = job.folder / f"seed {seed}"
    shutil.rmtree(folder, ignore_errors=True)
    seconds, silence, output = job.command(folder, "--set", f"general.seed={seed}")
    results = json.loads((output / "results.json").read_text())
    job.keep(f"seed {seed}", [step["value"] for step in results["ladder"]])
    return [
        Row(f"seed {seed}: README's command, s", seconds, "<= 480"),
        Row(f"seed {seed}: longest time without a line of progress, s", silence, "<= 10"),
    ]


def _default(job: _Job) -> list[Row]:
    """A cross-fitted default network in the bins of the file and in its best ones."""
    recipe = dt.Recipe(metric=dt.objectives.Significance(bins=10))
    network = dt.train(job.sample, recipe, epochs=job.size.epochs)
    plain = job.plain(network)
    rows = [Row("σ(μ) default, cross-fitted, the file's bins", plain.value)]
    return [*rows, *job.closure("default", plain), *job.in_best_bins("default", network)]


def _tuned(job: _Job) -> list[Row]:
    """Networks through the fit, of the first seed."""
    networks = list((job.folder / SEEDS[0]).glob("*/run/network"))
    if not networks:
        raise dt.InputError(f"tuned: its network is that of {SEEDS[0]!r}; run this part first.")
    found = job.plain(dt.CrossFitted.load(networks[0]))
    smooth = job.smooth(found)
    rows = [*job.closure("tuned", found), Row("σ(μ) tuned, smoothed", smooth.value)]
    return [*rows, *job.closure("tuned, smoothed", smooth)]


def _boosted(job: _Job) -> list[Row]:
    """XGBoost in the same folds, bins and fit, each stopped by the fold after its own."""
    if not taking_part("XGBoost", "xgboost"):
        return []
    options = {"trees": job.size.trees, "patience": 30}
    options["settings"] = {"max_depth": 5, "learning_rate": 0.05, "subsample": 0.8}
    return job.in_best_bins("XGBoost", dt.train_trees(job.sample, **options))


PARTS: dict[str, Callable[[_Job], list[Row]]] = {
    "answers": _answers,
    **{name: partial(_seed, number) for number, name in enumerate(SEEDS, start=1)},
    "default": _default,
    "tuned": _tuned,
    "XGBoost": _boosted,
}
"""What can be run alone; `tuned` needs the network of `seed 1`."""


def _compared(found: dict[str, Any]) -> list[Row]:
    """Ratios of what has been found, in this call or before it."""
    ladders = [found[name] for name in SEEDS if name in found]
    if not ladders:
        return []
    alone, crossed, tuned = (np.array([ladder[step] for ladder in ladders]) for step in (0, 1, -1))
    over = partial(mean, over="runs")
    rows = [
        mean("σ(μ) tuned, cross-fitted", list(tuned), over="repetitions"),
        over("σ(μ) default, cross-fitted / one fold", list(crossed / alone), "<= 0.75"),
        over("σ(μ) tuned / one fold of the default", list(tuned / alone), "<= 0.45"),
    ]
    if best := found.get("default"):
        rows.append(over("σ(μ) tuned / default with its best bins", list(tuned / best), "<= 0.65"))
        # Of the tuned, and of the default over its seeds.
        errors = [np.std(each, ddof=1) if len(each) > 1 else np.nan for each in (tuned, crossed)]
        apart = (best - np.mean(tuned)) / np.hypot(*errors)
        rows.append(Row("which is apart by so many spreads", float(apart), ">= 3"))
    if boosted := found.get("XGBoost"):
        rows.append(over("σ(μ) tuned / XGBoost", list(tuned / boosted)))
    return rows
