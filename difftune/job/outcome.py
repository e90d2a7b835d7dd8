"""What a run found, and its last lines."""

import abc
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from difftune.analysis import (
    AnyTuned,
    CrossFit,
    CrossTuned,
    Ladder,
    Measurement,
    Split,
    Tuned,
    Variables,
    VariationNoise,
)
from difftune.inference import FitResult, HypoTest
from difftune.job.config import Config
from difftune.job.stages import Job
from difftune.training import AnyNetwork


def at_scale(sample: Split | CrossFit, scale: float) -> Split | CrossFit:
    """Events at another luminosity.

    Args:
        sample: As they were trained on.
        scale: Factor on all simulated events; observed ones are what they are.
    """
    if scale == 1:
        return sample
    events = sample.events
    factors = np.array([1.0 if each.role == "data" else scale for each in events.processes])
    normalisations = tuple(
        replace(each, luminosity=scale * each.luminosity) for each in events.normalisations
    )
    scaled = replace(events.scaled(factors), normalisations=normalisations)
    return replace(sample, events=scaled)


@dataclass(frozen=True, kw_only=True)
class Trained(abc.ABC):
    """What every run finds: networks, and what is known of their training.

    Attributes:
        job: What the analysis file said.
        stages: What each stage of the training gave, in the first repetition.
        network: That of this run: the best one, or several that decide together; of each fold,
            where they are cross-fitted.
        default: A plain network with default settings, with several seeds; None where there is
            nothing to compare with.
        seconds: How long it took, without what is written now.
        variables: Those that are kept, where they were chosen.
    """

    job: Job
    stages: tuple[AnyTuned, ...]
    network: AnyNetwork
    default: AnyTuned | None
    seconds: float
    variables: Variables | None = None

    @property
    @abc.abstractmethod
    def ladders(self) -> Mapping[str, Ladder]:
        """What each step brings, by each figure of the run."""

    @property
    @abc.abstractmethod
    def summary(self) -> str:
        """The lines that a physicist wants to see at the end."""

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return self.job.config

    @property
    def tuned(self) -> Tuned:
        """The last stage; of the first fold, where they are cross-fitted."""
        return self.searches[0]

    @property
    def searches(self) -> tuple[Tuned, ...]:
        """The last stage of each fold, or the only one."""
        last = self.stages[-1]
        return last.folds if isinstance(last, CrossTuned) else (last,)

    @cached_property
    def sample(self) -> Split | CrossFit:
        """The events by purpose, as they are measured."""
        return self.job.as_measured(self._scaled, self.network)

    @cached_property
    def _scaled(self) -> Split | CrossFit:
        """The events as they were trained on, but for the luminosity."""
        return at_scale(self.stages[-1].split, self.config.fit.luminosity_scale)

    @property
    def training_sample(self) -> Split | CrossFit:
        """The events of the regions that networks were trained on."""
        sample = self._scaled
        regions = self.config.training.regions
        return sample.in_regions(*regions) if sample.events.regions else sample


