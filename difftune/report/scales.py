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
    # Of the axes, not of the axis: that one knows nothing of where the style puts labels.
    (axis.axes.set_xlabel if isinstance(axis, XAxis) else axis.axes.set_ylabel)(label)


def name_axis(axis: Axis, label: str, values: Num[np.ndarray, "*shape"]) -> None:
    """Title of an axis that `value_scale` has scaled, with the power of ten of its numbers."""
    # Decades carry their power themselves.
    linear = axis.get_scale() == "linear" and np.isfinite(values).any()
    counting_scale(axis, label, float(np.nanmax(np.abs(values))) if linear else 1.0)


def log_scale(axes: Axes, low: float, high: float) -> None:
    """A logarithmic vertical axis with labels at decades only, and minor ticks without."""
    axes.set_yscale("log")
    log_limits(axes, low, high)
    decades = np.log10(high / low)
    axes.yaxis.set_major_locator(LogLocator(10, numticks=8 if decades > 8 else 12))
    axes.yaxis.set_minor_locator(LogLocator(10, subs=range(2, 10), numticks=100))
    axes.yaxis.set_minor_formatter(NullFormatter())


def log_limits(axes: Axes, low: float, high: float) -> None:
    """Limits of a logarithmic vertical axis, without a label in the lower corner.

    It would meet the labels of the horizontal axis or of a panel below: a decade that near to the
    lower limit is left out.
    """
    decades = np.log10(high / low)
    above = 10 ** np.ceil(np.log10(low) - 1e-9)
    if np.log10(above / low) < 0.045 * decades:
        low = above * 10 ** (0.01 * decades)
    axes.set_ylim(low, high)


def free_top(axes: Axes, fraction: float = 0.07) -> None:
    """Raises the upper limit until no label is so near to it that it meets those above.

    Args:
        axes: The lower one of two panels without room between them; linear.
        fraction: Part of the height to keep free of ticks.
    """
    for _ in range(4):  # a new limit may bring new ticks
        low, high = axes.get_ylim()
        ticks = axes.yaxis.get_majorticklocs()
        near = ticks[(ticks <= high) & (ticks > high - fraction * (high - low))]
        if not near.size:
            return
        axes.set_ylim(low, low + (near[-1] - low) / (1 - 1.05 * fraction))


def spans_decades(values: Num[np.ndarray, "values"], *, factor: float = 30.0) -> bool:
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
