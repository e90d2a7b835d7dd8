"""The form of every benchmark: rows of what is required and what was measured."""

import operator
from dataclasses import dataclass

COMPARISONS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure.

    Attributes:
        what: What is measured, with its unit.
        required: The bound, as `"<= 1.0"` or `">= 4"`; empty for a figure without one.
        measured: The figure; the median where it was taken several times.
        spread: Its spread, in words, where it was taken several times.
    """

    what: str
    required: str
    measured: float
    spread: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its bound; None where there is none."""
        if not self.required:
            return None
        sign, bound = self.required.split()
        return bool(COMPARISONS[sign](self.measured, float(bound)))


def text(rows: list[Row]) -> str:
    """The rows as a table for a terminal."""
    header = ("what", "required", "measured", "met")
    words = {True: "yes", False: "NO", None: "-"}
    cells = [
        (row.what, row.required or "-", f"{row.measured:.4g} {row.spread}".strip(), words[row.met])
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [header, *cells]) for i in range(4)]
    lines = [header, tuple("-" * width for width in widths), *cells]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
