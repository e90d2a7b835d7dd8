"""The score in bins: what templates are filled with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.given import as_sample_of, as_scoring
from difftune.analysis.scorer import Scorer, Scoring
from difftune.analysis.split import Split
from difftune.arguments import said, takes
from difftune.binning import BinningRule, Scored, as_binning
from difftune.data import Events, VariedWeights
from difftune.errors import InputError
from difftune.histfactory import Luminosity, NormalisationUncertainty
from difftune.training import BoostedTrees, CrossFitted, Ensemble, TrainedNetwork


@dataclass(frozen=True, kw_only=True, eq=False)
class Discriminant:
    """A function of events, and the edges that it is binned in.

    Attributes:
        score: Of events.
        edges: Of the bins.
    """

    score: Callable[[Events], Float[np.ndarray, " events"]]
    edges: Float[np.ndarray, " edges"]


@takes(network=as_scoring)
def binned_score(
    network: Scoring,
    split: Events | Split | CrossFit,
    *,
    binning: Any = None,
    normalisation: Sequence[NormalisationUncertainty] = (),
    luminosity: Luminosity | None = None,
) -> Discriminant:
    """The score of a network, with bin edges from training and validation events.

    The test events have no say. Cross-fitted networks need not mean the same by a score, so each
    has edges of its own, found by one rule on the events that it was made with; the score is then
    stretched between them such that all have the same edges.

    Args:
        network: Gives the scores: a network, or a function of events.
        split: Gives the events; a `CrossFit` for cross-fitted networks.
        binning: How edges are chosen, as in `measure`.
        normalisation: Uncertainties of yields, for a rule that looks at uncertainties.
        luminosity: The same, of all processes.

    Raises:
        InputError: The rule gives the networks of different folds different numbers of bins, and
            has no number of bins that could be lowered; or network and split do not belong
            together.
    """
    split = as_sample_of(network, split)
    rule = as_binning(binning)

    def edges_of(
        own: TrainedNetwork | Ensemble | BoostedTrees | Scorer, split: Split, rule: BinningRule
    ) -> np.ndarray:
        events = split.part(*split.train_folds, *split.validation_folds)
        scores = own.score(events)
        varied = None
        if rule.varied:
            varied = _normalised(
                _varied(own, events, scores), events, scores, normalisation, luminosity
            )
        return np.asarray(
            rule(
                scores,
                events.weight,
                events.label == 1,
                variations=varied,
                trained=own.edges,
            ),
            np.float64,
        )

    if isinstance(split, Split):
        assert not isinstance(network, CrossFitted), "checked above"
        return Discriminant(score=network.score, edges=edges_of(network, split, rule))
    # A function has other bins for each fold, which do not come from its events.
    assert isinstance(network, CrossFitted | Scorer), "checked above"
    networks = network.networks if isinstance(network, CrossFitted) else [network] * split.folds
    pairs = list(zip(networks, split.rotations, strict=True))
    edges = [edges_of(own, rotation, rule) for own, rotation in pairs]
    while len({len(each) for each in edges}) > 1:
        least = min(len(each) for each in edges) - 1
        edges = [
            each
            if len(each) == least + 1
            else edges_of(own, rotation, _with_bins(rule, least, len(each) - 1))
            for (own, rotation), each in zip(pairs, edges, strict=True)
        ]
    stretched = Stretched(network, tuple(edges))
    return Discriminant(score=stretched.score, edges=stretched.common)


def _with_bins(rule: BinningRule, bins: int, found: int) -> BinningRule:
    """The rule with fewer bins.

    Raises:
        InputError: It cannot be told, or does not listen.
    """
    own = getattr(rule, "bins", None)
    if own is None or not is_dataclass(rule) or own == bins:
        raise InputError(
            f"binning={said(rule)}: the networks of some folds get {bins} bins and those of others "
            f"{found}; cross-fitted networks need as many. Take a rule with a number of bins, such "
            "as EqualSignal(bins=10), or give edges."
        )
    return replace(rule, bins=bins)


@dataclass(frozen=True, eq=False)
class Stretched:
    """Cross-fitted networks whose scores are stretched such that their bin edges coincide.

    Attributes:
        network: The networks.
        edges: Of each, as many.
    """

    network: CrossFitted | Scorer
    edges: Sequence[Float[np.ndarray, " edges"]]

    @property
    def common(self) -> Float[np.ndarray, " edges"]:
        """The edges that all have then: the mean of their own."""
        return np.mean(self.edges, axis=0)

    def score(self, events: Events) -> Float[np.ndarray, " events"]:
        """The stretched score: linear between two edges, so that each event stays in its bin.

        Args:
            events: As for the networks.
        """
        raw = np.asarray(self.network.score(events), np.float64)
        fold, common = np.asarray(events.fold), self.common
        scores = np.empty(len(raw))
        for number, own in enumerate(self.edges):
            mine = fold == number
            place = np.searchsorted(own[1:-1], raw[mine], side="right")
            inside = np.interp(raw[mine], own, common)
            # Rounding must not move an event over an edge.
            below = np.nextafter(common[1:], -np.inf)
            scores[mine] = np.clip(inside, common[place], below[place])
        return scores


def _varied(
    network: TrainedNetwork | Ensemble | BoostedTrees | Scorer,
    events: Events,
    scores: Float[np.ndarray, " events"],
) -> dict[str, Scored]:
    """All events under the upward side of each variation; what it does not touch is nominal.

    The upward side alone, since a figure of merit takes each for a nuisance parameter of its own.
    """
    signal, found = np.asarray(events.label == 1), {}
    nominal = Scored(scores, np.asarray(events.weight), signal)
    for name, variation in events.variations.items():
        if isinstance(variation, VariedWeights):
            found[name] = Scored(scores, np.asarray(variation.up), signal)
            continue
        touched = [p.name in variation.processes for p in events.processes]
        rest = ~np.array(touched)[events.process]
        up = variation.up
        found[name] = Scored(
            np.concatenate([nominal.score[rest], network.score(up)]),
            np.concatenate([nominal.weight[rest], up.weight]),
            np.concatenate([signal[rest], up.label == 1]),
        )
    return found


def _normalised(
    varied: Mapping[str, Scored],
    events: Events,
    scores: Float[np.ndarray, " events"],
    normalisation: Sequence[NormalisationUncertainty],
    luminosity: Luminosity | None,
) -> Mapping[str, Scored]:
    """The variations, and those that the uncertainties of yields are: all events, other weights.

    Args:
        varied: The variations; one that shares the name of an uncertainty has both effects.
        events: The events.
        scores: Of them.
        normalisation: Uncertainties of yields.
        luminosity: The same, of all processes.
    """
    signal, found = np.asarray(events.label == 1), dict(varied)
    names = [process.name for process in events.processes]
    changes = [(each.name, each.processes, each.up) for each in normalisation]
    if luminosity is not None:
        changes.append((luminosity.name, luminosity.processes, luminosity.uncertainty))
    for name, processes, size in changes:
        touched = np.array([processes is None or each in processes for each in names])
        factor = np.where(touched, 1.0 + size, 1.0)[events.process]
        weight = np.asarray(events.weight) * factor
        if name in varied and len(varied[name].weight) == len(weight):
            weight = np.asarray(varied[name].weight) * factor
        found[name] = Scored(scores, weight, signal)
    return found
