"""Measuring a network: bins, templates, workspace, fit, on events that training did not see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.analysis.blinding import BLIND_ABOVE, blinded, is_blind, with_asimov
from difftune.analysis.channels import channels_of, filled, single_channel
from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.figure import FIGURES, Figure
from difftune.analysis.given import MEASURE, as_sample_of, as_score, as_scoring, as_split
from difftune.analysis.pruning import KEEP, Treatment, check_pruning, treated, treatments
from difftune.analysis.scorer import Scoring
from difftune.analysis.split import Split
from difftune.arguments import said, takes
from difftune.binning import EqualSignal
from difftune.data import Events
from difftune.errors import InputError
from difftune.histfactory import (
    FreeNormalisation,
    Luminosity,
    Model,
    NormalisationUncertainty,
    build_workspace,
)
from difftune.histograms import Templates
from difftune.inference import asimov_significance, expected_significance


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What an analysis with a network is worth.

    Attributes:
        templates: Hard-binned test events of the (first) signal region, nominal and varied.
        others: Those of the other regions that are fitted.
        validation: Those of the regions that are not.
        blinded: Names of regions whose observed events nobody has looked at.
        workspace: The pyhf workspace made of all that are fitted.
        extended: The same with the validation regions.
        untreated: The same with all variations as they are in the simulation, where some are not.
        stat_only: Expected discovery significance of the templates without any uncertainty.
        expected: The same from the fit with all uncertainties.
        figure: The figure of merit that was asked for.
        value: It, as people know it: σ(μ) of `"precision"`, from the fit with all uncertainties.
        score: Gives events the score that the templates are binned in.
        treatments: What became of variations that are small, or more noise than effect.
        other_scores: What those of the other regions that are fitted are binned in.
    """

    templates: Templates
    workspace: dict[str, Any]
    stat_only: float
    expected: float
    figure: Figure
    value: float
    score: Callable[[Events], Float[np.ndarray, " events"]]
    others: tuple[Templates, ...] = ()
    treatments: tuple[Treatment, ...] = ()
    other_scores: tuple[Callable[[Events], Float[np.ndarray, " events"]], ...] = ()
    validation: tuple[Templates, ...] = ()
    blinded: tuple[str, ...] = ()
    extended: dict[str, Any] | None = None
    untreated: dict[str, Any] | None = None

    @property
    def fitted(self) -> tuple[Templates, ...]:
        """Templates of all channels of the workspace, the signal region first."""
        return (self.templates, *self.others)

    @property
    def scores(self) -> tuple[Callable[[Events], Float[np.ndarray, " events"]], ...]:
        """What the channels of the workspace are binned in."""
        return (self.score, *self.other_scores)

    @property
    def merit(self) -> float:
        """The figure, the larger the better."""
        return float(self.figure.shown(self.value)) if self.figure.inverse else self.value

    @property
    def uncertainties(self) -> str:
        """What `expected` takes into account, for a heading: systematics, where there are any.

        The statistics of the simulation (staterror) are none, nor is the signal strength.
        """
        poi = self.workspace["measurements"][0]["config"]["poi"]
        kinds = {
            modifier["type"]
            for channel in self.workspace["channels"]
            for sample in channel["samples"]
            for modifier in sample["modifiers"]
            if modifier["name"] != poi
        }
        if kinds - {"staterror"}:
            return "with systematics"
        return "with simulation statistics" if kinds else "without uncertainties"

    @property
    def data(self) -> str:
        """What the workspace observes, in words."""
        asimov = [each.channel for each in self.fitted if each.data is None]
        observed = [each.channel for each in self.fitted if each.data is not None]
        hidden = ", blinded" if set(asimov) & set(self.blinded) else ""
        if not observed:
            return f"Asimov data{hidden}"
        if not asimov:
            return "observed data"
        return (
            f"observed data ({', '.join(observed)}) and Asimov data ({', '.join(asimov)}{hidden})"
        )


@takes(score=as_score, split=as_split)
def fill_templates(
    score: Callable[[Events], Float[np.ndarray, " events"]],
    split: Split | CrossFit,
    edges: Float[np.ndarray, " edges"] | None = None,
    *,
    channel: str = "signal_region",
) -> Templates:
    """Templates of the test events, for every process and variation.

    Args:
        score: Scores events in [0, 1]: `TrainedNetwork.score`, or any function of events.
        split: Gives the events; the test events stand for the full yields, which are all simulated
            ones of a `CrossFit`.
        edges: Bin edges; None for those that the region has.
        channel: Name of the region; one of those that the events have, where they have some. What
            it says is binned, if that is not the score.
    """
    one = single_channel(score, split, edges, channel)
    return filled([one], split)[0]


def check_model(split: Split | CrossFit, *, channel: str, **nuisances: Any) -> None:
    """Builds the statistical model in a single bin, to refuse what cannot be one.

    Args:
        split: Gives the events.
        channel: Name of the region.
        **nuisances: As in `measure`.

    Raises:
        InputError: When names clash or are unknown, or a signal region has too few events to choose
            bins on.
    """

    def middle(events: Events) -> Float[np.ndarray, " events"]:
        return np.full(len(events), 0.5)

    edges, regions = np.asarray([0.0, 1.0]), split.events.regions
    for region in regions:
        if region.scored and region.role == "signal":
            # Its bins are chosen on its own events.
            try:
                split.in_regions(region.name)
            except InputError as error:
                raise InputError(f"signal region {region.name!r}: {error}") from None
    names = [region.name for region in regions if region.fitted] or [channel]
    binned = {region.name for region in regions if region.edges is not None}
    channels = [
        single_channel(middle, split, None if name in binned else edges, name) for name in names
    ]
    build_workspace(filled(channels, split), **nuisances)


