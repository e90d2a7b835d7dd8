import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from difftune.training import describe, use_cpu_cores
from difftune.training.devices import member_devices
from tests.training import toy

PROGRAM = """
import jax, numpy as np
from tests.training import toy
population = toy.shared()
assert len(population.devices) == 2, population.devices
state, records = toy.train(population, toy.GIVEN, 2)
leaves = [*jax.tree.leaves(state), *jax.tree.leaves(records)]
np.savez({target!r}, *leaves)
"""


def test_two_devices_give_the_numbers_of_one(tmp_path):
    target = str(tmp_path / "two.npz")
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    subprocess.run(
        [sys.executable, "-c", PROGRAM.format(target=target)],
        cwd=Path(__file__).parents[2],
        env=environment,
        check=True,
    )
    state, records = toy.train(toy.shared(), toy.GIVEN, 2)
    expected = [*jax.tree.leaves(state), *jax.tree.leaves(records)]
    with np.load(target) as found:
        assert len(found.files) == len(expected)
        for name, array in zip(found.files, expected, strict=True):
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("members", "available", "used"), [(8, 3, 2), (7, 4, 1), (6, 6, 6), (2, 8, 2), (12, 5, 4)]
)
def test_devices_share_the_members_evenly(members, available, used):
    devices = jax.local_devices()[:1] * available
    assert len(member_devices(members, devices)) == used


def test_cores_become_devices_unless_the_user_has_set_it(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    use_cpu_cores(3)
    flags = os.environ["XLA_FLAGS"].split()
    assert flags[:2] == ["--xla_dump_to=here", "--xla_force_host_platform_device_count=3"]
    use_cpu_cores(5)
    assert os.environ["XLA_FLAGS"].split() == flags
    monkeypatch.delenv("XLA_FLAGS")
    use_cpu_cores()
    assert f"count={len(os.sched_getaffinity(0))} " in os.environ["XLA_FLAGS"]


def test_description_is_that_of_jax():
    facts = describe()
    assert (facts["platform"], facts["count"]) == (jax.default_backend(), jax.local_device_count())
