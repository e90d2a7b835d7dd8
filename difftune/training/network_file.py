"""The files of a trained network: they may come from anywhere, and are read as data.

`network.json` has the facts, `network.npz` the numbers. What the facts say is compared with the
headers of the numbers before anything of that size is made.
"""

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from difftune.errors import InputError
from difftune.files import read_json, writing

FACTS, NUMBERS = "network.json", "network.npz"

Number = Annotated[float, Field(allow_inf_nan=False)]
# An infinite one means that there is no limit, for instance to the gradient.
NotNaN = Annotated[float, Field(ge=-math.inf)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _MLP(_Strict):
    hidden: list[Count]
    activation: str | list[str] = "relu"
    normalisation: str = "none"
    dropout: Share = 0.0
    embedding: str | None = None
    frequencies: Count = 8
    embedding_size: Count = 4
    frequency_scale: Number = 0.2
    submodels: Count = 1
    sharing: str = "tabm"


class _DeepSet(_Strict):
    each: list[Count]
    latent: Count
    hidden: list[Count]
    activation: str | list[str] = "relu"
    normalisation: str = "none"
    dropout: Share = 0.0


class _ParticleNet(_Strict):
    widths: list[Count]
    layers: Count
    neighbours: Count
    coordinates: list[str]
    hidden: list[Count]
    activation: str | list[str] = "relu"
    normalisation: str = "none"
    dropout: Share = 0.0


class _ParticleTransformer(_Strict):
    width: Count
    blocks: Count
    heads: Count
    head_size: Count
    pairs: Annotated[int, Field(ge=0)]
    hidden: list[Count]
    activation: str | list[str] = "gelu"
    normalisation: str = "none"
    dropout: Share = 0.0


class _Recipe(_Strict):
    MLP: _MLP


class _SetRecipe(_Strict):
    DeepSet: _DeepSet


class _GraphRecipe(_Strict):
    ParticleNet: _ParticleNet


class _AttentionRecipe(_Strict):
    ParticleTransformer: _ParticleTransformer


class _Collection(_Strict):
    name: str
    features: Annotated[list[str], Field(min_length=1)]
    max: Count
    start: Annotated[int, Field(ge=0)]


class _Transform(_Strict):
    center: list[Number]
    scale: list[Number]
    fill: list[Number]
    indicators: list[Annotated[int, Field(ge=0)]] = []
    sentinels: list[list[Number]] = []
    unused: list[Annotated[int, Field(ge=0)]] = []
    bend: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    collections: list[_Collection] = []


class LinkFacts(_Strict):
    """What `Link.to_dict` writes."""

    form: Literal["value", "quantiles", "normal"]
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]]
    names: Annotated[list[str], Field(min_length=1)]
    center: list[Number]
    scale: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    log: bool


Sentinel = Number | Literal["nan"]


class _Objects(_Strict):
    branches: list[str] | dict[str, str]
    max: Count
    order: str | None
    selection: str | None


class _Friend(_Strict):
    files: str | list[str] | None
    tree: str | None
    key: list[str] | None


class _Reading(_Strict):
    features: list[str]
    event_number: str | list[str] | None
    derived: dict[str, str]
    selection: str | None
    missing: dict[str, list[Sentinel] | Sentinel] | list[Sentinel] | Sentinel | None
    folds: Count
    replaced: dict[str, str]
    varied: dict[str, dict[str, str]]
    objects: dict[str, _Objects] = {}
    friends: list[_Friend] = []
    defaults: dict[str, bool | int | float | str] = {}