@takes(**MEASURE)
def measure(
    network: Scoring | Callable[[Events], Float[np.ndarray, " events"]],
    split: Events | Split | CrossFit,
    *,
    channel: str = "signal_region",
    figure: Figure = FIGURES["discovery"],
    binning: Any = None,
    bins: int | None = None,
    min_background: float | None = None,
    max_mc_uncertainty: float | None = None,
    poi: str = "mu",
    normalisation: Sequence[NormalisationUncertainty] = (),
    luminosity: Luminosity | None = None,
    free: Sequence[FreeNormalisation] = (),
    blind_above: float = BLIND_ABOVE,
    unblind: bool = False,
    prune: float = 0.0,
    noise: str = KEEP,
) -> Measurement:
    """Bins, fills and fits the test events with a network.

    Args:
        network: Gives the discriminant: a network, several, or what `tune` returned. Cross-fitted
            ones measure all events, each with the network that has not seen it. Or a function of
            events, such as another classifier; on a `CrossFit` it has to look at `events.fold`.
        split: Gives the events: `Tuned.split`, or what `tune` returned. Events are split as `tune`
            does by default.
        channel: Name of the region, where the events have none of their own. Those that they have
            are channels of one fit, which parameters of one name share; validation regions are
            filled, and not fitted.
        figure: The figure of merit: `"precision"` (σ(μ)), `"discovery"`, `"limit"`, or a function
            of the statistical model.
        binning: How the edges are chosen, on training and validation events: a rule such as
            `difftune.binning.Exact(bins=12)` or its name, the edges themselves, or a function
            `(scores, weight, signal) -> edges`. By default `difftune.binning.EqualSignal()`. Or
            such ones by name of the region.
        bins: Short form of `binning=EqualSignal(bins=...)`, as the next two.
        min_background: Least expected background in a bin.
        max_mc_uncertainty: Largest relative statistical uncertainty of a bin's background.
        poi: Name of the parameter of interest.
        normalisation: Uncertainties of yields, besides the variations of the events.
        luminosity: Uncertainty of the luminosity.
        free: Yields that the fit determines.
        blind_above: Observed events are left out of signal regions, and of others where the share
            of the signal is larger than this in a bin: Asimov data take their place, those that
            the fit of all other regions expects.
        unblind: Whether to look at all of them.
        prune: Effects of a variation on the yield of a process, and on its shape in every bin, that
            are relatively no larger than this are dropped, region by region; 0 drops none.
        noise: What becomes of effects that are no larger than their own statistical error: they
            are kept (`"keep"`), dropped (`"prune"`), or dropped and in shapes smoothed
            (`"smooth"`).

    Raises:
        InputError: For a binning and its short form at once, a network without the trained edges
            that are asked for, or events that no edges can come from.
    """
    short: dict[str, Any] = {
        "bins": bins,
        "min_background": min_background,
        "max_mc_uncertainty": max_mc_uncertainty,
    }
    asked = {name: value for name, value in short.items() if value is not None}
    if binning is not None and asked:
        name, value = next(iter(asked.items()))
        raise InputError(
            f"measure(binning={said(binning)}, {name}={value}): {name} is that of the default "
            f"binning; give it to yours, as in binning=Exact({name}={value})."
        )
    if binning is None:
        binning = EqualSignal(**asked)
    check_pruning(prune, noise)
    # What is given may be a function.
    scoring = as_scoring(network)
    split = as_sample_of(scoring, split)
    channels = channels_of(
        scoring,
        split,
        channel=channel,
        binning=binning,
        normalisation=normalisation,
        luminosity=luminosity,
    )
    # The signal region first.
    channels = tuple(sorted(channels, key=lambda each: each.role != "signal"))
    everything = filled(channels, split)
    done = tuple(
        each
        for own, templates in zip(channels, everything, strict=True)
        for each in treatments(own.observable, templates, split.test, prune=prune, noise=noise)
    )
    simulated, everything = everything, [treated(each, done) for each in everything]
    hidden = set()
    if not unblind:
        hidden = {
            templates.channel
            for own, templates in zip(channels, everything, strict=True)
            if templates.data is not None and is_blind(templates, own.role, blind_above)
        }
    everything = [blinded(each) if each.channel in hidden else each for each in everything]
    fitted, validation = (
        [t for c, t in zip(channels, everything, strict=True) if (c.role == "validation") == apart]
        for apart in (False, True)
    )
    model_of = partial(
        build_workspace, poi=poi, normalisation=normalisation, luminosity=luminosity, free=free
    )
    workspace = with_asimov(model_of(fitted), fitted)
    untreated = None
    if done:
        names = [templates.channel for templates in fitted]
        # Nobody looks at the data of these, some of which are blinded.
        as_they_are = [replace(t, data=None) for t in simulated if t.channel in names]
        untreated = model_of(as_they_are)
    model = Model.from_spec(workspace)
    signal, background = (
        np.concatenate([templates.total(role).sumw for templates in fitted])
        for role in ("signal", "background")
    )
    return Measurement(
        templates=fitted[0],
        others=tuple(fitted[1:]),
        validation=tuple(validation),
        blinded=tuple(each.channel for each in everything if each.channel in hidden),
        extended=model_of([*fitted, *validation]) if validation else workspace,
        untreated=untreated,
        workspace=workspace,
        stat_only=float(asimov_significance(signal, background)),
        expected=expected_significance(model).expected,
        figure=figure,
        value=figure.of(model),
        score=channels[0].observable,
        treatments=done,
        other_scores=tuple(c.observable for c in channels[1:] if c.role != "validation"),
    )
