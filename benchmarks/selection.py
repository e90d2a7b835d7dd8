"""Input variables: known truth, agreement with retraining, speed of a round, a whole elimination.

Keras, PyTorch, Captum and shap take part where they are installed (`pip install
'difftune[bench]'`); those that are not are named. HiggsML is left out where the shared data are
absent.
"""

import dataclasses
import gzip
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

import difftune as dt
from benchmarks.peers import truth
from benchmarks.peers.arena import say
from benchmarks.table import Row
from difftune import job, selection
from difftune.job import build

ROOT = Path(__file__).parents[1]
HIGGSML = ROOT.parent / "shared" / "data" / "events" / "higgsml_15000.csv.gz"
FAST = {"seeds": 1, "epochs": 2}


def run(*, quick: bool) -> list[Row]:
    """All rows; `quick` trains next to nothing."""
    dt.use_cpu_cores()
    rows = [*known_truth(quick=quick), *attributions(), *round_speed(quick=quick)]
    rows += agreement("single top", single_top(quick=quick), quick=quick)
    if HIGGSML.exists():
        # It is the same code as for single top.
        rows += [] if quick else agreement("HiggsML", higgsml(), quick=quick)
        rows += steered(quick=quick)
    else:
        say(f"HiggsML is left out: {HIGGSML} is not on this machine")
    rows += elimination(quick=quick)
    missing = [n for n in ("torch", "keras", "captum", "shap") if not installed(n)]
    rows.append(
        Row(
            what="peers that are not installed",
            required="",
            measured=len(missing),
            spread=f"({', '.join(missing)})" if missing else "",
        )
    )
    return rows


def installed(name: str) -> bool:
    """Whether a package is there, without importing it."""
    return importlib.util.find_spec(name) is not None


# ---- known truth -------------------------------------------------------------------------------


def known_truth(*, quick: bool) -> list[Row]:
    """How often the true set is found, and whether noise is ranked above what is real."""
    seeds = range(1 if quick else 10)
    rows = []
    for name, make in truth.SAMPLES.items() if not quick else [("XOR", truth.SAMPLES["XOR"])]:
        found, above, pairs = [], [], []
        for seed in seeds:
            case = make(seed, 800 if quick else truth.EVENTS)
            study = case.study(**FAST if quick else {})
            networks = selection.train(study)
            gate = selection.importance(study, networks, methods=("gate",)).methods["gate"].value
            number = study.units.names.index
            noise = max(gate[number(n)] for n in case.noise)
            above.append(min(gate[number(n)] for n in case.real) < noise)
            chosen = selection.eliminate(study, candidates=3)
            found.append(case.right(set(chosen.variables)))
            pairs.append(case.together <= set(chosen.variables))
            say(f"{name}, seed {seed}: {', '.join(chosen.variables)}")
        count = len(found)
        rows += [
            Row(
                what=f"{name}: true set found, of {count}",
                required=f">= {int(np.ceil(0.9 * count))}",
                measured=sum(found),
            ),
            Row(
                what=f"{name}: noise above a real variable by the gate, of {count}",
                required="<= 0",
                measured=sum(above),
            ),
        ]
        if name == "XOR":
            rows.append(
                Row(
                    what=f"XOR: partners both kept, of {count}",
                    required=f">= {count}",
                    measured=sum(pairs),
                )
            )
    return rows


# ---- agreement with retraining -----------------------------------------------------------------


def single_top(*, quick: bool, **more) -> selection.Study:
    """The sample of the README."""
    events = build.events(job.load(ROOT / "examples" / "single_top" / "single_top.toml"))
    if quick:
        events = events.select(np.arange(len(events)) % 12 == 0)
    recipe = dt.Recipe(
        model=dt.models.MLP(hidden=(32, 32)),
        hyperparameters={"learning_rate": 4e-3},
        batch_size=512 if quick else 2048,
    )
    # Other trainings than those that the gates were developed with.
    options = {"epochs": 10, "seeds": 4, "seed": 7}
    return selection.Study(events, recipe, **options | (FAST if quick else {}) | more)


