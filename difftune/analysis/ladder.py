"""What each step of an analysis brings: its figure of merit, its gain, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from difftune.analysis.figure import Merit

SURE = 0.05
"""A gain that chance gives more often than this is not called one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One step: an analysis as it stands then.

    Attributes:
        name: What it is.
        merits: The figure, the larger the better, of each training that was made for it: of other
            seeds, repetitions of the whole, or folds. The first is that of this run.
        replicas: The same of the first with bootstrap replicas of the simulated events, which are
            common to all steps that have them; None where there are none.
        what: What the several trainings differ in, in words; empty for a single one.
        same: Whether the trainings of the step before are the same, so that only bins or events
            differ, and the spread of the trainings is none of the gain.
    """

    name: str
    merits: Float[np.ndarray, " trainings"]
    replicas: Float[np.ndarray, " replicas"] | None = None
    what: str = ""
    same: bool = False

    @property
    def merit(self) -> float:
        """Mean of all trainings."""
        return float(np.mean(self.merits))

    @property
    def spread(self) -> float:
        """Relative standard deviation over the trainings; 0 of a single one."""
        return _relative_spread(self.merits)

    @property
    def statistics(self) -> float:
        """Relative uncertainty from the statistics of the simulation; 0 if not known."""
        return 0.0 if self.replicas is None else _relative_spread(self.replicas)


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A line of the ladder.

    Attributes:
        name: The step.
        value: Its figure, as people know it.
        uncertainty: Of the value: the spread of trainings and the statistics of the simulation.
        gain: Relative gain over the step before: 0.1 is 10 % better; None of the first.
        gain_uncertainty: Of the gain.
        chance: Probability that chance gives such a gain, or a larger one, where there is none.
    """

    name: str
    value: float
    uncertainty: float
    gain: float | None = None
    gain_uncertainty: float | None = None
    chance: float | None = None

    @property
    def luck(self) -> str:
        """The chance in words; empty of the first line."""
        if self.chance is None:
            return ""
        if self.chance < 1e-3:
            return "< 0.1 %"
        return "> 99 %" if self.chance > 0.99 else f"{100 * self.chance:.2g} %"

    @property
    def sure(self) -> bool:
        """Whether the step is better than the one before beyond chance."""
        return self.chance is not None and self.chance < SURE


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The steps of an analysis, each compared with the one before.

    Attributes:
        figure: What they are compared by.
        steps: In their order.
    """

    figure: Merit
    steps: Sequence[Step] = field(default_factory=tuple)

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """A line for each step."""
        found = []
        for number, step in enumerate(self.steps):
            value = float(self.figure.shown(step.merit))
            uncertainty = value * float(np.hypot(step.spread, step.statistics))
            if number == 0:
                found.append(Rung(name=step.name, value=value, uncertainty=uncertainty))
                continue
            gain, error = self.gain(self.steps[number - 1], step)
            found.append(
                Rung(
                    name=step.name,
                    value=value,
                    uncertainty=uncertainty,
                    gain=gain,
                    gain_uncertainty=error,
                    chance=chance(gain, error),
                )
            )
        return tuple(found)

    def gain(self, before: Step, after: Step) -> tuple[float, float]:
        """Relative gain of one step over another, and its uncertainty.

        The statistics of the simulation count by the replicas that both have, in pairs; the chance
        of trainings by the standard errors of their means.
        """
        gain = float(self.figure.gain(before.merit, after.merit))
        # Relative errors of the ratio of both, which the gain is but for a number.
        errors = []
        if before.replicas is not None and after.replicas is not None:
            errors.append(_relative_spread(after.replicas / before.replicas))
        else:
            errors += [before.statistics, after.statistics]
        if after.same and len(before.merits) == len(after.merits) > 1:
            ratio = after.merits / before.merits
            errors.append(_relative_spread(ratio) / len(ratio) ** 0.5)
        elif not after.same:
            errors += [each.spread / len(each.merits) ** 0.5 for each in (before, after)]
        ratio = 1.0 - gain if self.figure.inverse else 1.0 + gain
        return gain, ratio * float(np.sqrt(np.sum(np.square(errors))))

    @property
    def significant(self) -> bool:
        """Whether any step is better than the one before beyond chance."""
        return any(rung.sure for rung in self.rungs)

    @property
    def verdict(self) -> str:
        """What there is to say of the whole, first of all."""
        if len(self.steps) < 2:
            return ""
        first, last = self.steps[0], self.steps[-1]
        gain, error = self.gain(first, last)
        size = f"{gain:+.1%} ± {error:.1%}"
        if chance(gain, error) >= SURE:
            return (
                f"Nothing is gained beyond chance: from {first.name!r} to {last.name!r} "
                f"{self.figure.symbol} improves by {size}."
            )
        none = [repr(rung.name) for rung in self.rungs[1:] if not rung.sure]
        note = (
            f" By themselves these gain nothing beyond chance: {', '.join(none)}." if none else ""
        )
        return (
            f"From {first.name!r} to {last.name!r} {self.figure.symbol} improves by {size}.{note}"
        )

    @property
    def sources(self) -> str:
        """What the uncertainties are made of, in words."""
        said = []
        if any(step.replicas is not None for step in self.steps):
            count = max(len(step.replicas) for step in self.steps if step.replicas is not None)
            said.append(f"the statistics of the simulation ({count} bootstrap replicas)")
        spreads = dict.fromkeys(
            f"{len(step.merits)} {step.what}" for step in self.steps if len(step.merits) > 1
        )
        if spreads:
            said.append(f"the spread over {', '.join(spreads)}")
        return " and ".join(said) or "nothing: there is one training of each"

    def __str__(self) -> str:
        """A table for the terminal."""
        rows = [("", self.figure.symbol, "gain", "chance")]
        for rung in self.rungs:
            gain = "" if rung.gain is None else f"{rung.gain:+.1%} ± {rung.gain_uncertainty:.1%}"
            rows.append((rung.name, _with_error(rung.value, rung.uncertainty), gain, rung.luck))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = []
        for name, *cells in rows:
            numbers = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
            lines.append("  ".join([f"  {name:<{widths[0]}}", *numbers]).rstrip())
        return "\n".join(lines)


def chance(gain: float, error: float) -> float:
    """Probability of such a gain, or a larger one, where there is none: one-sided, Gaussian."""
    if error > 0:
        return float(norm.sf(gain / error))
    return 0.0 if gain > 0 else 1.0


def _relative_spread(values: Float[np.ndarray, " values"]) -> float:
    if len(values) < 2:
        return 0.0
    return float(np.std(values, ddof=1) / np.mean(values))


def _with_error(value: float, error: float) -> str:
    """A number with two digits of its uncertainty."""
    if not error > 0 or not np.isfinite(error):
        return f"{value:.4g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
