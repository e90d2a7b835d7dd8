"""Columns of events on disk, for samples that memory does not hold."""

import json
from pathlib import Path

import numpy as np

from difftune.errors import InputError
from difftune.training.batches import folds_of, stratified_order
from difftune.training.sample import Columns

_FACTS = "columns.json"


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
    (folder / _FACTS).write_text(json.dumps(facts) + "\n")
    return stored(folder)


def stored(folder: str | Path) -> Columns:
    """Columns that `store` wrote; what is read of them is read when it is needed.

    Raises:
        InputError: When the folder holds none.
    """
    folder = Path(folder)
    if not (folder / _FACTS).exists():
        raise InputError(f"{folder} holds no columns; write them with store(columns, folder).")
    facts = json.loads((folder / _FACTS).read_text())
    names = [name for name in Columns._fields if name not in ("signal_process", "variations")]
    if not facts["fold"]:
        names.remove("fold")
    # The network's inputs are what is large.
    mapped = {"features"}
    return Columns(
        **{
            name: np.load(folder / f"{name}.npy", mmap_mode="r" if name in mapped else None)
            for name in names
        },
        signal_process=np.asarray(facts["signal_process"], np.float32),
    )
