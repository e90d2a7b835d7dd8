"""Which variations are more noise than effect: their own statistical error exceeds what they do."""

from dataclasses import dataclass

import numpy as np

from difftune.analysis.bootstrap import replica_yields, varied_names
from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.measurement import Measurement
from difftune.analysis.split import Split
from difftune.errors import InputError


@dataclass(frozen=True, kw_only=True)
class VariationNoise:
    """A systematic variation of one process: what it does, and how well that is known.

    The effect is half the difference of up and down in each bin. Its error is that of the simulated
    events, of which those that are in both samples count in both.

    Attributes:
        process: The process.
        variation: The variation.
        effect: Root of the sum of squares over the bins, relative to the yield of the process.
        error: The same of the statistical errors.
        chi2: Sum over the bins of the squared ratio of both.
        bins: Those in which there is an error.
    """

    process: str
    variation: str
    effect: float
    error: float
    chi2: float
    bins: int

    @property
    def noisy(self) -> bool:
        """Whether the effect is no larger than its error, in the mean square over the bins."""
        return self.chi2 < self.bins

    def __str__(self) -> str:
        """What it is in a few words."""
        return f"{self.variation} of {self.process} (χ² {self.chi2:.1f} in {self.bins} bins)"


def variation_noise(
    measurement: Measurement, split: Split | CrossFit, *, replicas: int = 100
) -> tuple[VariationNoise, ...]:
    """Effect and statistical error of every variation in the bins of a measurement.

    A noisy one says little of what it stands for, and a fit may take its noise for information
    (`difftune.analysis.closure` shows whether it does). Take fewer bins or more simulated events,
    or leave it out as a shape: `build_workspace(prune=...)` with a threshold above its effect.

    Args:
        measurement: Gives scores and bins.
        split: What it was measured on.
        replicas: Bootstrap replicas of the simulated events, which give the errors.

    Raises:
        InputError: For fewer than ten replicas, which give none.
    """
    if replicas < 10:
        raise InputError(f"variation_noise(replicas={replicas}): give ten or more, such as 100.")
    names = varied_names(measurement)
    if not names:
        return ()
    yields = replica_yields(measurement, split, range(replicas + 1))
    half = (np.asarray(yields.up) - np.asarray(yields.down)) / 2
    effects, errors = half[0], np.std(half[1:], axis=0, ddof=1)
    templates = measurement.templates.processes
    found = []
    for number, name in enumerate(names):
        for row, (process, template) in enumerate(templates.items()):
            effect, error = effects[number, row], errors[number, row]
            there = error > 0
            if name not in template.variations or not there.any():
                continue
            total = np.sum(template.nominal.sumw)
            found.append(
                VariationNoise(
                    process=process,
                    variation=name,
                    effect=float(np.sqrt(np.sum(effect**2)) / total),
                    error=float(np.sqrt(np.sum(error**2)) / total),
                    chi2=float(np.sum((effect[there] / error[there]) ** 2)),
                    bins=int(np.sum(there)),
                )
            )
    return tuple(found)
