"""Categories by the largest of several class probabilities, as regions that are measured."""

from dataclasses import replace

import numpy as np

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.split import Split
from difftune.arguments import takes
from difftune.data import Events, Region
from difftune.errors import InputError
from difftune.training import (
    AnyNetwork,
    BoostedTrees,
    as_network,
)


@takes(network=as_network)
def categorised(
    network: AnyNetwork,
    events: Events | Split | CrossFit,
    *,
    bins: int = 5,
) -> Events | Split | CrossFit:
    """Events in a region for each process: the one that the network finds most probable.

    A region has the name of its process. That of a signal is a signal region, in bins of the score
    (the summed probability of all signals), which `measure` chooses. That of a background is a
    control region, in bins of the probability of this background. So `measure(network, ...)` fits a
    channel for each, of which those of the backgrounds determine their yields. Varied samples are
    put into regions by what the network says of their own features.

    Args:
        network: With one class for each process (`CategoricalCrossEntropy`).
        events: Without regions; a `Split` or a `CrossFit` stays one.
        bins: Number of equal bins of the probability in the region of a background, from the least
            that the largest of the probabilities can be to 1.

    Returns:
        The same events with regions. A process that no event is most like has no region.

    Raises:
        InputError: When the events have regions already, the network has other classes, or no event
            is most like a signal.
    """
    if isinstance(events, Split | CrossFit):
        return replace(events, events=_categorised(network, events.events, bins))
    return _categorised(network, events, bins)


def _categorised(network: AnyNetwork, events: Events, bins: int) -> Events:
    """The events with a region for each process."""
    if bins < 1:
        raise InputError(f"categorised(bins={bins}): give at least 1.")
    if events.regions:
        raise InputError(
            "categorised: the events are in the regions "
            f"{', '.join(region.name for region in events.regions)} already; read them without, or "
            "select one of these with events.in_regions(...) and categorise its events alone."
        )
    if isinstance(network, BoostedTrees):
        raise InputError("categorised: boosted trees have no probability of each process.")
    simulated = [i for i, process in enumerate(events.processes) if process.role != "data"]
    shares = network.class_probabilities(events)
    if shares.shape[1] != len(events.processes):
        raise InputError(
            f"categorised: the network knows {shares.shape[1]} processes, and the events have "
            f"{len(events.processes)}. Give those that it was trained with."
        )
    largest = np.asarray(simulated)[np.argmax(shares[:, simulated], axis=1)]
    filled = sorted({int(i) for i in np.unique(largest[_simulated(events)])})
    roles = [events.processes[i].role for i in filled]
    if "signal" not in roles:
        raise InputError(
            "categorised: no event is most like a signal, which is rare in the training. Raise its "
            "weight with the hyperparameter signal_weight."
        )
    edges = np.linspace(1.0 / len(simulated), 1.0, bins + 1).tolist()
    regions = tuple(
        Region(
            name=events.processes[i].name,
            selection=f"most probable == {events.processes[i].name!r}",
            role="signal" if role == "signal" else "control",
            observable=None if role == "signal" else "probability",
            edges=None if role == "signal" else edges,
        )
        for i, role in zip(filled, roles, strict=True)
    )

    def placed(own: Events) -> Events:
        given = network.class_probabilities(own)[:, filled]
        place = np.argmax(given, axis=1)
        own_share = np.asarray(given, np.float64)[np.arange(len(own)), place]
        scored = np.asarray([region.scored for region in regions])[place]
        return replace(
            own,
            regions=regions,
            region=place.astype(np.int32),
            observable=np.where(scored, np.nan, own_share),
        )

    return events.in_each_sample(placed)


def _simulated(events: Events) -> np.ndarray:
    """Where the events are no data."""
    simulated = np.asarray([process.role != "data" for process in events.processes])
    return simulated[np.asarray(events.process)]
