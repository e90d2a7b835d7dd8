"""The look of every figure: colours, fonts, ticks, the label above the axes, and scales of axes."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from jaxtyping import Num
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.mathtext import MathTextParser
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
)

P = ParamSpec("P")
T = TypeVar("T")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# Petroff's ten colours, told apart by colour-blind readers too (arXiv 2107.02270). Red is kept for
# the signal, blue for whatever stands for the background or the first of several.
BLUE, ORANGE, RED, GREY, VIOLET = "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"
BROWN, DARK_ORANGE, SAND, SLATE, AQUA = "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"
SIGNAL, BACKGROUND, INK = RED, BLUE, "#1a1a1a"
# Several signals are shades of red.
SIGNALS = (RED, "#e8745c", "#7d1500", "#f2b5a7", "#a8463a")
STACK = (BLUE, ORANGE, AQUA, VIOLET, SAND, SLATE, BROWN, DARK_ORANGE, GREY)
CURVES = (RED, BLUE, ORANGE, VIOLET, SLATE, BROWN, AQUA, DARK_ORANGE, SAND, GREY)

FONTS = ("Helvetica", "Helvetica Neue", "TeX Gyre Heros", "Nimbus Sans", "Arial", "Liberation Sans")


class PlotFigure(Figure):
    """A matplotlib figure that carries the numbers it shows, for `report.save`.

    Attributes:
        numbers: Arrays and scalars behind the picture, by name.
    """

    numbers: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Label:
    """What stands above the axes, and what things are called in figures.

    Above the axes are **name** *status* on the left, `detail` on the right.

    Attributes:
        name: Of the experiment.
        status: Simulation, work in progress.
        detail: Luminosity and energy.
        titles: Titles of processes, features, channels and parameters by name, with units where
            they have some.
        colors: Colours of processes by name.

    Example:
        `Label(name="ATLAS", status="Work in progress", detail=r"140 fb$^{-1}$ (13 TeV)")`
    """

    name: str = "difftune"
    status: str = "Simulation"
    detail: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)
    colors: Mapping[str, str] = field(default_factory=dict)

    def titled(self, name: str, longest: int = 0) -> str:
        """The title of what has a name, as matplotlib can draw it; the name where it has none.

        Args:
            name: Of a process, feature, channel or parameter.
            longest: Shorten the middle to so many characters; 0 keeps all.
        """
        return plain(self.titles.get(name, name), longest)


DEFAULT_LABEL = Label()


@functools.cache
def fonts() -> tuple[str, ...]:
    """The Helvetica-like fonts that are installed, and matplotlib's own."""
    installed = {font.name for font in fontManager.ttflist}
    return (*(name for name in FONTS if name in installed), "DejaVu Sans")


def settings() -> dict[str, Any]:
    """The matplotlib settings under which figures are drawn."""
    family = fonts()
    return {
        "font.family": list(family),
        "font.size": 12,
        "mathtext.fontset": "dejavusans" if len(family) == 1 else "stixsans",
        "axes.labelsize": 13,
        "axes.linewidth": 1.0,
        "axes.axisbelow": False,
        "xaxis.labellocation": "right",
        "yaxis.labellocation": "top",
        "legend.frameon": False,
        "legend.fontsize": 11,
        "legend.handlelength": 1.6,
        "legend.handleheight": 0.9,
        "legend.labelspacing": 0.35,
        "legend.columnspacing": 1.2,
        "legend.handletextpad": 0.6,
        "legend.borderaxespad": 0.7,
        "hatch.linewidth": 0.7,
        "lines.linewidth": 1.5,
        "pdf.fonttype": 42,
        "figure.dpi": 100,
        "savefig.bbox": None,
        "text.usetex": False,
    }


def styled(plot: Callable[P, T]) -> Callable[P, T]:
    """Runs a function that draws under our settings, and gives the user's back after it."""

    @functools.wraps(plot)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context(settings()):  # type: ignore[arg-type]
            return plot(*args, **kwargs)

    return wrapper


def new_figure(
    width: float = 6.4, height: float = 5.2, *, w_pad: float = 0.06, h_pad: float = 0.05
) -> PlotFigure:
    """An empty figure that keeps its labels apart (constrained layout).

    Args:
        width: In inches.
        height: In inches.
        w_pad: Room on the left and right of every panel, in inches.
        h_pad: Room above and below every panel.
    """
    layout = ConstrainedLayoutEngine(w_pad=w_pad, h_pad=h_pad, wspace=0.0, hspace=0.0)
    figure = PlotFigure(figsize=(width, height), layout=layout)
    figure.numbers = {}
    return figure


