"""Where the members of a population run: the one place that knows the platform."""

import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Int, PyTree
from numpy.typing import DTypeLike

MEMBER = "member"
_ALIGNED = 64


def use_cpu_cores(cores: int | None = None) -> None:
    """Makes each CPU core a device of its own, which is fastest for populations of small networks.

    Sets `XLA_FLAGS`, and so must be called before JAX starts its backend; the command line does
    so. Flags that are set already are left alone.

    Args:
        cores: How many; all that this process may use by default.
    """
    if cores is None:
        available = getattr(os, "sched_getaffinity", None)
        cores = len(available(0)) if available else os.cpu_count() or 1
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags:
        one_core_each = (
            f"--xla_force_host_platform_device_count={cores} --xla_cpu_multi_thread_eigen=false"
        )
        os.environ["XLA_FLAGS"] = f"{flags} {one_core_each}".strip()


def member_devices(members: int, devices: Sequence[jax.Device] | None = None) -> list[jax.Device]:
    """The devices that share the members: all of them, but not more than there are members.

    Args:
        members: Size of the population.
        devices: Devices to choose from; all local ones by default.
    """
    return list(devices or jax.local_devices())[:members]


def slot_assignment(
    running: Bool[np.ndarray, " members"], devices: int, *, one_by_one: bool
) -> Int[np.ndarray, " slots"]:
    """Which member trains where: the slots of the first device, of the second, and so on.

    Members that train are dealt out evenly, so that none of the devices waits for another. Where
    members run one after the other, all have a seat, and those that are out cost nothing in it.
    Where they run side by side every seat costs the same: there are half as many, or a quarter, as
    soon as that is enough, and the program is compiled anew.

    Args:
        running: Members that train.
        devices: How many share them.
        one_by_one: Whether the members of a device run one after the other.

    Returns:
        A member for each seat; a seat that is left over has the number of members.
    """
    members = len(running)
    rows = -(-members // devices)
    order = np.argsort(~running, kind="stable")
    if not one_by_one:
        while rows > 1 and -(-rows // 2) * devices >= running.sum():
            rows = -(-rows // 2)
        order = order[: rows * devices]
    dealt = np.full(rows * devices, members, np.int32)
    dealt[: len(order)] = order
    return dealt.reshape(rows, devices).T.ravel()


def _mesh(devices: Sequence[jax.Device]) -> Mesh:
    return Mesh(np.asarray(devices), (MEMBER,), axis_types=(AxisType.Auto,))


def place(tree: PyTree, devices: Sequence[jax.Device], *, by_member: bool) -> PyTree:
    """Puts arrays on the devices, so that a compiled step always meets the same layout.

    Args:
        tree: Arrays, wherever they are.
        devices: What shares the members.
        by_member: Whether the leading axis is the member axis, or everyone needs the whole.
    """
    spec = PartitionSpec(MEMBER) if by_member else PartitionSpec()
    return jax.device_put(tree, NamedSharding(_mesh(devices), spec))


def host_array(shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
    """An empty array on the host that all CPU devices take as it is, without a copy for each.

    XLA does so where an array begins at a multiple of 64 bytes, which numpy does not see to. Such
    an array must not be written to once it has been placed.

    Args:
        shape: Its shape.
        dtype: Its type.
    """
    bytes_ = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(bytes_ + _ALIGNED, np.uint8)
    begin = -memory.ctypes.data % _ALIGNED
    return memory[begin : begin + bytes_].view(dtype).reshape(shape)


def runs_one_by_one(devices: Sequence[jax.Device]) -> bool:
    """Whether the members of a device run one after the other: on a CPU.

    There one member's working set stays in the cache, which is several times faster than
    `jax.vmap`. On an accelerator they run together.
    """
    return devices[0].platform == "cpu"


def tile_of(devices: Sequence[jax.Device], rows: int = 1) -> int | None:
    """Events whose activations a core keeps in its cache; None where nothing is gained by it.

    On a CPU a step on 1024 events, in four parts of 256, took 0.7 to 0.9 of the time of one part
    with layers of width 64, 0.6 with dropout, and as long with layers of width 128 and 256. One of
    a graph network (16 objects, 8 neighbours, width 32) took half the time in parts of 8 to 32.

    Args:
        devices: Where the members run.
        rows: How many rows of a layer an event is.
    """
    if not runs_one_by_one(devices):
        return None
    return 256 if rows == 1 else min(max(2048 // rows, 1), 256)


def over_members(
    function: Callable[[Any, Any], Any],
    devices: Sequence[jax.Device],
    *,
    one_by_one: bool | None = None,
    group: int | None = None,
) -> Callable[[Any, Any], Any]:
    """Maps a function of one member over the population.

    Args:
        function: `(member, shared) -> result`, trees of arrays.
        devices: What the members are shared out over.
        one_by_one: Whether the members of a device run one after the other; None chooses by
            platform.
        group: How many run side by side where they do; all of a device if None.

    Returns:
        The same with a leading member axis on the first argument and the result.
    """
    if runs_one_by_one(devices) if one_by_one is None else one_by_one:

        def mapped(members: PyTree, shared: PyTree) -> PyTree:
            return jax.lax.map(lambda member: function(member, shared), members)
    else:

        def mapped(members: PyTree, shared: PyTree) -> PyTree:
            if group is not None:
                return jax.lax.map(
                    lambda member: function(member, shared), members, batch_size=group
                )
            return jax.vmap(function, in_axes=(0, None))(members, shared)

    return jax.shard_map(
        mapped,
        mesh=_mesh(devices),
        in_specs=(PartitionSpec(MEMBER), PartitionSpec()),
        out_specs=PartitionSpec(MEMBER),
        check_vma=False,
    )


def describe() -> dict[str, Any]:
    """Platform, number and kind of the local devices, for the record of a run."""
    devices = jax.local_devices()
    return {
        "platform": devices[0].platform,
        "count": len(devices),
        "kind": devices[0].device_kind,
        "host": sys.platform,
    }
