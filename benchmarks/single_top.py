"""The main job: how long it takes, what it brings on the single-top sample, and that it closes."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.common.running import ROOT, say, sizes, taking_part
from benchmarks.common.table import Row, mean

CONFIG = ROOT / "examples" / "single_top" / "single_top.toml"
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


def run(*, quick: bool) -> list[Row]:
    """Runs the command of the README in scratch directories, and measures beside it what else is.

    Ratios and spreads are of whole repetitions with other seeds; σ(μ) is that of the fit with all
    systematics and the statistics of the simulation.
    """
    size = sizes(
        quick,
        repetitions=(3, 1),
        experiments=(500, 4),
        epochs=(24, 1),
        bins=(20, 6),
        trees=(2000, 20),
    )
    scratch = Path(tempfile.mkdtemp(prefix="single_top_"))
    changes = REDUCED if quick else {}
    # Compiled programs are kept between runs in one cache, and each of these begins without any.
    answers = [_command(scratch / "answers", changes, first_answer=True) for _ in range(2)]
    runs = [
        _command(scratch / "runs", changes | {"general.seed": str(seed)})
        for seed in range(1, size.repetitions + 1)
    ]
    ladders = [each.results["ladder"] for each in runs]
    alone, crossed, tuned = (
        np.array([ladder[step]["value"] for ladder in ladders]) for step in (0, 1, -1)
    )
    rows = [
        Row("--quick, s", answers[0].seconds, "<= 60"),
        Row("--quick once more, with its programs compiled, s", answers[1].seconds),
        Row("README's command, s", max(each.seconds for each in runs), "<= 480"),
        Row("longest time without a line of progress, s", max(e.silence for e in runs), "<= 10"),
        mean("σ(μ) tuned, cross-fitted", list(tuned), over="repetitions"),
        mean(
            "σ(μ) default, cross-fitted / one fold", list(crossed / alone), "<= 0.75", over="runs"
        ),
        mean("σ(μ) tuned / one fold of the default", list(tuned / alone), "<= 0.45", over="runs"),
    ]
    import difftune as dt

    dt.use_cpu_cores()
    job = _Job(REDUCED if quick else {})
    default = job.default(epochs=size.epochs)
    rules = (size.bins,) if quick else (12, size.bins)
    best, name = job.best(default, bins=rules)
    rows.append(Row("σ(μ) default, cross-fitted, its best bins", best.value, "", f"({name})"))
    rows.append(
        mean(
            "σ(μ) tuned / default with its best bins",
            list(tuned / best.value),
            "<= 0.65",
            over="runs",
        )
    )
    # Of the tuned, and of the default over its seeds.
    errors = [np.std(each, ddof=1) if len(each) > 1 else np.nan for each in (tuned, crossed)]
    apart = (best.value - np.mean(tuned)) / np.hypot(*errors)
    rows.append(Row("which is apart by so many spreads", float(apart), ">= 3"))
    last = dt.CrossFitted.load(runs[-1].network)
    for what, found in (("default", best), ("tuned", job.plain(last))):
        rows += _closure(what, found, job, size.experiments)
    if taking_part("XGBoost", "xgboost"):
        boosted, name = job.best(job.boosted(trees=size.trees), bins=rules)
        rows.append(
            Row("σ(μ) XGBoost, cross-fitted, its best bins", boosted.value, "", f"({name})")
        )
        rows.append(mean("σ(μ) tuned / XGBoost", list(tuned / boosted.value), over="runs"))
    return rows


def _command(
    scratch: Path, changes: dict[str, str], *, first_answer: bool = False
) -> SimpleNamespace:
    """The command, with its duration, its longest silence, and what it leaves.

    Args:
        scratch: A folder for runs that share a cache of compiled programs.
        changes: Keys of the analysis file that are others.
        first_answer: Whether it is with `--quick`.
    """
    scratch.mkdir(exist_ok=True)
    output = Path(tempfile.mkdtemp(prefix="run_", dir=scratch)) / "run"
    command = [sys.executable, "-m", "difftune", "run", str(CONFIG), "--output", str(output)]
    command += ["--quick"] if first_answer else []
    for key, value in changes.items():
        command += ["--set", f"{key}={value}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
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
        network=output / "network",
    )


class _Job:
    """The events and uncertainties of the analysis file, to measure other classifiers on."""

    def __init__(self, changes: dict[str, str]):
        from difftune import job
        from difftune.analysis import CrossFit

        config = job.load(CONFIG, [f"{key}={value}" for key, value in changes.items()])
        self.config = config
        self.nuisances = job.build.nuisances(config)
        self.sample = CrossFit(events=job.build.events(config))

    def measure(self, network: Any, binning: Any) -> Any:
        """Of σ(μ)."""
        import difftune as dt

        return dt.measure(
            network, self.sample, figure="precision", binning=binning, **self.nuisances
        )

    def plain(self, network: Any) -> Any:
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
        )

    def best(self, network: Any, bins: tuple[int, ...]) -> tuple[Any, str]:
        """The best of several ways to choose bins: it is no less for having more chances."""
        import difftune as dt

        same = {"max_mc_uncertainty": 0.05}
        profiled = dt.binning.Profiled(strength=1.0)
        rules: dict[str, Any] = {}
        for count in bins:
            rules[f"{count} of equal signal"] = dt.binning.EqualSignal(bins=count, **same)
            rules[f"{count} by gradient"] = dt.binning.Gradient(
                bins=count, figure_of_merit=profiled, **same
            )
        found = {name: self.measure(network, rule) for name, rule in rules.items()}
        for name, each in found.items():
            say(f"{name}: {each.value:.4f}")
        name = min(found, key=lambda name: found[name].value)
        return found[name], name

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


def _closure(what: str, measurement: Any, job: _Job, experiments: int) -> list[Row]:
    """Whether the uncertainty that is claimed is that of pseudo-experiments."""
    from difftune.analysis import closure

    found = closure(measurement, job.sample, experiments=experiments)
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
