"""Histograms as lines, bands and points, and the arithmetic of their uncertainties."""

from typing import Any

import numpy as np
from jaxtyping import Float, Num
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from scipy.special import gammaincinv

from difftune.report.style import INK


def steps(
    axes: Axes,
    edges: Float[np.ndarray, "edges"],
    values: Float[np.ndarray, "bins"],
    *,
    color: str,
    label: str | None = None,
    linestyle: str | tuple[int, tuple[float, ...]] = "-",
    linewidth: float = 1.5,
    zorder: float = 3.0,
) -> Artist:
    """A histogram as a line."""
    return axes.stairs(
        values,
        edges,
        baseline=None,
        color=color,
        label=label,
        linestyle=linestyle,
        linewidth=linewidth,
        zorder=zorder,
    )


def band(
    axes: Axes,
    edges: Float[np.ndarray, "edges"],
    low: Float[np.ndarray, "bins"],
    high: Float[np.ndarray, "bins"],
    *,
    color: str = INK,
    label: str | None = None,
    hatch: str | None = "//////",
    alpha: float = 0.25,
    zorder: float = 2.5,
) -> Artist:
    """An uncertainty band around a histogram: hatched, or a flat colour without `hatch`."""
    look: dict[str, Any] = (
        {"facecolor": "none", "edgecolor": color, "hatch": hatch, "linewidth": 0}
        if hatch
        else {"facecolor": color, "alpha": alpha, "linewidth": 0}
    )
    return axes.stairs(
        np.nan_to_num(high),
        edges,
        baseline=np.nan_to_num(low),
        fill=True,
        label=label,
        zorder=zorder,
        **look,
    )


def points(
    axes: Axes,
    x: Float[np.ndarray, "bins"],
    y: Float[np.ndarray, "bins"],
    errors: Float[np.ndarray, "bins"] | Float[np.ndarray, "2 bins"],
    *,
    color: str = INK,
    label: str | None = None,
    marker: str = "o",
    size: float = 4.5,
) -> ErrorbarContainer:
    """Points with error bars without caps; bins that are not finite are left out."""
    good = np.isfinite(y)
    shown = np.nan_to_num(np.atleast_2d(errors)[:, good])
    return axes.errorbar(
        x[good],
        y[good],
        yerr=np.broadcast_to(shown, (2, int(good.sum()))),
        fmt=marker,
        color=color,
        label=label,
        markersize=size,
        elinewidth=1.2,
        capsize=0,
        zorder=4,
    )


def divided(
    numerator: Num[np.ndarray, "*shape"], denominator: Num[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """A ratio, NaN where the denominator is not positive."""
    result = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=result, where=np.asarray(denominator) > 0)


def poisson_errors(counts: Float[np.ndarray, "bins"]) -> Float[np.ndarray, "2 bins"]:
    """Distances to the ends of the central 68.27 % Poisson interval (Garwood), below and above.

    Args:
        counts: Observed or Asimov counts; negative ones are taken as 0.
    """
    n, tail = np.maximum(counts, 0.0), 0.158655253931457
    low = np.where(n > 0, gammaincinv(np.where(n > 0, n, 1.0), tail), 0.0)
    return np.stack([n - low, gammaincinv(n + 1, 1 - tail) - n])
