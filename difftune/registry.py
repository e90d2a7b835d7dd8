"""Classes by name, with the options of each: what the analysis file and the docs are made from.

A registry has one line for each class. Types, defaults and meanings of the options are those of the
class: its fields, and what its docstring says of them under `Args`.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from typing import Any, get_type_hints

from difftune.arguments import made
from difftune.errors import InputError, nearest


@dataclass(frozen=True)
class Option:
    """One thing that a class can be told.

    Args:
        name: Of the argument.
        annotation: Its type, with its limits.
        default: Its value where none is given; `dataclasses.MISSING` where one must be.
        meaning: What the docstring of the class says of it.
        part: Name of the argument whose object it is an option of, such as the statistical model
            of a loss; empty for an option of the class itself.
    """

    name: str
    annotation: Any
    default: Any = MISSING
    meaning: str = ""
    part: str = ""

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING


@dataclass(frozen=True)
class Entry:
    """What a name stands for where it is not simply a class.

    Args:
        target: What is called with the options.
        fixed: Options that the name decides.
        then: Makes of the result what the name stands for.
        says: What it is, where that is not what the docstring of the class says.
    """

    target: Callable[..., Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    then: Callable[[Any], Any] | None = None
    says: str = ""

    @property
    def options(self) -> dict[str, Option]:
        """Everything that may be told, by name."""
        return {k: v for k, v in options(self.target).items() if k not in self.fixed}

    @property
    def summary(self) -> str:
        """What it is, in one line: the first paragraph of its docstring."""
        return self.says or " ".join((inspect.getdoc(self.target) or "").split("\n\n")[0].split())

    def __call__(self, **given: Any) -> Any:
        """Makes it.

        Args:
            given: Values of options; those of a part are given to that.
        """
        given = dict(self.fixed) | given
        known = options(self.target)
        own: dict[str, Any] = {}
        inner: dict[str, dict[str, Any]] = {}
        for name, value in given.items():
            part = known[name].part if name in known else ""
            (inner.setdefault(part, {}) if part else own)[name] = value
        for part, values in inner.items():
            own[part] = _parts(self.target)[part](**values)
        result = self.target(**own)
        return result if self.then is None else self.then(result)


class Registry(dict[str, Any]):
    """Classes, or entries, by name.

    Args:
        what: What they are: `"objective"`.
        example: What else may be given in a call: `"an objective of difftune.objectives"`.
        entries: The classes by name.
    """

    def __init__(self, what: str, example: str, entries: Mapping[str, Any]):
        super().__init__(entries)
        self.what = what
        self.example = example

    def entry(self, name: str) -> Entry:
        """What a name stands for."""
        found = self[name]
        return found if isinstance(found, Entry) else Entry(found)

    def named(self, name: str, where: str) -> Any:
        """What a name stands for in a call of Python, made with its defaults.

        Args:
            name: What the user gave.
            where: The argument that it was given for.

        Raises:
            InputError: For a name that is not known, or of what must be told something.
        """
        if name not in self:
            raise InputError(f"{where}={name!r} {self.unknown(name)}, or give {self.example}.")
        found = self[name]
        return found() if isinstance(found, Entry) else made(found, where)

    def unknown(self, name: Any) -> str:
        """That a name is not known, with the nearest one and all."""
        return f"is unknown.{nearest(name, self)} Choose one of {', '.join(self)}"


def options(target: Callable[..., Any]) -> dict[str, Option]:
    """Everything that a class or function may be told, by name.

    A field that is a dataclass of its own, made where none is given, stands with the options of
    that: a user says `bins` of a loss through the fit, not `model`.

    Args:
        target: A dataclass, or anything else that can be called.
    """
    meanings = described(target)
    if not is_dataclass(target):
        return {
            name: Option(name, annotation, default, meanings.get(name, ""))
            for name, annotation, default in _parameters(target)
        }
    found: dict[str, Option] = {}
    types, parts = _types(target), _parts(target)
    for each in fields(target):
        if not each.init or each.name.startswith("_"):
            continue
        if each.name in parts:
            own = options(parts[each.name])
            found |= {name: replace(o, part=each.name) for name, o in own.items()}
            continue
        default = each.default
        if default is MISSING and each.default_factory is not MISSING:
            default = each.default_factory()
        annotation = types.get(each.name, each.type)
        found[each.name] = Option(each.name, annotation, default, meanings.get(each.name, ""))
    return found


def _parts(target: Any) -> dict[str, Any]:
    """Fields that are dataclasses of their own, with what makes them."""
    return {
        each.name: each.default_factory
        for each in (fields(target) if is_dataclass(target) else ())
        if inspect.isclass(each.default_factory) and is_dataclass(each.default_factory)
    }


def _parameters(target: Callable[..., Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each argument that can be given by name."""
    # A metaclass, as that of Flax, may hide the arguments of a class.
    called = target.__init__ if inspect.isclass(target) else target
    parameters = list(inspect.signature(called).parameters.values())
    types = _types(called)
    for each in parameters[1:] if inspect.isclass(target) else parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
            continue
        default = MISSING if each.default is each.empty else each.default
        yield each.name, types.get(each.name, Any), default


def _types(target: Any) -> dict[str, Any]:
    """Types by name, limits included; none where a name in them cannot be found."""
    try:
        return get_type_hints(target, include_extras=True)
    except (NameError, TypeError):
        return {}


def described(target: Any) -> dict[str, str]:
    """What the docstring says of each argument; that of a base where the class says nothing.

    Args:
        target: A class or function with a docstring of Google's style.
    """
    found: dict[str, str] = {}
    own = (
        [c.__dict__.get("__doc__") for c in reversed(target.__mro__)]
        if isinstance(target, type)
        else [target.__doc__]
    )
    for doc in own:
        found |= dict(_arguments(inspect.cleandoc(doc or "").split("\n")))
    return found


def _arguments(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    name, text, inside = "", "", False
    for line in lines:
        begins = re.match(r"    (\w+)(?: \([^)]*\))?: (.*)", line)
        if inside and begins:
            if name:
                yield name, text
            name, text = begins[1], begins[2].strip()
        elif line.strip() and not line.startswith(" "):
            inside = line.strip() in ("Args:", "Attributes:")
        elif inside and name and line.strip():
            text += f" {line.strip()}"
    if name:
        yield name, text