def higgsml(*, one_in: int = 1) -> selection.Study:
    """The shared extract of HiggsML, or one in so many of its events, scaled to the full yields."""
    table = np.genfromtxt(HIGGSML, delimiter=",", skip_header=1, usecols=[*range(1, 32), 34])
    label = np.genfromtxt(HIGGSML, delimiter=",", skip_header=1, usecols=32, dtype=str) == "s"
    with gzip.open(HIGGSML, "rt") as file:
        names = file.readline().split(",")[1:31]
    events = dt.Events.from_arrays(
        np.where(table[:, :30] == -999, np.nan, table[:, :30]),
        np.where(label, 0, 1),
        table[:, 31] * 250_000 / 15_000,
        feature_names=names,
        processes=[dt.Process(name="signal", role="signal"), dt.Process(name="background")],
    )
    return selection.Study(
        events.select(np.arange(len(events)) % one_in == 0),
        dt.Recipe(
            model=dt.models.MLP(hidden=(32, 32)),
            hyperparameters={"learning_rate": 2e-3},
            batch_size=512,
            patience=15,
        ),
        epochs=15,
        seeds=4,
        seed=7,
    )


def agreement(name: str, study: selection.Study, *, quick: bool) -> list[Row]:
    """Spearman's coefficient of gates and retraining, and what each costs."""
    if quick:
        study = dataclasses.replace(study, **FAST)
    networks, baseline, _ = _timed(lambda: selection.train(study))
    retrained, retraining, compiled = _timed(lambda: selection.leave_one_out(study, networks))
    matter = retrained.value > 2 * retrained.uncertainty
    rows = [_repeated(name, retrained, matter)]
    methods = ("conditional gate", "gate", "slope", "sensitivity", "permutation")
    for method in methods[:2] if quick else methods:
        asked = partial(selection.importance, study, networks, methods=(method,))
        found, seconds, compiling = _timed(asked)
        value = found.methods[method].value
        every = spearmanr(value, retrained.value)[0]
        rank = spearmanr(value[matter], retrained.value[matter])[0] if matter.sum() > 2 else np.nan
        bound = ">= 0.8" if method == "conditional gate" else ""
        rows.append(
            Row(
                what=f"{name}: Spearman of {method} and retraining",
                required=bound,
                measured=float(rank),
                spread=f"({matter.sum()} variables that matter; {every:.2f} over all)",
            )
        )
        if method == "conditional gate":
            rows.append(
                Row(
                    what=f"{name}: time of gates / retraining, less what compiling takes",
                    required="<= 0.05",
                    measured=(seconds - compiling) / (retraining - compiled),
                    spread=f"({seconds:.1f} s and {retraining:.1f} s in all, {compiling:.1f} s and "
                    f"{compiled:.1f} s of these to compile; {baseline:.1f} s to train the networks "
                    "with all variables, once)",
                )
            )
    return rows


