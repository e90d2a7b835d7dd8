"""Reads the analysis file, and says what is wrong with it if it errs."""

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError

from difftune.data.corrections import with_files
from difftune.errors import InputError, nearest
from difftune.job.config import Config
from difftune.job.schema import Choice, Section

T = TypeVar("T", bound=Section)
RENAMED = {
    "boldness": "ucb_beta",
    "caution": "std_penalty",
    "searches": "repetitions",
    "ready": "min_rounds",
    "slow": "slow_fraction",
}
"""Keys that had another name, with that of today."""


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
    return checked(Config, raw, lambda said: f"{source}: {said}")


def checked(
    model: type[T],
    raw: Mapping[str, Any],
    line: Callable[[str], str],
    place: Sequence[int | str] = (),
) -> T:
    """A section from what a file says of it.

    Args:
        model: The section.
        raw: What the file says.
        line: Makes a line of the message from what is wrong.
        place: Where it stands in the file.

    Raises:
        InputError: Listing everything that is wrong.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        lines = [line(_explain(entry, model, raw, place)) for entry in error.errors()]
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


def _explain(
    entry: Mapping[str, Any], model: Any, raw: Mapping[str, Any], start: Sequence[int | str]
) -> str:
    """One error of pydantic in the words of the analysis file."""
    # Without the names of the alternatives that pydantic tried.
    where = [p for p in entry["loc"] if str(p) not in ("str", "float", "int") and "[" not in str(p)]
    place = ".".join(str(part) for part in (*start, *where)) or "file"
    kind, given = entry["type"], entry["input"]
    if kind == "extra_forbidden":
        return _unknown_key(place, str(where[-1]), *_section_at(model, where[:-1], raw))
    if kind == "missing":
        return f"{place} is missing; it must be given."
    if kind == "missing_name":
        return f"{place} {entry['msg']}."
    if kind == "unknown_name":
        return f"{place} = {given!r} {entry['msg']}."
    if kind == "value_error":
        reason = entry["ctx"]["error"]
        said = str(reason).rstrip(".")
        end = "" if said.endswith("?") else "."
        return f"{place}: {said}{end}" if where else f"{said}{end}"
    hint = ""
    if kind == "literal_error":
        hint = nearest(str(given), re.findall(r"'([^']*)'", entry["ctx"]["expected"]))
    return f"{place} = {given!r}: {entry['msg'].rstrip('.')}.{hint}"


def _unknown_key(
    place: str, key: str, model: type[Section], choice: Choice | None, name: str
) -> str:
    known = sorted(model.model_fields)
    hint = nearest(key, known)
    others = choice.names_with(key) if choice is not None else []
    if key in RENAMED and RENAMED[key] in known:
        hint = f" It is called {RENAMED[key]!r} now."
    elif others:
        many = ", ..." if len(others) > 3 else ""
        hint = f" It belongs to {', '.join(others[:3])}{many}, and not to {name}."
    return f"unknown key {place!r}.{hint} Known here: {', '.join(known)}."


def _section_at(
    annotation: Any, where: Sequence[int | str], value: Any
) -> tuple[type[Section], Choice | None, str]:
    """The section at a place of the file, and the choice and name that it is of."""
    choice: Choice | None = None
    name: Any = ""
    for part in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
        if isinstance(part, Choice) and not isinstance(value, list):
            choice, name = part, value.get(part.key) or part.default
            annotation = part.section(name)
        elif isinstance(part, Choice):
            annotation = list[Annotated[Any, part]]
    if isinstance(annotation, type) and issubclass(annotation, Section):
        if not where:
            return annotation, choice, name
        field = annotation.model_fields[str(where[0])]
        inner = (
            Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        )
        return _section_at(inner, where[1:], value[where[0]])
    inner = annotation if get_origin(annotation) is not Annotated else get_args(annotation)[0]
    if get_origin(inner) in (Union, UnionType):
        return _section_at(next(p for p in get_args(inner) if _is_section(p)), where, value)
    # A list of sections, or a table of them by name.
    return _section_at(get_args(inner)[-1], where[1:], value[where[0]])


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _absolute(config: Config, folder: Path) -> Config:
    """The same with every path of data and modules made absolute."""

    def files(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, list):
            return [files(one) for one in value]
        value = os.path.expandvars(value)
        return value if "://" in value else str(folder / Path(value).expanduser())

    def own(value: Any) -> Any:
        """Files of the user's classes, wherever they stand."""
        if isinstance(value, dict):
            return {key: own(each) for key, each in value.items()}
        if isinstance(value, list):
            return [own(each) for each in value]
        if isinstance(value, str) and re.fullmatch(r".+\.py:\w+", value):
            return str(folder / Path(value).expanduser())
        return value

    def expressions(value: Any) -> Any:
        """Files of corrections in expressions."""
        if isinstance(value, dict):
            return {key: expressions(each) for key, each in value.items()}
        if isinstance(value, list):
            return [expressions(each) for each in value]
        return with_files(value, files) if isinstance(value, str) else value

    raw = config.model_dump()
    for section in ("data", "samples", "systematics", "regions"):
        raw[section] = expressions(raw[section])
    raw["data"]["files"] = files(raw["data"]["files"])
    for friend in raw["data"]["friends"]:
        friend["files"] = files(friend["files"])
    for sample in raw["samples"]:
        for each in (sample, *sample["parts"]):
            each["files"] = files(each["files"])
    for systematic in raw["systematics"]:
        for key in ("files_up", "files_down", "file"):
            if key in systematic:
                systematic[key] = files(systematic[key])
    for section in (
        "general",
        "fit",
        "model",
        "objective",
        "training",
        "search",
        "stage",
        "regions",
    ):
        raw[section] = own(raw[section])
    return Config.model_validate(raw)
