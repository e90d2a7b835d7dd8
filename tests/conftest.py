"""What holds for all tests: most of their time is that of the compiler, so it gets less to do."""

import os
import shutil
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

import jax  # noqa: E402 (it reads the environment)
import pytest  # noqa: E402


def pytest_configure():
    """For a JAX that a plugin imported before it could see the environment."""
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_unconfigure():
    """Nothing of it stays."""
    if CACHE is not None:
        shutil.rmtree(CACHE, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    """Forgets compiled programs after each module.

    Each of them maps memory, and Linux allows a process some 65 000 maps: the thousand programs of
    all tests would be more than that, at which XLA ends with a segmentation fault.
    """
    yield
    jax.clear_caches()
