"""A process that was forked after JAX had started says so, instead of hanging."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import multiprocessing, sys, warnings
import numpy as np
import difftune as dt
from difftune.errors import InputError
from difftune.training import ModuleDef
warnings.simplefilter("ignore")

def make(_):
    try:
        ModuleDef(dt.models.MLP(hidden=(4,)), inputs=2, outputs=1)
    except InputError as error:
        return str(error)
    return "made"

def test(_):
    model = dt.histfactory.Model.from_spec(SPEC)
    # One is tested in numpy, so many by a program of JAX.
    dt.inference.hypotest(1.0, model)
    try:
        dt.inference.hypotest(np.linspace(0.1, 3.0, 100), model)
    except InputError as error:
        return str(error)
    return "made"

SPEC = {
    "channels": [{"name": "SR", "samples": [
        {"name": "s", "data": [5.0],
         "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "b", "data": [50.0], "modifiers": []},
    ]}],
    "observations": [{"name": "SR", "data": [52.0]}],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    "version": "1.0.0",
}

if __name__ == "__main__":
    import jax
    started, way, *asked = sys.argv[1:]
    if started == "started":
        jax.numpy.zeros(3).block_until_ready()
    with multiprocessing.get_context(way).Pool(1) as pool:
        for each in asked:
            print(pool.map_async({"network": make, "fit": test}[each], [0]).get(timeout=100)[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("started", "way", "asked", "said"),
    [
        ("started", "fork", ["network", "fit"], 'multiprocessing.get_context("spawn")'),
        ("not yet", "fork", ["network"], "made"),
        pytest.param("started", "spawn", ["network"], "made", marks=pytest.mark.slow),
    ],
)
def test_fork(tmp_path, started, way, asked, said):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, script, started, way, *asked],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(asked), done.stderr
    assert all(said in line for line in lines)
