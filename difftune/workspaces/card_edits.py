"""What the `nuisance edit` lines of a CMS Combine datacard make of its uncertainties."""

import math
import re
from collections.abc import Callable
from dataclasses import replace

from difftune.errors import nearest
from difftune.workspaces.card import SYSTEMATICS, Card, Systematic

_SHAPES = tuple(kind for kind in SYSTEMATICS if kind.startswith("shape"))
_FAMILIES = (("lnN", "lnU"), _SHAPES)
# Where Combine sees no effect.
_NOTHING = (None, "0", "1")


def edited(card: Card) -> Card:
    """The card after its `nuisance edit` lines, one after the other.

    Args:
        card: As it was read; is changed.

    Raises:
        InputError: An edit is not understood, names what is not there, or contradicts another line.
    """
    for edit in card.edits:
        kind = edit.words[0] if edit.words else ""
        if kind not in _EDITS:
            card.refuse(
                edit.line,
                f"'nuisance edit {kind}' is not read. There are {', '.join(_EDITS)}."
                f"{nearest(kind, list(_EDITS))}",
            )
        form, apply = _EDITS[kind]
        options = [word for word in edit.words[1:] if word in _OPTIONS]
        words = [word for word in edit.words[1:] if word not in _OPTIONS]
        forms = [each.split() for each in form.split(" or ")]
        if len(words) not in [len(each) for each in forms]:
            written = " or ".join(f"'nuisance edit {kind} {' '.join(each)}'" for each in forms)
            card.refuse(edit.line, f"nuisance edit {kind} is written as {written}.")
        apply(card, edit.line, words, options)
    card.systematics[:] = [each for each in card.systematics if any(v for v in each.values)]
    return card


def _add(card: Card, line: int, words: list[str], options: list[str]) -> None:
    process, channel, name, kind, value = words
    if kind not in SYSTEMATICS or kind == "gmN":
        kinds = ", ".join(each for each in SYSTEMATICS if each != "gmN")
        card.refuse(line, f"nuisance edit add: no kind {kind!r} is added; there are {kinds}.")
    own = _line_of(card, line, name, kind)
    values = list(own.values)
    for column in _columns(card, line, process, channel, options):
        if values[column] in _NOTHING or "overwrite" in options:
            values[column] = value
        elif "addq" in options:
            values[column] = _in_quadrature(card, line, own, values[column] or "", value)
        else:
            place = " of ".join(reversed(card.columns[column][:2]))
            card.refuse(
                line,
                f"{name!r} has {values[column]} for {place} already. Add addq for the sum in "
                "quadrature, or overwrite.",
            )
    _put(card, line, replace(own, values=tuple(values)))


def _drop(card: Card, line: int, words: list[str], options: list[str]) -> None:
    process, channel, name = words
    columns = _columns(card, line, process, channel, options)
    for own in _named(card, line, name, options):
        _put(card, line, _without(own, columns))


def _rename(card: Card, line: int, words: list[str], options: list[str]) -> None:
    process, channel, old, new = words if len(words) == 4 else ["*", "*", *words]
    columns = _columns(card, line, process, channel, options)
    for own in _named(card, line, re.escape(old), options):
        if own.kind == "gmN":
            card.refuse(line, f"{old!r} is a gmN, which is not renamed. Give it another name.")
        other = _line_of(card, line, new, own.kind)
        values, histograms = list(other.values), list(other.histograms)
        for column in columns:
            if own.values[column] is None:
                continue
            if values[column] not in _NOTHING:
                place = " of ".join(reversed(card.columns[column][:2]))
                card.refuse(line, f"{old!r} and {new!r} both act on {place}. Merge them.")
            values[column] = own.values[column]
            histograms[column] = own.histograms[column]
        _put(card, line, _without(own, columns))
        _put(card, line, replace(other, values=tuple(values), histograms=tuple(histograms)))


def _change_kind(card: Card, line: int, words: list[str], options: list[str]) -> None:
    name, kind = words
    for own in _named(card, line, name, options):
        if not any(own.kind in family and kind in family for family in _FAMILIES):
            card.refuse(
                line,
                f"{own.name!r} is of the kind {own.kind}, which cannot become {kind}: lnN and lnU "
                "change into each other, and the kinds of shape.",
            )
        card.systematics[card.systematics.index(own)] = replace(own, kind=kind)


def _merge(card: Card, line: int, words: list[str], options: list[str]) -> None:
    process, channel, name, second = words
    columns = _columns(card, line, process, channel, options)
    for other in _named(card, line, second, options):
        own = _line_of(card, line, name, other.kind)
        values = list(own.values)
        for column in columns:
            value = other.values[column]
            if value in _NOTHING:
                continue
            if values[column] in _NOTHING:
                values[column] = value
            else:
                values[column] = _in_quadrature(card, line, own, values[column] or "", value or "")
        _put(card, line, _without(other, columns))
        _put(card, line, replace(own, values=tuple(values)))


