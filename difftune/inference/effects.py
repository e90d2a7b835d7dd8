"""What each nuisance parameter does to the yields of each sample."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference.fits import FitResult, before_fit
from difftune.inference.given import asks
from difftune.inference.prediction import carried_over


class Effects(NamedTuple):
    """Relative changes of the yields of a channel; NaN where a sample expects nothing there.

    Attributes:
        channel: Name of the channel.
        names: Of the nuisance parameters.
        samples: Names of the samples.
        up: Change of each sample's yield at plus one standard deviation of each parameter.
        down: The same at minus one.
        total_up: Change of the yield of all samples together.
        total_down: The same at minus one.
    """

    channel: str
    names: tuple[str, ...]
    samples: tuple[str, ...]
    up: Float[np.ndarray, "nuisances samples"]
    down: Float[np.ndarray, "nuisances samples"]
    total_up: Float[np.ndarray, " nuisances"]
    total_down: Float[np.ndarray, " nuisances"]


@asks
def effects(model: Model, result: FitResult | None = None) -> dict[str, Effects]:
    """What each nuisance parameter does to each sample, before or after a fit, by channel.

    Before a fit a standard deviation is the width of the constraint; after it the uncertainty of
    the fit, around the best fit, without what correlated parameters do. A parameter that moves no
    sample of a channel is left out there.

    Args:
        model: The model.
        result: A fit of it; None for before any fit.

    Raises:
        InputError: The model is a batch.
    """
    if np.ndim(model.numbers) > 1:
        raise InputError("effects takes one model: take one of the batch.")
    structure = model.structure
    centers, widths = before_fit(model)
    sigma = widths
    if result is not None:
        centers = carried_over(model, result)
        known = dict(zip(result.names, np.asarray(result.uncertainties).tolist(), strict=True))
        sigma = np.array(
            [known.get(n, w) for n, w in zip(structure.names, widths.tolist(), strict=True)]
        )
    chosen = [i for i in np.flatnonzero(sigma > 0).tolist() if np.isfinite(widths[i])]
    edges = np.concatenate([[0], np.cumsum(structure.bins)])

    def yields(point: Float[np.ndarray, " parameters"]) -> Float[np.ndarray, "samples channels"]:
        return np.add.reduceat(model.expected_by_sample(point), edges[:-1], axis=1)

    nominal = yields(centers)
    changed = np.empty((2, len(chosen), *nominal.shape))
    for row, index in enumerate(chosen):
        for side, sign in enumerate((1.0, -1.0)):
            point = centers.copy()
            point[index] += sign * sigma[index]
            changed[side, row] = yields(point) - nominal
    found = {}
    for number, channel in enumerate(structure.channels):
        here, base = changed[..., number], nominal[:, number]
        moved = np.flatnonzero((np.abs(here) > 1e-9 * np.abs(base).sum()).any(axis=(0, 2)))
        there = np.flatnonzero(base != 0)
        relative = here[:, moved][:, :, there] / base[there]
        total = (
            here[:, moved].sum(axis=2) / base.sum() if base.sum() else here[:, moved, 0] * np.nan
        )
        order = np.argsort(-np.abs(total).max(axis=0), kind="stable")
        found[channel] = Effects(
            channel=channel,
            names=tuple(structure.names[chosen[i]] for i in moved[order]),
            samples=tuple(structure.samples[i] for i in there),
            up=relative[0][order],
            down=relative[1][order],
            total_up=total[0][order],
            total_down=total[1][order],
        )
    return found
