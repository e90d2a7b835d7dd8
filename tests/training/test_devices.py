import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from difftune.training import describe, use_cpu_cores
from difftune.training.devices import host_array, member_devices, place, slot_assignment


def trained_on(devices: int, objective: str, folder: Path) -> list[np.ndarray]:
    """What comes out on so many devices, of programs compiled as users have them."""
    # XLA sums over a batch in as many pieces as it has threads: one per core, or a device.
    settings = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PJRT_NPROC": "8"}
    target = str(folder / f"{devices}.npz")
    subprocess.run(
        [sys.executable, "-m", "tests.training.device_worker", str(devices), objective, target],
        cwd=Path(__file__).parents[2],
        env=os.environ | settings,
        check=True,
    )
    with np.load(target) as found:
        return [found[name] for name in found.files]


# Three devices do not divide four members, and eight are more than there are members.
@pytest.mark.slow
@pytest.mark.parametrize(("objective", "devices"), [("cross-entropy", 3), ("two kernels", 8)])
def test_many_devices_give_the_numbers_of_one(tmp_path, objective, devices):
    one, many = (trained_on(each, objective, tmp_path) for each in (1, devices))
    assert len(many) == len(one) > 0
    for a, b in zip(many, one, strict=True):
        np.testing.assert_array_equal(a, b)


def dealt(running: list[int], devices: int, *, one_by_one: bool) -> np.ndarray:
    """Members, a row per device."""
    found = slot_assignment(np.array(running, bool), devices, one_by_one=one_by_one)
    return found.reshape(devices, -1)


def test_members_that_train_are_dealt_out_evenly():
    # Ten members on three devices: two of the twelve slots are left over.
    everybody = dealt([1] * 10, 3, one_by_one=True)
    assert sorted(everybody.ravel()) == [*range(10), 10, 10]
    # Were they to keep their slots, the first device would have all the work.
    some = dealt([1, 1, 1, 1, 0, 0, 0, 0], 2, one_by_one=True)
    assert sorted(some.ravel()) == list(range(8))
    assert np.sum(some < 4, axis=1).tolist() == [2, 2]


def test_side_by_side_there_are_seats_for_who_is_left():
    # As many slots as members, until half of them are enough.
    for running, devices, left in (
        ([1] * 5 + [0] * 3, 1, range(8)),
        ([0] * 4 + [1] * 4, 1, [4, 5, 6, 7]),
        ([0] * 6 + [1] * 2, 2, [6, 7]),
        ([0] * 7 + [1], 1, [7]),
    ):
        assert sorted(dealt(running, devices, one_by_one=False).ravel()) == list(left)


def test_no_more_devices_than_members():
    devices = jax.local_devices()[:1] * 8
    assert [len(member_devices(n, devices)) for n in (2, 7, 12)] == [2, 7, 8]


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


def test_devices_of_a_cpu_take_host_arrays_as_they_are():
    array = host_array((1000, 3), np.float32)
    array[:] = np.arange(3000).reshape(1000, 3)
    placed = place(array, jax.local_devices(), by_member=False)
    pointers = {shard.data.unsafe_buffer_pointer() for shard in placed.addressable_shards}
    assert pointers == {array.ctypes.data}
    np.testing.assert_array_equal(placed, np.arange(3000).reshape(1000, 3))
    for shape, dtype in (((), np.int32), ((0, 5), np.float32), ((3,), np.int64)):
        empty = host_array(shape, dtype)
        assert (empty.shape, empty.dtype) == (shape, np.dtype(dtype))
        assert not empty.size or empty.ctypes.data % 64 == 0