def set_ticks(axes: Axes, *, size: float = 11.0) -> Axes:
    """Ticks inwards on all four sides, with minor ones.

    They are set explicitly, since matplotlib makes ticks late, perhaps under other settings.
    """
    axes.minorticks_on()
    axes.tick_params(
        which="both", direction="in", top=True, right=True, labelsize=size, width=0.9, pad=5
    )
    axes.tick_params(labelfontfamily=list(fonts()))
    axes.tick_params(which="major", length=7)
    axes.tick_params(which="minor", length=3.5)
    return axes


def draw_label(axes: Axes, label: Label, *, right: Axes | None = None, size: float = 13.0) -> None:
    """Writes the label above the axes.

    Args:
        axes: The axes above whose left end it begins.
        label: What to write.
        right: The axes above whose right end `detail` stands; by default the same.
        size: Font size of the name.
    """
    name = axes.annotate(
        plain(label.name),
        (0, 1),
        (0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=size,
        fontweight="bold",
        ha="left",
        va="bottom",
        annotation_clip=False,
    )
    name.set_gid("label")
    if label.status:
        axes.annotate(
            plain(label.status),
            (1, 0),
            (5, 0),
            xycoords=name,
            textcoords="offset points",
            fontsize=size - 1,
            fontstyle="italic",
            ha="left",
            va="bottom",
            annotation_clip=False,
        )
    if label.detail:
        (right or axes).annotate(
            plain(label.detail),
            (1, 1),
            (0, 4),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=size - 2,
            ha="right",
            va="bottom",
            annotation_clip=False,
        )


def plain(text: str, longest: int = 0) -> str:
    """Text that matplotlib can draw whatever a user named things.

    Math between dollars stays if matplotlib understands it, and is shown as written if not.

    Args:
        text: A name or title.
        longest: Shorten the middle to so many characters; 0 keeps all.
    """
    text = " ".join(_CONTROL.sub(" ", str(text)).split())
    if text.count("$") >= 2 and drawable(text):
        return text
    if longest and len(text) > longest:
        head = (longest - 1) * 2 // 3
        text = f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"
    text = text.replace("$", r"\$")
    # A legend would leave out what begins with an underscore.
    return rf"$\_${text[1:]}" if text.startswith("_") else text


@functools.cache
def drawable(text: str) -> bool:
    """Whether matplotlib understands the math in a string."""
    try:
        MathTextParser("path").parse(text)
    # The second is what deeply nested braces end in.
    except (ValueError, RecursionError):
        return False
    return True


def harmless_math(text: str) -> bool:
    r"""Whether LaTeX may see a string as math, because it does nothing there but appear.

    Matplotlib knows the commands of math and none that read, write or define (`\input`, `\write`,
    `\def`, `\csname`), so what it can draw is harmless, but for two things that it lets pass:
    whatever stands in `\text{}`, and signs that mean something to TeX everywhere.

    Args:
        text: What stands between two dollars.
    """
    letters = re.sub(r"\\text\s*\{([^{}]*)\}", r"\\mathrm{\1}", text)
    if not text.strip() or re.search(r"\^\^|[%#&~$\n\r]|\\text(?![a-z])", letters):
        return False
    return drawable(f"${letters}$")


def signed(value: float, digits: int) -> str:
    """A number with its sign, a real minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def colour_map(names: Sequence[str]) -> dict[str, str]:
    """A colour for each of several curves."""
    return {name: CURVES[i % len(CURVES)] for i, name in enumerate(names)}


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


def spans_decades(values: Num[np.ndarray, " values"], *, factor: float = 30.0) -> bool:
    """Whether positive values spread so far that a logarithmic axis serves better."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > factor * finite.min())


def value_scale(axis: Axis, values: Num[np.ndarray, "*shape"], *, log: bool = False) -> None:
    """Scale and limits for the values of one quantity.

    Args:
        axis: The axis, horizontal or vertical.
        values: What will be drawn.
        log: Logarithmic also where positive values do not span decades.
    """
    finite = np.asarray(values)[np.isfinite(values)]
    if not finite.size:
        return
    axes, which = axis.axes, "x" if isinstance(axis, XAxis) else "y"
    low, high = float(finite.min()), float(finite.max())
    set_limits = axes.set_xlim if which == "x" else axes.set_ylim
    if spans_decades(finite) or (log and 0 < low < high):
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        air = (high / low) ** 0.06
        set_limits(low / air, high * air)
        few = high < 30 * low
        ticks = {"subs": (1, 2, 5), "numticks": 30} if few else {"numticks": 6}
        axis.set_major_locator(LogLocator(10, **ticks))
        axis.set_minor_locator(LogLocator(10, subs=range(2, 10), numticks=50))
        axis.set_minor_formatter(NullFormatter())
        if few:
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        air = 0.07 * (high - low) or 0.1 * abs(high) or 0.5
        set_limits(low - air, high + air)
        axis.set_major_locator(MaxNLocator(4))