class _Facts(BaseModel):
    # Keys of a later version are for that version to check.
    model_config = ConfigDict(extra="allow", strict=True)

    model: _Recipe | _SetRecipe | _GraphRecipe | _AttentionRecipe | str
    outputs: Count
    feature_names: Annotated[list[str], Field(min_length=1)]
    signal_process: Annotated[list[Share], Field(min_length=1)]
    hyperparameters: dict[str, NotNaN]
    transform: _Transform
    edges: Annotated[list[Number], Field(min_length=2)] | None = None
    reading: _Reading | None = None
    link: LinkFacts | None = None
    digest: str | None = None


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a network, each of the type that it must have.

    Raises:
        InputError: When the file is no such file; names the key and what is wrong with it.
    """
    content = read_json(path)
    try:
        _Facts.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "its content"
        raise InputError(
            f"{path}: {key}: {first['msg'][:200]} (found {str(first['input'])[:60]!r}). Save the "
            "network again, or take another copy."
        ) from None
    names, transform = content["feature_names"], content["transform"]
    for key in ("center", "scale", "fill"):
        if len(transform[key]) != len(names):
            raise InputError(
                f"{path}: transform.{key} has {len(transform[key])} numbers for {len(names)} "
                "feature_names. Save the network again, or take another copy."
            )
    if transform.get("sentinels") and len(transform["sentinels"]) != len(names):
        raise InputError(
            f"{path}: transform.sentinels has {len(transform['sentinels'])} lists for {len(names)} "
            "feature_names. Save the network again, or take another copy."
        )
    for key in ("indicators", "unused"):
        numbers = transform.get(key, [])
        if sorted(set(numbers)) != numbers or any(i >= len(names) for i in numbers):
            raise InputError(
                f"{path}: transform.{key} {str(numbers)[:60]} are not ascending numbers below "
                f"{len(names)}, that of the feature_names. Save the network again."
            )
    end = 0
    for each in transform.get("collections", []):
        begin, end_before = each["start"], end
        end = begin + each["max"] * len(each["features"])
        if begin < end_before or end > len(names):
            raise InputError(
                f"{path}: transform.collections: {each['name'][:60]!r} has the columns {begin} to "
                f"{end}, of {len(names)} feature_names. Save the network again, or take another "
                "copy."
            )
    edges = content.get("edges") or []
    if any(low >= high for low, high in pairwise(edges)):
        raise InputError(
            f"{path}: edges {str(edges)[:60]} do not increase. Save the network again, or take "
            "another copy."
        )
    # In float32, as they are used.
    with np.errstate(over="ignore"):
        keys = ("center", "scale", "fill")
        single = {key: np.asarray(transform[key], np.float32) for key in keys}
    wrong = [key for key, value in single.items() if not np.isfinite(value).all()]
    if wrong or not single["scale"].all():
        key = wrong[0] if wrong else "scale"
        raise InputError(
            f"{path}: transform.{key} has a number that no transform has (0 or beyond float32). "
            "Save the network again, or take another copy."
        )
    if content.get("link"):
        check_link(content["link"], content["outputs"], path)
    if len(set(names)) < len(names):
        raise InputError(f"{path}: a name stands twice in feature_names {str(names)[:60]}.")
    return content


def check_link(link: Mapping[str, Any], outputs: int | None, path: Path) -> None:
    """Refuses a link that does not fit itself, or the outputs of a network.

    Args:
        link: As `Link.to_dict` writes it.
        outputs: Of the network, where there is one.
        path: The file.

    Raises:
        InputError: It does not fit.
    """
    names, levels = link["names"], link["quantiles"]
    each = {"value": 1, "normal": 2, "quantiles": len(levels)}[link["form"]]
    fits = len(link["center"]) == len(link["scale"]) == len(names) == len(set(names))
    ascending = all(low < high for low, high in pairwise(levels))
    if not fits or not each or not ascending or outputs not in (None, each * len(names)):
        raise InputError(
            f"{path}: link {str(link)[:80]} does not fit itself, or the {outputs} outputs. Save it "
            "again, or take another copy."
        )


@dataclass(frozen=True)
class Stored:
    """An array in a file, of which the header alone was read."""

    shape: tuple[int, ...]
    dtype: np.dtype


class Numbers:
    """The arrays of `network.npz`: first what they claim to be, then themselves.

    Args:
        path: The file.

    Raises:
        InputError: When it is no such file, or unpacks to more than it holds.
    """

    def __init__(self, path: Path):
        self.path = path
        self.headers = self._guarded(self._read_headers)

    def _guarded(self, read: Any) -> Any:
        try:
            return read()
        except InputError:
            raise
        # A file that somebody made up can break its readers in any way.
        except Exception as error:
            raise InputError(
                f"{self.path} cannot be read ({type(error).__name__}: {str(error)[:200]}). It was "
                "cut or changed: take another copy, or save the network again."
            ) from error

    def _read_headers(self) -> dict[str, Stored]:
        headers = {}
        size = self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                # What is not packed cannot be larger in memory than it is on disk.
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                    raise InputError(
                        f"{self.path}: {info.filename} is compressed; write it with numpy.savez, "
                        "as save() does, not with savez_compressed."
                    )
                size -= info.file_size
                name = info.filename.removesuffix(".npy")
                if name == info.filename or name in headers:
                    raise InputError(
                        f"{self.path}: {info.filename} is no array of its own, as numpy.savez "
                        "writes it; save the network again."
                    )
                headers[name] = _header(archive, info)
        return headers

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(int(np.prod(each.shape, dtype=object)) for each in self.headers.values())

    def check(self, wanted: Mapping[str, Any]) -> None:
        """Compares the headers with what the model has.

        Args:
            wanted: By name, something with a `shape` and a `dtype`.

        Raises:
            InputError: For the first array that is missing, of another shape or type, or too many.
        """
        for name, leaf in wanted.items():
            found = self.headers.get(name)
            if found is None or found.shape != tuple(leaf.shape):
                raise InputError(
                    f"{self.path}: {name} is "
                    f"{'missing' if found is None else list(found.shape)} where the model has "
                    f"{list(leaf.shape)}; give the model that was trained."
                )
            if found.dtype.kind not in "fiub" or not np.can_cast(
                found.dtype, leaf.dtype, "same_kind"
            ):
                raise InputError(
                    f"{self.path}: {name} is of type {found.dtype} where the model has "
                    f"{leaf.dtype}; save the network again."
                )
        if more := sorted(self.headers.keys() - wanted):
            raise InputError(
                f"{self.path}: {more[0]} has no place in the model; give the model that was "
                "trained."
            )

    def read(self) -> dict[str, np.ndarray]:
        """The arrays.

        Raises:
            InputError: When they cannot be read, or are not finite.
        """

        def whole() -> dict[str, np.ndarray]:
            with np.load(self.path, allow_pickle=False) as stored:
                return {name: stored[name] for name in self.headers}

        arrays = self._guarded(whole)
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise InputError(
                    f"{self.path}: {name} has {int((~np.isfinite(array)).sum())} numbers that are "
                    "not finite: no network is saved so. Take another copy."
                )
        return arrays


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Stored:
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"{info.filename} is of npy version {version}")
        begin = stream.tell()
    if any(length < 0 for length in shape) or begin + dtype.itemsize * int(
        np.prod(shape, dtype=object)
    ) != int(info.file_size):
        raise ValueError(f"{info.filename} does not hold the {list(shape)} that it says")
    return Stored(shape, dtype)


def digest(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """What tells that facts or numbers are no longer those that were saved together."""
    own = {key: value for key, value in facts.items() if key != "digest"}
    result = hashlib.sha256(json.dumps(own, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        result.update(f"{name} {array.dtype.str} {array.shape}".encode())
        result.update(array.tobytes())
    return result.hexdigest()


def check_digest(folder: Path, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses facts and numbers that are not those that were saved together.

    Networks of versions that did not write the digest have none, and are taken as they are.

    Raises:
        InputError: When the digest in the facts is another one.
    """
    if facts.get("digest") not in (None, digest(facts, arrays)):
        raise InputError(
            f"{folder / FACTS} and {folder / NUMBERS} are not as save() left them: one of them was "
            "changed, or belongs to another network. Take another copy of both; or, if you "
            f"changed one on purpose, remove the line 'digest' from {FACTS}."
        )


def write_network(folder: Path, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes both files, each of which is there whole or not at all.

    Raises:
        InputError: When the disk does not take them.
    """
    content = dict(facts) | {"digest": digest(facts, arrays)}
    with writing(folder / NUMBERS, binary=True) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    with writing(folder / FACTS) as stream:
        stream.write(json.dumps(content, indent=2) + "\n")
