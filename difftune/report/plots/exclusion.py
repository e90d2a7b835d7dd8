"""Which signals are excluded: against one mass, and in the plane of two."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.tri import Triangulation
from scipy.stats import norm

from difftune.errors import InputError
from difftune.inference import Discovery, Exclusion
from difftune.report.given import checked
from difftune.report.plots.systematics import ONE_SIGMA, TWO_SIGMA
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    GREY,
    INK,
    RED,
    Label,
    PlotFigure,
    draw_label,
    log_scale,
    new_figure,
    plain,
    set_ticks,
    styled,
)

# CLs below this are drawn as this: what they interpolate to would be luck.
_LEAST = 1e-10


def _axis(name: str, label: Label) -> str:
    return plain(label.titles.get(name, name), 40)


def _index(found: Exclusion | Discovery, name: str) -> int:
    if name not in found.labels:
        raise InputError(f"The grid has no axis {name!r}; there are {', '.join(found.labels)}.")
    return found.labels.index(name)


def _along(
    found: Exclusion | Discovery, against: str | None, values: Float[np.ndarray, " points"]
) -> tuple[str, Float[np.ndarray, " good"], Int[np.ndarray, " good"]]:
    """The axis, its values where there are others, and the order of these points."""
    name = found.labels[0] if against is None else against
    x = found.points[:, _index(found, name)]
    good = np.isfinite(values)
    if not good.any():
        raise InputError("No signal's test succeeded: there is nothing to draw.")
    order = np.flatnonzero(good)[np.argsort(x[good], kind="stable")]
    return name, x[order], order


@checked
@styled
def exclusion_curve(
    found: Exclusion, *, against: str | None = None, label: Label = DEFAULT_LABEL
) -> PlotFigure:
    """Upper limits on the strength against a mass, with bands; CLs where no limits were asked for.

    Args:
        found: From `inference.exclusion`; of signals at one value of all other coordinates.
        against: Name of the horizontal axis; by default the first coordinate.
        label: What stands above the axes, and titles of the coordinates.

    Raises:
        InputError: There is no such axis, or no signal whose test succeeded, or there are several
            signals at one place.
    """
    limits = found.limit is not None
    values, bands = found.observed, found.expected
    if found.limit is not None and found.expected_limit is not None:
        values, bands = found.limit, found.expected_limit
    name, x, order = _along(found, against, values)
    values, bands = values[order], bands[order]
    if len(np.unique(x)) < len(x):
        raise InputError(
            f"Several signals have the same {name}: give exclusion_curve those of one value of the "
            "other coordinates, or draw exclusion_contour."
        )
    figure = new_figure(6.4, 4.8)
    axes = set_ticks(figure.subplots())
    low2, low1, median, high1, high2 = bands.T
    for low, high, color, size in ((low2, high2, TWO_SIGMA, 2), (low1, high1, ONE_SIGMA, 1)):
        name_of_band = rf"Expected $\pm {size}\sigma$"
        axes.fill_between(x, low, high, color=color, linewidth=0, label=name_of_band)
    axes.plot(x, median, linestyle="--", color=INK, label="Expected")
    axes.plot(x, values, color=INK, marker="o", markersize=3.5, label="Observed")
    line = 1.0 if limits else found.level
    axes.axhline(line, color=RED, linewidth=1.1)
    everything = np.concatenate([bands.ravel(), values])
    if limits:
        least, most = min(everything.min(), line), max(everything.max(), line)
        air = (most / least) ** 0.08
        log_scale(axes, least / air, most * air * (most / least) ** 0.35)
        axes.set_ylabel(f"{100 * (1 - found.level):g} % CL limit on the signal strength")
    else:
        axes.set_ylim(0, 1.4 * float(everything.max()))
        axes.set_ylabel(r"CL$_\mathrm{s}$")
    if len(x) > 1:
        axes.set_xlim(x[0], x[-1])
    axes.set_xlabel(_axis(name, label))
    axes.legend(loc="upper left", ncols=2)
    draw_label(axes, label)
    figure.numbers = {"axis": name, "values": x, "observed": values, "expected": bands}
    return figure


@checked
@styled
def discovery_scan(
    found: Discovery, *, against: str | None = None, label: Label = DEFAULT_LABEL
) -> PlotFigure:
    """Local p-values of the background against a mass, with the standard deviations they are.

    Args:
        found: From `inference.discovery`; of signals at one value of all other coordinates.
        against: Name of the horizontal axis; by default the first coordinate.
        label: What stands above the axes, and titles of the coordinates.

    Raises:
        InputError: There is no such axis, or no signal whose test succeeded.
    """
    name, x, order = _along(found, against, found.observed)
    observed, expected = found.observed[order], found.expected[order, 2]
    figure = new_figure(6.4, 4.8)
    axes = set_ticks(figure.subplots())
    axes.plot(x, np.maximum(observed, _LEAST), color=INK, marker="o", ms=3.5, label="Observed")
    axes.plot(
        x, np.maximum(expected, _LEAST), color=BLUE, linestyle="--", label="Expected with signal"
    )
    least = max(min(observed.min(), expected.min(), norm.sf(2.0)), _LEAST)
    for size in range(1, int(norm.isf(least)) + 1):
        axes.axhline(norm.sf(size), color=RED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            rf"{size}$\sigma$",
            (1, norm.sf(size)),
            (-4, 2),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            color=RED,
            fontsize=9.5,
        )
    log_scale(axes, least * 0.3, 30.0)
    if len(x) > 1:
        axes.set_xlim(x[0], x[-1])
    axes.set_xlabel(_axis(name, label))
    axes.set_ylabel(r"Local $p_0$")
    axes.legend(loc="upper left", ncols=2)
    draw_label(axes, label)
    figure.numbers = {"axis": name, "values": x, "observed": observed, "expected": expected}
    return figure


@checked
@styled
def exclusion_contour(
    found: Exclusion, *, axes: tuple[str, str] | None = None, label: Label = DEFAULT_LABEL
) -> PlotFigure:
    """The contours of the excluded signals in the plane of two masses, with the expected band.

    Between the points the significance that belongs to CLs is interpolated linearly on triangles
    (Delaunay). Where there are no points there is no contour.

    Args:
        found: From `inference.exclusion`.
        axes: Names of the horizontal and the vertical axis; by default the first two coordinates.
        label: What stands above the axes, and titles of the coordinates.

    Raises:
        InputError: The grid has one coordinate, or too few points whose tests succeeded.
    """
    if axes is None:
        if len(found.labels) < 2:
            raise InputError(
                f"exclusion_contour needs two coordinates, and there is {found.labels[0]!r} only: "
                "draw exclusion_curve."
            )
        axes = found.labels[0], found.labels[1]
    pair = [_index(found, name) for name in axes]
    good = np.isfinite(found.observed)
    points = found.points[good][:, pair]
    figure = new_figure(6.6, 5.4)
    panel = set_ticks(figure.subplots())
    try:
        mesh = Triangulation(*points.T)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The {len(points)} points span no plane: exclusion_contour needs three that are not "
            "on one line. Draw exclusion_curve along it."
        ) from error
    curves = {"observed": found.observed[good]}
    for column, title in ((1, "plus"), (2, "expected"), (3, "minus")):
        curves[title] = found.expected[good][:, column]
    height = float(norm.isf(found.level))
    z = {name: _significance(values) for name, values in curves.items()}
    # What is excluded with luck, less what is without.
    for values, color in (
        (np.maximum(z["plus"], z["minus"]), TWO_SIGMA),
        (np.minimum(z["plus"], z["minus"]), "white"),
    ):
        if values.max() > height:
            panel.tricontourf(mesh, values, levels=[height, np.inf], colors=[color])
    numbers: dict[str, list[list[list[float]]]] = {}
    for name, style, color, width in (
        ("expected", "--", INK, 1.3),
        ("observed", "-", RED, 1.9),
    ):
        numbers[name] = []
        if not z[name].min() < height < z[name].max():
            continue
        lines = panel.tricontour(
            mesh, z[name], levels=[height], colors=[color], linestyles=[style], linewidths=[width]
        )
        numbers[name] = [line.tolist() for line in lines.allsegs[0]]
    out = found.excluded[good]
    for chosen, marker, color in ((out, "o", INK), (~out, "o", GREY)):
        face = color if chosen is out else "none"
        panel.plot(
            *points[chosen].T, marker=marker, color=color, mfc=face, markersize=4, linestyle=""
        )
    low, high = points.min(axis=0), points.max(axis=0)
    air = 0.06 * (high - low)
    panel.set_xlim(low[0] - air[0], high[0] + air[0])
    panel.set_ylim(low[1] - air[1], high[1] + 5.5 * air[1])
    panel.set_xlabel(_axis(axes[0], label))
    panel.set_ylabel(_axis(axes[1], label))
    confidence = f"{100 * (1 - found.level):g} % CL"
    entries = [
        Line2D([], [], color=RED, linewidth=1.9, label=f"Observed {confidence}"),
        Line2D([], [], color=INK, linestyle="--", label=f"Expected {confidence}"),
        Patch(color=TWO_SIGMA, label=r"Expected $\pm 1\sigma$"),
        Line2D([], [], marker="o", color=INK, markersize=4, ls="", label="Excluded"),
        Line2D([], [], marker="o", color=GREY, mfc="none", markersize=4, ls="", label="Allowed"),
    ]
    panel.legend(handles=entries, loc="upper left", ncols=2)
    draw_label(panel, label)
    figure.numbers = {
        "axes": list(axes),
        "points": points,
        "observed": curves["observed"],
        "expected": found.expected[good],
        "contours": numbers,
    }
    return figure


def _significance(cls: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    return norm.isf(np.clip(cls, _LEAST, 1.0 - 1e-10))
