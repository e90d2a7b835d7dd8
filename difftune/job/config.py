"""The whole analysis file."""

from typing import Annotated

from pydantic import Field, model_validator

from difftune.errors import nearest
from difftune.job.measured_sections import Data, Fit, NormFactor, Sample, Systematic
from difftune.job.section import Section
from difftune.job.trained_sections import Comparison, Model, Objective, Range, Search, Training


class General(Section):
    """What the run is called, where it goes, and the seed of everything random."""

    name: str = "analysis"
    """What the run is called, in the report and in the summary."""
    label: str = "Simulation"
    """Status that stands on every figure, for example `Simulation` or `Work in progress`."""
    detail: str = ""
    """What stands next to it: luminosity and energy. `$...$` is set as mathematics."""
    output: str = "run"
    """Run directory, seen from where the command is called; `--output` takes precedence."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Decides everything random: start values, batches, dropout and the search."""


class Config(Section):
    """A whole analysis."""

    general: General = General()
    """Name, output, seed."""
    data: Data
    """Files, columns, folds."""
    samples: Annotated[list[Sample], Field(min_length=2)]
    """The processes; at least one signal and one background."""
    systematics: list[Systematic] = []
    """Uncertainties."""
    norm_factors: list[NormFactor] = []
    """Yields that the fit determines."""
    fit: Fit = Fit()
    """The statistical model."""
    model: Model = Model()
    """The network."""
    objective: Annotated[list[Objective], Field(min_length=1)] = [Objective(name="cross_entropy")]
    """Terms of the loss, which are added."""
    training: Training = Training()
    """How a member trains."""
    hyperparameters: dict[str, float] = {}
    """Values of hyperparameters that are not searched."""
    search: Search = Search()
    """The strategy."""
    space: dict[str, Range] = {}
    """What each searched hyperparameter may be."""
    comparison: Comparison = Comparison()
    """The network to compare with."""

    @model_validator(mode="after")
    def _check_names(self) -> "Config":
        samples = [sample.name for sample in self.samples]
        for what, names in (
            ("samples", samples),
            ("systematics", [systematic.name for systematic in self.systematics]),
            ("norm_factors", [factor.name for factor in self.norm_factors]),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{what}: the name {sorted(twice)[0]!r} is used twice")
        for what, items in (("systematics", self.systematics), ("norm_factors", self.norm_factors)):
            for item in items:
                for name in item.samples or []:
                    if name not in samples:
                        raise ValueError(
                            f"{what} {item.name!r}: there is no sample {name!r}."
                            f"{nearest(name, samples)}"
                        )
        if both := sorted(set(self.space) & set(self.hyperparameters)):
            raise ValueError(f"{both[0]!r} stands in [space] and in [hyperparameters]")
        return self
