"""What mkdocs fills in: the keys of the analysis file from their models, and formulas as MathML."""

import importlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = "difftune.job.measured_sections"
FIELDS = re.compile(r"^<!-- keys: (\w+) -->$", re.MULTILINE)
CHOICES = re.compile(r"^<!-- choices: (\w+) -->$", re.MULTILINE)
MATH = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = {Any: "any", str: "string", int: "integer", float: "number", bool: "`true` or `false`"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def on_config(config: Any) -> None:
    """Makes difftune importable, installed or not (mkdocs undoes what a hook does on import)."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fills in tables and formulas before a page is rendered."""
    markdown = FIELDS.sub(lambda match: table(match[1]), markdown)
    markdown = CHOICES.sub(lambda match: choices(match[1]), markdown)
    return MATH.sub(lambda match: _mathml(match[1]), markdown)


def table(section: str) -> str:
    """The keys of a section of the analysis file, as a table.

    Args:
        section: Name of a class in `difftune.job.config` or `difftune.job.measured_sections`.
    """
    modules = map(importlib.import_module, ("difftune.job.config", SECTIONS))
    model: type[BaseModel] = next(vars(m)[section] for m in modules if section in vars(m))
    return _table(model.model_fields)


def choices(name: str) -> str:
    """What a table of the analysis file may be of, each with its options, from the classes.

    Args:
        name: A key of `difftune.job.config.CHOICES`.
    """
    choice = importlib.import_module("difftune.job.config").CHOICES[name]
    # Names of one class, such as `tpe` and `gp`, have one table.
    alike: dict[tuple[str, str], list[str]] = {}
    for each in choice.registry:
        section = choice.section(each)
        own = {k: v for k, v in section.model_fields.items() if k not in choice.base.model_fields}
        rows = _table(own) if own else "No options of its own."
        alike.setdefault((section.__doc__ or "", rows), []).append(f"`{each}`")
    return "\n\n".join(
        f"**{', '.join(names)}**: {summary}\n\n{rows}" for (summary, rows), names in alike.items()
    )


def _table(keys: Mapping[str, FieldInfo]) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in keys.items():
        meaning = " ".join((field.description or "").split())
        cells = (f"`{name}`", kind(_whole(field)), _default(field), meaning)
        rows.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(rows)


def kind(annotation: Any) -> str:
    """A type in words, with its limits."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _limited(kind(arguments[0]), _limits(arguments[1:]))
    if origin in (Union, UnionType):
        words = [kind(part) for part in arguments if part is not NoneType]
        return " or ".join(dict.fromkeys(words))
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {_plural(kind(arguments[0]))}"
    if origin is dict:
        return f"table of {_plural(kind(arguments[1]))}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return NAMES[annotation]


def _whole(field: FieldInfo) -> Any:
    """The annotation of a field with the limits that pydantic has taken out of it."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _limits(metadata: tuple[Any, ...]) -> dict[str, Any]:
    """Bounds by name, `ge`, `gt`, `le`, `lt`, `min_length`, `max_length`."""
    found: dict[str, Any] = {}
    for item in metadata:
        parts = item.metadata if isinstance(item, FieldInfo) else [item]
        for part in parts:
            names = (*SIGNS, "min_length", "max_length")
            found |= {name: getattr(part, name) for name in names if hasattr(part, name)}
    return found


def _limited(words: str, limits: dict[str, Any]) -> str:
    least, most = limits.get("min_length"), limits.get("max_length")
    if least is not None:
        words += f" ({least})" if least == most else f" (at least {least})"
    bounds = [f"{sign} {limits[name]:g}" for name, sign in SIGNS.items() if name in limits]
    return f"{words} {', '.join(bounds)}".rstrip()


def _plural(words: str) -> str:
    return re.sub(r"^(string|integer|number)\b", r"\1s", words)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "none" if field.default is None else f"`{json.dumps(field.default)}`"


def _mathml(tex: str) -> str:
    from latex2mathml.converter import convert

    return convert(" ".join(tex.split()), display="block")
