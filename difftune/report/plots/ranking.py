"""What moves the parameter of interest: the ranking of nuisance parameters, and groups of them."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, MultipleLocator, NullLocator

from difftune.inference import GroupedImpacts, Impacts
from difftune.report.given import checked
from difftune.report.style import (
    AQUA,
    BLUE,
    DEFAULT_LABEL,
    INK,
    RED,
    SLATE,
    Label,
    PlotFigure,
    draw_label,
    new_figure,
    plain,
    set_ticks,
    styled,
)

UP, DOWN = BLUE, AQUA


@checked
@styled
def ranking(
    impacts: Impacts, *, most: int = 20, poi: str = "", label: Label = DEFAULT_LABEL
) -> PlotFigure:
    """Impacts as bars on the upper axis, pulls as points on the lower one.

    As TRExFitter draws it: boxes for the impact of one standard deviation before the fit, filled
    bars for that after the fit. A parameter without a constraint has neither box nor point: before
    the fit there was nothing to compare with.

    Args:
        impacts: From `inference.impacts`, the largest first.
        most: So many parameters.
        poi: Title of the parameter of interest; by default its name.
        label: What stands above the figure.
    """
    count = min(most, len(impacts.names))
    names = impacts.names[:count]
    up, down, before_up, before_down, pull, width = (
        np.asarray(column)[:count]
        for column in (
            impacts.up,
            impacts.down,
            impacts.prefit_up,
            impacts.prefit_down,
            impacts.pulls,
            impacts.constraints,
        )
    )
    poi = poi or impacts.fit.poi or ""
    figure = new_figure(7.0, 0.3 * count + 2.1)
    # The upper axis takes the place above the axes, so the label has one of its own.
    head, below = figure.subplots(2, 1, height_ratios=[0.01, 0.3 * count + 0.5])
    head.set_axis_off()
    set_ticks(below)
    above = below.twiny()
    y = np.arange(count)[::-1].astype(float)
    for shift, before, color in ((up, before_up, UP), (down, before_down, DOWN)):
        above.barh(y, np.nan_to_num(shift), 0.62, color=color, linewidth=0)
        there = np.isfinite(before)
        above.barh(y[there], before[there], 0.82, color="none", edgecolor=color, linewidth=1.1)
    sizes = np.nan_to_num(np.abs([up, down, before_up, before_down]))
    reach = 1.25 * float(np.max(sizes, initial=0.0)) or 1.0
    above.set_xlim(-reach, reach)
    above.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    above.set_xlabel(rf"$\Delta$ {label.titled(poi, 24)}")
    above.tick_params(axis="x", direction="in", labelsize=11, pad=4)
    half = float(np.clip(np.max(np.nan_to_num(np.abs(pull) + width), initial=1.2) * 1.1, 2.2, 5.0))
    below.set_zorder(above.get_zorder() + 1)
    below.patch.set_visible(False)
    for place in (-1, 0, 1):
        below.axvline(place, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    below.errorbar(
        np.clip(pull, -half, half),
        y,
        xerr=np.nan_to_num(width),
        fmt="o",
        color=INK,
        markersize=4.5,
        elinewidth=1.3,
    )
    below.set_xlim(-half, half)
    below.set_ylim(-0.7, count - 0.3)
    below.set_yticks(y, [label.titled(name, 38) for name in names], fontsize=9.5)
    below.yaxis.set_minor_locator(NullLocator())
    below.tick_params(axis="y", length=0)
    below.tick_params(which="both", top=False)
    below.xaxis.set_major_locator(MultipleLocator(1))
    below.set_xlabel(r"$(\hat{\theta} - \theta_0)\ /\ \Delta\theta$")
    entries = [
        Patch(facecolor=UP, label=r"$\hat{\theta} + \Delta\hat{\theta}$"),
        Patch(facecolor=DOWN, label=r"$\hat{\theta} - \Delta\hat{\theta}$"),
        Patch(facecolor="none", edgecolor=UP, label=r"$\hat{\theta} + \Delta\theta$"),
        Patch(facecolor="none", edgecolor=DOWN, label=r"$\hat{\theta} - \Delta\theta$"),
        Line2D([], [], color=INK, marker="o", markersize=4.5, label="Pull"),
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=5, fontsize=10)
    draw_label(head, label)
    figure.numbers = {
        "poi": impacts.fit.poi,
        "names": list(names),
        "up": up,
        "down": down,
        "prefit_up": before_up,
        "prefit_down": before_down,
        "pulls": pull,
        "constraints": width,
    }
    return figure


@checked
@styled
def grouped_ranking(impacts: GroupedImpacts, *, label: Label = DEFAULT_LABEL) -> PlotFigure:
    """What each group contributes to the uncertainty of the parameter of interest.

    Args:
        impacts: From `inference.grouped_impacts`.
        label: What stands above the figure.
    """
    groups = impacts.groups
    figure = new_figure(6.6, 0.42 * (len(groups) + 1) + 1.7)
    axes = set_ticks(figure.subplots())
    y = np.arange(len(groups) + 1)[::-1].astype(float)
    shifted = np.array([group.shifted for group in groups] + [impacts.total])
    held = np.array([group.held for group in groups])
    axes.barh(y, shifted, 0.42, color=[BLUE] * len(groups) + [SLATE])
    axes.plot(held, y[:-1], "|", color=RED, markersize=13, markeredgewidth=2)
    axes.set_yticks(y, [*(plain(group.name, 38) for group in groups), "total"], fontsize=10)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.12 * float(max(shifted.max(), held.max(initial=0.0))))
    axes.set_ylim(-0.7, len(groups) + 0.7)
    axes.set_xlabel(f"Uncertainty of {label.titled(impacts.poi, 24)}")
    entries = [
        Patch(facecolor=BLUE, label="Measurements shifted"),
        Line2D([], [], color=RED, marker="|", linestyle="", markersize=10, label="Group held"),
    ]
    figure.legend(handles=entries, loc="outside lower center", ncols=2, fontsize=10)
    draw_label(axes, label)
    figure.numbers = {
        "poi": impacts.poi,
        "total": impacts.total,
        "groups": [group._asdict() for group in groups],
    }
    return figure
