"""What holds for all tests."""

import os
import shutil

import jax
import pytest

from tests import CACHE


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
