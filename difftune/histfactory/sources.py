"""What a model can be made from: a file, a dict, or what pyhf made of them."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyhf

from difftune.errors import InputError


class Source(NamedTuple):
    """A spec, and what comes with it.

    Attributes:
        spec: A workspace or a model's spec, of plain lists and numbers; a copy.
        chosen: Parameter of interest and interpolation codes of a `pyhf.Model`; else empty.
    """

    spec: dict[str, Any]
    chosen: dict[str, Any]


def read_source(source: Any) -> Source:
    """The spec of whatever a user has.

    Args:
        source: Path of a JSON file, a dict, a `pyhf.Workspace`, or a `pyhf.Model`.

    Raises:
        InputError: It is none of them, or cannot be read.
    """
    chosen: dict[str, Any] = {}
    if isinstance(source, pyhf.Model):
        config = source.config
        chosen = {"poi": config.poi_name, "modifier_settings": config.modifier_settings}
        source = source.spec
    elif isinstance(source, str | PathLike):
        source = read_json(source)
    if not isinstance(source, Mapping):
        raise InputError(
            f"A {type(source).__name__} is no spec: give a workspace as a dict, the path of its "
            "JSON file, a pyhf.Workspace, or a pyhf.Model."
        )
    return Source(plain(source), chosen)


def read_json(path: str | PathLike[str]) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: There is no such file, or it is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON file: {error}.") from error


def plain(value: Any) -> Any:
    """A copy with lists and numbers of Python in place of arrays, tuples and numbers of numpy.

    Raises:
        InputError: It is nested deeper than any spec.
    """
    try:
        return _plain(value)
    except RecursionError as error:
        raise InputError("The spec is nested far deeper than a workspace.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__array__"):
        return np.asarray(value).tolist()
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return value
