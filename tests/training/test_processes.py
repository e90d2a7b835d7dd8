"""Several processes share a population: real ones, over jax.distributed and over MPI."""

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import jax
import numpy as np
import pytest

from difftune.errors import InputError
from difftune.training import Processes, SingleProcess, connect
from difftune.training.packing import Damaged
from difftune.training.processes import launched
from tests.training import process_worker

LIMIT = 240


class Threads(Processes):
    """Processes that are threads, which meet at a barrier."""

    def __init__(self, rank: int, size: int, table: dict, barrier: threading.Barrier):
        self.rank, self.size, self.table, self.barrier = rank, size, table, barrier

    def gather(self, own):
        self.table[self.rank] = own
        self.barrier.wait()
        rows = np.stack([self.table[rank] for rank in range(self.size)])
        self.barrier.wait()
        return rows

    def broadcast(self, own):
        return self.gather(own)[0]

    def abort(self, code=1):
        self.barrier.abort()


def together(function, size: int) -> list:
    """What a function of the processes gives, or raises, in each of so many."""
    table, barrier, results = {}, threading.Barrier(size, timeout=60), [None] * size

    def work(rank):
        try:
            results[rank] = function(Threads(rank, size, table, barrier))
        except InputError as error:
            results[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize(("members", "size"), [(5, 2), (4, 4), (7, 3)])
def test_each_row_comes_from_the_process_that_trains_it(members, size):
    truth = {
        "a": np.arange(members * 6, dtype=np.float32).reshape(members, 3, 2),
        "b": np.arange(members) % 2 == 0,
        "c": np.arange(members, dtype=np.int32),
    }

    def merge(processes):
        own = np.isin(np.arange(members), processes.share(members))
        mine = jax.tree.map(lambda a: np.where(own.reshape(-1, *[1] * (a.ndim - 1)), a, 0), truth)
        mine = jax.tree.map(lambda a, t: a.astype(t.dtype), mine, truth)
        return processes.merged(mine, members)

    for merged in together(merge, size):
        for name, value in truth.items():
            np.testing.assert_array_equal(merged[name], value)
            assert merged[name].dtype == value.dtype


def test_what_the_first_has_is_for_all():
    facts, arrays = (
        ["ä", None, 0.1],
        [np.arange(3.0), np.ones((2, 2), bool), np.array(2, np.float32)],
    )
    for got, tree in together(
        lambda p: p.of_first(facts, arrays) if p.rank == 0 else p.of_first(None), 3
    ):
        assert got == facts
        for one, other in zip(tree, arrays, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


def test_no_code_is_run_for_what_another_process_sends():
    """A pickle that would run something is no message."""

    class Evil(Processes):
        rank, size = 1, 2

        def gather(self, own):
            raise AssertionError

        def broadcast(self, own):
            payload = np.frombuffer(pickle.dumps(Exploding()), np.uint8)
            if len(own) == 8:
                return np.frombuffer(np.int64(len(payload)).tobytes(), np.uint8)
            return payload

        def abort(self, code=1):
            raise AssertionError

    with pytest.raises(Damaged):
        Evil().of_first(None)
    assert not exploded


exploded: list[int] = []


class Exploding:
    def __reduce__(self):
        return exploded.append, (1,)


def test_different_things_are_named():
    def of(rank):
        return {
            "seed": 1 + (rank == 2),
            "events": {"column": {"pt": {"is": "column", "content": "a" if rank else "b"}}},
            "device": f"card {rank}",
        }

    results = together(lambda p: p.same(of(p.rank)), 3)
    assert len({str(each) for each in results}) == 1
    said = str(results[0])
    assert "seed: 1 in process 0, 2 in process 2" in said
    assert "events.column.pt: other values in process 1" in said
    assert "card" not in said
    assert together(lambda p: p.same(of(0)), 3) == [None, None, None]


def test_an_error_of_one_is_an_error_of_all():
    def check(rank):
        if rank == 1:
            raise InputError("events.root: not found on this node")
        return rank

    results = together(lambda p: p.agreed(lambda: check(p.rank)), 3)
    assert {str(r) for r in results} == {"process 1: events.root: not found on this node"}
    assert together(lambda p: p.agreed(lambda: p.rank), 2) == [0, 1]


def test_the_same_error_is_said_once():
    def fail():
        raise InputError("the signal has no events")

    assert {str(r) for r in together(lambda p: p.agreed(fail), 2)} == {"the signal has no events"}


def test_more_processes_than_members_are_refused():
    (first, *_) = together(lambda p: p.share(2), 3)
    assert isinstance(first, InputError)
    assert "3 processes for 2 members" in str(first)


def test_who_is_launched():
    assert launched({}) == 1
    # A batch script has the one, a step of srun the other.
    assert launched({"SLURM_NTASKS": "4"}) == 1
    assert launched({"SLURM_STEP_NUM_TASKS": "4"}) == 4
    assert launched({"OMPI_COMM_WORLD_SIZE": "2"}) == 2


def test_alone_is_the_default_and_an_unknown_engine_is_refused():
    assert isinstance(connect("none"), SingleProcess)
    with pytest.raises(InputError, match="choose one of auto, jax, mpi, none"):
        connect("gloo")


def environment(**more: str) -> dict[str, str]:
    root = str(process_worker.Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **more}


COMMAND = [sys.executable, "-m", "tests.training.process_worker"]


def over_jax(size: int, folder, *dies: str, seeds=(5, 5)) -> list[subprocess.Popen]:
    """Starts processes that `jax.distributed` connects."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    return [
        subprocess.Popen(
            [*COMMAND, "jax", str(folder), *dies],
            env=environment(
                TEST_COORDINATOR=address,
                TEST_RANK=str(rank),
                TEST_SIZE=str(size),
                TEST_SEED=str(seeds[rank]),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def results(text: str) -> dict[int, Any]:
    lines = [json.loads(line.split("RESULT")[1]) for line in text.splitlines() if "RESULT" in line]
    return {rank: summary for rank, _, summary in lines}


def alone_in(folder) -> Any:
    """What one process finds, or makes of the checkpoints of several."""
    command = [*COMMAND, "none", str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=LIMIT)
    return results(done.stdout)[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The search in one process, compiled as that of several is."""
    return alone_in(tmp_path_factory.mktemp("alone"))


@pytest.mark.slow
def test_the_search_copies_members_between_processes(alone):
    parents = np.array(alone["parents"])
    assert np.any((parents - np.arange(5)) % 2), "no member moves to another process"


@pytest.mark.slow
def test_two_processes_of_jax_give_what_one_gives_and_a_dead_one_ends_the_job(alone, tmp_path):
    # The process with the highest number is killed in the third round.
    started = over_jax(2, tmp_path, "2")
    started[1].communicate(timeout=LIMIT)
    assert started[1].returncode == -9
    dead = time.monotonic()
    _, said = started[0].communicate(timeout=60)
    assert time.monotonic() - dead < 60
    assert started[0].returncode != 0
    assert "RESULT" not in said
    # Two rounds are there; two processes go on with them.
    assert {path.name for path in tmp_path.iterdir()} >= {"1", "2"}
    outs = [process.communicate(timeout=LIMIT) for process in over_jax(2, tmp_path)]
    found = results("".join(out for out, _ in outs))
    assert found == {0: alone, 1: alone}, outs[0][1][-2000:]


@pytest.mark.slow
def test_two_processes_share_a_cross_fitted_search_in_stages(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_SEARCH", "cross_fitted")
    folds = alone_in(tmp_path / "alone")
    assert len(folds) == 3
    assert any(np.any(np.diff(fold["before"]["parents"], axis=0)) for fold in folds)
    outs = [process.communicate(timeout=LIMIT) for process in over_jax(2, tmp_path / "shared")]
    found = results("".join(out for out, _ in outs))
    assert found == {0: folds, 1: folds}, outs[0][1][-2000:]


@pytest.mark.slow
def test_two_processes_with_different_seeds_say_so_and_end(tmp_path):
    started = over_jax(2, tmp_path, seeds=(1, 2))
    said = [process.communicate(timeout=LIMIT)[1] for process in started]
    for process, text in zip(started, said, strict=True):
        assert process.returncode == 1
        assert "seed: 1 in process 0, 2 in process 1" in text
    assert not list(tmp_path.glob("[0-9]*"))


@pytest.fixture(scope="module")
def mpi():
    """First of the fixtures, so that nothing is trained for a test that is skipped."""
    pytest.importorskip("mpi4jax", reason="the extra 'mpi' is not installed")


def over_mpi(folder, *dies: str) -> subprocess.CompletedProcess:
    """Two processes that MPI connects, to their end."""
    assert shutil.which("mpirun"), "mpi4jax is there, but mpirun is not in the PATH"
    settings = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    return subprocess.run(
        ["mpirun", "-n", "2", *COMMAND, "mpi", str(folder), *dies],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def test_two_processes_of_mpi_give_what_one_gives(mpi, alone, tmp_path):
    done = over_mpi(tmp_path)
    assert results(done.stdout) == {0: alone, 1: alone}, done.stderr[-2000:]


def test_a_dead_process_of_mpi_ends_the_job_and_one_process_goes_on(mpi, alone, tmp_path):
    done = over_mpi(tmp_path, "2")
    assert done.returncode != 0
    assert "signal 9" in done.stderr
    assert "RESULT" not in done.stdout
    assert alone_in(tmp_path) == alone
