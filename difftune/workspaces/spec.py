"""The parts of pyhf's JSON: names by patterns, and keys that pyhf does not know."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from difftune.errors import InputError, nearest

Content = dict[str, Any]
Patterns = str | Sequence[str]
"""Names, or patterns such as `"JES*"`: one or several."""

PER_BIN = ("shapefactor", "shapesys", "staterror")
"""Types of modifier with one parameter per bin."""

_KEYS: dict[str, tuple[str, ...]] = {
    "workspace": ("channels", "measurements", "observations", "version"),
    "channels": ("name", "samples"),
    "samples": ("name", "data", "modifiers"),
    "modifiers": ("name", "type", "data"),
    "observations": ("name", "data"),
    "measurements": ("name", "config"),
    "config": ("poi", "parameters"),
    "parameters": ("name", "inits", "bounds", "auxdata", "factors", "sigmas", "fixed"),
}


def known(content: Any, kind: str = "workspace") -> Any:
    """What pyhf's schema knows of a workspace: the same without any further key.

    Args:
        content: The workspace, or a part of it.
        kind: Which part.
    """
    if not isinstance(content, Mapping):
        return content
    found: Content = {}
    for key, value in content.items():
        if key not in _KEYS[kind]:
            continue
        if key in _KEYS and isinstance(value, list):
            value = [known(each, key) for each in value]
        elif key == "config":
            value = known(value, key)
        found[key] = value
    return found


def samples(content: Content) -> Iterator[tuple[Content, Content]]:
    """Every sample with its channel."""
    for channel in content["channels"]:
        for sample in channel["samples"]:
            yield channel, sample


def modifiers(content: Content) -> Iterator[tuple[Content, Content, Content]]:
    """Every modifier with its channel and its sample."""
    for channel, sample in samples(content):
        for modifier in sample["modifiers"]:
            yield channel, sample, modifier


def parameters(content: Content) -> Iterator[tuple[Content, Content]]:
    """Every configuration of a parameter with its measurement."""
    for measurement in content["measurements"]:
        for options in measurement["config"]["parameters"]:
            yield measurement, options


def names(items: Iterable[Content]) -> list[str]:
    """The names of parts, each once, in the order of their first appearance."""
    return list(dict.fromkeys(item["name"] for item in items))


def matching(where: str, patterns: Patterns | None, there: Sequence[str]) -> set[str]:
    """The names that are meant.

    Args:
        where: What to call the argument in an error.
        patterns: Names or patterns; None for none.
        there: All names.

    Raises:
        InputError: A name or pattern fits nothing.
    """
    found: set[str] = set()
    for pattern in listed(where, patterns):
        fitting = {pattern} if pattern in there else {n for n in there if fnmatchcase(n, pattern)}
        if not fitting:
            few = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
            raise InputError(
                f"{where}={pattern!r} is no name, nor a pattern of one, of: {few}."
                f"{nearest(pattern, there)}"
            )
        found |= fitting
    return found


def listed(where: str, patterns: Patterns | None) -> list[str]:
    """One or several names as a list.

    Raises:
        InputError: They are no texts.
    """
    if patterns is None:
        return []
    if not isinstance(patterns, Iterable):
        raise InputError(f"{where}={patterns!r}: give a name, or several.")
    found = [patterns] if isinstance(patterns, str) else list(patterns)
    for each in found:
        if not isinstance(each, str):
            raise InputError(f"{where}={patterns!r}: {each!r} is no name.")
    return found


def renamed(
    where: str, mapping: Mapping[str, str] | Callable[[str], str] | None, there: Sequence[str]
) -> dict[str, str]:
    """New names by old ones, for those that change.

    Args:
        where: What to call the argument in an error.
        mapping: New names by old ones, in which one `*` of both stands for the same text; or a
            function.
        there: All names.

    Raises:
        InputError: An old name fits nothing, or a new one is no text.
    """
    if mapping is None:
        return {}
    if not callable(mapping) and not isinstance(mapping, Mapping):
        raise InputError(f"{where}={mapping!r}: give new names by old ones, {{'old': 'new'}}.")
    if callable(mapping):
        found = {name: mapping(name) for name in there}
    else:
        found = {}
        for old, new in mapping.items():
            if old in there:
                found[old] = new
                continue
            if old.count("*") != 1 or not isinstance(new, str) or new.count("*") != 1:
                matching(where, old, there)
                raise InputError(
                    f"{where}={{{old!r}: {new!r}}}: a pattern has one * in the old and in the new "
                    "name, which stands for the same text."
                )
            before, after = old.split("*")
            matching(where, old, there)
            for name in there:
                if fnmatchcase(name, old) and name not in mapping:
                    found[name] = new.replace("*", name[len(before) : len(name) - len(after)])
    for old, new in found.items():
        if not isinstance(new, str) or not new:
            raise InputError(f"{where}: {old!r} cannot be called {new!r}; give a text.")
    return {old: new for old, new in found.items() if old != new}


def copied(content: Mapping[str, Any]) -> Content:
    """A copy that shares nothing."""
    return copy.deepcopy(dict(content))
