"""What holds for all tests."""

import os

# Tests compile thousands of small programs and run each for moments: what the compiler would gain
# in them it has long lost. Whoever wants the programs of users sets XLA_FLAGS.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    """Forgets compiled programs after each module.

    Each of them maps memory, and Linux allows a process some 65 000 maps: the thousand programs of
    all tests would be more than that, at which XLA ends with a segmentation fault.
    """
    yield
    jax.clear_caches()
