"""The form of every benchmark: rows of what is required and what was measured."""

import operator
import statistics
from collections.abc import Sequence
from typing import NamedTuple

COMPARISONS = {"<=": operator.le, ">=": operator.ge}


class Row(NamedTuple):
    """One figure.

    Attributes:
        what: What is measured, with its unit.
        measured: The figure; the median or mean where it was taken several times.
        required: The bound, as `"<= 1.0"` or `">= 4"`; empty for a figure without one.
        spread: Its spread, in words, and what else there is to say.
    """

    what: str
    measured: float
    required: str = ""
    spread: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the figure is within its bound; None where there is none."""
        if not self.required:
            return None
        sign, bound = self.required.split()
        return bool(COMPARISONS[sign](self.measured, float(bound)))


def median(what: str, values: Sequence[float], required: str = "", *, note: str = "") -> Row:
    """The median of several measurements, with their range."""
    words = f"({min(values):.3g} to {max(values):.3g}) {note}".strip()
    return Row(what, statistics.median(values), required, words)


def mean(what: str, values: Sequence[float], required: str = "", *, over: str = "seeds") -> Row:
    """The mean of several measurements, with their standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    words = f"± {deviation:.3g} over {len(values)} {over}"
    return Row(what, statistics.fmean(values), required, words)


def ratio(what: str, upper: Sequence, lower: Sequence, required: str = "", *, note="") -> Row:
    """The median of the ratios within each turn, with their range."""
    return median(what, [a / b for a, b in zip(upper, lower, strict=True)], required, note=note)


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