def _split(card: Card, line: int, words: list[str], options: list[str]) -> None:
    process, channel, old, first, second, *values = words
    columns = _columns(card, line, process, channel, options)
    for own in _named(card, line, old, options):
        if own.kind == "gmN":
            card.refuse(line, f"{old!r} is a gmN, which is not split.")
        there = [column for column in columns if own.values[column] not in _NOTHING]
        _put(card, line, _without(own, columns))
        for name, value in zip((first, second), values, strict=True):
            new = _line_of(card, line, name, own.kind)
            changed = [value if c in there else v for c, v in enumerate(new.values)]
            _put(card, line, replace(new, values=tuple(changed)))


def _freeze(card: Card, line: int, words: list[str], options: list[str]) -> None:
    (name,) = words
    known = [each.name for each in card.systematics] + [each.name for each in card.rates]
    found = [name] if name in known else []
    if not found and "ifexists" not in options:
        card.refuse(line, f"there is no parameter {name!r}.{nearest(name, known)}")
    card.frozen += [each for each in found if each not in card.frozen]


_OPTIONS = ("addq", "overwrite", "ifexists")
_EDITS: dict[str, tuple[str, Callable[[Card, int, list[str], list[str]], None]]] = {
    "add": ("PROCESS CHANNEL NAME KIND VALUE", _add),
    "drop": ("PROCESS CHANNEL NAME", _drop),
    "rename": ("OLD NEW or PROCESS CHANNEL OLD NEW", _rename),
    "changepdf": ("NAME KIND", _change_kind),
    "merge": ("PROCESS CHANNEL NAME SECOND", _merge),
    "split": ("PROCESS CHANNEL NAME FIRST SECOND VALUE VALUE", _split),
    "freeze": ("NAME", _freeze),
}


def _columns(card: Card, line: int, process: str, channel: str, options: list[str]) -> list[int]:
    """Numbers of the columns that two regular expressions name; `*` is all."""
    patterns = [_pattern(card, line, text) for text in (channel, process)]
    found = [
        number
        for number, (*names, _, _) in enumerate(card.columns)
        if all(p is None or p.fullmatch(str(name)) for p, name in zip(patterns, names, strict=True))
    ]
    if not found and "ifexists" not in options:
        card.refuse(
            line,
            f"there is no process {process!r} in a channel {channel!r}. Add ifexists where there "
            "need not be one.",
        )
    return found


def _pattern(card: Card, line: int, text: str) -> re.Pattern[str] | None:
    try:
        return None if text == "*" else re.compile(text)
    except re.error as error:
        card.refuse(line, f"{text!r} is no regular expression ({error}), and not *.")


def _named(card: Card, line: int, name: str, options: list[str]) -> list[Systematic]:
    """The uncertainties that a regular expression names."""
    pattern = _pattern(card, line, name)
    found = [each for each in card.systematics if pattern is None or pattern.fullmatch(each.name)]
    if not found and "ifexists" not in options:
        known = list(dict.fromkeys(each.name for each in card.systematics))
        card.refuse(
            line,
            f"there is no uncertainty {name!r}.{nearest(name, known)} Add ifexists where there "
            "need not be one.",
        )
    return found


def _line_of(card: Card, line: int, name: str, kind: str) -> Systematic:
    """The line of this name and kind, or one that acts on nothing yet."""
    for each in card.systematics:
        if (each.name, each.kind) == (name, kind):
            return each
    nothing = (None,) * len(card.columns)
    return Systematic(line, name, kind, 0, nothing, (name,) * len(card.columns))


def _without(own: Systematic, columns: list[int]) -> Systematic:
    return replace(own, values=tuple(None if c in columns else v for c, v in enumerate(own.values)))


def _put(card: Card, line: int, own: Systematic) -> None:
    """Takes the place of the line of this name and kind, or stands behind all others."""
    for number, each in enumerate(card.systematics):
        if (each.name, each.kind) == (own.name, own.kind):
            card.systematics[number] = own
            return
    card.systematics.append(replace(own, line=line))


def _in_quadrature(card: Card, line: int, own: Systematic, first: str, second: str) -> str:
    """Two factors in one, each with UP or DOWN/UP, that go in the same direction."""
    if own.kind not in ("lnN", "lnU"):
        card.refuse(line, f"{own.name!r} is of the kind {own.kind}: only lnN and lnU add up.")
    try:
        sides = [[math.log(float(part)) for part in text.split("/")] for text in (first, second)]
    except ValueError:
        card.refuse(line, f"{first!r} and {second!r}: factors as 1.1, or DOWN/UP as 0.9/1.1.")
    several = max(map(len, sides))
    pairs = [[-side[0], side[0]] if len(side) < several else side for side in sides]
    found = []
    for one, two in zip(*pairs, strict=True):
        if one * two < 0:
            card.refuse(line, f"{own.name!r}: {first} and {second} go in different directions.")
        found.append(math.copysign(math.hypot(one, two), one or two))
    return "/".join(repr(math.exp(each)) for each in found)
