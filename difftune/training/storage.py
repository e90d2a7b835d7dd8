"""Columns of events on disk, for samples that memory does not hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from difftune import files
from difftune.errors import InputError
from difftune.training.batches import folds_of, stratified_order
from difftune.training.sample import Columns

_FACTS = "columns.json"
_REMEDY = "Write the columns again with store(columns, another_folder)."


def store(columns: Columns, folder: str | Path, *, seed: int = 0) -> Columns:
    """Writes columns to disk, in an order in which an epoch can read them a stretch at a time.

    Args:
        columns: Events; themselves on disk, perhaps.
        folder: Where to; must not hold columns already.
        seed: Of the order.

    Returns:
        The columns on disk.

    Raises:
        InputError: When the folder holds columns, or these have systematic variations.
    """
    folder = Path(folder)
    if columns.variations:
        raise InputError("store: columns with systematic variations cannot be put on disk.")
    if (folder / _FACTS).exists():
        raise InputError(f"{folder} holds columns already: read them with stored(), or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 3])
    folds = (
        [np.arange(len(columns.weight))]
        if columns.fold is None
        else [np.flatnonzero(columns.fold == i) for i in range(folds_of(columns))]
    )
    order = np.concatenate([rows[stratified_order(columns.process[rows], rng)] for rows in folds])
    for name, column in columns._asdict().items():
        if column is None or name in ("signal_process", "variations"):
            continue
        written = np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", column.dtype, column.shape
        )
        for begin in range(0, len(order), 65536):
            rows = order[begin : begin + 65536]
            written[begin : begin + len(rows)] = column[rows]
        written.flush()
    # Last, so that a folder with facts is whole.
    facts = {"signal_process": columns.signal_process.tolist(), "fold": columns.fold is not None}
    files.write(folder / _FACTS, json.dumps(facts) + "\n")
    return stored(folder)


def stored(folder: str | Path) -> Columns:
    """Columns that `store` wrote; what is read of them is read when it is needed.

    Raises:
        InputError: When the folder holds none, or they are damaged.
    """
    folder = Path(folder)
    if not (folder / _FACTS).exists():
        raise InputError(f"{folder} holds no columns; write them with store(columns, folder).")
    facts = files.read_json(folder / _FACTS, remedy=_REMEDY)
    names = [name for name in Columns._fields if name not in ("signal_process", "variations")]
    if not facts.get("fold"):
        names.remove("fold")
    signal = facts.get("signal_process")
    if not isinstance(signal, list) or not all(isinstance(s, (int, float)) for s in signal):
        raise InputError(f"{folder / _FACTS} does not say which processes are signal. {_REMEDY}")
    columns: dict[str, Any] = {name: _column(folder / f"{name}.npy", name) for name in names}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{folder}: columns of different lengths, {lengths}. {_REMEDY}")
    return Columns(**columns, signal_process=np.asarray(signal, np.float32))


def _column(path: Path, name: str) -> np.ndarray:
    """A file of `store`."""
    try:
        # The network's inputs are what is large.
        mapped = name == "features"
        column = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}). {_REMEDY}") from error
    if column.ndim != (2 if name == "features" else 1):
        raise InputError(f"{path} holds an array of shape {column.shape}. {_REMEDY}")
    return column
