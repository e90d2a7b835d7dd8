"""What chance has in a measurement: the same with other simulated events, by the bootstrap."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.figure import Figure
from difftune.analysis.measurement import Measurement
from difftune.analysis.split import Split
from difftune.data import Events, VariedWeights
from difftune.data.keys import mixed
from difftune.histfactory import Filling, Model, TemplateYields, filling
from difftune.histfactory.variants import symmetrised
from difftune.precision import in_float64

# Probabilities that a Poisson number of mean 1 is at most 0, 1, 2, ...
_POISSON = np.cumsum(np.exp(-1.0) / np.cumprod([1.0, *range(1, 16)]))


def counts(events: Events, replica: int, *, stream: int = 0) -> Int[np.ndarray, " events"]:
    """How often each event is in a bootstrap replica: a Poisson number of mean 1.

    It is a function of process and event number alone, so that an event is as often in a varied
    sample as in the nominal one, whoever scores it.

    Args:
        events: Simulated events.
        replica: Number of the replica, from 1; in 0 each event is once.
        stream: Another number gives other replicas.
    """
    if replica == 0:
        return np.ones(len(events), np.int64)
    return np.searchsorted(_POISSON, uniform(events, replica, stream), side="right")


def uniform(events: Events, *words: int) -> Float[np.ndarray, " events"]:
    """A number between 0 and 1 for each event, random but for its process, number and some words.

    Args:
        events: Simulated events.
        *words: Others give other numbers.
    """
    number = events.number if events.number is not None else np.arange(len(events))
    word = np.asarray(number).astype(np.uint64)
    for more in (np.asarray(events.process), *(np.array([each]) for each in words)):
        word = mixed(word ^ mixed(more.astype(np.uint64) + np.uint64(1)))
    return (word >> np.uint64(11)).astype(np.float64) * 2.0**-53


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
    return np.asarray(
        in_float64(_merits)(measurement.figure, fill.model, fill.index, fill.scale, yields)
    )


@partial(jax.jit, static_argnums=0)
def _merits(
    figure: Figure,
    model: Model,
    index: Int[Array, " numbers"],
    scale: Float[Array, " numbers"],
    yields: TemplateYields,
) -> Float[Array, " replicas"]:
    """The figure with many yields, by a program that measurements of one structure share."""
    fill = Filling(model, index, scale)
    return jax.lax.map(lambda each: figure.merit(fill(each)), yields)


def filled_by(measurement: Measurement) -> Filling:
    """What templates of the measured region fill in its statistical model.

    Args:
        measurement: Gives the model.
    """
    return filling(
        Model.from_spec(measurement.workspace),
        channel=measurement.templates.channel,
        samples=list(measurement.templates.processes),
        variations=varied_names(measurement),
    )


def varied_names(measurement: Measurement) -> list[str]:
    """Names of the variations that the workspace has, and not as a mere uncertainty of yields."""
    there = {
        modifier["name"]
        for channel in measurement.workspace["channels"]
        if channel["name"] == measurement.templates.channel
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
        if modifier["type"] in ("normsys", "histosys")
    }
    templates = measurement.templates.processes.values()
    varied = {name for template in templates for name in template.variations}
    return sorted(there & varied)


def replica_yields(
    measurement: Measurement,
    split: Split | CrossFit,
    replicas: Sequence[int],
    *,
    copies: Callable[[Events, int], np.ndarray] = counts,
) -> TemplateYields:
    """Templates of bootstrap replicas of the events, `[replicas, ...]`.

    Args:
        measurement: Gives score, edges, processes and variations.
        split: Gives the events.
        replicas: Their numbers; 0 is the sample as it is.
        copies: How often each event is in a replica of a number.
    """
    events, templates = split.test, measurement.templates
    if events.regions:
        # Those of the other regions stay as they are.
        events = events.in_regions(templates.channel)
    inner = np.asarray(templates.edges)[1:-1]
    bins, rows = len(inner) + 1, list(templates.processes)
    row_of = np.array([rows.index(p.name) if p.name in rows else -1 for p in events.processes])

    def placed(sample: Events) -> tuple[Events, Int[np.ndarray, " events"]]:
        index = np.searchsorted(inner, measurement.score(sample), side="right")
        return sample, index + bins * row_of[np.asarray(sample.process)]

    nominal = placed(events)
    samples = {
        (name, side): placed(varied)
        for name in varied_names(measurement)
        if not isinstance(events.variations[name], VariedWeights)
        for side in ("up", "down")
        if (varied := events.varied(name, side)) is not None
    }

    def filled(place: np.ndarray, weight: np.ndarray) -> Float[np.ndarray, "processes bins"]:
        return np.bincount(place, weight, len(rows) * bins).reshape(len(rows), bins)

    def one(replica: int) -> TemplateYields:
        sample, place = nominal
        often = copies(sample, replica)
        weight = np.asarray(sample.weight, np.float64)
        own = filled(place, often * weight)
        sides: dict[str, list[np.ndarray]] = {"up": [], "down": []}
        for name in varied_names(measurement):
            variation = events.variations[name]
            touched = [row in variation.processes for row in rows]
            for side, found in sides.items():
                varied = getattr(variation, side)
                if varied is None:
                    found.append(np.asarray(symmetrised(own, sides["up"][-1])))
                elif isinstance(variation, VariedWeights):
                    found.append(filled(place, often * np.asarray(varied, np.float64)))
                else:
                    other, where = samples[name, side]
                    again = copies(other, replica)
                    moved = filled(where, again * np.asarray(other.weight, np.float64))
                    found.append(np.where(np.array(touched)[:, None], moved, own))
        nothing = np.zeros((0, len(rows), bins))
        up, down = (np.stack(each) if each else nothing for each in sides.values())
        return TemplateYields(own, filled(place, often * weight**2), up, down)

    return jax.tree.map(lambda *each: np.stack(each), *map(one, replicas))
