"""What chance has in a measurement: the same with other simulated events, by the bootstrap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.figure import Figure
from difftune.analysis.measurement import Measurement
from difftune.analysis.pruning import treated_yields
from difftune.analysis.resampling import channel_yields, counts
from difftune.analysis.split import Split
from difftune.data import Events
from difftune.histfactory import Filling, Model, TemplateYields, filling
from difftune.histograms import Templates
from difftune.precision import in_float64


def bootstrapped(
    measurement: Measurement, split: Split | CrossFit, *, replicas: int, stream: int = 0
) -> Float[np.ndarray, " replicas"]:
    """The figure of merit, the larger the better, with bootstrap replicas of the simulated events.

    Network and bins stay, and the same replicas are used for every measurement of the same events:
    so differences between measurements are known better than each of them.

    Args:
        measurement: What is measured.
        split: Of what.
        replicas: How many.
        stream: Another number gives other replicas.
    """
    numbers = range(1, replicas + 1)
    yields = replica_yields(measurement, split, numbers, copies=partial(counts, stream=stream))
    fill = filled_by(measurement)
    places = tuple((each.index, each.scale) for each in fill.channels)
    return np.asarray(in_float64(_merits)(measurement.figure, fill.model, places, yields))


@partial(jax.jit, static_argnums=0)
def _merits(
    figure: Figure,
    model: Model,
    places: tuple[tuple[Int[Array, " numbers"], Float[Array, " numbers"]], ...],
    yields: tuple[TemplateYields, ...],
) -> Float[Array, " replicas"]:
    """The figure with many yields, by a program that measurements of one structure share."""
    fill = Filled(model, tuple(Filling(model, *each) for each in places))
    return jax.lax.map(lambda each: figure.merit(fill(each)), yields)


@dataclass(frozen=True, eq=False)
class Filled:
    """The statistical model of a measurement, filled by templates of all its channels.

    Attributes:
        model: The model.
        channels: What fills each of them.
    """

    model: Model
    channels: tuple[Filling, ...]

    def __call__(self, yields: Sequence[TemplateYields]) -> Model:
        """The model with these yields, to be called in float64.

        Args:
            yields: Of each channel.
        """
        model = self.model
        for channel, own in zip(self.channels, yields, strict=True):
            model = replace(channel, model=model)(own)
        return model


def filled_by(measurement: Measurement) -> Filled:
    """What templates of the fitted regions fill in the statistical model.

    Args:
        measurement: Gives the model.
    """
    model = Model.from_spec(measurement.workspace)
    channels = (
        filling(
            model,
            channel=templates.channel,
            samples=list(templates.processes),
            variations=varied_names(measurement, templates),
        )
        for templates in measurement.fitted
    )
    return Filled(model, tuple(channels))


def varied_names(measurement: Measurement, templates: Templates) -> list[str]:
    """Names of the variations that a channel has, and not as a mere uncertainty of yields.

    Args:
        measurement: Gives the workspace.
        templates: Of the channel.
    """
    there = {
        modifier["name"]
        for channel in measurement.workspace["channels"]
        if channel["name"] == templates.channel
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
        if modifier["type"] in ("normsys", "histosys")
    }
    varied = {name for template in templates.processes.values() for name in template.variations}
    return sorted(there & varied)


def replica_yields(
    measurement: Measurement,
    split: Split | CrossFit,
    replicas: Sequence[int],
    *,
    copies: Callable[[Events, int], np.ndarray] = counts,
) -> tuple[TemplateYields, ...]:
    """Templates of bootstrap replicas of the events for each fitted region, `[replicas, ...]`.

    Variations are pruned and smoothed in them as in the measurement.

    Args:
        measurement: Gives scores, edges, processes and variations.
        split: Gives the events.
        replicas: Their numbers; 0 is the sample as it is.
        copies: How often each event is in a replica of a number.
    """
    found = []
    for score, templates in zip(measurement.scores, measurement.fitted, strict=True):
        names = varied_names(measurement, templates)
        yields = channel_yields(score, templates, split.test, replicas, names=names, copies=copies)
        found.append(treated_yields(yields, templates, names, measurement.treatments))
    return tuple(found)
