"""The main job: how long it takes, what it brings on the single-top sample, and that it closes.

Its parts can be run one after the other (`--part NAME`, minutes each): what they find is kept in
`runs/benchmark_single_top`, and rows that compare are made of what is there.
"""

import copy
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
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.common.running import COMPILED, ROOT, say, sizes, taking_part
from benchmarks.common.table import Row, mean

CONFIG = ROOT / "examples" / "single_top" / "single_top.toml"
KEPT = ROOT / "runs" / "benchmark_single_top"
SEEDS = ("seed 1", "seed 2", "seed 3")
REDUCED = {
    "data.folds": "3",
    # Most of a small job is to draw its variables.
    "data.features": '["top_mass", "lightjet_abs_eta", "mtw"]',
    "systematics": '[{name = "btag", type = "weight", up = "weight_btag_up", '
    'down = "weight_btag_down"}]',
    "search.population": "2",
    "search.rounds": "2",
    "search.epochs_per_round": "1",
    "comparison.seeds": "2",
    "comparison.replicas": "2",
    "stage": '[{bins = 4, search = {strategy = "random", population = 1, rounds = 1, '
    "epochs_per_round = 1}}]",
}


def run(*, quick: bool, parts: Sequence[str] = ()) -> list[Row]:
    """Runs the command of the README with three seeds, and measures beside it what else is.

    Ratios and spreads are of whole repetitions with other seeds; σ(μ) is that of the fit with all
    systematics and the statistics of the simulation.

    Args:
        quick: A smoke run.
        parts: Those of `PARTS` that are run; all, afresh, where there are none.
    """
    folder = Path(tempfile.mkdtemp(prefix="single_top_")) if quick else KEPT
    if not parts:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    own = _Own(folder, quick=quick)
    rows = []
    for name in parts or [name for name in PARTS if not quick or name not in SEEDS[1:]]:
        rows += PARTS[name](own)
    return rows + _compared(own.found)


