"""Several workspaces as one: parameters of one name are shared."""

import logging
from collections.abc import Callable, Mapping, Sequence

from difftune.errors import InputError, nearest
from difftune.workspaces.spec import PER_BIN, Content, copied, modifiers, names

logger = logging.getLogger("difftune")

JOINS = ("none", "outer", "left outer", "right outer")


def combined(left: Content, right: Content, *, join: str, merge_channels: bool) -> Content:
    """Two workspaces as one, as `pyhf.Workspace.combine` makes it.

    Args:
        left: A workspace.
        right: Another one.
        join: What to do with parts that both have, see `Workspace.combine`.
        merge_channels: Whether a channel of both has the samples of both.

    Raises:
        InputError: Both have a part that is not the same.
    """
    if join not in JOINS:
        raise InputError(f"combine(join={join!r}): choose one of {JOINS}.{nearest(join, JOINS)}")
    if merge_channels and join == "none":
        raise InputError("combine(merge_channels=True) needs a join: join='outer'.")
    if left["version"] != right["version"]:
        raise InputError(
            f"combine: versions {left['version']!r} and {right['version']!r} of the format."
        )
    _say_what_is_shared(left, right)
    one, other = (names(content["measurements"]) for content in (left, right))
    if not set(one) & set(other):
        logger.warning(
            "combine: the measurements %s and %s stay apart, and each configures the parameters of "
            "one workspace alone. Give them one name first: rename(measurements={%r: %r}).",
            _few(one),
            _few(other),
            other[0],
            one[0],
        )
    first, second = (right, left) if join == "right outer" else (left, right)
    # What only one of them says beyond the format stays.
    result = {**copied(second), **copied(first)}
    merge = _with_all_samples if merge_channels else None
    result["channels"] = _joined("channels", first, second, join, merge)
    result["observations"] = _joined("observations", first, second, join, None)
    both = _measured_together if join == "outer" else None
    result["measurements"] = _joined("measurements", first, second, join, both)
    return result


def _joined(
    part: str,
    first: Content,
    second: Content,
    join: str,
    merge: Callable[[Content, Content], Content] | None,
) -> list[Content]:
    found = {item["name"]: item for item in copied({part: first[part]})[part]}
    clashes = []
    for item in copied({part: second[part]})[part]:
        name = item["name"]
        if name not in found:
            found[name] = item
        elif merge is not None:
            found[name] = merge(found[name], item)
        elif join == "none" or (join == "outer" and found[name] != item):
            clashes.append(name)
    if clashes:
        differ = "differ" if join == "outer" else "are in both workspaces"
        raise InputError(f"combine: the {part} {clashes} {differ}. {_REMEDIES[part](clashes[0])}")
    return list(found.values())


def _rename(part: str) -> Callable[[str], str]:
    return lambda name: (
        f"Rename them in one, as rename({part}={{{name!r}: '{name}_2'}}); or join='outer' takes "
        "what is equal once, and 'left outer' what the first says."
    )


_REMEDIES: Mapping[str, Callable[[str], str]] = {
    "channels": _rename("channels"),
    "observations": _rename("channels"),
    "measurements": _rename("measurements"),
}


def _with_all_samples(first: Content, second: Content) -> Content:
    there = {sample["name"] for sample in first["samples"]}
    more = [sample for sample in second["samples"] if sample["name"] not in there]
    return {**first, "samples": [*first["samples"], *more]}


def _measured_together(first: Content, second: Content) -> Content:
    name, one, other = first["name"], first["config"], second["config"]
    if one["poi"] != other["poi"]:
        raise InputError(
            f"combine: the measurement {name!r} has the parameter of interest {one['poi']!r} in "
            f"one workspace and {other['poi']!r} in the other. Rename one of the parameters, "
            f"rename(modifiers={{{other['poi']!r}: {one['poi']!r}}}), or one of the measurements."
        )
    found = {options["name"]: options for options in one["parameters"]}
    for options in other["parameters"]:
        own = found.setdefault(options["name"], options)
        if own != options:
            apart = "There is one lumi in a workspace: make both equal"
            if options["name"] != "lumi":
                apart = "Rename it in one workspace if there are two, rename(modifiers={...: ...})"
            raise InputError(
                f"combine: the measurement {name!r} configures the parameter {options['name']!r} "
                f"as {own} and as {options}. {apart}; 'left outer' takes the first."
            )
    return {**first, "config": {**one, "parameters": list(found.values())}}


def _say_what_is_shared(left: Content, right: Content) -> None:
    kinds: list[dict[str, set[str]]] = []
    for content in (left, right):
        own: dict[str, set[str]] = {}
        for channel, _, modifier in modifiers(content):
            own.setdefault(modifier["name"], set()).add(modifier["type"])
            if modifier["type"] in PER_BIN:
                own[modifier["name"]].add(channel["name"])
        kinds.append(own)
    shared = [name for name in kinds[0] if name in kinds[1]]
    if shared:
        logger.info("combine: one parameter in both workspaces: %s.", _few(shared))
    per_bin = [
        name
        for name in shared
        if (kinds[0][name] & set(PER_BIN)) and kinds[0][name] != kinds[1][name]
    ]
    if per_bin:
        logger.warning(
            "combine: %s have a parameter for each bin, and would tie bins of different channels "
            "to each other. Rename them in one workspace if that is not meant.",
            _few(per_bin),
        )


def _few(texts: Sequence[str]) -> str:
    return ", ".join(texts[:10]) + (f", ... ({len(texts)} in all)" if len(texts) > 10 else "")
