"""Tables: plain rows, written as text, HTML, LaTeX or CSV."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from typing import NamedTuple

import numpy as np

from difftune.report.formulas import as_html, pieces, without_tags


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

# Pixels: the page of a report within a fold; a character and the air of a column, in normal type
# and in smaller type.
_PAGE, _NORMAL, _DENSE = 950.0, (7.8, 26.0), (6.9, 13.0)

STACKED = (24, 32, 40, 50, 60)
"""Widths of tables, in rem. Where there is less room, each row of a table is a list."""

Cell = str | float | int | Measured | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells under a header.

    Attributes:
        columns: Titles; the first column names the rows.
        rows: As many cells in each as there are columns; None is an empty cell.
        caption: What the table shows.
        emphasised: Numbers of the rows to stand out (a sum, the best).
        decimals: Digits after the point of plain numbers, column by column, for reading; where it
            is None or ends, numbers have four digits in all.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    emphasised: tuple[int, ...] = ()
    decimals: tuple[int | None, ...] = ()

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
        cells = [list(self.columns), *self._written()]
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

    def _digits(self) -> list[int | None]:
        """Decimals of each column."""
        return [*self.decimals, *[None] * (len(self.columns) - len(self.decimals))]

    def _written(self) -> list[list[str]]:
        """Every cell for reading."""
        digits = self._digits()
        return [[written(c, d) for c, d in zip(row, digits, strict=True)] for row in self.rows]

    def html(self) -> str:
        """A `<table>` with everything escaped, formulas between dollars set.

        What does not fit the page is set in smaller type, with titles that may break at
        underscores; what is still too wide becomes several tables below one another. Where there is
        less room than that, as on a telephone, each row is a list of its cells.
        """
        columns = [as_html(title) for title in self.columns]
        cells = [[as_html(cell) for cell in row] for row in self._written()]
        caption = f'<p class="caption">{as_html(self.caption)}</p>' if self.caption else ""
        parts, dense = _fitting(columns, cells)
        return caption + "".join(self._part(columns, cells, part, dense) for part in parts)

    def _part(
        self,
        columns: Sequence[str],
        cells: Sequence[Sequence[str]],
        shown: Sequence[int],
        dense: bool,
    ) -> str:
        """Some of the columns as a table in a box that scrolls where it is too wide."""
        widths = _widths(columns, cells, dense=dense)
        width = sum(widths[i] for i in shown) / 16
        over = max((step for step in STACKED if step < width), default=None)
        numeric = [any(not isinstance(row[i], str | None) for row in self.rows) for i in shown]
        classes = [' class="number"' if n else "" for n in numeric]
        labels = [f' data-label="{without_tags(columns[i])}"' if over else "" for i in shown[1:]]
        head = "".join(
            f"<th{c}>{_breakable(columns[i]) if dense else columns[i]}</th>"
            for c, i in zip(classes, shown, strict=True)
        )
        body = []
        for number, row in enumerate(cells):
            mark = ' class="strong"' if number in self.emphasised else ""
            inside = "".join(
                f"<td{c}{label}>{row[i]}</td>"
                for c, label, i in zip(classes, ["", *labels], shown, strict=True)
            )
            body.append(f"<tr{mark}>{inside}</tr>")
        look = [*(["dense"] if dense else []), *([f"over-{over}"] if over else [])]
        name = f' class="{" ".join(look)}"' if look else ""
        return (
            f'<div class="wide"><table{name}><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )

    def latex(self) -> str:
        """A `tabular` with booktabs' rules."""
        layout = "l" + "r" * (len(self.columns) - 1)
        lines = [r"\begin{tabular}{" + layout + "}", r"\toprule", _latex_row(self.columns)]
        lines.append(r"\midrule")
        digits = self._digits()
        for number, row in enumerate(self.rows):
            if number in self.emphasised and number > 0:
                lines.append(r"\midrule")
            lines.append(_latex_row(row, digits))
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
    """A title that may go on in the next line after an underscore."""
    return title.replace("_", "_<wbr>")


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]], *, dense: bool) -> list[float]:
    """About how wide each column is, in pixels."""
    letter, air = _DENSE if dense else _NORMAL

    def size(text: str) -> int:
        return len(unescape(without_tags(text)))

    found = []
    for i, title in enumerate(columns):
        words = re.split(r"[_ ]", title) if dense else [title]
        most = max(map(size, [*words, *(row[i] for row in cells)]))
        found.append(letter * most + air)
    return found


def _fitting(
    columns: Sequence[str], cells: Sequence[Sequence[str]]
) -> tuple[list[list[int]], bool]:
    """Which columns stand in one table, and whether in smaller type; the first stands in each."""
    rest = list(range(1, len(columns)))
    for dense in (False, True):
        widths = _widths(columns, cells, dense=dense)
        if sum(widths) <= _PAGE or not rest:
            return [[0, *rest]], dense
    for count in range(2, len(rest) + 1):
        parts = [[0, *part.tolist()] for part in np.array_split(np.array(rest), count)]
        if all(sum(widths[i] for i in part) <= _PAGE for part in parts):
            break
    return parts, True


def written(cell: Cell, decimals: int | None = None) -> str:
    """A cell for reading: uncertainties with two digits, the value to the same decimal.

    Args:
        cell: What stands in a table.
        decimals: Digits after the point of a plain number; by default four digits in all.
    """
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
    number = float(cell)
    return _float(number) if decimals is None else _number(number, decimals)


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
    text = f"{value:,.{decimals}f}"
    # What rounds to zero has no sign.
    text = text if text.strip("-0.") else text.lstrip("-")
    return text.replace(",", "\u2009").replace("-", "−")


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


def _latex_row(cells: Sequence[Cell], digits: Sequence[int | None] = ()) -> str:
    each = digits or [None] * len(cells)
    return " & ".join(_latex(cell, d) for cell, d in zip(cells, each, strict=True)) + r" \\"


def _latex(cell: Cell, decimals: int | None) -> str:
    """A cell for LaTeX: harmless math between dollars stays, everything else is escaped."""
    if not isinstance(cell, str):
        return _maths(written(cell, decimals))
    text = " ".join(cell.split())
    parts = pieces(text)
    if parts is None:
        return _escaped(text)
    return "".join(f"${part}$" if i % 2 else _escaped(part) for i, part in enumerate(parts))


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
