"""Parts of a workspace taken, left out, and called something else."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from difftune.errors import InputError
from difftune.workspaces.spec import (
    Content,
    Patterns,
    copied,
    matching,
    modifiers,
    names,
    parameters,
    renamed,
    samples,
)

Renaming = Mapping[str, str] | Callable[[str], str]
PARTS = ("channels", "samples", "modifiers", "modifier_types", "measurements")


def there(content: Content) -> dict[str, list[str]]:
    """All names of a workspace, by part."""
    every = [modifier for _, _, modifier in modifiers(content)]
    return {
        "channels": names(content["channels"]),
        "samples": names(sample for _, sample in samples(content)),
        "modifiers": names(every),
        "modifier_types": list(dict.fromkeys(modifier["type"] for modifier in every)),
        "measurements": names(content["measurements"]),
    }


def dropped(who: str, content: Content, given: Mapping[str, Patterns | None]) -> Content:
    """A workspace without some parts; a modifier's configuration goes with it.

    Args:
        who: What to call the method in an error.
        content: The workspace; stays as it is.
        given: Patterns of names by part.

    Raises:
        InputError: A pattern fits nothing, or nothing would be left of something.
    """
    every = there(content)
    without = {part: matching(f"{who}({part})", given.get(part), every[part]) for part in PARTS}
    return _without(who, content, without)


def selected(who: str, content: Content, given: Mapping[str, Patterns | None]) -> Content:
    """A workspace with some parts only; a parameter of interest stays in any case.

    Args:
        who: What to call the method in an error.
        content: The workspace; stays as it is.
        given: Patterns of names by part; all where it is None.

    Raises:
        InputError: A pattern fits nothing, or nothing would be left of something.
    """
    every = there(content)
    without = {}
    for part in PARTS:
        keep = every[part]
        if given.get(part) is not None:
            keep = list(matching(f"{who}({part})", given[part], every[part]))
        without[part] = set(every[part]) - set(keep)
    interesting = {measurement["config"]["poi"] for measurement in content["measurements"]}
    without["modifiers"] -= interesting
    return _without(who, content, without, always=interesting)


def _without(
    who: str, content: Content, without: Mapping[str, set[str]], *, always: set[str] | None = None
) -> Content:
    stays = always or set()
    result = copied(content)
    for part in ("channels", "observations"):
        result[part] = [e for e in result[part] if e["name"] not in without["channels"]]
    for channel in result["channels"]:
        channel["samples"] = [
            sample for sample in channel["samples"] if sample["name"] not in without["samples"]
        ]
        if not channel["samples"]:
            raise InputError(
                f"{who}(samples): nothing would be left of channel {channel['name']!r}. Leave "
                f"that out, too: drop(channels={channel['name']!r})."
            )
        for sample in channel["samples"]:
            sample["modifiers"] = [
                modifier
                for modifier in sample["modifiers"]
                if modifier["name"] in stays
                or (
                    modifier["name"] not in without["modifiers"]
                    and modifier["type"] not in without["modifier_types"]
                )
            ]
    result["measurements"] = [
        each for each in result["measurements"] if each["name"] not in without["measurements"]
    ]
    for measurement in result["measurements"]:
        config = measurement["config"]
        config["parameters"] = [
            options
            for options in config["parameters"]
            if options["name"] not in without["modifiers"]
        ]
    for part in ("channels", "measurements"):
        if not result[part]:
            raise InputError(f"{who}({part}): a workspace needs one of its {part} at least.")
    return result


def renaming(content: Content, given: Mapping[str, Renaming | None]) -> Content:
    """A workspace in which parts have other names; two modifiers of one name are one parameter.

    Args:
        content: The workspace; stays as it is.
        given: New names by part.

    Raises:
        InputError: An old name is not there, or a new one stands for two things.
    """
    every = there(content)
    new = {
        part: renamed(f"rename({part})", given.get(part), every[part])
        for part in ("channels", "samples", "modifiers", "measurements")
    }
    result = copied(content)

    def call(item: dict[str, Any], part: str, key: str = "name") -> None:
        item[key] = new[part].get(item[key], item[key])

    for channel in result["channels"]:
        call(channel, "channels")
        for sample in channel["samples"]:
            call(sample, "samples")
            for modifier in sample["modifiers"]:
                if modifier["type"] == "lumi" and modifier["name"] in new["modifiers"]:
                    raise InputError(
                        "rename(modifiers): pyhf's format has no other name than 'lumi' for a lumi "
                        "modifier."
                    )
                call(modifier, "modifiers")
            kinds = Counter((m["name"], m["type"]) for m in sample["modifiers"])
            _refuse(kinds, f"sample {sample['name']!r} of {channel['name']!r}", "modifiers")
        _refuse(Counter(s["name"] for s in channel["samples"]), channel["name"], "samples")
    for observation in result["observations"]:
        call(observation, "channels")
    for measurement in result["measurements"]:
        call(measurement, "measurements")
        call(measurement["config"], "modifiers", "poi")
    for _, options in parameters(result):
        call(options, "modifiers")
    for measurement in result["measurements"]:
        measurement["config"]["parameters"] = _once(measurement)
    for part in ("channels", "measurements"):
        _refuse(Counter(each["name"] for each in result[part]), "the workspace", part)
    return result


def _refuse(counts: Counter[Any], where: str, part: str) -> None:
    for name, count in counts.items():
        if count > 1:
            raise InputError(
                f"rename({part}): {where} would have {count} {part} called {name!r}. Give each a "
                "name of its own."
            )


def _once(measurement: Content) -> list[Content]:
    """Configurations of parameters, those that are equal once."""
    found: dict[str, Content] = {}
    for options in measurement["config"]["parameters"]:
        name = options["name"]
        if name in found and found[name] != options:
            raise InputError(
                f"rename(modifiers): {name!r} would be configured twice in the measurement "
                f"{measurement['name']!r}, as {found[name]} and as {options}. Make them equal, or "
                "drop one."
            )
        found[name] = options
    return list(found.values())
