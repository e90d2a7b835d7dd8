"""Profile likelihoods of one parameter and of two, and CLs."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib.lines import Line2D

from difftune.errors import InputError
from difftune.inference import Contours, HypoTest, ProfileScan
from difftune.report.given import checked
from difftune.report.plots.systematics import ONE_SIGMA, TWO_SIGMA
from difftune.report.style import (
    BLUE,
    DEFAULT_LABEL,
    INK,
    ORANGE,
    RED,
    SLATE,
    VIOLET,
    Label,
    PlotFigure,
    draw_label,
    new_figure,
    plain,
    set_ticks,
    styled,
)

_STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


@checked
@styled
def likelihood_profile(
    scan: ProfileScan,
    *,
    others: Mapping[str, ProfileScan] | None = None,
    title: str = "",
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """-2 ln of the profile likelihood ratio, beside the parabola of the second derivatives.

    Args:
        scan: From `inference.profile`.
        others: Further scans of the same parameter by what they are, such as "statistics only" or
            "expected".
        title: Of the parameter; by default its name.
        label: What stands above the axes.

    Raises:
        InputError: One of the others scans another parameter.
    """
    figure = new_figure(6.0, 4.6)
    axes = set_ticks(figure.subplots())
    best, sigma = scan.fit.parameter(scan.name)
    order = np.argsort(scan.values)
    values, q = scan.values[order], scan.q[order]
    top = max(1.15 * float(np.max(q)), 1.2)
    if sigma > 0:
        shown = _below(values, ((values - best) / sigma) ** 2, best, top)
        axes.plot(*shown, color=SLATE, linestyle="--", linewidth=1.2, label="Parabola")
    axes.plot(values, q, color=RED, marker="o", markersize=3, label="Profile likelihood")
    drawn = {}
    for i, (name, other) in enumerate((others or {}).items()):
        if other.name != scan.name:
            raise InputError(f"others[{name!r}] scans {other.name!r}, and not {scan.name!r}.")
        row = np.argsort(other.values)
        color, style = (BLUE, ORANGE, VIOLET)[i % 3], _STYLES[(i + 2) % len(_STYLES)]
        axes.plot(
            *_below(other.values[row], other.q[row], other.fit.parameter(other.name)[0], top),
            color=color,
            linestyle=style,
            label=plain(name, 24),
        )
        drawn[name] = {"values": other.values[row], "q": other.q[row]}
    for height in (1.0, 4.0, 9.0):
        if height < top:
            axes.axhline(height, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
            axes.annotate(
                rf"{int(np.sqrt(height))}$\sigma$",
                (1, height),
                (4, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="left",
                va="center",
                fontsize=9.5,
                annotation_clip=False,
            )
    axes.set_ylim(0, (1.35 if not drawn else 1.5) * top)
    axes.set_xlim(values[0], values[-1])
    axes.set_xlabel(plain(title or scan.name, 40))
    axes.set_ylabel(r"$-2\,\ln\,\Lambda$")
    axes.legend(loc="upper center", ncols=2)
    draw_label(axes, label)
    figure.numbers = {"name": scan.name, "values": values, "q": q, "best": best, "sigma": sigma}
    if drawn:
        figure.numbers["others"] = drawn
    return figure


def _below(
    values: Float[np.ndarray, " values"], q: Float[np.ndarray, " values"], best: float, top: float
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """A curve up to where it reaches the top, above which there is the legend."""
    fine = np.union1d(np.linspace(values[0], values[-1], 2000), values)
    # What lies between the values goes on as a parabola does: its root is a line through the best.
    known = np.union1d(values, np.clip(best, values[0], values[-1]))
    root = np.interp(known, values, np.sign(values - best) * np.sqrt(np.maximum(q, 0.0)))
    root[known == best] = 0.0
    height = np.square(np.interp(fine, known, root))
    inside = height <= top
    return fine[inside], height[inside]


@checked
@styled
def likelihood_contours(
    found: Contours, *, titles: tuple[str, str] | None = None, label: Label = DEFAULT_LABEL
) -> PlotFigure:
    """Contours of two parameters around their best fit.

    Args:
        found: From `inference.contours`.
        titles: Of the two parameters; by default their names.
        label: What stands above the axes.
    """
    figure = new_figure(6.0, 5.2)
    axes = set_ticks(figure.subplots())
    entries = []
    for i, (level, points) in enumerate(zip(found.levels, found.points, strict=True)):
        closed = np.vstack([points, points[:1]])
        color, style = (BLUE, RED)[i % 2], _STYLES[i % len(_STYLES)]
        axes.plot(*closed.T, color=color, linestyle=style, linewidth=1.7)
        name = f"{100 * level:.3g} % CL"
        entries.append(Line2D([], [], color=color, linestyle=style, label=name))
    axes.plot(*found.best, marker="P", color=INK, markersize=8, linestyle="")
    entries.append(Line2D([], [], marker="P", color=INK, markersize=8, ls="", label="Best fit"))
    spread = found.points.reshape(-1, 2)
    low, high = spread.min(axis=0), spread.max(axis=0)
    air = 0.08 * np.maximum(high - low, 1e-12)
    axes.set_xlim(low[0] - air[0], high[0] + air[0])
    axes.set_ylim(low[1] - air[1], high[1] + 3 * air[1])
    first, second = titles or found.names
    axes.set_xlabel(plain(first, 40))
    axes.set_ylabel(plain(second, 32))
    axes.legend(handles=entries, loc="upper center", ncols=len(entries), columnspacing=1.0)
    draw_label(axes, label)
    figure.numbers = {
        "names": list(found.names),
        "best": found.best,
        "levels": list(found.levels),
        "points": found.points,
        "at_bound": found.at_bound,
    }
    return figure


@checked
@styled
def cls_scan(
    tested: Float[np.ndarray, " values"],
    found: HypoTest,
    *,
    level: float = 0.05,
    title: str = "",
    label: Label = DEFAULT_LABEL,
) -> PlotFigure:
    """Observed and expected CLs of several strengths, with the bands of 68 and 95 %.

    Args:
        tested: The strengths.
        found: Their test, from `inference.hypotest`.
        level: CLs at the limit.
        title: Of the horizontal axis.
        label: What stands above the axes.
    """
    figure = new_figure(6.4, 4.8)
    axes = set_ticks(figure.subplots())
    order = np.argsort(tested)
    mu, observed = tested[order], np.asarray(found.observed)[order]
    low2, low1, median, high1, high2 = np.asarray(found.expected)[order].T
    axes.fill_between(
        mu, low2, high2, color=TWO_SIGMA, linewidth=0, label=r"Expected $\pm 2\sigma$"
    )
    axes.fill_between(
        mu, low1, high1, color=ONE_SIGMA, linewidth=0, label=r"Expected $\pm 1\sigma$"
    )
    axes.plot(mu, median, linestyle="--", color=INK, label="Expected")
    axes.plot(mu, observed, color=INK, marker="o", markersize=3.5, label="Observed")
    axes.axhline(level, color=RED, linewidth=1.1)
    axes.set_xlim(mu[0], mu[-1])
    axes.set_ylim(0, 1.3)
    axes.set_xlabel(plain(title or "Signal strength", 40))
    axes.set_ylabel(r"CL$_\mathrm{s}$")
    axes.legend(loc="upper right", ncols=2)
    draw_label(axes, label)
    figure.numbers = {
        "values": mu,
        "observed": observed,
        "expected": np.asarray(found.expected)[order],
    }
    return figure
