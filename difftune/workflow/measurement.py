"""Measuring a network: bins, templates, workspace, fit, on events that training did not see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.data import Events
from difftune.histfactory import build_workspace
from difftune.histograms import Histogram, Template, Templates, choose_edges, histogram, symmetrised
from difftune.inference import asimov_significance, expected_significance
from difftune.training import TrainedNetwork
from difftune.workflow.split import Split


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What an analysis with a network is worth.

    Attributes:
        templates: Hard-binned test events, nominal and varied.
        workspace: The pyhf workspace made of them.
        stat_only: Expected discovery significance of the templates without any uncertainty.
        expected: The same from the fit with all uncertainties.
    """

    templates: Templates
    workspace: dict[str, Any]
    stat_only: float
    expected: float


def chosen_edges(network: TrainedNetwork, split: Split, **options) -> Float[np.ndarray, " edges"]:
    """Bin edges from training and validation events; the test events have no say.

    Args:
        network: Gives the scores.
        split: Gives the events.
        **options: Of `difftune.histograms.choose_edges`.
    """
    events = split.part(*split.train_folds, *split.validation_folds)
    return choose_edges(network.score(events), events.weight, events.label == 1, **options)


def fill_templates(
    network: TrainedNetwork,
    split: Split,
    edges: Float[np.ndarray, " edges"],
    *,
    channel: str = "signal_region",
) -> Templates:
    """Templates of the test events, for every process and variation.

    Args:
        network: Gives the scores.
        split: Gives the events; the test events stand for the full yields.
        edges: Bin edges.
        channel: Name of the region.
    """
    test = split.test
    nominal = _by_process(network, test, edges)
    variations: dict[str, dict[str, tuple[Histogram, Histogram]]] = {name: {} for name in nominal}
    for systematic in test.variations:
        up = _by_process(network, _require(test.varied(systematic, "up")), edges)
        varied_down = test.varied(systematic, "down")
        down = None if varied_down is None else _by_process(network, varied_down, edges)
        for name in test.variations[systematic].processes:
            if name not in nominal:
                continue
            high = up.get(name, Histogram.empty(edges))
            if down is None:
                low = symmetrised(nominal[name], high)
            else:
                low = down.get(name, Histogram.empty(edges))
            variations[name][systematic] = (high, low)
    observed = split.events.observed
    data = None
    if len(observed):
        data = histogram(network.score(observed), observed.weight, edges)
    return Templates(
        channel=channel,
        edges=np.asarray(edges, np.float64),
        processes={
            name: Template(nominal=nominal[name], variations=variations[name]) for name in nominal
        },
        signal=test.names("signal"),
        data=data,
    )


def _require(events: Events | None) -> Events:
    assert events is not None, "every variation has an upward side"
    return events


def _by_process(network: TrainedNetwork, events: Events, edges) -> dict[str, Histogram]:
    """One histogram a process that has events."""
    score = network.score(events)
    found = {}
    for index, process in enumerate(events.processes):
        mine = np.asarray(events.process) == index
        if mine.any():
            found[process.name] = histogram(score[mine], events.weight[mine], edges)
    return found


def measure(
    network: TrainedNetwork,
    split: Split,
    *,
    channel: str = "signal_region",
    bins: int = 15,
    min_background: float = 10.0,
    max_mc_uncertainty: float = 0.1,
    nuisances: Mapping[str, Any] | None = None,
) -> Measurement:
    """Bins, fills and fits the test events with a network.

    Args:
        network: Gives the discriminant.
        split: Gives the events.
        channel: Name of the region.
        bins: Largest number of bins.
        min_background: Least expected background in a bin.
        max_mc_uncertainty: Largest relative statistical uncertainty of a bin's background.
        nuisances: Further arguments of `difftune.histfactory.build_workspace`: name of the POI,
            normalisation uncertainties, luminosity, free normalisations.
    """
    edges = chosen_edges(
        network,
        split,
        bins=bins,
        min_background=min_background,
        max_mc_uncertainty=max_mc_uncertainty,
    )
    templates = fill_templates(network, split, edges, channel=channel)
    workspace = build_workspace([templates], **(nuisances or {}))
    signal = templates.total("signal").sumw
    background = templates.total("background").sumw
    return Measurement(
        templates=templates,
        workspace=workspace,
        stat_only=float(asimov_significance(signal, background)),
        expected=expected_significance(workspace).expected,
    )
