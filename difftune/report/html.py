"""Figures as files with the numbers behind them, and one HTML page that needs nothing else."""

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib.figure import Figure

from difftune.files import writing
from difftune.report.given import checked
from difftune.report.style import styled
from difftune.report.tables import STACKED


@checked
@styled
def save(
    figure: Figure,
    folder: str | Path,
    name: str,
    numbers: Mapping[str, Any] | None = None,
    *,
    dpi: int = 150,
) -> list[Path]:
    """Writes `name.pdf`, `name.png` and `name.json`.

    Args:
        figure: Any matplotlib figure.
        folder: Where to; made if absent.
        name: Stem of the files.
        numbers: What the figure shows; by default `figure.numbers`, which our figures carry.
        dpi: Resolution of the PNG.

    Returns:
        The files.

    Raises:
        InputError: When they cannot be written there.
    """
    folder = Path(folder)
    files = [folder / f"{name}.{kind}" for kind in ("pdf", "png", "json")]
    with writing(files[0], binary=True) as stream:
        # Without the date, the same figure is the same file.
        figure.savefig(stream, format="pdf", metadata={"CreationDate": None})
    # The layout does not depend on the format, and takes as long as the drawing.
    figure.set_layout_engine("none")
    with writing(files[1], binary=True) as stream:
        figure.savefig(stream, format="png", dpi=dpi)
    content = getattr(figure, "numbers", {}) if numbers is None else numbers
    with writing(files[2]) as stream:
        stream.write(to_json(content) + "\n")
    return files


@checked
@styled
def png(figure: Figure, *, dpi: int = 130) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def to_json(content: Any) -> str:
    """JSON of nested mappings, sequences, arrays and scalars; what is not finite becomes null."""
    return json.dumps(_plain(content), indent=1, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What JSON has a word for."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if np.isfinite(value) else None
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case Path():
            return str(value)
    return _plain(np.asarray(value).tolist())


CSS = """\
:root { color-scheme: light dark; --ink: #1a1a1a; --quiet: #5b6470; --line: #d9dee4;
  --accent: #bd1f01; --pale: #f5f7f9; --page: #fff; --shade: rgba(0, 0, 0, .22); }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ea; --quiet: #9aa4b0; --line: #39414b; --accent: #ff6b4a; --pale: #22272e;
    --page: #15181c; --shade: rgba(255, 255, 255, .3); }
  figure img { background: #fff; border-radius: 4px; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.5rem 4rem; color: var(--ink);
  background: var(--page);
  font: 16px/1.55 "Helvetica Neue", Helvetica, Arial, "Liberation Sans", sans-serif; }
header { border-bottom: 3px solid var(--accent); margin-bottom: 1rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
header p { color: var(--quiet); margin: .3rem 0 .8rem; }
nav ol { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; list-style: none; margin: 0;
  padding: 0; }
nav a { color: var(--quiet); text-decoration: none; font-size: .92rem; }
nav a:hover { color: var(--accent); text-decoration: underline; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .8rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 46rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.numbers div { flex: 1 1 11rem; background: var(--pale); border-left: 4px solid var(--accent);
  padding: .8rem 1rem; }
.numbers b { display: block; font-size: 1.55rem; line-height: 1.25; white-space: nowrap; }
.numbers span { color: var(--quiet); font-size: .9rem; }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
.row > div { flex: 1 1 24rem; min-width: 0; }
figure { margin: 1rem auto; text-align: center; }
figure img { max-width: 100%; height: auto; }
figcaption { color: var(--quiet); font-size: .88rem; text-align: left; margin-top: .3rem; }
/* A shadow lies on the side where there is more to see: what covers it scrolls with the table. */
.wide { overflow-x: auto; margin: 1rem 0; container-type: inline-size;
  background: linear-gradient(to right, var(--page) 40%, transparent) left / 3rem 100% local,
    linear-gradient(to left, var(--page) 40%, transparent) right / 3rem 100% local,
    linear-gradient(to right, var(--shade), transparent) left / .9rem 100% scroll,
    linear-gradient(to left, var(--shade), transparent) right / .9rem 100% scroll no-repeat;
  background-repeat: no-repeat; }
.caption { color: var(--quiet); font-size: .88rem; margin: 1rem 0 -.6rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: left;
  white-space: nowrap; }
th { border-bottom: 2px solid var(--ink); font-weight: 600; vertical-align: bottom; }
th.number, td.number { text-align: right; }
tr.strong td { font-weight: 600; }
table.dense { font-size: .8rem; }
.dense th, .dense td { padding: .25rem .4rem; }
.dense th { white-space: normal; }
details { border: 1px solid var(--line); border-radius: 4px; padding: .5rem 1rem; margin: .8rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { background: var(--pale); padding: .8rem; overflow-x: auto; font-size: .83rem;
  line-height: 1.4; }
code { background: var(--pale); padding: .1em .3em; border-radius: 3px; font-size: .9em; }
svg { color: var(--ink); }
@media (max-width: 40rem) {
  body { padding: 1rem .8rem 3rem; }
  th, td { padding: .25rem .45rem; }
  table { font-size: .85rem; }
  figure { max-width: 100% !important; }
}
STACKED_ROWS
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  nav { display: none; }
  h2 { break-after: avoid; }
  figure, tr, .numbers { break-inside: avoid; }
  figure img { max-height: 22cm; }
  .wide, pre { overflow: visible; white-space: pre-wrap; }
}
"""

_ROWS_AS_LISTS = "".join(
    f"""
  @container (max-width: {width}rem) {{
    .over-{width} thead {{ display: none; }}
    .over-{width}, .over-{width} tbody, .over-{width} tr {{ display: block; }}
    .over-{width} tr {{ border-bottom: 1px solid var(--line); padding: .4rem 0; }}
    .over-{width} td {{ display: block; border: 0; padding: .1rem .3rem; text-align: right;
      white-space: normal; overflow-wrap: anywhere; overflow: hidden; }}
    .over-{width} td:first-child {{ font-weight: 600; text-align: left; }}
    .over-{width} td:empty {{ display: none; }}
    .over-{width} td::before {{ content: attr(data-label); float: left; margin-right: 1rem;
      color: var(--quiet); font-weight: 400; }}
  }}"""
    for width in STACKED
)
CSS = CSS.replace("STACKED_ROWS", f"@media (max-width: 60rem) {{{_ROWS_AS_LISTS}\n}}")

_CODE, _AS_CODE = re.compile(r"`([^`\n]+)`"), r"<code>\1</code>"


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
    """A paragraph for each empty line between; what stands between backticks is code."""

    text: str

    def html(self) -> str:
        """The paragraphs, escaped."""
        escaped = html.escape(self.text.strip())
        return "".join(f"<p>{_CODE.sub(_AS_CODE, p)}</p>" for p in escaped.split("\n\n"))


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


@checked
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
