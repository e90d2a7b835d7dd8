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

if __name__ == "__main__":
    import jax
    started, way = sys.argv[1:]
    if started == "started":
        jax.numpy.zeros(3).block_until_ready()
    with multiprocessing.get_context(way).Pool(1) as pool:
        print(pool.map_async(make, [0]).get(timeout=100)[0])
"""


@pytest.mark.parametrize(
    ("started", "way", "said"),
    [
        ("started", "fork", 'multiprocessing.get_context("spawn")'),
        ("not yet", "fork", "made"),
        ("started", "spawn", "made"),
    ],
)
def test_fork(tmp_path, started, way, said):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, script, started, way],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert said in done.stdout, done.stderr
