"""Processes that share a population: what they exchange, and the two ways to do it.

Each process trains some of the members, on its own devices. How the members do is exchanged after
each epoch, the members themselves at the end of a round. All processes make the same proposals
from that, so nothing needs to be told.
"""

import abc
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PyTree, UInt8

from difftune.errors import InputError
from difftune.training.fingerprint import ROUNDINGS, differences, listed
from difftune.training.packing import pack, unpack

Bytes = UInt8[np.ndarray, " bytes"]

# A process that says nothing for so long counts as dead, and the job ends.
_SILENCE = 40
# The first process writes the report while the others have done; they may wait for a day.
_GOODBYE = 86_400


class Processes(abc.ABC):
    """The processes of a job.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @abc.abstractmethod
    def gather(self, own: Bytes) -> UInt8[np.ndarray, "processes bytes"]:
        """What each process gives, as many bytes from each; all call it, and all get it."""

    @abc.abstractmethod
    def broadcast(self, own: Bytes) -> Bytes:
        """What process 0 gives; the others give as many bytes, of any value."""

    @abc.abstractmethod
    def abort(self, code: int = 1) -> None:
        """Ends this process at once, so that the others do not wait for it.

        Args:
            code: The exit code of the process.
        """

    def share(self, members: int) -> Int[np.ndarray, " own"]:
        """The members that this process trains: every so many-th.

        Args:
            members: Size of the population.

        Raises:
            InputError: There are more processes than members.
        """
        if self.size > members:
            raise InputError(
                f"{self.size} processes for {members} members: start as many at most, or give a "
                "larger population."
            )
        return np.arange(self.rank, members, self.size)

    def merged(self, tree: PyTree, members: int) -> PyTree:
        """Arrays of all members, each row from the process that trains it.

        Args:
            tree: Arrays `[members, ...]`, right in the rows of this process.
            members: Size of the population.
        """
        if self.size == 1:
            return tree
        leaves, structure = jax.tree.flatten(jax.device_get(tree))
        leaves = [np.asarray(leaf) for leaf in leaves]
        # All give as many rows; what is too much repeats the first one.
        rows = np.zeros(-(-members // self.size), int)
        own = self.share(members)
        rows[: len(own)] = own
        sent = [np.ascontiguousarray(leaf[rows]).reshape(-1).view(np.uint8) for leaf in leaves]
        parts = self.gather(np.concatenate(sent))
        merged, place = [], 0
        for leaf, bytes_ in zip(leaves, sent, strict=True):
            result = np.empty((len(rows), self.size, *leaf.shape[1:]), leaf.dtype)
            for rank, part in enumerate(parts):
                column = np.ascontiguousarray(part[place : place + bytes_.size]).view(leaf.dtype)
                result[:, rank] = column.reshape(len(rows), *leaf.shape[1:])
            merged.append(result.reshape(-1, *leaf.shape[1:])[:members])
            place += bytes_.size
        return jax.tree.unflatten(structure, merged)

    def of_first(
        self, facts: Any, arrays: Sequence[np.ndarray] = ()
    ) -> tuple[Any, list[np.ndarray]]:
        """What process 0 has, for all; what the others give does not count.

        Args:
            facts: What JSON can hold.
            arrays: Of any shape and type.
        """
        if self.size == 1:
            return facts, list(arrays)
        own = np.frombuffer(pack(facts, arrays) if self.rank == 0 else b"", np.uint8)
        length = self.broadcast(np.frombuffer(np.int64(own.size).tobytes(), np.uint8))
        count = int(np.ascontiguousarray(length).view(np.int64)[0])
        own = own if self.rank == 0 else np.zeros(count, np.uint8)
        return unpack(self.broadcast(own).tobytes())

    def texts(self, own: str) -> list[str]:
        """The strings of all processes, on each of them."""
        raw = own.encode()
        lengths = self.gather(np.frombuffer(np.int64(len(raw)).tobytes(), np.uint8))
        counts = np.ascontiguousarray(lengths).view(np.int64)[:, 0]
        padded = np.zeros(max(1, counts.max()), np.uint8)
        padded[: len(raw)] = np.frombuffer(raw, np.uint8)
        rows = zip(self.gather(padded), counts, strict=True)
        return [bytes(row[:count]).decode() for row, count in rows]

    def same(self, definition: Mapping[str, Any]) -> None:
        """Ends the job where processes were given different things.

        Args:
            definition: What must be the same for all (`training.fingerprint`).

        Raises:
            InputError: Naming what differs, and in which processes.
        """
        if self.size == 1:
            return
        # Kinds of devices may differ: roundings then do.
        compared = {name: part for name, part in definition.items() if name not in ROUNDINGS}
        first, *others = (json.loads(text) for text in self.texts(json.dumps(compared)))
        found = []
        for rank, other in enumerate(others, 1):
            words = ("in process 0", f"in process {rank}")
            if lines := differences(first, other, words=words):
                found.append(listed(lines))
        if found:
            raise InputError(
                f"the processes were given different things. {listed(found)}. Start all of them "
                "with the same analysis file, options, events and versions."
            )

    def agreed(self, check: Callable[[], Any]) -> Any:
        """What a check gives, or the errors of all processes for all of them.

        A file that one node does not see then ends the job on all nodes, and with one message.

        Args:
            check: May raise `InputError`.

        Raises:
            InputError: Any of the processes had one.
        """
        result, message = None, ""
        try:
            result = check()
        except InputError as error:
            if self.size == 1:
                raise
            message = str(error)
        if self.size == 1:
            return result
        texts = self.texts(message)
        if not any(texts):
            return result
        if len(set(texts)) == 1:
            raise InputError(texts[0])
        raise InputError(
            "\n".join(f"process {rank}: {text}" for rank, text in enumerate(texts) if text)
        )


class SingleProcess(Processes):
    """One process, which exchanges nothing."""

    def gather(self, own: Bytes) -> UInt8[np.ndarray, "processes bytes"]:
        """Its own."""
        return own[None]

    def broadcast(self, own: Bytes) -> Bytes:
        """Its own."""
        return own

    def abort(self, code: int = 1) -> None:
        """No process waits."""


class JaxProcesses(Processes):
    """Processes that `jax.distributed` has connected (gloo on CPUs, NCCL on GPUs)."""

    def __init__(self) -> None:
        self.rank, self.size = jax.process_index(), jax.process_count()

    def gather(self, own: Bytes) -> UInt8[np.ndarray, "processes bytes"]:
        """Through a program over one device a process."""
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(own)).reshape(self.size, -1)

    def broadcast(self, own: Bytes) -> Bytes:
        """Gathers and takes the first: reductions of gloo mix up messages of different lengths."""
        return self.gather(own)[0]

    def abort(self, code: int = 1) -> None:
        """Without the good-bye that waits for the others; they hear nothing more, and end."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class MpiProcesses(Processes):
    """Processes of MPI, through mpi4jax."""

    def __init__(self) -> None:
        try:
            import mpi4jax
            from mpi4py import MPI
        except ImportError as error:
            raise InputError(
                f"the MPI engine needs mpi4jax ({error}): pip install 'difftune[mpi]', with the "
                "compiler wrapper mpicc of your MPI in the PATH."
            ) from error
        self._mpi = mpi4jax
        # A communicator of our own, so that nobody else's messages get in between.
        self._world = MPI.COMM_WORLD.Clone()
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        # Messages lie in the memory of the host, also where the members are trained on a GPU.
        self._cpu = jax.devices("cpu")[0]

    def gather(self, own: Bytes) -> UInt8[np.ndarray, "processes bytes"]:
        """MPI_Allgather."""
        sent = jax.device_put(np.asarray(own), self._cpu)
        return np.asarray(self._mpi.allgather(sent, comm=self._world))

    def broadcast(self, own: Bytes) -> Bytes:
        """MPI_Bcast."""
        sent = jax.device_put(np.asarray(own), self._cpu)
        received = np.asarray(self._mpi.bcast(sent, 0, comm=self._world))
        return np.asarray(own) if self.rank == 0 else received

    def abort(self, code: int = 1) -> None:
        """MPI_Abort."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._world.Abort(code)


def launched(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes `mpirun` or `srun` has started, as far as the environment tells."""
    # A batch script itself has SLURM_NTASKS too; SLURM_STEP_NUM_TASKS is srun's.
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"):
        if environment.get(name, "").isdigit():
            return int(environment[name])
    return 1