@dataclass(frozen=True, kw_only=True)
class Outcome(Trained):
    """Everything that a run found which measures a signal.

    Attributes:
        ladder: What each step brings.
        measurement: The network of this run, measured on test events.
        repeated_measurements: The same for further repetitions of the whole.
        default_measurements: The same for `default`, in bins by the same rule.
        noise: Effect and statistical error of each variation in the bins of `measurement`.
        fit: Fit of the workspace of the run to its (Asimov) data.
        cls: Test of the nominal signal strength.
    """

    ladder: Ladder
    measurement: Measurement
    repeated_measurements: tuple[Measurement, ...]
    default_measurements: tuple[Measurement, ...]
    noise: tuple[VariationNoise, ...]
    fit: FitResult
    cls: HypoTest

    @property
    def ladders(self) -> Mapping[str, Ladder]:
        """What each step brings, by the figure of merit."""
        return {self.job.figure.name: self.ladder}

    @property
    def tuned_measurements(self) -> tuple[Measurement, ...]:
        """Those of the network of this run, and of further repetitions."""
        return (self.measurement, *self.repeated_measurements)

    @property
    def poi_text(self) -> str:
        """The fitted parameter of interest with its uncertainty."""
        # Figures start slowly, and a run has none before its end.
        from difftune.report import Measured, written

        return written(Measured(*self.fit.parameter(self.config.fit.poi)))

    @property
    def scale_text(self) -> str:
        """The luminosity in units of that of the events, where it is another one."""
        scale = self.config.fit.luminosity_scale
        return "" if scale == 1 else f"at {scale:g} times their luminosity"

    @property
    def summary(self) -> str:
        """Figure of merit of each step, and the fit."""
        own, poi = self.measurement, self.config.fit.poi
        whole = "all simulated events" if isinstance(self.sample, CrossFit) else "test events"
        whole += f" {self.scale_text}" if self.scale_text else ""
        return "\n".join(
            [
                f"{self.config.general.name}: {self.job.figure.symbol}, {own.uncertainties}, on "
                f"{whole}",
                *([self.ladder.verdict] if self.ladder.verdict else []),
                str(self.ladder),
                f"(uncertainties: {self.ladder.sources})",
                f"Expected significance {own.expected:.3f} {own.uncertainties}, "
                f"{own.stat_only:.2f} stat-only. Expected CLs for {poi} = 1: "
                f"{self.cls.expected[2]:.3g}; {poi} = {self.poi_text} (fit to {own.data})",
            ]
        )


def chosen_network(tuned: AnyTuned, config: Config) -> AnyNetwork:
    """The network of a search, or several of it that decide together.

    Args:
        tuned: The search, or that of each fold.
        config: Says which.
    """
    kind = config.search.ensemble
    return tuned.ensemble(kind) if kind else tuned.network


def members(tuned: AnyTuned, count: int) -> list[AnyNetwork]:
    """All networks of trainings that differ in their seeds.

    Args:
        tuned: The trainings, or those of each fold.
        count: How many there are.
    """
    if isinstance(tuned, CrossTuned):
        return [tuned.member(number) for number in range(count)]
    return list(tuned.networks)


def said_of(variables: Variables) -> str:
    """Which variables are kept, in words."""
    every = len(variables.selections)
    if every == 1:
        dropped = variables.among(variables.unused[0])
        kept = ", ".join(variables.among(variables.selections[0].variables))
        return f"Kept: {kept}. Left out: {', '.join(dropped) or 'none'}."
    always = [name for name, votes in variables.votes.items() if votes == every]
    never = [name for name, votes in variables.votes.items() if votes == 0]
    sometimes = [
        f"{name} ({votes} of {every})"
        for name, votes in variables.votes.items()
        if 0 < votes < every
    ]
    return (
        f"Kept for all folds: {', '.join(always) or 'none'}. Left out for all: "
        f"{', '.join(never) or 'none'}. Kept for some: {', '.join(sometimes) or 'none'}. Each fold "
        "has a choice of its own, made without its events."
    )


def selected_text(variables: Variables) -> str:
    """What a selection of variables found: the curves, the ranking, and a line to paste."""
    from difftune.report import selection_table

    several = len(variables.selections) > 1
    lines = []
    for fold, selection in enumerate(variables.selections):
        lines += [f"Without the events of fold {fold}:"] if several else []
        lines += [selection_table(selection).text(), ""]
    lines += [said_of(variables), ""]
    plain = [name for name in variables.common if name in variables.feature_names]
    of_objects = [name for name in variables.common if name not in plain]
    names = ", ".join(json.dumps(name, ensure_ascii=False) for name in plain)
    if several:
        lines.append(
            "The line below has those that most folds keep. Every fold has had a say in it, so a "
            "run that takes it chooses variables by events that it measures (docs: selection.md); "
            "a run with [selection] does not."
        )
    lines.append(f"features = [{names}]")
    if variables.collections:
        lines.append(f"# and of the branches of [data.objects]: {', '.join(of_objects) or 'none'}")
    return "\n".join(lines)
