"""What fits of pseudo-experiments make of injected signals."""

import numpy as np

from difftune.inference import Injection
from difftune.report.given import checked
from difftune.report.plots.systematics import ONE_SIGMA
from difftune.report.style import (
    DEFAULT_LABEL,
    GREY,
    INK,
    RED,
    Label,
    PlotFigure,
    draw_label,
    free_top,
    new_figure,
    plain,
    set_ticks,
    styled,
)


@checked
@styled
def signal_injection(
    found: Injection, *, title: str = "", label: Label = DEFAULT_LABEL
) -> PlotFigure:
    """Mean and spread of the best fits against the injected strengths, and their pulls below.

    Args:
        found: From `inference.injection`.
        title: Of the strength; by default the name of the parameter of interest.
        label: What stands above the axes.
    """
    figure = new_figure(6.0, 5.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1.2])
    set_ticks(above)
    set_ticks(below)
    order = np.argsort(found.values)
    x, mean, spread = found.values[order], found.mean[order], found.spread[order]
    air = 0.08 * float(np.ptp(x)) or 0.5
    ends = np.array([x[0] - air, x[-1] + air])
    above.plot(ends, ends, color=GREY, linestyle="--", linewidth=1.2, label="Injected")
    above.errorbar(
        x, mean, yerr=spread, color=RED, fmt="o", capsize=3, label="Best fits, mean and spread"
    )
    low, high = (mean - spread).min(), (mean + spread).max()
    above.set_ylim(low - 0.1 * (high - low), high + 0.45 * (high - low))
    name = plain(title or found.poi, 30)
    above.set_ylabel(f"Best fit of {name}")
    if len(np.unique(x)) > 1:
        slope, offset = found.line()
        said = f"slope {slope:.3f}, offset {offset:+.3f}".replace("-", "−")
        above.plot(ends, slope * ends + offset, color=INK, linewidth=1.0, label=f"Line: {said}")
    above.legend(loc="upper left")
    draw_label(above, label)
    pulls = found.pulls[order]
    below.axhspan(-1, 1, color=ONE_SIGMA, linewidth=0)
    below.axhline(0, color=GREY, linestyle="--", linewidth=1.0)
    center, width = np.nanmean(pulls, axis=1), np.nanstd(pulls, axis=1, ddof=1)
    below.errorbar(x, center, yerr=width, color=INK, fmt="o", capsize=3)
    below.set_ylim(-2, 2)
    free_top(below)
    below.set_xlim(*ends)
    below.set_ylabel("Pull")
    below.set_xlabel(f"Injected {name}")
    figure.numbers = {
        "values": x,
        "mean": mean,
        "spread": spread,
        "pull_mean": center,
        "pull_width": width,
        "coverage_68": found.coverage(1.0)[order],
        "coverage_95": found.coverage(1.959964)[order],
    }
    return figure
