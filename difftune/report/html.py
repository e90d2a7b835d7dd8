"""One HTML page without anything outside of it: blocks, sections, `render`."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from matplotlib.figure import Figure

from difftune.report.css import CSS
from difftune.report.save import png


@runtime_checkable
class Block(Protocol):
    """Anything that can write itself as HTML, with everything that came from a user escaped.

    `difftune.report.Table` is one too.
    """

    def html(self) -> str:
        """The block as HTML."""
        ...


@dataclass(frozen=True)
class Text:
    """A paragraph for each empty line between."""

    text: str

    def html(self) -> str:
        """The paragraphs, escaped."""
        return "".join(f"<p>{html.escape(p)}</p>" for p in self.text.strip().split("\n\n"))


@dataclass(frozen=True)
class Numbers:
    """The headline: a few large numbers, each with what it is.

    Attributes:
        numbers: Pairs of a number, already written, and what it is.
    """

    numbers: Sequence[tuple[str, str]]

    def html(self) -> str:
        """The numbers next to each other."""
        cards = "".join(
            f"<div><b>{html.escape(number)}</b><span>{html.escape(what)}</span></div>"
            for number, what in self.numbers
        )
        return f'<div class="numbers">{cards}</div>'


@dataclass(frozen=True)
class Picture:
    """A figure with a caption, embedded as PNG.

    Attributes:
        figure: A matplotlib figure, or the content of a PNG file.
        caption: What there is to see.
        width: Largest width on the page, in percent.
    """

    figure: Figure | bytes
    caption: str = ""
    width: int = 100

    def html(self) -> str:
        """A `<figure>` with a data URI."""
        content = self.figure if isinstance(self.figure, bytes) else png(self.figure)
        data = base64.b64encode(content).decode("ascii")
        caption = html.escape(self.caption)
        below = f"<figcaption>{caption}</figcaption>" if caption else ""
        return (
            f'<figure style="max-width:{int(self.width)}%">'
            f'<img alt="{caption}" src="data:image/png;base64,{data}">{below}</figure>'
        )


@dataclass(frozen=True)
class Row:
    """Blocks next to each other, below each other where there is no room."""

    blocks: Sequence[Block]

    def html(self) -> str:
        """The blocks in a row."""
        return f'<div class="row">{"".join(f"<div>{b.html()}</div>" for b in self.blocks)}</div>'


@dataclass(frozen=True)
class Code:
    """Text as it is: a configuration, a list of versions."""

    text: str

    def html(self) -> str:
        """A `<pre>`."""
        return f"<pre>{html.escape(self.text)}</pre>"


@dataclass(frozen=True)
class Collapsible:
    """Blocks that are folded away until they are asked for.

    Attributes:
        title: What is always seen.
        blocks: What is folded.
    """

    title: str
    blocks: Sequence[Block]

    def html(self) -> str:
        """A `<details>`."""
        inner = "".join(block.html() for block in self.blocks)
        return f"<details><summary>{html.escape(self.title)}</summary>{inner}</details>"


@dataclass(frozen=True)
class Section:
    """A part of the report with an entry in the table of contents."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page, in one string that needs no other file.

    Args:
        title: Title of the report.
        subtitle: A line below it.
        sections: The parts, in order; those without blocks are left out.
    """
    used = [section for section in sections if section.blocks]
    contents = "".join(
        f'<li><a href="#part-{i}">{html.escape(section.title)}</a></li>'
        for i, section in enumerate(used, 1)
    )
    parts = "".join(
        f'<section id="part-{i}"><h2>{html.escape(section.title)}</h2>'
        f"{''.join(block.html() for block in section.blocks)}</section>"
        for i, section in enumerate(used, 1)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{CSS}</style></head><body>"
        f"<header><h1>{html.escape(title)}</h1><p>{html.escape(subtitle)}</p></header>"
        f"<nav><ol>{contents}</ol></nav><main>{parts}</main></body></html>\n"
    )
