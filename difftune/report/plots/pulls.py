"""Pulls and constraints of nuisance parameters after a fit."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.ticker import MultipleLocator, NullLocator

from difftune.report.style import (
    DEFAULT_LABEL,
    INK,
    Label,
    PlotFigure,
    draw_label,
    new_figure,
    plain,
    set_ticks,
    styled,
)
from difftune.report.tables import Measured, written

# ATLAS' colours of the one and two sigma bands, paler.
ONE_SIGMA, TWO_SIGMA = "#a8dba8", "#fff3b0"


@styled
def pulls(
    names: Sequence[str],
    values: Float[np.ndarray, " parameters"],
    uncertainties: Float[np.ndarray, " parameters"],
    *,
    centers: Float[np.ndarray, " parameters"] | None = None,
    widths: Float[np.ndarray, " parameters"] | None = None,
    per_page: int = 40,
    note: str = "",
    label: Label = DEFAULT_LABEL,
) -> list[PlotFigure]:
    """Distance of each fitted parameter from its auxiliary measurement, in units of its width.

    A constrained parameter has an error bar shorter than the inner band. Parameters without a
    constraint (width NaN or 0) are written as numbers in a line of their own.

    Args:
        names: Names of the parameters, e.g. `FitResult.names`.
        values: Fitted values.
        uncertainties: Fitted uncertainties.
        centers: Values before the fit; by default 0, those of `normsys` and `histosys`.
        widths: Uncertainties before the fit; by default 1; NaN or 0 for a free parameter.
        per_page: Parameters per figure.
        note: Text above the figure's right end, in place of the label's detail.
        label: What stands above each figure.

    Returns:
        As many figures as needed; none without parameters.
    """
    count = len(names)
    centers = np.zeros(count) if centers is None else np.asarray(centers, float)
    widths = np.ones(count) if widths is None else np.asarray(widths, float)
    label = Label(name=label.name, status=label.status, detail=note or label.detail)
    free = ~(widths > 0)
    safe = np.where(free, 1.0, widths)
    pull, error = (values - centers) / safe, uncertainties / safe
    pages = []
    for start in range(0, count, per_page):
        rows = np.arange(start, min(start + per_page, count))
        figure = new_figure(6.6, 0.24 * len(rows) + 1.3)
        axes = set_ticks(figure.subplots())
        y = np.arange(len(rows))[::-1].astype(float)
        reach = np.nan_to_num(np.abs(pull) + error)[rows][~free[rows]]
        half = float(np.clip(np.max(reach, initial=0.0) * 1.1, 2.4, 5.0))
        axes.axvspan(-2, 2, color=TWO_SIGMA, linewidth=0, zorder=0)
        axes.axvspan(-1, 1, color=ONE_SIGMA, linewidth=0, zorder=0.1)
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.2)
        shown = ~free[rows] & np.isfinite(pull[rows])
        axes.errorbar(
            np.clip(pull[rows][shown], -half, half),
            y[shown],
            xerr=np.nan_to_num(error[rows][shown]),
            fmt="o",
            color=INK,
            markersize=4.5,
            elinewidth=1.3,
            zorder=3,
        )
        for i, height in zip(rows[free[rows]], y[free[rows]], strict=True):
            text = f"{written(Measured(float(values[i]), float(uncertainties[i])))} (free)"
            axes.text(0.97 * half, height, text, ha="right", va="center", fontsize=9.5)
        axes.set_xlim(-half, half)
        axes.set_ylim(-0.8, len(rows) - 0.2)
        axes.set_yticks(y, [plain(names[int(i)], 38) for i in rows], fontsize=9.5)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MultipleLocator(1))
        axes.set_xlabel(r"$(\hat{\theta} - \theta_0)\ /\ \Delta\theta$")
        draw_label(axes, label)
        figure.numbers = {
            "names": [names[int(i)] for i in rows],
            "values": values[rows],
            "uncertainties": uncertainties[rows],
            "centers": centers[rows],
            "widths": widths[rows],
        }
        pages.append(figure)
    return pages
