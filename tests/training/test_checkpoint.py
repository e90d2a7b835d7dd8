import errno
import logging
import os
import resource
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
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
    step, after, (read,) = Checkpoints(tmp_path / "new" / "folder").newest(state(0))
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


def test_types_that_numpy_does_not_know(tmp_path):
    tree = {"a": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3), "b": jnp.float32(2.5)}
    Checkpoints(tmp_path).save(1, tree, None)
    after = Checkpoints(tmp_path).newest(tree)[1]
    assert after["a"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(after["a"], tree["a"])
    assert after["b"] == 2.5


def test_nothing_there_is_nothing(tmp_path):
    assert Checkpoints(tmp_path).newest(state(0)) is None


def test_only_so_many_are_kept_and_the_history_of_all(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 5):
        checkpoints.save(step, state(step), {"step": step})
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["3", "4", "history.log"]
    step, newest, facts = checkpoints.newest(state(0))
    assert (step, facts) == (4, [{"step": number} for number in (1, 2, 3, 4)])
    np.testing.assert_array_equal(newest.weights["layer0"], state(4).weights["layer0"])


def test_a_round_adds_to_the_history_and_rewrites_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    sizes = []
    for step in range(1, 30):
        checkpoints.save(step, {"a": np.zeros(3)}, {"step": step, "rows": [0.5] * 100})
        newest = (tmp_path / str(step) / "checkpoint.npz").stat().st_size
        sizes.append(newest)
    assert max(sizes) - min(sizes) < 100


def test_a_process_that_goes_on_adds_to_the_history(tmp_path):
    Checkpoints(tmp_path).save(1, state(1), {"step": 1})
    again = Checkpoints(tmp_path)
    assert again.newest(state(0))[2] == [{"step": 1}]
    again.save(2, state(2), {"step": 2})
    # Killed while a line was being written.
    with (tmp_path / "history.log").open("ab") as file:
        file.write(b"0123 {")
    third = Checkpoints(tmp_path)
    assert third.newest(state(0))[2] == [{"step": 1}, {"step": 2}]
    third.save(3, state(3), {"step": 3})
    assert Checkpoints(tmp_path).newest(state(0))[2] == [{"step": n} for n in (1, 2, 3)]


@pytest.mark.parametrize("damage", ["cut short", "empty", "gone"])
def test_a_damaged_newest_is_moved_aside_and_the_one_before_taken(tmp_path, caplog, damage):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, state(step), {"step": step})
    file = tmp_path / "2" / "checkpoint.npz"
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut short" else b"")
    with caplog.at_level(logging.WARNING, logger="difftune"):
        step, newest, facts = checkpoints.newest(state(0))
    assert (step, facts) == (1, [{"step": 1}])
    np.testing.assert_array_equal(newest.weights["layer0"], state(1).weights["layer0"])
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "difftune"]
    assert f"{tmp_path}/2 is unreadable" in warning
    assert "2.unreadable" in warning
    if damage == "cut short":
        assert (tmp_path / "2.unreadable" / file.name).read_bytes() == content[: len(content) // 2]
    # The search goes on and writes its round again.
    checkpoints.save(2, state(5), {"step": "again"})
    step, _, facts = checkpoints.newest(state(0))
    assert (step, facts) == (2, [{"step": 1}, {"step": "again"}])


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_flipped_byte_is_never_restored(tmp_path, caplog):
    """In every file: the right numbers come back, those of the round before, or an error."""
    folder = tmp_path / "whole"
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, state(step), {"step": step, "score": [0.25, 0.125]})
    expected = {
        step: ([leaf.tobytes() for leaf in jax.tree.leaves(state(step))], step) for step in (1, 2)
    }
    rng = np.random.default_rng(3)
    outcomes = []
    for number, (path, content) in enumerate(contents(folder).items()):
        places = rng.choice(len(content), 40, replace=False)
        for place in places:
            copy = tmp_path / f"{number}_{place}"
            shutil.copytree(folder, copy)
            damaged = bytearray(content)
            damaged[place] ^= 1 << rng.integers(8)
            (copy / path.relative_to(folder)).write_bytes(damaged)
            before = contents(copy)
            try:
                step, tree, facts = Checkpoints(copy).newest(state(0))
            except InputError:
                outcomes.append("refused")
                # Nothing was touched.
                assert contents(copy) == before
            else:
                outcomes.append(step)
                leaves, count = expected[step]
                assert [leaf.tobytes() for leaf in jax.tree.leaves(tree)] == leaves
                rows = [{"step": n, "score": [0.25, 0.125]} for n in range(1, count + 1)]
                assert facts == rows
                # Every byte is there still, under one name or another.
                assert sorted(contents(copy).values()) == sorted(before.values())
            shutil.rmtree(copy)
    assert set(outcomes) == {1, 2, "refused"}


@pytest.mark.parametrize("several", [False, True])
def test_an_input_output_error_deletes_nothing(tmp_path, monkeypatch, several):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, state(step), {"step": step})
    before = contents(tmp_path)
    read = Path.read_bytes

    def failing(path):
        if path.name == "checkpoint.npz" and (several or path.parent.name == "2"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        if several:
            with pytest.raises(InputError, match=r"none of them can be read.*Input/output error"):
                Checkpoints(tmp_path).newest(state(0))
        else:
            assert Checkpoints(tmp_path).newest(state(0))[0] == 1
    assert sorted(contents(tmp_path).values()) == sorted(before.values())
    if several:
        # The disk is well again.
        assert Checkpoints(tmp_path).newest(state(0))[0] == 2


def test_those_of_something_else_are_refused_and_left(tmp_path):
    Checkpoints(tmp_path).of({"seed": 1, "rounds": 4}).save(1, state(1), {})
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"seed: 1 then, 2 now.*another folder"):
        Checkpoints(tmp_path).of({"seed": 2, "rounds": 4}).newest(state(0))
    assert contents(tmp_path) == before
    assert Checkpoints(tmp_path).of({"seed": 1, "rounds": 4}).newest(state(0))[0] == 1


@pytest.mark.parametrize("where", ["below a file", "dangling link", "too long", "read-only"])
def test_a_folder_that_cannot_be_used(tmp_path, where):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    folder = {
        "below a file": tmp_path / "file" / "checkpoints",
        "dangling link": tmp_path / "link",
        "too long": tmp_path / ("x" * 300),
        "read-only": Path("/proc/difftune"),
    }[where]
    with pytest.raises(InputError, match=r"cannot be used.*Choose another folder"):
        Checkpoints(folder)


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "history.log"]
    assert checkpoints.newest(large)[2] == [{"step": 1}]
    checkpoints.save(2, large, {"step": 2})
    checkpoints.save(3, large, {"step": 3})
    assert checkpoints.newest(large)[2] == [{"step": n} for n in (1, 2, 3)]


def test_a_history_that_could_not_be_written_is_written_later(tmp_path, monkeypatch, caplog):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1), {"step": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        checkpoints.save(2, state(2), {"step": 2})
    assert "could not be written" in caplog.text
    assert Checkpoints(tmp_path).newest(state(0))[0] == 1
    checkpoints.save(3, state(3), {"step": 3})
    step, _, facts = Checkpoints(tmp_path).newest(state(0))
    assert (step, facts) == (3, [{"step": n} for n in (1, 2, 3)])


def test_another_structure_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1), {})
    other = state(0)
    del other.weights["layer5"]
    for wrong in (other, state(0, members=4)):
        with pytest.raises(InputError, match=r"another configuration.*new run directory"):
            checkpoints.newest(wrong)
    assert checkpoints.newest(state(0)) is not None
