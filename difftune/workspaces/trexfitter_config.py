"""The text of a TRExFitter configuration, taken apart block by block.

The form of the file and the meaning of its settings are those of TRExFitter's public documentation
(docs/Settings) and of its ConfigParser.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, NoReturn

from difftune.errors import InputError, nearest

BLOCKS = ("Job", "Fit", "Region", "Sample", "NormFactor", "ShapeFactor", "Systematic")
"""Blocks that are read."""

IGNORED_BLOCKS = ("Limit", "Significance", "Options")
"""Blocks of what is asked of the likelihood, and of pictures."""

_REFUSED_BLOCKS = {
    "MultiFit": "Read the configuration of each fit, and join them: a.combine(b).",
    "Unfolding": "There is no unfolding.",
    "UnfoldingSample": "There is no unfolding.",
    "UnfoldingSystematic": "There is no unfolding.",
    "TruthSample": "There is no unfolding.",
}


class Setting(NamedTuple):
    """A line of a block.

    Attributes:
        text: Behind the colon, with its quotation marks.
        line: Number of the line.
    """

    text: str
    line: int


@dataclass
class Block:
    """A block of the file.

    Attributes:
        config: The file.
        kind: `Job`, `Region` and so on.
        name: What it is called.
        line: Number of its first line.
        settings: Its lines, by key.
    """

    config: "Config"
    kind: str
    name: str
    line: int
    settings: dict[str, Setting] = field(default_factory=dict)

    def text(self, key: str) -> str | None:
        """A value without quotation marks; None where it is not given."""
        found = self.settings.get(key)
        return None if found is None else _unquoted(found.text)

    def word(self, key: str, *choices: str) -> str | None:
        """A value in capitals, which is one of some; None where it is not given."""
        value = self.text(key)
        if value is None:
            return None
        if value.upper() not in choices:
            self.refuse(key, f"{key} is {value!r}: give one of {', '.join(choices)}.")
        return value.upper()

    def truth(self, key: str, default: bool) -> bool:
        """TRUE or FALSE."""
        value = self.word(key, "TRUE", "FALSE")
        return default if value is None else value == "TRUE"

    def number(self, key: str, default: float) -> float:
        """A number."""
        value = self.text(key)
        return default if value is None else self.as_number(key, value)

    def as_number(self, key: str, value: str) -> float:
        """What stands somewhere in a setting, as a finite number."""
        try:
            found = float(value)
        except ValueError:
            found = float("nan")
        if not abs(found) < 1e300:
            self.refuse(key, f"{key} has {value!r}, which is no number.")
        return found

    def several(self, key: str, plural: str | None = None) -> list[str]:
        """The values of a list with commas: of the plural, or the one value of the singular."""
        plural = f"{key}s" if plural is None else plural
        if plural in self.settings:
            return split(self.settings[plural].text)
        value = self.text(key)
        return [] if value is None else [value]

    def listed(self, key: str) -> list[str]:
        """The values of a list with commas."""
        return split(self.settings[key].text) if key in self.settings else []

    def chosen(self, key: str, known: list[str]) -> list[str]:
        """Names of a list, or patterns of them, that stand for something.

        Args:
            key: Of the setting.
            known: All names.
        """
        found: dict[str, None] = {}
        for name in self.listed(key):
            fitting = [each for each in known if each == name or fnmatchcase(each, name)]
            if not fitting:
                self.refuse(key, f"{key} names {name!r}, which is not there.{nearest(name, known)}")
            found |= dict.fromkeys(fitting)
        return list(found)

    def refuse(self, key: str | None, text: str) -> NoReturn:
        """Raises what says where in the file something is not right."""
        line = self.settings[key].line if key in self.settings else self.line
        raise InputError(
            f"{self.config.path}, line {line}: {self.kind} {self.name!r}: {text}"
        ) from None


@dataclass
class Config:
    """What a configuration says.

    Attributes:
        path: The file.
        blocks: Those of `BLOCKS`, in their order.
        ignored: Kinds of further blocks that are there.
    """

    path: Path
    blocks: list[Block] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[Block]:
        """All blocks of a kind."""
        return [block for block in self.blocks if block.kind == kind]

    def one(self, kind: str) -> Block:
        """The only block of a kind; an empty one where there is none.

        Raises:
            InputError: There are several.
        """
        found = self.of(kind)
        if len(found) > 1:
            raise InputError(
                f"{self.path}, line {found[1].line}: a second block {kind}. Leave one."
            )
        return found[0] if found else Block(self, kind, "", 0)

    def refuse_unknown(
        self, known: Mapping[str, set[str]], remedies: Mapping[str, str], unused: re.Pattern[str]
    ) -> list[str]:
        """Refuses settings that are not understood, and names those that change no likelihood.

        Args:
            known: Settings that are understood, by kind of block.
            remedies: What to do in place of some others.
            unused: Matches settings of pictures, tables, and of how fits are run.

        Returns:
            Names of settings that are there and have no effect.
        """
        idle: dict[str, None] = dict.fromkeys(self.ignored)
        for block in self.blocks:
            for key in block.settings:
                if key in known[block.kind]:
                    continue
                remedy = remedies.get(key)
                if remedy is not None:
                    block.refuse(key, f"{key} is not taken over. {remedy}")
                if not unused.fullmatch(key):
                    block.refuse(
                        key,
                        f"{key} is not known.{nearest(key, known[block.kind])} If it changes "
                        "nothing but pictures, take it out.",
                    )
                idle[key] = None
        return list(idle)


def looks_like_config(text: str) -> bool:
    """Whether a text is a configuration of TRExFitter: it has the blocks that each one has."""
    first = {line.split(":")[0].strip() for line in text.splitlines() if ":" in line}
    return {"Job", "Region", "Sample"} <= first or "MultiFit" in first


def read_config(path: Path, folders: list[Path]) -> Config:
    """A configuration, taken apart.

    Args:
        path: The file.
        folders: Where a file of replacements is looked for.

    Raises:
        InputError: It cannot be read, or has a line that is not understood.
    """
    config = Config(path)
    lines = list(_lines(_read(path)))
    replaced: list[tuple[str, str]] = []
    for number, line in lines:
        if line.split(":")[0].strip() == "ReplacementFile":
            name = _unquoted(line.split(":", 1)[1])
            replaced = _replacements(config, number, name, folders)
    blocks: list[Block] = []
    for number, line in lines:
        if not line:
            blocks = []
            continue
        if "XXX" in line:
            for old, new in replaced:
                line = line.replace(old, new)
        key, colon, rest = line.partition(":")
        key, rest = key.strip(), rest.strip()
        if key.split()[:1] == ["INCLUDE"]:
            _refuse(config, number, "INCLUDE is not taken over. Put the lines of that file here.")
        if not colon or not rest:
            _refuse(config, number, f"{line!r} is no line 'KEY: VALUE'.")
        values = split(rest, ";", quoted=True)
        if blocks:
            for index, block in enumerate(blocks):
                block.settings[key] = Setting(values[min(index, len(values) - 1)], number)
            continue
        if key in _REFUSED_BLOCKS:
            _refuse(config, number, f"{key} is not taken over. {_REFUSED_BLOCKS[key]}")
        if key not in BLOCKS + IGNORED_BLOCKS:
            known = [*BLOCKS, *IGNORED_BLOCKS]
            _refuse(
                config,
                number,
                f"{key} begins no block.{nearest(key, known)} A line without text ends the block "
                f"above; blocks are {', '.join(known)}.",
            )
        blocks = [Block(config, key, _unquoted(value), number) for value in values]
        if key in IGNORED_BLOCKS:
            config.ignored.append(key)
        else:
            config.blocks += blocks
    if not config.of("Job"):
        raise InputError(f"{path} has no block Job: it is no whole configuration.")
    return config


def split(text: str, mark: str = ",", *, quoted: bool = False) -> list[str]:
    """The parts of a list, without quotation marks unless they are wanted.

    Args:
        text: The list.
        mark: What stands between the parts, outside of quotation marks.
        quoted: Whether quotation marks stay.
    """
    parts = [""]
    inside = False
    for letter in text:
        inside ^= letter == '"'
        if letter == mark and not inside:
            parts.append("")
        else:
            parts[-1] += letter
    found = [part.strip() if quoted else _unquoted(part) for part in parts]
    return [part for part in found if part] or ([text.strip()] if quoted else [])


def _unquoted(text: str) -> str:
    return text.replace('"', " ").strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {reason}.") from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbers and lines without comments; a line that is a comment alone ends no block."""
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if bare[:1] in ("%", "#"):
            continue
        kept, inside = "", False
        for letter in bare:
            inside ^= letter == '"'
            if letter in "%#" and not inside:
                break
            kept += letter
        yield number, kept.strip()


def _replacements(
    config: Config, number: int, name: str, folders: list[Path]
) -> list[tuple[str, str]]:
    for folder in folders:
        if (folder / name).is_file():
            pairs = [line.partition(":") for _, line in _lines(_read(folder / name)) if line]
            return [(old.strip(), new.strip()) for old, _, new in pairs]
    _refuse(config, number, f"there is no {name} in {' or '.join(map(str, folders))}.")


def _refuse(config: Config, line: int, text: str) -> NoReturn:
    raise InputError(f"{config.path}, line {line}: {text}")
