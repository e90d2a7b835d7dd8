"""Columns of events on disk, for samples that memory does not hold."""

import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from difftune.errors import InputError
from difftune.files import read_json, writing
from difftune.models import Inputs, ObjectInputs
from difftune.objectives import Link
from difftune.training.batches import folds_of, stratified_order
from difftune.training.network_file import LinkFacts, check_link
from difftune.training.sample import Columns

_FACTS = "columns.json"
_AGAIN = "Remove the folder and write it again with store(columns, folder)."
_BLOCK = 65536
_OF_ALL = ("signal_process", "variations", "layout", "link")
"""What is not a number, or several, of each event."""
_KINDS = {"process": "i", "label": "i", "fold": "i"}


class _ObjectInputs(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    features: Annotated[list[str], Field(min_length=1)]
    max: Annotated[int, Field(ge=1)]
    start: Annotated[int, Field(ge=0)]
    mask: Annotated[int, Field(ge=0)]
    center: list[Annotated[float, Field(allow_inf_nan=False)]] = []
    scale: list[Annotated[float, Field(allow_inf_nan=False)]] = []
    bend: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True)

    signal_process: list[Annotated[float, Field(ge=0, le=1)]]
    fold: bool
    crc32: dict[str, int] = {}
    collections: dict[str, _ObjectInputs] = {}
    link: LinkFacts | None = None


def store(columns: Columns, folder: str | Path, *, seed: int = 0) -> Columns:
    """Writes columns to disk, in an order in which an epoch can read them a stretch at a time.

    Args:
        columns: Events; themselves on disk, perhaps.
        folder: Where to; must not hold columns already.
        seed: Of the order.

    Returns:
        The columns on disk.

    Raises:
        InputError: When the folder holds columns, these have systematic variations, or the disk
            does not take them.
    """
    folder = Path(folder)
    if columns.variations:
        raise InputError("store: columns with systematic variations cannot be put on disk.")
    if (folder / _FACTS).exists():
        raise InputError(f"{folder} holds columns already: read them with stored(), or remove it.")
    rng = np.random.default_rng([seed, 3])
    folds = (
        [np.arange(len(columns.weight))]
        if columns.fold is None
        else [np.flatnonzero(columns.fold == i) for i in range(folds_of(columns))]
    )
    order = np.concatenate([rows[stratified_order(columns.process[rows], rng)] for rows in folds])
    for name, column in columns._asdict().items():
        if column is None or name in _OF_ALL:
            continue
        _write(folder / f"{name}.npy", column, order)
    facts: dict[str, Any] = {
        "signal_process": columns.signal_process.tolist(),
        "fold": columns.fold is not None,
        "crc32": {path.stem: _checksum(path) for path in sorted(folder.glob("*.npy"))},
    }
    if columns.layout is not None:
        facts["collections"] = {
            name: asdict(each) for name, each in columns.layout.collections.items()
        }
    if columns.link is not None:
        facts["link"] = columns.link.to_dict()
    # Last, so that a folder with facts is whole.
    with writing(folder / _FACTS) as stream:
        stream.write(json.dumps(facts) + "\n")
    return stored(folder)


def _write(path: Path, column: np.ndarray, order: Int[np.ndarray, " events"]) -> None:
    """A column in this order. Through a file, since what is mapped and finds no room is a crash."""
    with writing(path, binary=True) as stream:
        header = {"descr": column.dtype.str, "fortran_order": False, "shape": column.shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for begin in range(0, len(order), _BLOCK):
            stream.write(np.ascontiguousarray(column[order[begin : begin + _BLOCK]]).tobytes())


def _checksum(path: Path) -> int:
    """CRC-32 of a file, read block by block."""
    result = 0
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            result = zlib.crc32(block, result)
    return result


def stored(folder: str | Path) -> Columns:
    """Columns that `store` wrote: checked once, and read again when they are needed.

    Raises:
        InputError: When the folder holds none, or one that was cut or changed since.
    """
    folder = Path(folder)
    path = folder / _FACTS
    if not path.exists():
        raise InputError(f"{folder} holds no columns; write them with store(columns, folder).")
    content = read_json(path, remedy=_AGAIN)
    try:
        facts = _Facts.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "its content"
        raise InputError(f"{path}: {key}: {first['msg'][:200]}. {_AGAIN}") from None
    names = [name for name in Columns._fields if name not in _OF_ALL]
    if not facts.fold:
        names.remove("fold")
    if facts.link is None:
        names.remove("target")
    found = {name: _column(folder / f"{name}.npy", facts.crc32.get(name)) for name in names}
    lengths = {name: column.shape[:1] for name, column in found.items()}
    processes = len(facts.signal_process)
    for name, column in found.items():
        if (
            column.dtype.kind != _KINDS.get(name, "f")
            or column.ndim != (2 if name in ("features", "target") else 1)
            or lengths[name] != lengths["features"]
        ):
            raise InputError(
                f"{folder / name}.npy is {column.dtype} {list(column.shape)}, which does not fit "
                f"{len(found['features'])} events. {_AGAIN}"
            )
    numbers = found["process"]
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < processes:
        raise InputError(
            f"{folder}/process.npy runs from {numbers.min()} to {numbers.max()}, but {path} has "
            f"{processes} processes. {_AGAIN}"
        )
    # The network's inputs are what is large.
    columns: dict[str, Any] = {
        name: each if name == "features" else np.array(each) for name, each in found.items()
    }
    return Columns(
        **columns,
        signal_process=np.asarray(facts.signal_process, np.float32),
        layout=_layout(facts, columns["features"].shape[1], path) if facts.collections else None,
        link=_link(facts.link, columns["target"].shape[1], path) if facts.link else None,
    )


def _link(facts: LinkFacts, targets: int, path: Path) -> Link:
    """How outputs of a network become predictions."""
    check_link(facts.model_dump(), None, path)
    if targets != len(facts.names):
        raise InputError(
            f"{path}: link names {len(facts.names)} targets, and there are {targets}. {_AGAIN}"
        )
    return Link.from_dict(facts.model_dump())


def _layout(facts: _Facts, width: int, path: Path) -> Inputs:
    """The inputs, of which some are of collections of objects."""
    found = {}
    for name, each in facts.collections.items():
        stop = each.start + each.max * len(each.features)
        if max(stop, each.mask + each.max) > width:
            raise InputError(
                f"{path}: collections.{name} ends at input {max(stop, each.mask + each.max)}, but "
                f"there are {width}. {_AGAIN}"
            )
        lists = {key: tuple(getattr(each, key)) for key in ("features", "center", "scale")}
        if {len(lists[key]) for key in ("center", "scale")} - {0, len(each.features)}:
            raise InputError(
                f"{path}: collections.{name} has {len(each.features)} features, but another number "
                f"of centers or scales. {_AGAIN}"
            )
        found[name] = ObjectInputs(**{**each.model_dump(), **lists})
    return Inputs(width, found)


def _column(path: Path, checksum: int | None) -> np.ndarray:
    """A column on disk, of which nothing is in memory yet."""
    try:
        if checksum is not None and _checksum(path) != checksum:
            raise InputError(f"{path} is not as store() left it: it was cut or changed. {_AGAIN}")
        # Not `numpy.load`, which looks for other kinds of files, among them pickles.
        return np.lib.format.open_memmap(path, mode="r")
    except InputError:
        raise
    # A file that somebody made up can break its reader in any way.
    except Exception as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {str(error)[:200]}). {_AGAIN}"
        ) from error
