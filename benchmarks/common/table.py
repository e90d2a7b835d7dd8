"""The form of every benchmark: rows of what is required and what was measured."""

import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

COMPARISONS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Row:
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


def spread(values: Sequence[float]) -> str:
    """The range of several measurements, in words."""
    return f"({min(values):.3g} to {max(values):.3g})"


def median(what: str, values: Sequence[float], required: str = "", *, note: str = "") -> Row:
    """The median of several measurements, with their range."""
    return Row(what, statistics.median(values), required, f"{spread(values)} {note}".strip())


def mean(what: str, values: Sequence[float], required: str = "", *, over: str = "seeds") -> Row:
    """The mean of several measurements, with their standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    words = f"± {deviation:.3g} over {len(values)} {over}"
    return Row(what, statistics.fmean(values), required, words)


def ratio(
    what: str, upper: Sequence[float], lower: Sequence[float], required: str = "", *, note: str = ""
) -> Row:
    """The median of the ratios within each turn, with their range."""
    return median(what, [a / b for a, b in zip(upper, lower, strict=True)], required, note=note)


def named(what: str, names: Sequence[str]) -> Row:
    """How many there are, and their names."""
    return Row(what, len(names), "", f"({'; '.join(names)})" if names else "")


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