def _timed(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result, seconds, and how many of these JAX took to trace and compile."""
    compiling = 0.0

    def listener(event: str, seconds: float, **_: Any) -> None:
        nonlocal compiling
        compiling += seconds if event.startswith("/jax/core/compile") else 0.0

    jax.monitoring.register_event_duration_secs_listener(listener)
    began = time.perf_counter()
    result = function()
    took = time.perf_counter() - began
    jax.monitoring.unregister_event_duration_listener(listener)
    return result, took, compiling


def _repeated(name: str, retrained: selection.Ranking, matter: np.ndarray) -> Row:
    """How well retraining would agree with itself: what a perfect method can hope for."""
    value, error = retrained.value[matter], retrained.uncertainty[matter]
    again = value + error * np.random.default_rng(0).normal(size=(2000, len(value)))
    found = [spearmanr(value, each)[0] for each in again] if len(value) > 2 else [np.nan]
    low, high = np.percentile(found, [16, 84])
    return Row(
        what=f"{name}: Spearman of retraining and a repetition of it",
        required="",
        measured=float(np.mean(found)),
        spread=f"({low:.2f} to {high:.2f}, from its own uncertainties)",
    )


# ---- speed of a round --------------------------------------------------------------------------


def round_speed(*, quick: bool) -> list[Row]:
    """30 variables, 5 folds: 150 trainings, of which peers make some one after the other."""
    job = {"events": 50_000, "epochs": 10, "batch": 512}
    if quick:
        job = {"events": 2_000, "epochs": 1, "batch": 256}
    turns = 1 if quick else 3
    contestants = {"difftune": 150, "difftune, one by one": 3}
    contestants |= {"PyTorch": 3} if installed("torch") else {}
    contestants |= {"Keras": 3} if installed("keras") else {}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, trainings in contestants.items():
            line = json.dumps(job | {"who": name, "trainings": 6 if quick else trainings})
            command = [sys.executable, "-m", "benchmarks.peers.round", line]
            done = subprocess.run(
                command,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"KERAS_BACKEND": "jax"},
            )
            seconds[name].append(150 * float(done.stdout.split()[-1]))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    peers = {name: value for name, value in medians.items() if name != "difftune"}
    best = min(peers, key=lambda name: peers[name])
    rows = [
        Row(
            what="a round of 150 trainings: best of the others / difftune",
            required=">= 5",
            measured=peers[best] / medians["difftune"],
            spread=f"({best})",
        )
    ]
    rows += [
        Row(what=f"a round of 150 trainings, {name}, s", required="", measured=value)
        for name, value in medians.items()
    ]
    return rows


# ---- a whole elimination -----------------------------------------------------------------------


def elimination(*, quick: bool) -> list[Row]:
    """On the single-top sample, steered by gradients, and what the test events say."""
    study = single_top(quick=quick, **({} if quick else {"seeds": 1}))
    began = time.perf_counter()
    chosen = selection.eliminate(study, candidates=4, patience=1 if quick else 6)
    seconds = time.perf_counter() - began
    kept = np.ones((2, len(study.units)), bool)
    kept[1] = [name in chosen.units for name in study.units.names]
    found = selection.on_test_events(study, kept, seeds=2 if quick else 3)
    full, reduced = found.reshape(2, -1)
    difference = reduced - full
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return [
        Row(what="single top, elimination, s", required="<= 900", measured=seconds),
        Row(
            what="single top, trainings",
            required="",
            measured=chosen.trainings,
            spread=f"({len(chosen.variables)} of {len(study.units)} variables kept)",
        ),
        Row(
            what="single top, test Z reduced - full, in standard deviations of a training",
            required=">= -1",
            measured=float(difference.mean() / full.std(ddof=1)),
            spread=f"(Z {full.mean():.3f} ± {full.std(ddof=1):.3f} with all, "
            f"{reduced.mean():.3f} ± {reduced.std(ddof=1):.3f} reduced, difference "
            f"{difference.mean():+.4f} ± {error:.4f})",
        ),
    ]


def steered(*, quick: bool) -> list[Row]:
    """Eliminations on HiggsML that try four candidates a round, and all: do they agree?"""
    study = higgsml(one_in=5 if quick else 1)
    study = dataclasses.replace(study, **FAST | ({} if quick else {"epochs": 12}))
    patience = 1 if quick else 6
    some, every = (
        selection.eliminate(study, candidates=candidates, patience=patience)
        for candidates in (4, None)
    )
    kept = np.array([[name in each.units for name in study.units.names] for each in (some, every)])
    # Trainings that neither was chosen with.
    fresh = dataclasses.replace(study, seed=study.seed + 1, seeds=1 if quick else 4)
    score = selection.train(fresh, np.vstack([np.ones(len(study.units)), kept]) > 0).score
    full, first, second = score.reshape(3, -1)

    def compared(what: str, one: np.ndarray, other: np.ndarray, required: str = "") -> Row:
        difference = one - other
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        words = f"(validation cross-entropy lower by {1e4 * difference.mean():.1f} ± "
        words += f"{1e4 * error:.1f} in 10⁻⁴)"
        return Row(
            what=what, required=required, measured=float(difference.mean() / error), spread=words
        )

    sizes = (
        f"{len(some.units)} and {len(every.units)} variables, {(kept[0] & kept[1]).sum()} in both"
    )
    return [
        Row(
            what="HiggsML, elimination: trainings with 4 candidates a round / with all",
            required="",
            measured=some.trainings / every.trainings,
            spread=f"({some.trainings} and {every.trainings}; {sizes})",
        ),
        compared(
            "HiggsML, elimination: 4 candidates against all, in standard errors",
            first,
            second,
            "" if quick else ">= -2",
        ),
        compared("HiggsML, elimination: all candidates against no elimination", second, full),
    ]


# ---- attributions ------------------------------------------------------------------------------


def attributions() -> list[Row]:
    """Integrated and expected gradients against completeness, Captum and shap."""
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=s).astype(np.float32) * s[0] ** -0.5 for s in ((8, 32), (32, 1))]
    x = rng.normal(size=(30, 8)).astype(np.float32)
    base = np.zeros((1, 8), np.float32)

    def score(features):
        return (jax.nn.relu(features @ kernels[0] + 0.1) @ kernels[1])[:, 0]

    ours = selection.integrated_gradients(score, jnp.asarray(x), jnp.asarray(base), steps=2000)
    error = np.abs(np.sum(ours, axis=1) - (score(x) - score(base))).max()
    rows = [
        Row(
            what="integrated gradients, 2000 steps: completeness, largest error",
            required="<= 1e-3",
            measured=float(error),
        )
    ]
    if not installed("torch"):
        return rows
    import torch

    class Net(torch.nn.Module):
        def forward(self, features):
            first, second = (torch.from_numpy(k) for k in kernels)
            return torch.relu(features @ first + 0.1) @ second

    if installed("captum"):
        from captum.attr import IntegratedGradients

        theirs = IntegratedGradients(lambda f: Net()(f)[:, 0]).attribute(
            torch.from_numpy(x), torch.from_numpy(base), n_steps=50
        )
        ours = selection.integrated_gradients(score, jnp.asarray(x), jnp.asarray(base), steps=50)
        rows.append(
            Row(
                what="integrated gradients, 50 steps: largest difference to Captum's",
                required="<= 1e-4",
                measured=float(np.abs(np.asarray(ours) - theirs.numpy()).max()),
            )
        )
    if installed("shap"):
        import shap

        np.random.seed(0)
        sample = rng.normal(size=(300, 8)).astype(np.float32)
        explainer = shap.GradientExplainer(Net(), torch.from_numpy(sample))
        parts = [
            np.reshape(explainer.shap_values(torch.from_numpy(x), nsamples=200), x.shape)
            for _ in range(12)
        ]
        own = [
            np.asarray(
                selection.expected_gradients(
                    score, jnp.asarray(x), jnp.asarray(sample), jax.random.key(i), draws=200
                )
            )
            for i in range(12)
        ]
        error = np.sqrt((np.var(parts, axis=0, ddof=1) + np.var(own, axis=0, ddof=1)) / 12)
        pull = (np.mean(parts, axis=0) - np.mean(own, axis=0)) / error
        rows.append(
            Row(
                what="expected gradients: rms difference to shap's over its sampling error",
                # Errors from 12 + 12 draws: a Student's t of 22 degrees, deviation 1.05.
                required="<= 1.2",
                measured=float(np.sqrt(np.mean(pull**2))),
            )
        )
    return rows
