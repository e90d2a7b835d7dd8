"""Tables: plain rows, written as text, HTML, LaTeX or CSV."""

import csv
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from difftune.report.style import harmless_math


class Measured(NamedTuple):
    """A number with its uncertainties, for a cell of a table.

    Attributes:
        value: The number.
        uncertainty: Its (statistical) uncertainty.
        systematic: A second one; not written if None.
    """

    value: float
    uncertainty: float
    systematic: float | None = None


# With the wide forms that East Asian spreadsheets read alike; nothing at all is no formula.
_FORMULA = tuple("=+-@＝＋－＠")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?( ?%)?|[+-]?(inf|nan)")

DENSE = 9
"""Columns beyond which a table is set in smaller type."""

Cell = str | float | int | Measured | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under a header.

    Attributes:
        columns: Titles; the first column names the rows.
        rows: As many cells in each as there are columns; None is an empty cell.
        caption: What the table shows.
        emphasised: Numbers of the rows to stand out (a sum, the best).
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    emphasised: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuses rows of another length than the header."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Table row {row} has not one cell for each of {self.columns}.")

    def titled(self, titles: Mapping[str, str]) -> "Table":
        """The same with titles in the place of names, of columns and in cells."""
        rows = (
            tuple(titles.get(cell, cell) if isinstance(cell, str) else cell for cell in row)
            for row in self.rows
        )
        columns = tuple(titles.get(column, column) for column in self.columns)
        return replace(self, columns=columns, rows=tuple(rows))

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """For the console: aligned columns, first to the left, numbers to the right."""
        cells = [list(self.columns), *([written(c) for c in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([*([self.caption] if self.caption else []), lines[0], rule, *lines[1:]])

    def html(self) -> str:
        """A `<table>` with everything escaped, in a box that scrolls where it is too wide.

        One of many columns is set in smaller type, and its titles may break at underscores.
        """
        dense = len(self.columns) > DENSE
        numeric = [
            any(not isinstance(row[i], str | None) for row in self.rows)
            for i in range(len(self.columns))
        ]
        classes = [' class="number"' if n else "" for n in numeric]
        head = "".join(
            f"<th{c}>{_breakable(title) if dense else html.escape(title)}</th>"
            for c, title in zip(classes, self.columns, strict=True)
        )
        body = []
        for number, row in enumerate(self.rows):
            mark = ' class="strong"' if number in self.emphasised else ""
            cells = "".join(
                f"<td{c}>{html.escape(written(cell))}</td>"
                for c, cell in zip(classes, row, strict=True)
            )
            body.append(f"<tr{mark}>{cells}</tr>")
        caption = f'<p class="caption">{html.escape(self.caption)}</p>' if self.caption else ""
        look = ' class="dense"' if dense else ""
        return (
            f'{caption}<div class="wide"><table{look}><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )

    def latex(self) -> str:
        """A `tabular` with booktabs' rules."""
        layout = "l" + "r" * (len(self.columns) - 1)
        lines = [r"\begin{tabular}{" + layout + "}", r"\toprule", _latex_row(self.columns)]
        lines.append(r"\midrule")
        for number, row in enumerate(self.rows):
            if number in self.emphasised and number > 0:
                lines.append(r"\midrule")
            lines.append(_latex_row(row))
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])

    def csv(self) -> str:
        """Comma-separated, in full precision; uncertainties get columns of their own.

        Text that a spreadsheet would take for a formula gets an apostrophe in front.
        """
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        parts = [
            max([len(_parts(row[i])) for row in self.rows], default=1)
            for i in range(len(self.columns))
        ]
        suffixes = ("", " uncertainty", " systematic")
        writer.writerow(
            [
                as_text(c) + suffix
                for c, n in zip(self.columns, parts, strict=True)
                for suffix in suffixes[:n]
            ]
        )
        for row in self.rows:
            line: list[Cell] = []
            for cell, n in zip(row, parts, strict=True):
                content = _parts(cell)
                line += [*content, *[""] * (n - len(content))]
            writer.writerow(line)
        return buffer.getvalue()


def _breakable(title: str) -> str:
    """A title, escaped, that may go on in the next line after an underscore."""
    return html.escape(title).replace("_", "_<wbr>")


def written(cell: Cell) -> str:
    """A cell for reading: uncertainties with two digits, the value to the same decimal."""
    match cell:
        case None:
            return ""
        case str() | bool():
            return str(cell)
        case Measured():
            numbers = [n for n in cell if n is not None]
            decimals = _decimals(numbers[1:])
            return " ± ".join(_number(n, decimals) for n in numbers)
        case int() | np.integer():
            return f"{cell:,}".replace(",", "\u2009").replace("-", "−")
    return _float(float(cell))


def _decimals(uncertainties: Sequence[float]) -> int:
    """Decimals that show two digits of the smallest uncertainty, at most six."""
    sizes = [abs(u) for u in uncertainties if np.isfinite(u) and u != 0]
    if not sizes:
        return 2
    smallest = max(min(sizes), max(sizes) / 100)
    return int(np.clip(1 - np.floor(np.log10(smallest)), 0, 6))


def _number(value: float, decimals: int) -> str:
    """A number with fixed decimals, thousands apart and a real minus."""
    if not np.isfinite(value):
        return "n/a"
    return f"{value:,.{decimals}f}".replace(",", "\u2009").replace("-", "−")


def _float(value: float) -> str:
    """Four digits, with a power of ten where zeros would take over."""
    if not np.isfinite(value):
        return "n/a"
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        digits, power = f"{value:.3e}".split("e")
        return f"{digits}e{int(power)}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−") if abs(value) < 1e4 else _number(value, 0)


def _parts(cell: Cell) -> list[str | float | int]:
    """A cell's numbers, for CSV."""
    if cell is None:
        return [""]
    if isinstance(cell, Measured):
        return [n for n in cell if n is not None]
    return [as_text(cell) if isinstance(cell, str) else cell]


def as_text(cell: str) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula.

    Args:
        cell: What somebody named something; a number, or a percentage, stays as it is.
    """
    # What ends a line, or a cell, for some reader.
    cell = re.sub(r"[\x00-\x1f\x7f]", " ", cell)
    begins = cell.lstrip()[:1] in _FORMULA
    return f"'{cell}" if begins and not _NUMBER.fullmatch(cell) else cell


def _latex_row(cells: Sequence[Cell]) -> str:
    return " & ".join(_latex(cell) for cell in cells) + r" \\"


def _latex(cell: Cell) -> str:
    """A cell for LaTeX: harmless math between dollars stays, everything else is escaped."""
    if not isinstance(cell, str):
        return _maths(written(cell))
    text = " ".join(cell.split())
    pieces = text.split("$")
    # Before a dollar that is meant as such there is a backslash.
    if len(pieces) % 2 == 0 or not all(map(harmless_math, pieces[1::2])):
        return _escaped(text)
    return "".join(f"${piece}$" if i % 2 else _escaped(piece) for i, piece in enumerate(pieces))


def _maths(text: str) -> str:
    """A written number in math mode."""
    if not text or not any(c.isdigit() for c in text):
        return _escaped(text)
    return "$" + text.replace("±", r"\pm").replace("−", "-").replace("\u2009", r"\,") + "$"


def _escaped(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    special = {c: "\\" + c for c in "&%$#_{}"} | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "−": "$-$",
        "\u2009": r"\,",
        # The end of a row takes these for its own when the next row begins with them.
        "[": "{[}",
        "*": "{*}",
    }
    return "".join(special.get(c, c) for c in text)
