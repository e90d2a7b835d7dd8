"""Tests. Most of their time is that of the compiler, so it gets less to do, before JAX is there."""

import os
import subprocess
import sys
import tempfile

# Tests start some fifty processes; each would compile all modules anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# With a worker on each core, threads of XLA only take turns, and those of boosted trees wait for
# each other: then a second of growing takes a minute. PYTEST_XDIST_WORKER is set by xdist.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("PJRT_NPROC", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # LightGBM asks for as many threads as joblib counts cores, whatever OpenMP is told.
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

# What the compiler would gain in programs that run for moments it has long lost.
_LEVEL = "--xla_backend_optimization_level=0"
# Fused loops written in the simple way, and a program in one piece instead of one per thread.
_SIMPLE = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def _starts(flags: str) -> bool:
    """Whether the installed XLA knows the flags: it ends a process with others."""
    return not subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
    ).returncode


# Whoever wants the programs of users sets XLA_FLAGS. Workers and subprocesses inherit it.
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = f"{_LEVEL} {_SIMPLE}" if _starts(f"{_LEVEL} {_SIMPLE}") else _LEVEL
# As it is before a test makes a device of each core.
XLA_FLAGS = os.environ["XLA_FLAGS"]
# What one test or its subprocess has compiled, the others find. The first process makes the folder.
CACHE = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else tempfile.mkdtemp()
if CACHE is not None:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
# Few of the small programs are asked for again, and to keep one takes milliseconds.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
# Nothing of the tests stays among the caches of who runs them.
os.environ["DIFFTUNE_NO_CACHE"] = "1"
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
