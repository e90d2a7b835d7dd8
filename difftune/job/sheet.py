"""Lines of an analysis file that is drafted, and what is to be looked at."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "# EDIT: "


@dataclass(frozen=True, kw_only=True)
class Draft:
    """An analysis file, and what is to be done with it.

    Attributes:
        text: The file.
        questions: What it only guesses: the lines marked with EDIT.
    """

    text: str
    questions: tuple[str, ...]


def toml_text(text: str) -> str:
    """As a string of TOML."""
    return json.dumps(text, ensure_ascii=False)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_text(name)


def term(name: str) -> str:
    """A column in an expression."""
    return name if name.isidentifier() else f"`{name}`"


def toml(value: Any) -> str:
    """As TOML."""
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(key)} = {toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:g}"
    return toml_text(str(value))


def wrapped(names: Sequence[str]) -> list[str]:
    """A list of names over several lines."""
    lines, line = ["features = ["], "   "
    for name in names:
        entry = f" {toml_text(name)},"
        if len(line) + len(entry) > 96:
            lines.append(line)
            line = "   "
        line += entry
    return [*lines, line, "]"]


class Sheet:
    """Collects lines, and what is to be looked at."""

    def __init__(self, *, where: Path) -> None:
        self.where = where
        self.lines: list[str] = []
        self.questions: list[str] = []

    def ask(self, question: str) -> str:
        """Notes a question; returns the comment that stands at its place."""
        self.questions.append(question)
        return f"{MARK}{question}"

    def path(self, file: str) -> str:
        """As it is written into the file: seen from its folder where it is below it."""
        if "://" in file:
            return file
        own = Path(file).absolute()
        return (
            own.relative_to(self.where).as_posix() if own.is_relative_to(self.where) else str(own)
        )

    def add(self, *lines: str) -> None:
        """Adds lines."""
        self.lines += lines

    def systematic(self, name: str, kind: str, up: str, down: str | None, own: Any) -> None:
        """Adds an uncertainty.

        Args:
            name: Of the uncertainty.
            kind: Its type.
            up: As TOML.
            down: As TOML; None where it is mirrored.
            own: Names of its samples; None for all.
        """
        self.add("[[systematics]]", f"name = {toml_text(name)}", f'type = "{kind}"', f"up = {up}")
        if down is not None:
            self.add(f"down = {down}")
        if own is not None:
            self.add(f"samples = {toml(own)}")
        self.add("")
