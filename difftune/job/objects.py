"""From one table of an analysis file to the object that it says: difftune's, or the user's."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from difftune.binning import LearnedEdges
from difftune.data import with_categories
from difftune.errors import InputError, nearest
from difftune.job.config import Config
from difftune.job.loading import checked
from difftune.job.schema import Choice, Section, section_of
from difftune.registry import Entry

T = TypeVar("T")


def import_object(spec: str, what: str) -> Any:
    """What `file.py:name` or `package.module:name` stands for.

    Raises:
        InputError: When there is no such file, module or name, or it cannot be imported.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise InputError(f"{what} = {spec!r}: write file.py:name or package.module:name.")
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise InputError(f"{what} = {spec!r}: there is no file {path}.")
        module_spec = importlib.util.spec_from_file_location(path.stem, path)
        assert module_spec is not None
        assert module_spec.loader is not None
        module = importlib.util.module_from_spec(module_spec)
        sys.modules.setdefault(path.stem, module)
        module_spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise InputError(f"{what} = {spec!r}: {error}.") from None
    if not hasattr(module, name):
        known = [n for n in vars(module) if not n.startswith("_")]
        raise InputError(f"{what} = {spec!r}: {place} has no {name!r}.{nearest(name, known)}")
    return getattr(module, name)


def built(
    section: Section | str,
    choice: Choice,
    config: Config,
    place: str,
    form: Callable[[Any], T],
    *,
    beside: Mapping[str, Any] | None = None,
    **more: Any,
) -> T:
    """The object that a section of the analysis file says.

    Args:
        section: The section, or only its name.
        choice: What it is one of.
        config: The whole file.
        place: Where it stands there, for messages: `"objective.0"`.
        form: Makes of what there is what is wanted, or refuses it.
        beside: Options that stand beside the section, of the same name; its class must know them.
        more: Options that the file gives elsewhere, for a class that knows them.

    Raises:
        InputError: For a class of your own that there is not, options that it does not know, and
            whatever the class refuses.
    """
    where = place if isinstance(section, str) else f"{place}.{choice.key}"
    table = choice.read({choice.key: section}) if isinstance(section, str) else section
    name, given = getattr(table, choice.key), table.options(choice.base)
    if name in choice.registry:
        entry = choice.registry.entry(name)
    else:
        found = import_object(name, where)
        if not inspect.isclass(found):
            for option in (*given, *(beside or ())):
                raise InputError(f"{place}.{option}: {name} is no class, and has no options.")
            return _formed(form, lambda: found, place)
        entry = Entry(found)
        given = own_options(entry, given, choice, name, place)
    if given.pop("learned_edges", False):
        given["bins"] = LearnedEdges(bins=given.get("bins", entry.options["bins"].default))
    if isinstance(given.get("feature"), str):
        given["feature"] = _number_of(given["feature"], config, f"{place}.feature")
    known = entry.options
    for option in beside or ():
        if option not in known or not isinstance(section, str):
            raise InputError(
                f"{place.rpartition('.')[0]}.{option} does not belong to {place} = {name!r}; "
                "leave it out."
            )
    given |= dict(beside or {}) | {k: v for k, v in more.items() if k in known}
    return _formed(form, lambda: entry(**given), place)


def _formed(form: Callable[[Any], T], make: Callable[[], Any], place: str) -> T:
    """What is wanted, or an error that says where it was asked for."""
    try:
        return form(make())
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def own_options(
    entry: Entry, given: dict[str, Any], choice: Choice, name: str, place: str
) -> dict[str, Any]:
    """Options of a class of your own, checked against its arguments and their types."""
    raw = {choice.key: name} | {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
    section = checked(section_of(entry, choice.base, name), raw, str, place.split("."))
    return {k: v for k, v in section.options(choice.base).items() if k in given}


def _number_of(feature: str, config: Config, where: str) -> int:
    data = config.data
    features, _ = with_categories(data.features, data.derived, data.categories)
    if feature not in features:
        raise InputError(
            f"{where} = {feature!r} is none of data.features.{nearest(feature, features)}"
        )
    return features.index(feature)
