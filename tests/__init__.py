"""Tests. Most of their time is that of the compiler, so it gets less to do, before JAX is there."""

import os
import tempfile

# What the compiler would gain in programs that run for moments it has long lost. Whoever wants the
# programs of users sets XLA_FLAGS.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# What one test or its subprocess has compiled, the others find. The first process makes the folder.
CACHE = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else tempfile.mkdtemp()
if CACHE is not None:
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": CACHE,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
