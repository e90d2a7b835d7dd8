import logging
import resource
from typing import NamedTuple

import numpy as np
import pytest

from difftune.errors import InputError
from difftune.training import Checkpoints


class State(NamedTuple):
    weights: dict
    count: np.ndarray
    flags: np.ndarray


def state(seed: int, members: int = 3) -> State:
    rng = np.random.default_rng(seed)
    weights = {f"layer{i}": rng.normal(size=(members, 4)).astype(np.float32) for i in range(12)}
    weights["layer3"][0, :3] = np.nan, np.inf, 1e-45
    return State(weights, rng.integers(0, 9, members).astype(np.int32), rng.random(members) < 0.5)


def test_round_trip_is_exact(tmp_path):
    before = state(1)
    facts = {"rows": [[0.1, float("nan")], [1 / 3, -1e300]], "name": "x", "none": None}
    Checkpoints(tmp_path / "new" / "folder").save(4, before, facts)
    step, after, read = Checkpoints(tmp_path / "new" / "folder").newest(state(0))
    assert step == 4
    assert isinstance(after, State)
    assert after.weights.keys() == before.weights.keys()
    for name, array in before.weights.items():
        assert np.asarray(after.weights[name]).tobytes() == array.tobytes()
        assert after.weights[name].dtype == np.float32
    np.testing.assert_array_equal(after.count, before.count)
    np.testing.assert_array_equal(after.flags, before.flags)
    assert (after.count.dtype, after.flags.dtype) == (np.int32, bool)
    np.testing.assert_array_equal(read.pop("rows"), facts.pop("rows"))
    assert read == facts


def test_nothing_there_is_nothing(tmp_path):
    assert Checkpoints(tmp_path).newest(state(0)) is None


def test_only_so_many_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 5):
        checkpoints.save(step, state(step), {"step": step})
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["3", "4"]
    step, newest, facts = checkpoints.newest(state(0))
    assert (step, facts) == (4, {"step": 4})
    np.testing.assert_array_equal(newest.weights["layer0"], state(4).weights["layer0"])


@pytest.mark.parametrize("damage", ["arrays cut short", "facts cut short", "arrays gone"])
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, caplog, damage):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, state(step), {"step": step})
    part = "facts" if damage == "facts cut short" else "arrays"
    for file in (tmp_path / "2" / part).rglob("*"):
        if file.is_file():
            if damage == "arrays gone":
                file.unlink()
            else:
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with caplog.at_level(logging.WARNING, logger="difftune"):
        step, newest, facts = checkpoints.newest(state(0))
    assert (step, facts) == (1, {"step": 1})
    np.testing.assert_array_equal(newest.weights["layer0"], state(1).weights["layer0"])
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "difftune"]
    assert f"{tmp_path}/2 is unreadable" in warning
    # The search goes on and writes its round again.
    checkpoints.save(2, state(5), {"step": "again"})
    step, _, facts = checkpoints.newest(state(0))
    assert (step, facts) == (2, {"step": "again"})


def test_a_full_disk_is_said_and_the_one_before_is_kept(tmp_path, caplog):
    large = {"weights": np.random.default_rng(0).normal(size=(1000, 100))}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, large, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file can become larger than a tenth of the array.
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, before[1]))
    try:
        with caplog.at_level(logging.WARNING, logger="difftune"):
            checkpoints.save(2, large, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "difftune"]
    assert f"{tmp_path}/2 could not be written, the one before is kept" in warning
    assert "File too large" in warning
    assert [folder.name for folder in tmp_path.iterdir()] == ["1"]
    assert checkpoints.newest(large)[2] == {"step": 1}
    checkpoints.save(3, large, {"step": 3})
    assert checkpoints.newest(large)[2] == {"step": 3}


def test_another_structure_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1), {})
    other = state(0)
    del other.weights["layer5"]
    for wrong in (other, state(0, members=4)):
        with pytest.raises(InputError, match=r"another configuration.*new run directory"):
            checkpoints.newest(wrong)
    assert checkpoints.newest(state(0)) is not None
