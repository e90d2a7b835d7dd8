"""Numbers of events: what tells events apart, and decides their folds."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Int32, Int64, Integer, UInt64

from difftune.errors import InputError

Array = np.ndarray | jax.Array


def key_of(columns: Sequence[Integer[Array, " events"]]) -> Int64[np.ndarray, " events"]:
    """One number, 0 or larger, for a key of several columns, such as run, section and event.

    The bits are mixed, so that the numbers spread evenly over folds whatever the columns are. Two
    of ten million keys share a number with a probability of some 1e-5.
    """
    key = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        key = mixed(key ^ np.asarray(column).astype(np.uint64))
    return (key >> np.uint64(1)).astype(np.int64)


def mixed(numbers: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """A one-to-one map in which each bit depends on all: the generator SplitMix64.

    Steele, Lea and Flood, doi:10.1145/2660193.2660195.
    """
    n = numbers + np.uint64(0x9E3779B97F4A7C15)
    n = (n ^ (n >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    n = (n ^ (n >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return n ^ (n >> np.uint64(31))


def fold_of(numbers: Integer[Array, " events"], folds: int) -> Int32[np.ndarray, " events"]:
    """The fold of each event: its number modulo the number of folds."""
    if folds < 1:
        raise InputError(f"folds = {folds}: at least 1 is needed.")
    return (np.asarray(numbers) % folds).astype(np.int32)


def running_number(process: Integer[Array, " events"]) -> Integer[np.ndarray, " events"]:
    """0, 1, 2, ... within each process."""
    order = np.argsort(process, kind="stable")
    sizes = np.bincount(process)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    numbers = np.empty(len(process), np.int64)
    numbers[order] = np.arange(len(process)) - first
    return numbers