def connect(engine: str = "auto") -> Processes:
    """Connects the processes of this job; call it before JAX starts its backend.

    Several processes on a node get as many threads each as the node has cores, as one that has all
    of them, unless `PJRT_NPROC` is set: so they give the same result to the last bit.

    Args:
        engine: `"jax"`: `jax.distributed`, which finds the others under OpenMPI's `mpirun` and
            SLURM's `srun`; `"mpi"`: mpi4jax, under any MPI; `"none"`: this process alone;
            `"auto"`: `"jax"` if several were launched, else `"none"`.

    Raises:
        InputError: For an unknown engine, or one that does not find the others.
    """
    if engine not in ("auto", "jax", "mpi", "none"):
        raise InputError(f"engine {engine!r}: choose one of auto, jax, mpi, none.")
    if engine == "none" or (engine == "auto" and launched() == 1):
        return SingleProcess()
    # XLA splits sums over events among its threads, one per core that the process may use: that
    # must not depend on how the cores of a node are shared out, or roundings would.
    os.environ.setdefault("PJRT_NPROC", str(os.cpu_count()))
    if engine == "mpi":
        return MpiProcesses()
    if not jax.distributed.is_initialized():
        try:
            jax.distributed.initialize(
                heartbeat_timeout_seconds=_SILENCE, shutdown_timeout_seconds=_GOODBYE
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"jax.distributed did not find the other processes ({error}). Start with OpenMPI's "
                "mpirun or SLURM's srun, take --engine mpi, or call jax.distributed.initialize "
                "with addresses of your own first."
            ) from error
    return JaxProcesses()
