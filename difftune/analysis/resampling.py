"""Other samples of the same simulated events: how often each event is in one, and its templates."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Float, Int

from difftune.data import Events, VariedWeights
from difftune.data.keys import mixed
from difftune.histfactory import TemplateYields, symmetrised
from difftune.histograms import Templates

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


def channel_yields(
    score: Callable[[Events], Float[np.ndarray, " events"]],
    templates: Templates,
    events: Events,
    replicas: Sequence[int],
    *,
    names: Sequence[str],
    copies: Callable[[Events, int], np.ndarray] = counts,
) -> TemplateYields:
    """Templates of one region.

    Args:
        score: What is binned.
        templates: Give region, edges and processes.
        events: Those of all regions.
        replicas: Their numbers; 0 is the sample as it is.
        names: Of the variations.
        copies: How often each event is in a replica of a number.
    """
    if events.regions:
        events = events.in_regions(templates.channel)
    inner = np.asarray(templates.edges)[1:-1]
    bins, rows = len(inner) + 1, list(templates.processes)
    row_of = np.array([rows.index(p.name) if p.name in rows else -1 for p in events.processes])

    def placed(sample: Events) -> tuple[Events, Int[np.ndarray, " events"]]:
        index = np.searchsorted(inner, score(sample), side="right")
        return sample, index + bins * row_of[np.asarray(sample.process)]

    nominal = placed(events)
    samples = {
        (name, side): placed(varied)
        for name in names
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
        for name in names:
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