class _Own:
    """What the parts share: sizes, the events, and a folder for what they find."""

    def __init__(self, folder: Path, *, quick: bool):
        self.folder = folder
        self.changes = REDUCED if quick else {}
        # Figures take as long as the rest of a small run.
        self.program = "tests.job.undrawn" if quick else "difftune"
        self.size = sizes(
            quick,
            answers=(2, 1),
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

    @cached_property
    def job(self) -> "_Job":
        """The events and uncertainties."""
        import difftune as dt

        dt.use_cpu_cores()
        return _Job(self.changes, one_in=self.size.one_in)

    @cached_property
    def default(self) -> Any:
        """Cross-fitted networks with every setting as it is by default."""
        return self.job.default(epochs=self.size.epochs)


def _answers(own: _Own) -> list[Row]:
    """The first answer, without compiled programs and with them."""
    shutil.rmtree(own.folder / "answers", ignore_errors=True)
    seconds = [
        _command(own, own.folder / "answers", own.changes, first_answer=True).seconds
        for _ in range(own.size.answers)
    ]
    return [
        Row("--quick, s", seconds[0], "<= 60"),
        Row("--quick once more, with its programs compiled, s", seconds[-1]),
    ]


def _seed(seed: int, own: _Own) -> list[Row]:
    """The README's command, without compiled programs."""
    folder = own.folder / f"seed {seed}"
    shutil.rmtree(folder, ignore_errors=True)
    done = _command(own, folder, own.changes | {"general.seed": str(seed)})
    own.keep(f"seed {seed}", [step["value"] for step in done.results["ladder"]])
    return [
        Row(f"seed {seed}: README's command, s", done.seconds, "<= 480"),
        Row(f"seed {seed}: longest time without a line of progress, s", done.silence, "<= 10"),
    ]


def _default(own: _Own) -> list[Row]:
    """A cross-fitted default network in the bins of the file and in its best ones."""
    network = own.default
    plain = own.job.plain(network)
    rows = [Row("σ(μ) default, cross-fitted, the file's bins", plain.value)]
    rows += _closure("default", plain, own)
    return rows + _in_best_bins("default", network, own)


def _folds(own: _Own) -> list[Row]:
    """What cross-fitting a default network gains, and what statistics alone has in it."""
    network = own.default
    crossed = own.job.plain(network)
    pairs = zip(network.networks, own.job.sample.rotations, strict=True)
    alone = [own.job.plain(each, rotation).value for each, rotation in pairs]
    folds = len(alone)
    less = _with_variance(crossed, folds)
    return [
        mean("σ(μ) default, one fold", alone, over="folds"),
        Row("σ(μ) default, cross-fitted", crossed.value),
        Row("  over one fold", float(crossed.value / np.mean(alone))),
        Row(f"σ(μ) of its templates with 1/{folds} of the simulation", less),
        Row("  the first over it", crossed.value / less),
        Row("σ(μ) of its templates without statistics of it", _with_variance(crossed, 1e-6)),
    ]


def _with_variance(measurement: Any, factor: float) -> float:
    """σ(μ) of the same templates, with another variance of the simulation in the fit.

    Args:
        measurement: In bins of the score.
        factor: On the variance.
    """
    from difftune.analysis import FIGURES
    from difftune.histfactory import Model

    workspace = copy.deepcopy(measurement.workspace)
    for channel in workspace["channels"]:
        for modifier in (each for sample in channel["samples"] for each in sample["modifiers"]):
            if modifier["type"] == "staterror":
                modifier["data"] = [float(error * np.sqrt(factor)) for error in modifier["data"]]
    return 1 / float(FIGURES["precision"].merit(Model.from_spec(workspace)))


def _tuned(own: _Own) -> list[Row]:
    """Networks through the fit, of the first seed."""
    import difftune as dt

    networks = list((own.folder / SEEDS[0]).glob("*/run/network"))
    if not networks:
        raise dt.InputError(f"tuned: its network is that of {SEEDS[0]!r}; run this part first.")
    found = own.job.plain(dt.CrossFitted.load(networks[0]))
    smooth = own.job.smooth(found)
    own.keep("tuned, smoothed", smooth.value)
    return [
        *_closure("tuned", found, own),
        Row("σ(μ) tuned, smoothed", smooth.value),
        *_closure("tuned, smoothed", smooth, own),
    ]


def _boosted(own: _Own) -> list[Row]:
    """XGBoost in the same folds, bins and fit."""
    if not taking_part("XGBoost", "xgboost"):
        return []
    return _in_best_bins("XGBoost", own.job.boosted(trees=own.size.trees), own)


PARTS: dict[str, Callable[[_Own], list[Row]]] = {
    "answers": _answers,
    **{name: partial(_seed, number) for number, name in enumerate(SEEDS, start=1)},
    "default": _default,
    "folds": _folds,
    "tuned": _tuned,
    "XGBoost": _boosted,
}
"""What can be run alone; `tuned` needs the network of `seed 1`."""


def _in_best_bins(what: str, network: Any, own: _Own) -> list[Row]:
    """σ(μ) with the best bins, and closure; and with the noise of variations smoothed."""
    found = own.job.in_bins(network, own.size.bins)
    rows = []
    for title, each in (
        (what, found),
        (f"{what}, smoothed", {name: own.job.smooth(one) for name, one in found.items()}),
    ):
        for name, one in each.items():
            say(f"{title}, {name}: {one.value:.4f}")
        # It is no less for having more chances.
        name = min(each, key=lambda name: each[name].value)
        own.keep(title, each[name].value)
        rows.append(Row(f"σ(μ) {title}, its best bins", each[name].value, "", f"({name})"))
        rows += _closure(f"{title}, its best bins", each[name], own)
    return rows


def _compared(found: dict[str, Any]) -> list[Row]:
    """Ratios of what has been found, in this call or before it."""
    ladders = [found[name] for name in SEEDS if name in found]
    if not ladders:
        return []
    alone, crossed, tuned = (np.array([ladder[step] for ladder in ladders]) for step in (0, 1, -1))
    rows = [
        mean("σ(μ) tuned, cross-fitted", list(tuned), over="repetitions"),
        mean(
            "σ(μ) default, cross-fitted / one fold", list(crossed / alone), "<= 0.75", over="runs"
        ),
        mean("σ(μ) tuned / one fold of the default", list(tuned / alone), "<= 0.45", over="runs"),
    ]
    if best := found.get("default"):
        title = "σ(μ) tuned / default with its best bins"
        rows.append(mean(title, list(tuned / best), "<= 0.65", over="runs"))
        # Of the tuned, and of the default over its seeds.
        errors = [np.std(each, ddof=1) if len(each) > 1 else np.nan for each in (tuned, crossed)]
        apart = (best - np.mean(tuned)) / np.hypot(*errors)
        rows.append(Row("which is apart by so many spreads", float(apart), ">= 3"))
    if boosted := found.get("XGBoost"):
        rows.append(mean("σ(μ) tuned / XGBoost", list(tuned / boosted), over="runs"))
    smoothed = [found.get(f"{what}, smoothed") for what in ("tuned", "default")]
    if all(smoothed):
        title = "σ(μ) tuned / default with its best bins, both smoothed"
        rows.append(Row(title, smoothed[0] / smoothed[1]))
    return rows


def _command(
    own: _Own, scratch: Path, changes: dict[str, str], *, first_answer: bool = False
) -> SimpleNamespace:
    """The command, with its duration, its longest silence, and what it leaves.

    Args:
        own: Says which program it is.
        scratch: A folder of runs, which share a cache of compiled programs.
        changes: Keys of the analysis file that are others.
        first_answer: Whether it is with `--quick`.
    """
    scratch.mkdir(exist_ok=True)
    output = Path(tempfile.mkdtemp(prefix="run_", dir=scratch)) / "run"
    command = [sys.executable, "-m", own.program, "run", str(CONFIG), "--output", str(output)]
    command += ["--quick"] if first_answer else []
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"]
    environment = {k: v for k, v in os.environ.items() if k in COMPILED or not k.startswith("JAX_")}
    environment["XDG_CACHE_HOME"] = str(scratch / "cache")
    began = last = time.monotonic()
    silence = 0.0
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment,
    ) as process:
        assert process.stdout is not None, "a pipe was asked for"
        for line in process.stdout:
            now = time.monotonic()
            silence, last = max(silence, now - last), now
            print(line, end="", file=sys.stderr, flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return SimpleNamespace(
        seconds=time.monotonic() - began,
        silence=silence,
        results=json.loads((output / "results.json").read_text()),
    )


class _Job:
    """The events and uncertainties of the analysis file, to measure other classifiers on."""

    def __init__(self, changes: dict[str, str], *, one_in: int):
        from difftune import job
        from difftune.analysis import CrossFit

        config = job.load(CONFIG, [f"{key}={value}" for key, value in changes.items()])
        self.config = config
        self.nuisances = job.build.nuisances(config)
        events = job.build.events(config)
        if one_in > 1:  # in all variations, or in none
            events = events.select(lambda sample: sample.number % one_in == 0)
        self.sample = CrossFit(events=events)

    def measure(self, network: Any, binning: Any, sample: Any = None, **options: Any) -> Any:
        """Of σ(μ), on all folds or another sample."""
        import difftune as dt

        events = self.sample if sample is None else sample
        return dt.measure(
            network, events, figure="precision", binning=binning, **options, **self.nuisances
        )

    def smooth(self, found: Any) -> Any:
        """The same network in the same bins, with the noise of variations smoothed."""
        return self.measure(found.score, found.templates.edges, noise="smooth")

    def plain(self, network: Any, sample: Any = None) -> Any:
        """In bins of equal signal, as the analysis file wants them."""
        import difftune as dt

        fit = self.config.fit
        return self.measure(
            network,
            dt.binning.EqualSignal(
                bins=fit.bins,
                min_background=fit.min_background,
                max_mc_uncertainty=fit.max_mc_uncertainty,
            ),
            sample,
        )

    def in_bins(self, network: Any, bins: tuple[int, ...]) -> dict[str, Any]:
        """Measurements by the way in which their bins are chosen."""
        import difftune as dt

        same = {"max_mc_uncertainty": 0.05}
        profiled = dt.binning.Profiled(strength=1.0)
        rules: dict[str, Any] = {}
        for count in bins:
            rules[f"{count} of equal signal"] = dt.binning.EqualSignal(bins=count, **same)
            rules[f"{count} by gradient"] = dt.binning.Gradient(
                bins=count, figure_of_merit=profiled, **same
            )
        return {name: self.measure(network, rule) for name, rule in rules.items()}

    def default(self, *, epochs: int) -> Any:
        """Cross-fitted networks with every setting as it is by default."""
        import difftune as dt

        rounds = max(epochs // 4, 1)
        return dt.tune(
            self.sample,
            dt.Recipe(metric=dt.objectives.Significance(bins=10)),
            search=dt.search.FixedSchedule(
                population=1, rounds=rounds, epochs_per_round=epochs // rounds, schedule={}
            ),
            space={},
        ).network

    def boosted(self, *, trees: int) -> Any:
        """XGBoost for each fold, on the folds that a network learns from, stopped by the next."""
        import difftune as dt

        settings = {"max_depth": 5, "learning_rate": 0.05, "subsample": 0.8}
        return dt.train_trees(self.sample, settings=settings, trees=trees, patience=30)


def _closure(what: str, measurement: Any, own: _Own) -> list[Row]:
    """Whether the uncertainty that is claimed is that of pseudo-experiments."""
    from difftune.analysis import closure

    found = closure(measurement, own.job.sample, experiments=own.size.experiments)
    say(f"{what}: {found}")
    (bias, error), (ratio, ratio_error), (share, share_error) = (
        found.bias,
        found.spread,
        found.coverage,
    )
    return [
        Row(f"{what}: |mean of μ - 1| / its error", abs(bias) / error, "<= 2", f"({bias:+.4f})"),
        Row(f"{what}: |spread / claimed - 1|", abs(ratio - 1), "<= 0.1", f"± {ratio_error:.3f}"),
        Row(f"{what}: |coverage - 68.3 %|", abs(share - 0.683), "<= 0.04", f"± {share_error:.3f}"),
    ]
