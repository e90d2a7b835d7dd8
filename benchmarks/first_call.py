"""How long a user waits for the first answers, each in a fresh process, beside pyhf's own."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.table import Row

ROOT = Path(__file__).resolve().parents[1]
BOUNDS = {"from_spec": "<= 2", "fit": "<= 4", "CLs": "<= 6", "limit": "<= 8"}
SMALL = ("single_channel_big", "57 parameters")
LARGE = ("ttZ_4l", "ttbar_ljets_xsec", "susy-2019-08_1Lbb_C1N2_Wh_hbb_900_250")

# What one process prints: seconds of each first call. "There is no limit" is an answer, too.
OURS = """
import json, sys, time
sys.path.insert(0, {root!r})
from benchmarks.first_call import spec_of
import difftune as dt
from difftune import inference

dt.histfactory.Model
spec, found = spec_of({name!r}), {{}}
def timed(what, action):
    began, cpu = time.perf_counter(), time.process_time()
    try:
        return action()
    except inference.FitError:
        return None
    finally:
        found[what] = time.perf_counter() - began, time.process_time() - cpu
model = timed("from_spec", lambda: dt.histfactory.Model.from_spec(spec))
if {question!r} == "fit":
    timed("fit", lambda: inference.fit(model))
if {question!r} == "CLs":
    timed("CLs", lambda: inference.hypotest(1.0, model))
if {question!r} == "limit":
    timed("limit", lambda: inference.upper_limit(model))
print(json.dumps(found))
"""

PYHF = """
import json, sys, time
sys.path.insert(0, {root!r})
from benchmarks.first_call import spec_of
import pyhf
spec, found, began = spec_of({name!r}), {{}}, time.perf_counter()
workspace = pyhf.Workspace(spec)
model = workspace.model()
data = workspace.data(model)
found["from_spec"] = time.perf_counter() - began
began = time.perf_counter()
try:
    pyhf.infer.hypotest(1.0, data, model, return_expected_set=True)
except pyhf.exceptions.FailedMinimization:
    pass
found["CLs"] = time.perf_counter() - began
print(json.dumps(found))
"""

# A gradient is compiled; with the cache the second start only loads it.
GRADIENT = """
import json, sys, time
sys.path.insert(0, {root!r})
from benchmarks.first_call import spec_of
import difftune as dt, jax
from difftune import inference
dt.use_compilation_cache()
model, began = dt.histfactory.Model.from_spec(spec_of({name!r})), time.perf_counter()
def median(numbers):
    return inference.hypotest(1.0, model.replace(numbers=numbers)).expected[2]
with jax.enable_x64(True):
    jax.block_until_ready(jax.jit(jax.grad(median))(model.numbers))
print(json.dumps(time.perf_counter() - began))
"""


def spec_of(name: str) -> Any:
    """The workspace of that name."""
    if name == "57 parameters":
        from benchmarks.histfactory import medium

        return medium()
    return json.loads(_path(name).read_text())


def _path(name: str) -> Path:
    return ROOT.parent / "shared" / "data" / "workspaces" / f"{name}.json"


def answer(program: str, **options: str) -> Any:
    """What a fresh process prints, without anybody's cache unless it is given."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    environment |= {k: v for k, v in options.items() if k.isupper()}
    given = {k: v for k, v in options.items() if not k.isupper()}
    done = subprocess.run(
        [sys.executable, "-c", program.format(root=str(ROOT), **given)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return json.loads(done.stdout.splitlines()[-1])


def run(*, quick: bool) -> list[Row]:
    """First answers of each model; `quick` takes two models, and asks for the limit alone."""
    rows = []
    names = [name for name in SMALL + LARGE if name == "57 parameters" or _path(name).exists()]
    for name in [n for n in names if n in SMALL] if quick else names:
        large = name in LARGE
        for question in ("limit",) if quick else ("fit", "CLs", "limit"):
            times = answer(OURS, name=name, question=question)
            for what, (wall, cpu) in times.items():
                if what == question or question == "limit":
                    bound = "<= 8" if large and what != "from_spec" else BOUNDS[what]
                    rows.append(
                        Row(
                            what=f"{name}: first {what}, s",
                            required=bound,
                            measured=wall,
                            spread=f"({cpu:.2f} of the processor)",
                        )
                    )
        if not quick:
            rows += [
                Row(what=f"{name}: pyhf's first {what}, s", required="", measured=seconds)
                for what, seconds in answer(PYHF, name=name).items()
            ]
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            for start in ("first", "second"):
                what = f"57 parameters: gradient of CLs, {start} start with the cache, s"
                seconds = answer(GRADIENT, name="57 parameters", XDG_CACHE_HOME=folder)
                bound = "<= 8" if start == "second" else ""
                rows.append(Row(what=what, required=bound, measured=seconds))
    return rows
