"""Statistical and systematic uncertainties of sums of templates."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.histfactory import Luminosity, NormalisationUncertainty
from difftune.histograms import Templates
from difftune.report.given import checked


class Uncertainty(NamedTuple):
    """Absolute uncertainties, in bins or of a total.

    Attributes:
        statistical: Of the finite simulation, `sqrt(sumw2)`.
        up: Quadratic sum of what the systematic variations add.
        down: Quadratic sum of what they take away, positive.
    """

    statistical: Float[np.ndarray, " bins"]
    up: Float[np.ndarray, " bins"]
    down: Float[np.ndarray, " bins"]

    @property
    def total_up(self) -> Float[np.ndarray, " bins"]:
        """Statistical and systematic, upwards."""
        return np.hypot(self.statistical, self.up)

    @property
    def total_down(self) -> Float[np.ndarray, " bins"]:
        """Statistical and systematic, downwards."""
        return np.hypot(self.statistical, self.down)


Normalisation = NormalisationUncertainty | Luminosity
Shifts = dict[str, tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]]


def shifts(
    templates: Templates,
    processes: Sequence[str],
    *,
    normalisation: Sequence[Normalisation] = (),
) -> Shifts:
    """By how much each systematic moves the sum of some processes, up and down.

    One name is one nuisance parameter: its shifts of several processes add up linearly.
    """
    bins = len(templates.edges) - 1
    result: Shifts = {}

    def add(name: str, up: Float[np.ndarray, " bins"], down: Float[np.ndarray, " bins"]) -> None:
        old = result.get(name, (np.zeros(bins), np.zeros(bins)))
        result[name] = (old[0] + up, old[1] + down)

    for process in processes:
        template = templates.processes[process]
        nominal = template.nominal.sumw
        for name, (up, down) in template.variations.items():
            add(name, up.sumw - nominal, down.sumw - nominal)
        for source in normalisation:
            if source.processes is None or process in source.processes:
                up_factor, down_factor = _factors(source)
                add(source.name, (up_factor - 1) * nominal, (down_factor - 1) * nominal)
    return result


def _factors(source: Normalisation) -> tuple[float, float]:
    """Factors on the yield at plus and minus one standard deviation."""
    if isinstance(source, Luminosity):
        return 1 + source.uncertainty, 1 - source.uncertainty
    return source.factors


@checked
def uncertainty(
    templates: Templates,
    processes: Sequence[str],
    *,
    normalisation: Sequence[Normalisation] = (),
    total: bool = False,
) -> Uncertainty:
    """Uncertainty of the sum of some processes before the fit.

    Args:
        templates: Templates of a channel.
        processes: Names of the processes that are added.
        normalisation: Uncertainties of yields that no template holds.
        total: Of the yield over all bins (one number) instead of bin by bin.
    """
    bins = len(templates.edges) - 1
    variance = sum((templates.processes[p].nominal.sumw2 for p in processes), np.zeros(bins))
    moved = list(shifts(templates, processes, normalisation=normalisation).values())
    pairs = np.asarray(moved, float).reshape(-1, 2, bins)
    if total:
        variance, pairs = variance.sum(keepdims=True), pairs.sum(axis=2, keepdims=True)
    up = np.maximum(pairs.max(axis=1, initial=-np.inf), 0)
    down = np.maximum(-pairs.min(axis=1, initial=np.inf), 0)
    return Uncertainty(np.sqrt(variance), *(np.sqrt((x**2).sum(axis=0)) for x in (up, down)))
