"""Reads the analysis file, and says what is wrong with it if it errs."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from difftune.errors import InputError, nearest
from difftune.job.config import Config


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads an analysis file.

    Args:
        path: TOML, or the `config.json` that a run leaves behind. Paths of data, modules and
            output in it are relative to its folder (output: to the working directory).
        overrides: `section.key=value` each, the value written as in TOML.

    Raises:
        InputError: Listing everything that is wrong, with the nearest right key.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such analysis file.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        raw = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read: {error}. Save it as UTF-8.") from None
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path} cannot be read: it holds a {type(raw).__name__}, not sections.")
    for override in overrides:
        _apply(raw, override)
    return _absolute(from_dict(raw, source=str(path)), path.resolve().parent)


def from_dict(raw: Mapping[str, Any], *, source: str = "configuration") -> Config:
    """A configuration from nested dictionaries.

    Args:
        raw: What the file says.
        source: Name of the file, for messages.

    Raises:
        InputError: Listing everything that is wrong.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [f"{source}: {_explain(entry, raw)}" for entry in error.errors()]
        raise InputError("\n".join(dict.fromkeys(lines))) from None


def _apply(raw: dict[str, Any], override: str) -> None:
    """Sets one key of the nested dictionaries."""
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise InputError(f"--set {override!r}: write section.key=value.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        parsed = value.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise InputError(f"--set {override!r}: {section!r} is a list or value, not a section.")
    raw[last] = parsed


def _explain(entry: Mapping[str, Any], raw: Mapping[str, Any]) -> str:
    """One error of pydantic in the words of the analysis file."""
    where = _place(entry["loc"])
    place = ".".join(str(part) for part in where) or "file"
    kind = entry["type"]
    if kind == "extra_forbidden":
        known = _keys_at(Config, where[:-1], raw)
        return (
            f"unknown key {place!r}.{nearest(str(where[-1]), known)} "
            f"Known here: {', '.join(sorted(known))}."
        )
    if kind == "missing":
        return f"{place} is missing; it must be given."
    if kind == "value_error":
        reason = entry["ctx"]["error"]
        said = str(reason).rstrip(".")
        end = "" if said.endswith("?") else "."
        return f"{place}: {said}{end}" if where else f"{said}{end}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        given = entry.get("ctx", {}).get("tag")
        kinds = ("weight", "tree", "features", "normalisation")
        hint = nearest(str(given), kinds)
        return f"{place}.type = {given!r}: must be one of {', '.join(kinds)}.{hint}"
    hint = ""
    if kind == "literal_error":
        hint = nearest(str(entry["input"]), re.findall(r"'([^']*)'", entry["ctx"]["expected"]))
    return f"{place} = {entry['input']!r}: {entry['msg'].rstrip('.')}.{hint}"


def _place(location: Sequence[int | str]) -> list[int | str]:
    """Where in the file: the location without the names of the alternatives that pydantic tried."""
    tagged = location[:1] == ("systematics",) and len(location) > 2
    kept = [part for i, part in enumerate(location) if not (tagged and i == 2)]
    return [part for part in kept if str(part) not in ("str", "float") and "[" not in str(part)]


def _keys_at(model: type[BaseModel], where: Sequence[Any], raw: Any) -> set[str]:
    """The keys that a section may have."""
    if not where:
        return set(model.model_fields)
    section, *rest = where
    annotation = model.model_fields[str(section)].annotation
    value = raw[section]
    while rest and isinstance(rest[0], int | str) and not _is_section(annotation):
        value, rest = value[rest[0]], rest[1:]
        annotation = get_args(annotation)[-1]
    return _section_keys(annotation, rest, value)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _section_keys(annotation: Any, rest: Sequence[Any], value: Any) -> set[str]:
    if _is_section(annotation):
        return _keys_at(annotation, rest, value)
    # A systematic: the section is one of several, told apart by its type.
    options = [kind for part in get_args(annotation) for kind in (get_args(part) or (part,))]
    for option in options:
        if _is_section(option) and get_args(option.model_fields["type"].annotation) == (
            value.get("type"),
        ):
            return _keys_at(option, rest, value)
    return set()


def _absolute(config: Config, folder: Path) -> Config:
    """The same with every path of data and modules made absolute."""

    def files(value):
        if value is None:
            return None
        if isinstance(value, list):
            return [files(one) for one in value]
        return value if "://" in value else str(folder / Path(value).expanduser())

    def module(value):
        return str(folder / Path(value).expanduser()) if value and ".py:" in value else value

    raw = config.model_dump()
    raw["data"]["files"] = files(raw["data"]["files"])
    for sample in raw["samples"]:
        sample["files"] = files(sample["files"])
    for systematic in raw["systematics"]:
        for key in ("files_up", "files_down"):
            if key in systematic:
                systematic[key] = files(systematic[key])
    raw["model"]["module"] = module(raw["model"]["module"])
    if isinstance(raw["fit"]["binning"], str):
        raw["fit"]["binning"] = module(raw["fit"]["binning"])
    for objective in raw["objective"]:
        objective["name"] = module(objective["name"])
    return Config.model_validate(raw)
