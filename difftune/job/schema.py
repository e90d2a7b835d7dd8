"""Tables of the analysis file: how strict they are, and how they are made from classes.

A table that builds an object of difftune is not written down here: `Choice` makes it from the class
that the table names, so that it has the options of that class and no others.
"""

import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from difftune.arguments import Count, Fraction, NotNegative, Positive, Share
from difftune.binning import LearnedEdges
from difftune.registry import Entry, Option, Registry

__all__ = ["Choice", "Count", "Fraction", "Name", "NotNegative", "Positive", "Section", "Share"]

# A slash would be a folder in the ROOT file of the templates.
Name = Annotated[str, Field(min_length=1, pattern=r"^[^/]+$")]
OWN = re.compile(r".+:\w+")
"""What is not difftune's: `file.py:name` or `package.module:name`."""


class Section(BaseModel):
    """A table of the analysis file; what it does not know it refuses."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )

    def options(self, besides: type["Section"]) -> dict[str, Any]:
        """What is given, but for the keys of another section, with tuples for lists."""
        given = dict(self) | (self.model_extra or {})
        return {k: _as_tuple(v) for k, v in given.items() if k not in besides.model_fields}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class Choice:
    """Says of a key that its table is one of several, which another key in it tells apart.

    Args:
        registry: The classes by name; or the sections themselves.
        base: What all of these tables share.
        key: The key with the name of the class.
        default: The name where none is given.
        own: Whether a class of your own may be given, as `file.py:name`.
        bare: Whether a name may stand in the place of a table.
        least: How many of them a list must hold; None where there may be no list.
        element: What such a list holds, where it is something else.
        optional: Whether there may be none.
        words: Strings that stand for something that no class is, as they are.
    """

    registry: Registry
    base: type[Section]
    key: str = "name"
    default: str | None = None
    own: bool = True
    bare: bool = False
    least: int | None = None
    element: Any = None
    optional: bool = False
    words: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Calls `read`, whatever the annotation says."""
        return core_schema.no_info_plain_validator_function(self.read)

    def read(self, value: Any) -> Any:
        """The section that a table says.

        Raises:
            ValidationError: For a name that is not known, and whatever the section does not allow.
        """
        if self.optional and value is None:
            return None
        if isinstance(value, self.base) or (isinstance(value, str) and value in self.words):
            return value
        if self.least is not None and isinstance(value, list):
            each: Any = self.element or Annotated[Any, replace(self, least=None)]
            kind: Any = Annotated[list[each], Field(min_length=self.least)]
            return TypeAdapter(kind).validate_python(value, strict=True)
        if self.bare and isinstance(value, str):
            self.section(value, ())
            return value
        if not isinstance(value, Mapping):
            return self.base.model_validate(value)
        name = value.get(self.key)
        name = self.default if name is None else name
        return self.section(name).model_validate({**value, self.key: name})

    def section(self, name: Any, place: tuple[str, ...] | None = None) -> type[Section]:
        """The section of a name.

        Args:
            name: What the file says.
            place: Where the name stands, seen from the value; by default in its key.

        Raises:
            ValidationError: For a name that is not known.
        """
        if isinstance(name, str) and name in self.registry:
            found = self.registry[name]
            if inspect.isclass(found) and issubclass(found, Section):
                return found
            return section_of(self.registry.entry(name), self.base, name)
        if self.own and isinstance(name, str) and OWN.fullmatch(name):
            return _own(self.base)
        said = self.registry.unknown(name)
        if name is None:
            said = f"is missing. Choose one of {', '.join(self.registry)}"
        if self.own:
            said += ", or give your own as file.py:name"
        kind = "missing_name" if name is None else "unknown_name"
        error = InitErrorDetails(
            type=PydanticCustomError(kind, "{said}", {"said": said}),
            loc=(self.key,) if place is None else place,
            input=name,
        )
        raise ValidationError.from_exception_data(self.registry.what, [error])

    def names_with(self, key: str) -> list[str]:
        """Names whose tables have a key."""
        return [name for name in self.registry if key in self.section(name).model_fields]


_made: dict[tuple[Any, ...], tuple[Any, type[Section]]] = {}


def section_of(entry: Entry, base: type[Section], title: str) -> type[Section]:
    """The table of the analysis file from which a class is made.

    Args:
        entry: The class.
        base: Keys that it has besides the options of the class.
        title: What it is called.
    """
    place = (base, title)
    # Two configurations are equal only if their sections are of the same class.
    if place in _made and _made[place][0] == entry:
        return _made[place][1]
    known = {k: option for k, option in entry.options.items() if k not in base.model_fields}
    keys: dict[str, Any] = {}
    for name, option in known.items():
        kind = in_file(option.annotation)
        if kind is None:
            continue
        if name == "feature" and _plain(kind) is int:
            # A file names a feature; its number is that in the list of features.
            kind, option = str, replace(option, meaning="Name of one of `features` in `[data]`.")
        keys[name] = (kind, _field(option))
        # What is made into something else, a score, trains nothing.
        if LearnedEdges in get_args(option.annotation) and entry.then is None:
            keys["learned_edges"] = (bool, Field(False, description=_LEARNED))
    made = create_model(f"{base.__name__}_{title}", __base__=base, __doc__=entry.summary, **keys)
    _made[place] = (entry, made)
    return made


_LEARNED = "Whether the edges are trained with the network: `LearnedEdges` of so many bins."


def _field(option: Option) -> Any:
    if option.required:
        return Field(description=option.meaning)
    return Field(_as_list(option.default), description=option.meaning)


def _as_list(value: Any) -> Any:
    return [_as_list(each) for each in value] if isinstance(value, tuple) else value


def _own(base: type[Section]) -> type[Section]:
    """The table of a class of your own, whose options are checked when it has been imported."""
    place = (base, "")
    if place not in _made:
        config = {**base.model_config, "extra": "allow"}
        body = {"model_config": config, "__module__": __name__}
        _made[place] = (None, type(f"{base.__name__}_own", (base,), body))
    return _made[place][1]


def in_file(annotation: Any) -> Any:
    """The type that stands in a file for that of an argument; None where none can.

    Args:
        annotation: The type of the argument.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind = in_file(arguments[0])
        return None if kind is None else Annotated[(kind, *arguments[1:])]
    if origin in (Union, UnionType):
        kinds = [kind for kind in map(in_file, arguments) if kind is not None]
        return reduce(or_, kinds) if set(kinds) - {NoneType} else None
    if origin is Literal or annotation in (int, float, str, bool, NoneType, Any):
        return annotation
    if annotation is Path:
        return str
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        kind = in_file(arguments[1])
        return None if kind is None or arguments[0] is not str else dict[str, kind]  # type: ignore[valid-type]
    if inspect.isclass(origin) and issubclass(origin, Collection):
        kind = in_file(arguments[0])
        return None if kind is None else list[kind]  # type: ignore[valid-type]
    return None


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
