"""A run that learns targets: what its networks predict of test events, step by step."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from difftune.analysis import (
    AnyTuned,
    CrossFit,
    Ladder,
    Merit,
    Residuals,
    Split,
    Step,
    Variables,
    residuals,
)
from difftune.heartbeat import doing
from difftune.job.outcome import Trained, chosen_network, members
from difftune.job.stages import Job
from difftune.report import written
from difftune.training import AnyNetwork

logger = logging.getLogger("difftune")
Compared = Mapping[str, Residuals]
"""Predictions of one network against the truth, by the name of the target."""


@dataclass(frozen=True, kw_only=True)
class Regressed(Trained):
    """Everything that a run found which learns targets.

    Attributes:
        steps: Resolution of each target, step by step.
        residuals: Of the network of this run, on test events.
        repeated: The same for further repetitions of the whole.
        defaults: The same for each training of `default`.
    """

    steps: Mapping[str, Ladder]
    residuals: Compared
    repeated: tuple[Compared, ...]
    defaults: tuple[Compared, ...]

    @property
    def ladders(self) -> Mapping[str, Ladder]:
        """What each step brings, by target."""
        return self.steps

    @property
    def summary(self) -> str:
        """Resolution of each step, bias and coverage, by target."""
        whole = "all simulated events" if isinstance(self.sample, CrossFit) else "test events"
        lines = []
        for name, ladder in self.steps.items():
            own = self.residuals[name]
            lines += [
                f"{self.config.general.name}: {ladder.figure.symbol}, on {whole}",
                *([ladder.verdict] if ladder.verdict else []),
                str(ladder),
                f"(uncertainties: {ladder.sources})",
                str(own.table),
                f"Bias in bins of the truth (root mean square): {written(own.bias)}",
            ]
        return "\n".join(lines)


def regressed(
    job: Job,
    sample: Split | CrossFit,
    default: AnyTuned | None,
    repetitions: list[list[AnyTuned]],
    began: float,
    *,
    selected: AnyTuned | None,
    variables: Variables | None,
) -> Regressed:
    """Compares what the networks of every step predict of the test events with the truth.

    Args:
        job: What the analysis file says.
        sample: The events by purpose.
        default: Networks to compare with.
        repetitions: All stages of each repetition.
        began: When the run began.
        selected: Networks to compare with, of the variables that are kept.
        variables: Those that are kept, where they were chosen.
    """
    config = job.config
    targets, relative = sample.events.target_names, config.data.target_scaling == "log"

    def compared(network: AnyNetwork) -> Compared:
        return {
            name: residuals(network, sample, target=name, relative=relative) for name in targets
        }

    logger.info("comparing predictions with the truth on the test events")
    doing("comparing predictions with the truth")
    defaults = [] if default is None else members(default, config.comparison.seeds)
    of_defaults = [compared(network) for network in defaults]
    each: list[tuple[str, list[Compared], str]] = []
    if of_defaults:
        each.append(("default network", of_defaults, "seeds"))
    if selected is not None:
        kept = members(selected, config.comparison.seeds)
        each.append(("variables selected", [compared(network) for network in kept], "seeds"))
    first = "hyperparameters tuned" if job.space else "trained"
    for number, name in enumerate([first, *(stage.name for stage in job.stages)]):
        networks = [chosen_network(stages[number], config) for stages in repetitions]
        each.append((name, [compared(network) for network in networks], "repetitions"))
    last = each[-1][1]
    replicas = config.comparison.replicas
    ladders = {
        name: Ladder(
            figure=Merit(
                name=name,
                symbol=f"{'relative ' if relative else ''}resolution of {name}",
                inverse=True,
            ),
            steps=tuple(
                _step(called, [own[name] for own in several], what, replicas)
                for called, several, what in each
            ),
        )
        for name in targets
    }
    return Regressed(
        job=job,
        stages=tuple(repetitions[0]),
        network=chosen_network(repetitions[0][-1], config),
        default=default,
        seconds=time.monotonic() - began,
        variables=variables,
        steps=ladders,
        residuals=last[0],
        repeated=tuple(last[1:]),
        defaults=tuple(of_defaults),
    )


def _step(name: str, several: list[Residuals], what: str, replicas: int) -> Step:
    """A step by the inverse of the resolution, with bootstrap replicas of the first training."""
    return Step(
        name=name,
        merits=np.array([1.0 / own.whole.resolution.value for own in several]),
        replicas=1.0 / several[0].resolutions(replicas) if replicas else None,
        what=what,
    )
