"""What a model can be made from: a file, a dict, or what pyhf made of them, and patches of it.

A patch puts a signal on a background-only workspace, and is verified where a patch set can be.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jsonpatch
import numpy as np

from difftune.errors import InputError, nearest
from difftune.later import is_of_pyhf, pyhf


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
    if is_of_pyhf(source, "Model"):
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


logger = logging.getLogger("difftune")

_REMEDY = (
    "A patch is the path of a JSON file, a list of operations, {'metadata', 'patch'}, a pyhf.Patch "
    "or (patch set, name of the patch), where the patch set is a path, a dict or a pyhf.PatchSet."
)


def patched(spec: Mapping[str, Any], patches: Any) -> dict[str, Any]:
    """A spec with JSON patches applied one after the other, each to a copy.

    Args:
        spec: A workspace or a model.
        patches: One patch or several in a list: the path of a JSON file, a list of operations,
            `{"metadata", "patch"}`, what a `pyhf.PatchSet` holds, or `(patch set, name)`. The
            digests of a patch set are compared with those of the spec.

    Raises:
        InputError: A patch does not fit, or belongs to another workspace.
    """
    result = dict(spec)
    for number, patch in enumerate(_several(patches)):
        operations, what = _operations(patch, spec, f"patches[{number}]")
        try:
            result = jsonpatch.JsonPatch(operations).apply(result)
        except (
            jsonpatch.JsonPatchException,
            jsonpatch.JsonPointerException,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
        ) as error:
            raise InputError(
                f"{what} does not fit the spec: {error}. A patch belongs to the background-only "
                "workspace that it was published with."
            ) from error
        if not isinstance(result, dict):
            raise InputError(f"{what} leaves no spec, but a {type(result).__name__}.")
    return result


def _several(patches: Any) -> Sequence[Any]:
    """The patches one by one, also where only one is given."""
    single = isinstance(patches, str | PathLike | Mapping | jsonpatch.JsonPatch)
    if single or is_of_pyhf(patches, "PatchSet") or _is_operations(patches) or _is_pair(patches):
        return [patches]
    if isinstance(patches, Sequence):
        return patches
    raise InputError(f"patches={patches!r}. {_REMEDY}")


def _is_operations(patch: Any) -> bool:
    return (
        isinstance(patch, Sequence)
        and len(patch) > 0
        and all(isinstance(each, Mapping) and "op" in each for each in patch)
    )


def _is_set(patch: Any) -> bool:
    return is_of_pyhf(patch, "PatchSet") or (isinstance(patch, Mapping) and "patches" in patch)


def _is_pair(patch: Any) -> bool:
    """Whether it is a patch set and the name, or the values, of one of its patches."""
    if not isinstance(patch, Sequence) or isinstance(patch, str) or len(patch) != 2:
        return False
    first, second = patch
    if not isinstance(second, str | Sequence) or _is_operations(second):
        return False
    if isinstance(first, str | PathLike):
        # Two files are two patches.
        isfile = isinstance(second, str) and Path(second).is_file()
        return not isfile and _is_set(read_json(first))
    return _is_set(first)


def _operations(patch: Any, spec: Mapping[str, Any], where: str) -> tuple[Any, str]:
    """The operations of a patch, and what to call it."""
    name = None
    if _is_pair(patch):
        patch, name = patch
    if isinstance(patch, str | PathLike):
        where = f"{where}, {patch},"
        patch = read_json(patch)
    if _is_set(patch):
        return _from_set(patch, name, spec, where)
    if is_of_pyhf(patch, "patchset.Patch"):
        made_for = ", ".join(f"{key} {value}" for key, value in patch.metadata.items())
        logger.info(
            "A patch alone does not say which workspace it was made for (%s): (patch set, name) is "
            "verified.",
            made_for,
        )
        return patch.patch, f"{where} ({made_for})"
    if isinstance(patch, jsonpatch.JsonPatch):
        return patch.patch, where
    if isinstance(patch, Mapping) and "patch" in patch:
        metadata = patch.get("metadata", {})
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        patch, where = patch["patch"], f"{where} ({name})" if name else where
    if (
        not isinstance(patch, Sequence)
        or isinstance(patch, str)
        or not (_is_operations(patch) or len(patch) == 0)
    ):
        raise InputError(f"{where} is {_shown(patch)}. {_REMEDY}")
    return plain(patch), where


def _from_set(given: Any, name: Any, spec: Mapping[str, Any], where: str) -> tuple[Any, str]:
    """A patch of a set that was made for this spec."""
    patches = read_patch_set(given, where)
    names = [patch.name for patch in patches.patches]
    if name is None and len(names) > 1:
        few = names if len(names) < 6 else [*names[:5], f"... ({len(names)} in all)"]
        raise InputError(
            f"{where} is a patch set. Say which patch: patches=[(patch set, name)], of {few}."
        )
    key = names[0] if name is None else (name if isinstance(name, str) else tuple(name))
    try:
        patch = patches[key]
    except pyhf.exceptions.InvalidPatchLookup as error:
        raise InputError(
            f"{where} has no patch {key!r}; there are {len(names)}, such as {names[0]!r}."
            f"{nearest(str(key), names)}"
        ) from error
    about = f"{patches.description!r}, {patches.references}"
    for algorithm, digest in patches.digests.items():
        try:
            own = pyhf.utils.digest(spec, algorithm=algorithm)
        except ValueError as error:
            raise InputError(
                f"{where}: the workspace has no {algorithm} digest: {error}"
            ) from error
        if own != digest.lower():
            raise InputError(
                f"{where} was made for another workspace ({about}): its {algorithm} digest is "
                f"{digest}, that of this one {own}. Take the background-only workspace of that "
                "analysis, unchanged. If you changed it on purpose, the patch alone is taken "
                f"unverified: patches=[pyhf.PatchSet(...)[{key!r}]]."
            )
    return patch.patch, f"{where} ({patch.name} of {about})"


def read_patch_set(given: Any, what: str = "patch_set") -> "pyhf.PatchSet":
    """A patch set of the path of its JSON file, its content, or a `pyhf.PatchSet`.

    Args:
        given: Any of them.
        what: To call it in an error.

    Raises:
        InputError: It is none of them.
    """
    if is_of_pyhf(given, "PatchSet"):
        return given
    content = read_json(given) if isinstance(given, str | PathLike) else given
    if not isinstance(content, Mapping):
        raise InputError(
            f"{what} is no patch set, but {_shown(content)}: give the path of its JSON file, a "
            "dict with 'patches' and 'metadata', or a pyhf.PatchSet."
        )
    try:
        return pyhf.PatchSet(plain(content))
    except (
        pyhf.exceptions.InvalidSpecification,
        pyhf.exceptions.InvalidPatchSet,
        pyhf.exceptions.SchemaNotFound,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(f"{what} is no patch set that pyhf reads: {error}") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]} ..."
