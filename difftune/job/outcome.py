"""What a run found, and its last lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from difftune.analysis import Measurement, Tuned
from difftune.inference import FitResult, HypoTest
from difftune.job.build import Job
from difftune.job.config import Config
from difftune.training import Ensemble, TrainedNetwork


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that a run found.

    Attributes:
        job: What the analysis file said.
        tuned: The search and its networks.
        network: That of this run: the best one, or the ensemble of the best trial.
        repeated: The same search with other seeds.
        default: A plain cross-entropy network with default settings, with as many seeds.
        measurement: The tuned network, measured on test events.
        repeated_measurements: The same for the networks of `repeated`.
        default_measurements: The same for `default`.
        fit: Fit of the tuned network's workspace to its (Asimov) data.
        cls: Test of the nominal signal strength.
        seconds: How long it took.
    """

    job: Job
    tuned: Tuned
    network: TrainedNetwork | Ensemble
    repeated: tuple[Tuned, ...]
    default: Tuned
    measurement: Measurement
    repeated_measurements: tuple[Measurement, ...]
    default_measurements: tuple[Measurement, ...]
    fit: FitResult
    cls: HypoTest
    seconds: float

    @property
    def config(self) -> Config:
        """The resolved configuration."""
        return self.job.config

    @property
    def tuned_measurements(self) -> tuple[Measurement, ...]:
        """The network of this run, and those of the searches with other seeds."""
        return (self.measurement, *self.repeated_measurements)

    @property
    def poi_text(self) -> str:
        """The fitted parameter of interest with its uncertainty."""
        # Figures start slowly, and a run has none before its end.
        from difftune.report import Measured, written

        return written(Measured(*self.fit.parameter(self.config.fit.poi)))

    @property
    def summary(self) -> str:
        """The lines that a physicist wants to see at the end."""
        rows = [
            ("", "stat-only", self.measurement.uncertainties),
            (
                f"cross-entropy, default settings ({len(self.default_measurements)} seeds)",
                _spread([m.stat_only for m in self.default_measurements]),
                _spread([m.expected for m in self.default_measurements]),
            ),
            (
                f"tuned ({len(self.tuned_measurements)} searches)",
                _spread([m.stat_only for m in self.tuned_measurements]),
                _spread([m.expected for m in self.tuned_measurements]),
            ),
            (
                "tuned, the network of this run",
                f"{self.measurement.stat_only:.2f}",
                f"{self.measurement.expected:.3f}",
            ),
        ]
        width = max(len(row[0]) for row in rows)
        column = max(18, *(len(cell) for row in rows for cell in row[1:]))
        lines = [
            f"{self.config.general.name}: expected significance on test events",
            "(mean and standard deviation over seeds)",
            *(
                f"  {name:<{width}}  {stat:>{column}}  {full:>{column}}".rstrip()
                for name, stat, full in rows
            ),
            f"Expected CLs for {self.config.fit.poi} = 1: {self.cls.expected[2]:.3g}; "
            f"{self.config.fit.poi} = {self.poi_text} (fit to {self.measurement.data})",
        ]
        return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    digits = 2 if mean >= 100 else 3
    # Of the others no epoch was allowed.
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    deviation = float(np.std(values, ddof=1))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"
