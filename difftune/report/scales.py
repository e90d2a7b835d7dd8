"""Scales of axes: when they are logarithmic, and how their numbers are written."""

import numpy as np
from jaxtyping import Num
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter


def counting_scale(axis: Axis, label: str, largest: float) -> None:
    """Labels a linear axis with a power of ten in its title, where the numbers are large or tiny.

    matplotlib would write the power above the axis, where our label is.
    """
    power = 0
    if np.isfinite(largest) and largest > 0 and not 1e-2 <= largest < 1e5:
        power = int(np.floor(np.log10(largest) / 3)) * 3
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10.0**power:.6g}"))
        label = f"{label} ($\\times 10^{{{power}}}$)"
    axis.set_label_text(label)


def log_scale(axes: Axes, low: float, high: float) -> None:
    """A logarithmic vertical axis with labels at decades only, and minor ticks without."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    decades = np.log10(high / low)
    axes.yaxis.set_major_locator(LogLocator(10, numticks=8 if decades > 8 else 12))
    axes.yaxis.set_minor_locator(LogLocator(10, subs=range(2, 10), numticks=100))
    axes.yaxis.set_minor_formatter(NullFormatter())


def spans_decades(values: Num[np.ndarray, "values"], *, factor: float = 30) -> bool:
    """Whether positive values spread so far that a logarithmic axis serves better."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > factor * finite.min())


def value_scale(axis: Axis, values: Num[np.ndarray, "*shape"]) -> None:
    """Scale and limits for the values of one quantity; logarithmic if they span decades."""
    finite = np.asarray(values)[np.isfinite(values)]
    if not finite.size:
        return
    axes, which = axis.axes, "x" if isinstance(axis, XAxis) else "y"
    low, high = float(finite.min()), float(finite.max())
    set_limits = axes.set_xlim if which == "x" else axes.set_ylim
    if spans_decades(finite):
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        air = (high / low) ** 0.06
        set_limits(low / air, high * air)
        axis.set_major_locator(LogLocator(10, numticks=6))
        axis.set_minor_locator(LogLocator(10, subs=range(2, 10), numticks=50))
        axis.set_minor_formatter(NullFormatter())
    else:
        air = 0.07 * (high - low) or 0.1 * abs(high) or 0.5
        set_limits(low - air, high + air)
        axis.set_major_locator(MaxNLocator(4))
