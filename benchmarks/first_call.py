"""How long a user waits for an import, first answers and trainings, each in a fresh process.

Beside the answers stand pyhf's own.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.common import running
from benchmarks.common.running import clocked
from benchmarks.common.table import Row, median
from benchmarks.common.workspaces import LARGE, MEDIUM, spec_of, workspace

BOUNDS = {"from_spec": "<= 2", "fit": "<= 4", "CLs": "<= 6", "limit": "<= 8"}
SMALL = ("single_channel_big", MEDIUM)


def ours(name: str, question: str) -> dict[str, tuple[float, float]]:
    """Seconds of each first call, on the clock and of the processor."""
    import difftune as dt

    _ = dt.histfactory.Model
    spec, found = spec_of(name), {}

    def timed(what: str, action: Callable):
        began, cpu = time.perf_counter(), time.process_time()
        try:
            return action()
        except dt.inference.FitError:
            # "There is no limit" is an answer, too.
            return None
        finally:
            found[what] = time.perf_counter() - began, time.process_time() - cpu

    model = timed("from_spec", lambda: dt.histfactory.Model.from_spec(spec))
    asked = {
        "fit": lambda: dt.inference.fit(model),
        "CLs": lambda: dt.inference.hypotest(1.0, model),
        "limit": lambda: dt.inference.upper_limit(model),
    }
    timed(question, asked[question])
    return found


def pyhf(name: str) -> dict[str, float]:
    """Seconds of pyhf's first model and CLs."""
    import pyhf

    spec = spec_of(name)

    def made() -> tuple:
        workspace = pyhf.Workspace(spec)
        model = workspace.model()
        return model, workspace.data(model)

    def asked() -> None:
        try:
            pyhf.infer.hypotest(1.0, data, model, return_expected_set=True)
        except pyhf.exceptions.FailedMinimization:
            # Which is what pyhf's user waits for, too.
            return

    (model, data), first = clocked(made)
    return {"from_spec": first, "CLs": clocked(asked)[1]}


def gradient() -> float:
    """Seconds of a gradient, which is compiled; with the cache the second start only loads it."""
    import jax

    import difftune as dt

    dt.use_compilation_cache()
    model = dt.histfactory.Model.from_spec(spec_of(MEDIUM))

    def median(numbers: jax.Array) -> jax.Array:
        return dt.inference.hypotest(1.0, model.replace(numbers=numbers)).expected[2]

    with jax.enable_x64(True):
        asked = jax.jit(jax.grad(median))
        return clocked(lambda: jax.block_until_ready(asked(model.numbers)))[1]


def trainings(*, events: int) -> dict[str, list[float]]:
    """Seconds of two trainings of an equal recipe for one epoch, of which the first compiles."""
    import numpy as np

    import difftune as dt

    label, rng = np.arange(events) % 2, np.random.default_rng(0)
    sample = dt.Events.from_arrays(
        rng.normal(size=(events, 10)) + 0.3 * label[:, None],
        label,
        np.ones(events),
        feature_names=[f"x{number}" for number in range(10)],
        processes=[dt.Process(name="background"), dt.Process(name="signal", role="signal")],
    )
    split, found = dt.analysis.Split(events=sample), {}
    for name in ("CrossEntropy", "PoiUncertainty"):
        found[name] = []
        for seed in (1, 2):
            recipe = dt.Recipe(objective=getattr(dt.objectives, name)(), batch_size=1024)
            train = partial(dt.train, split, recipe, epochs=1, seed=seed)
            found[name].append(clocked(train)[1])
    return found


def starts(*, quick: bool) -> list[Row]:
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


def run(*, quick: bool) -> list[Row]:
    """Starts, first answers of each model, trainings; `quick` asks two for the limit alone."""
    rows = starts(quick=quick)
    names = SMALL if quick else SMALL + LARGE
    for name in [name for name in names if name == MEDIUM or workspace(name).exists()]:
        for question in ("limit",) if quick else ("fit", "CLs", "limit"):
            times = running.call("benchmarks.first_call:ours", name=name, question=question)
            for what, (wall, cpu) in times.items():
                if what == question or question == "limit":
                    large = name in LARGE and what != "from_spec"
                    bound = "<= 8" if large else BOUNDS[what]
                    words = f"({cpu:.2f} of the processor)"
                    rows.append(Row(f"{name}: first {what}, s", wall, bound, words))
        if not quick:
            theirs = running.call("benchmarks.first_call:pyhf", name=name)
            rows += [Row(f"{name}: pyhf's first {what}, s", took) for what, took in theirs.items()]
    times = running.call("benchmarks.first_call:trainings", events=2_000 if quick else 20_000)
    for name, (first, again) in times.items():
        rows.append(Row(f"dt.train, {name}, one epoch: first, s", first))
        rows.append(Row(f"dt.train, {name}, one epoch: an equal recipe again, s", again, "<= 0.5"))
    if quick:
        return rows
    with tempfile.TemporaryDirectory() as folder:
        for start, bound in (("first", ""), ("second", "<= 8")):
            variables = {"XDG_CACHE_HOME": folder}
            took = running.call("benchmarks.first_call:gradient", variables=variables)
            what = f"{MEDIUM}: gradient of CLs, {start} start with the cache, s"
            rows.append(Row(what, took, bound))
    return rows
