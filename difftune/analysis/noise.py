"""Which variations are more noise than effect: their own statistical error exceeds what they do."""

from dataclasses import dataclass

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.measurement import Measurement
from difftune.analysis.pruning import REPLICAS, Effect, effect, one_variation
from difftune.analysis.resampling import channel_yields
from difftune.analysis.split import Split
from difftune.errors import InputError
from difftune.histograms.smoothing import parts


@dataclass(frozen=True, kw_only=True)
class VariationNoise:
    """A systematic variation of one process in one region: what it does, and how well it is known.

    The effects are half the difference of up and down. Their errors are those of the simulated
    events, of which those that are in both samples count in both.

    Attributes:
        region: The region.
        process: The process.
        variation: The variation.
        total: Effect on the yield.
        shape: Effect on the share of each bin in the yield.
    """

    region: str
    process: str
    variation: str
    total: Effect
    shape: Effect

    @property
    def noisy(self) -> bool:
        """Whether the effect on the shape, or on the yield, is no larger than its error."""
        return self.total.noisy or self.shape.noisy

    def __str__(self) -> str:
        """What it is in a few words."""
        said = [f"yield (χ² {self.total.chi2:.1f})"] if self.total.noisy else []
        if self.shape.noisy or not said:
            said.append(f"shape (χ² {self.shape.chi2:.1f} in {self.shape.numbers} bins)")
        return f"{self.variation} of {self.process} in {self.region}, {' and '.join(said)}"


def variation_noise(
    measurement: Measurement, split: Split | CrossFit, *, replicas: int = REPLICAS
) -> tuple[VariationNoise, ...]:
    """Effect and statistical error of every variation in the bins of a measurement.

    A noisy one says little of what it stands for, and a fit may take its noise for information
    (`difftune.analysis.closure` shows whether it does). Take fewer bins or more simulated events,
    or let `measure(noise=...)` drop or smooth it.

    Args:
        measurement: Gives scores and bins.
        split: What it was measured on.
        replicas: Bootstrap replicas of the simulated events, which give the errors.

    Raises:
        InputError: For fewer than ten replicas, which give none.
    """
    if replicas < 10:
        raise InputError(f"variation_noise(replicas={replicas}): give ten or more, such as 100.")
    found = []
    for score, templates in zip(measurement.scores, measurement.fitted, strict=True):
        names = sorted({name for each in templates.processes.values() for name in each.variations})
        if not names:
            continue
        yields = channel_yields(score, templates, split.test, range(replicas + 1), names=names)
        for number, name in enumerate(names):
            for row, (process, template) in enumerate(templates.processes.items()):
                if name not in template.variations:
                    continue
                factor, shape = parts(*one_variation(yields, number, row))
                found.append(
                    VariationNoise(
                        region=templates.channel,
                        process=process,
                        variation=name,
                        total=effect(factor[:, 0]),
                        shape=effect(shape[:, 0]),
                    )
                )
    return tuple(found)
