"""The whole analysis file: what is tuned and how, and what is measured."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from difftune.errors import nearest
from difftune.job.measured_sections import (
    BINNING,
    DOMAIN,
    Data,
    Fit,
    NormFactor,
    RegionSection,
    Sample,
    Systematic,
)
from difftune.job.schema import Choice, Count, Fraction, NotNegative, Positive, Section
from difftune.models import DEFAULT, MODELS
from difftune.objectives import METRICS, OBJECTIVES
from difftune.search import STRATEGIES
from difftune.training import CONDITIONS, OPTIMIZERS


class General(Section):
    """What the run is called, where it goes, and the seed of everything random."""

    name: str = "analysis"
    """What the run is called, in the report and in the summary."""
    experiment: str = "difftune"
    """What stands in bold on every figure, as `ATLAS` or `CMS`."""
    label: str = "Simulation"
    """Status that stands on every figure, for example `Simulation` or `Work in progress`."""
    detail: str = ""
    """What stands next to it: luminosity and energy. `$...$` is set as mathematics."""
    titles: dict[str, str] = {}
    """How figures and the report's tables call samples, features, regions and parameters of the
    fit, by name: `titles = { lepton_pt = "Lepton $p_T$ [GeV]", ttbar = "top pairs" }`. What is not
    drawn may have one, too."""
    colors: dict[str, str] = {}
    """Colours of samples in figures, by name, as matplotlib writes them: `{ ttbar = "#3f90da" }`.
    """
    output: str = "run"
    """Run directory, seen from where the command is called; `--output` takes precedence."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Decides everything random: start values, batches, dropout and the search."""
    figures: Literal["all", "main"] = "all"
    """Which figures are drawn: all, or those that the report shows unfolded."""
    watcher: str | None = None
    """Who looks on, as `file.py:name`: called with the run directory, it gives a
    `difftune.search.Watcher`. The examples have one for TensorBoard and one for MLflow."""


class ModelSection(Section):
    """The network: one of difftune's, or a class of your own with its options."""

    module: str | None = None
    """`mlp`; `deep_set`, `particle_net` or `particle_transformer` for collections of objects; or a
    network of your own: `file.py:name` (seen from the folder of the analysis file) or
    `package.module:name` of a Flax module, or of a recipe that makes one. Keys that it does not
    know, but those of difftune do, have no effect."""


MODEL = Choice(MODELS, ModelSection, key="module", default="mlp")
_NETWORK = {
    "hidden": list(DEFAULT.hidden),
    "dropout": DEFAULT.dropout,
    "embedding": DEFAULT.embedding,
    "frequency_scale": DEFAULT.frequency_scale,
}
"""What the default network has that an `MLP` has not by itself."""


class ObjectiveSection(Section):
    """One term of the loss: a built-in one by name, or one of your own with its options."""

    name: str
    """One of the names below; or one of your own as `file.py:name` or `package.module:name`."""
    scale: float | str = 1.0
    """Factor of this term: a number, or the name of a hyperparameter."""


OBJECTIVE = Choice(OBJECTIVES, ObjectiveSection)


class MetricSection(Section):
    """A validation score with its options."""

    name: str
    """One of the names below; or one of your own as `file.py:name` or `package.module:name`."""


METRIC = Choice(METRICS, MetricSection, bare=True, least=2, words=("figure",))


class OptimizerSection(Section):
    """An optimizer with its options."""

    name: str
    """`evolution` or `parabola`, or one of your own as `file.py:name` or `package.module:name`."""


OPTIMIZER = Choice(OPTIMIZERS, OptimizerSection, bare=True, least=1)
STAGE_OPTIMIZER = replace(OPTIMIZER, optional=True)


class ConditionSection(Section):
    """A condition that a network must meet to be chosen."""

    name: str
    """One of the names below; or one of your own as `file.py:name` or `package.module:name`."""


CONDITION = Choice(CONDITIONS, ConditionSection, bare=True)


class Training(Section):
    """How each member trains."""

    batch_size: Count | None = None
    """Events of a batch; without it a power of two from 128 to 1024 that makes about 256 steps an
    epoch. The hyperparameter of this name takes its place."""
    chunk: Count | None = None
    """Events that the network keeps activations of at a time, where a batch has more (it may hold
    all events); without it, whole batches."""
    optimizer: Annotated[str | OptimizerSection | list[str], OPTIMIZER] = "adam"
    """`adam`, `adamw`, `sgd` or `rmsprop`; of a list of them the hyperparameter `optimizer` is the
    number, from 0. `evolution` and `parabola` need no gradient, and so minimise a score just as
    well. Or one of your own as `file.py:name`. A table gives the options:
    `{ name = "evolution", perturbations = 512 }`."""
    regions: Annotated[list[str], Field(min_length=1)] = ["signal"]
    """Regions whose events networks are trained on, by name or role, where there are regions."""
    patience: Count = 10
    """Epochs without a larger selection score until a member stops."""
    negative_weights: Literal["keep", "absolute", "resample"] = "resample"
    """Treatment of negative weights in the loss: `keep` them, take their `absolute` values, or
    `resample` the weights of neighbours such that none is negative and local yields stay (its time
    grows with events times negative ones). The physics weights of scores and templates are never
    changed."""
    max_overtraining: Positive = 0.1
    """By which fraction the score may be better on training than on validation events;
    `inf` allows any."""
    overtraining_sigmas: Annotated[float, Field(ge=0.0)] = 1.0
    """By how many statistical standard errors it may be better on top of that. They follow from the
    number of events."""
    score_sigmas: Annotated[float, Field(ge=0.0)] = 2.0
    """How many statistical standard errors are taken off the score before epochs and members are
    compared, so that none wins by the luck of few events."""
    score_memory: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.7
    """What an epoch counts relative to the next one when they are compared: 0 compares each epoch
    by itself, 0.7 averages over about three."""
    max_loss_gap: Positive | None = None
    """By which fraction the loss may be larger on validation than on training events."""
    min_ks: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Least p-value of the weighted Kolmogorov-Smirnov test of the score, training against
    validation, of signal and of background."""
    min_chi2: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Least p-value of the chi-square test of the score in 20 bins, training against validation."""
    overtraining: list[Annotated[str | ConditionSection, CONDITION]] = []
    """Further conditions that a network must meet to be chosen: names, tables with their options,
    or conditions of your own as `file.py:name`."""
    score: Annotated[str | MetricSection | list[str | MetricSection], METRIC] = "figure"
    """The validation score. `figure` is the figure of merit of `[fit]`, through the fit with all
    its uncertainties and as many simulated events as the measurement has; or, of an analysis that
    names no uncertainty and wants a discovery, its stat-only significance; or, of a regression, one
    over its loss. Others are the Asimov
    significance or separation power in bins of equal shares, area under the ROC curve, Asimov
    significance or AMS above the best cut; and from the fit with its uncertainties, in equidistant
    bins, expected significance, 1 / σ(μ), 1 / expected limit and `robustness`, which is σ(μ) if
    nuisance parameters were known over σ(μ). A table gives its options, as in
    `{ name = "cut_significance", background_uncertainty = 0.1 }`; one of your own is
    `file.py:name`. Of a list, networks that no other one beats in all are kept ([Pareto
    front](search.md#two-scores-that-compete)), and the one with the largest geometric mean is
    chosen."""
    robust_against: list[str] = []
    """Names of the nuisance parameters (systematics, norm factors, `lumi`) that `robustness` is
    about; without any, all of them and the statistical uncertainty of the simulation."""
    score_bins: Count = 10
    """Bins of the validation score, where that is no table (`significance`, `separation`, from the
    fit)."""
    min_signal_efficiency: Fraction | None = None
    """Least fraction of the signal that passes the cut; 0.25 (`cut_significance`) or 0
    (`cut_ams`)."""


class Search(Section):
    """The strategy and its size."""

    strategy: str = "pbt"
    """[Which one when](search.md): population-based training (`pbt`, `pb2`), `random`, `grid`,
    `halving` (with `brackets`: Hyperband), Bayesian (`tpe`, `gp`), `evolution`, `cmaes`; or one of
    your own as `file.py:name`."""
    population: Count = 16
    """Number of members that train side by side."""
    rounds: Count = 10
    """Number of rounds."""
    epochs_per_round: Count = 4
    """Epochs that a member trains between two proposals."""
    minutes: Positive | None = None
    """Wall time of the search in place of `rounds`: as many as fit, by how long the first ones
    take."""
    executions: Annotated[int, Field(ge=2)] | None = None
    """Trainings of each trial with other seeds, whose mean score counts; 1 if not given. The
    members that train are so many times the population."""
    std_penalty: NotNegative = 0.0
    """Standard deviations over the executions that are taken off the mean."""
    cross_validation: bool = False
    """Whether each trial is trained once for each fold that is not for the test, and validated on
    that; in the place of `executions` and of the validation folds."""
    ensemble: Literal["greedy", "trials", "trial", False] = False
    """[Networks that decide together](search.md#networks-that-decide-together), instead of the best
    one: all executions of the best trial (`trial`), of the three best ones (`trials`), or those of
    all networks whose mean is best on the validation events (`greedy`)."""


SEARCH = Choice(STRATEGIES, Search, key="strategy", default="pbt")


class Range(Section):
    """What a hyperparameter may be: exactly one of the first six."""

    uniform: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Even between two bounds."""
    log_uniform: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Even in the logarithm between two positive bounds."""
    integer: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    """A whole number between two bounds, both included."""
    log_integer: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    """A whole number between two bounds from 1 on, uniform in its logarithm."""
    choice: Annotated[list[str] | list[float], Field(min_length=1)] | None = None
    """One of these numbers, in a meaningful order: neighbours are tried. Names have no order: of
    them it is a category."""
    category: Annotated[list[str] | list[float], Field(min_length=1)] | None = None
    """One of these numbers without an order; or of names, which stand for 0, 1, 2, ..."""
    when: (
        Annotated[
            dict[str, float | str | list[float] | list[str]], Field(min_length=1, max_length=1)
        ]
        | None
    ) = None
    """Condition under which it counts: another hyperparameter, and the value or values that it
    must have, of a category also by name. Elsewhere it is the middle of its range."""

    @model_validator(mode="after")
    def _check_one(self) -> "Range":
        if len(self.kinds) != 1:
            raise ValueError(
                "give exactly one of uniform, log_uniform, integer, log_integer, choice, category"
            )
        return self

    @property
    def kinds(self) -> dict[str, list[Any]]:
        """The kind with its numbers."""
        return self.model_dump(exclude={"when"}, exclude_none=True)


class Selection(Section):
    """Elimination of variables before the tuning; without this table all are kept."""

    score: Literal["figure", "loss"] = "figure"
    """What sets of variables are compared by: the figure of merit of `[fit]`, or the loss, which
    has less noise and is that of a regression. The figure has at most `training.score_bins` bins,
    and fewer where a fold has fewer than 25 effective events of a process for each; below four bins
    the loss takes its place."""
    epochs: Count = 20
    """Length of a training, where it does not stop early."""
    seeds: Count = 2
    """Trainings of each set of variables for each fold that it is validated on."""
    candidates: Count = 2
    """Variables that are tried in a round: those that the network would miss least, by its
    gradients. As many as there are tries all."""
    patience: Count = 5
    """Rounds without a new best until the end."""
    least: Count = 1
    """Variables (or groups) that are kept at least."""
    tolerance: NotNegative = 0.0
    """Standard errors that a smaller set of variables may be worse than the best one; 0 takes the
    best."""
    groups: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
    """Variables that are kept or left out together, by the name of the group."""
    keep: list[str] = []
    """Variables or groups that are never left out."""


class Comparison(Section):
    """The default network that the tuned one is set against, and how often each is made."""

    seeds: Annotated[int, Field(ge=0)] = 3
    """With how many seeds the default network is trained; of a cross-fitted one, each for every
    fold. With 0 there is none to compare with."""
    repetitions: Annotated[int, Field(ge=1)] = 1
    """How many times everything that is tuned is made, with other seeds: the spread of what comes
    out is the uncertainty of tuning. The first gives the network of the run. With one, the
    uncertainties are those of the seeds and of the simulated events."""
    replicas: Annotated[int, Field(ge=0)] = 100
    """Bootstrap replicas of the simulated events, which say what chance has in each figure. With 0
    there are none."""

    @model_validator(mode="after")
    def _check_replicas(self) -> "Comparison":
        if self.replicas == 1:
            raise ValueError("replicas = 1 has no spread: give 2 or more, or 0 for none")
        return self


class StageSection(Section):
    """A further stage of the training, from the weights and hyperparameters of the one before."""

    name: str = "through the fit"
    """What it is called in the results."""
    objective: list[Annotated[ObjectiveSection, OBJECTIVE]] = []
    """Terms of the loss. Without any it is the figure of merit itself, through the fit with all
    uncertainties, in `bins` equidistant bins of the score."""
    bins: Annotated[int, Field(ge=2)] = 12
    """Number of those bins."""
    bandwidth: Annotated[list[Positive], Field(min_length=2, max_length=2)] = [0.03, 0.01]
    """Width of the kernel that spreads an event over them, at the start and at the end."""
    optimizer: Annotated[str | OptimizerSection | list[str] | None, STAGE_OPTIMIZER] = None
    """As in `[training]`; without it that of the stage before."""
    batch_size: Count | None = None
    """Events of a batch; without it all training events make one step, which a loss through the
    fit wants: its templates are all of them."""
    patience: Count | None = None
    """As in `[training]`; without it a member trains to the end."""
    hyperparameters: dict[str, float] = {}
    """Values of hyperparameters that are neither searched nor those of the stage before."""
    search: Annotated[Search, SEARCH] = Field(
        default_factory=lambda: SEARCH.read(
            {"strategy": "random", "population": 2, "rounds": 8, "epochs_per_round": 5}
        )
    )
    """The strategy, which begins from the best networks of the stage before."""
    space: dict[str, Range] = {}
    """What each searched hyperparameter may be."""


CHOICES = {
    "binning": BINNING,
    "condition": CONDITION,
    "domain": DOMAIN,
    "model": MODEL,
    "objective": OBJECTIVE,
    "optimizer": OPTIMIZER,
    "score": METRIC,
    "strategy": SEARCH,
}
"""All tables that are made from classes."""


class Config(Section):
    """A whole analysis."""

    general: General = General()
    """Name, output, seed."""
    data: Data
    """Files, columns, folds."""
    samples: Annotated[list[Sample], Field(min_length=1)]
    """The processes; at least one signal and one background, or one of any role where there is a
    `target`."""
    systematics: list[Systematic] = []
    """Uncertainties."""
    norm_factors: list[NormFactor] = []
    """Yields that the fit determines."""
    regions: list[RegionSection] = []
    """Regions that the events are divided into; without any, all are in one signal region."""
    fit: Fit = Fit()
    """The statistical model."""
    model: Annotated[ModelSection, MODEL] = Field(default_factory=lambda: MODEL.read(_NETWORK))
    """The network. Without this table it is the default one, on periodic embeddings of the inputs;
    a table that leaves out `embedding` has none."""
    objective: Annotated[list[Annotated[ObjectiveSection, OBJECTIVE]], Field(min_length=1)] = Field(
        default_factory=lambda: [OBJECTIVE.read({"name": "cross_entropy"})]
    )
    """Terms of the loss, which are added. Without any it is the cross-entropy, or `huber` where
    there is a `target`."""
    training: Training = Training()
    """How a member trains."""
    hyperparameters: dict[str, float] = {}
    """Values of hyperparameters that are not searched."""
    selection: Selection | None = None
    """Elimination of variables."""
    search: Annotated[Search, SEARCH] = Field(default_factory=lambda: SEARCH.read({}))
    """The strategy."""
    space: dict[str, Range] = {}
    """What each searched hyperparameter may be."""
    stage: list[StageSection] = []
    """Further stages of training, one after the other."""
    comparison: Comparison = Comparison()
    """The network to compare with."""

    @model_validator(mode="before")
    @classmethod
    def _decide_objective(cls, given: Any) -> Any:
        data = given.get("data") if isinstance(given, dict) else None
        if isinstance(data, dict) and data.get("target") is not None and "objective" not in given:
            return {**given, "objective": [{"name": "huber"}]}
        return given

    @model_validator(mode="after")
    def _check_categories(self) -> "Config":
        if self.fit.categories and self.regions:
            raise ValueError(
                "fit.categories makes a region for each sample, and the file has [[regions]]: "
                "leave one of them out"
            )
        for stage in self.stage if self.fit.categories else ():
            if not stage.objective:
                raise ValueError(
                    f"stage {stage.name!r}: without an objective a stage trains one score through "
                    "the fit, and fit.categories wants the probability of each sample: give "
                    "[[stage.objective]] categorical_cross_entropy"
                )
        return self

    @model_validator(mode="after")
    def _check_regression(self) -> "Config":
        if self.data.target is None:
            if len(self.samples) < 2:
                raise ValueError(
                    "samples has one sample: give a signal and a background at least; or a target "
                    "in [data], if a number is to be learned of each event"
                )
            return self
        for table, there in (
            ("[[regions]]", self.regions),
            ("[[systematics]]", self.systematics),
            ("[[norm_factors]]", self.norm_factors),
            ("[fit]", self.fit != Fit()),
        ):
            if there:
                raise ValueError(
                    f"{table} is about the measurement of a signal, and with a target in [data] "
                    "the run is a regression, which measures none: leave this table out; or leave "
                    "the target out"
                )
        if self.training.regions != ["signal"]:
            raise ValueError("training.regions: a regression has no regions; leave it out")
        for stage in self.stage:
            if not stage.objective:
                raise ValueError(
                    f"stage {stage.name!r}: without an objective a stage trains through the fit, "
                    "and a regression has none: give [[stage.objective]], such as huber"
                )
        return self

    @model_validator(mode="after")
    def _check_names(self) -> "Config":
        samples = [sample.name for sample in self.samples]
        for what, names in (
            ("samples", samples),
            ("systematics", [systematic.name for systematic in self.systematics]),
            ("norm_factors", [factor.name for factor in self.norm_factors]),
            ("regions", [region.name for region in self.regions]),
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
        for name in self.general.colors:
            if name not in samples:
                raise ValueError(
                    f"general.colors: there is no sample {name!r}.{nearest(name, samples)}"
                )
        if self.general.colors:
            # Here, since it takes time that most files need not spend.
            from matplotlib.colors import is_color_like

            for name, color in self.general.colors.items():
                if not is_color_like(color):
                    raise ValueError(
                        f"general.colors: {name} = {color!r} is no colour; write one like "
                        '"#3f90da" or "tab:blue"'
                    )
        known = {name for region in self.regions for name in (region.name, region.role)}
        for name in self.training.regions if self.regions else ():
            if name not in known:
                raise ValueError(
                    f"training.regions: there is no region {name!r}.{nearest(name, known)}"
                )
        if both := sorted(set(self.space) & set(self.hyperparameters)):
            raise ValueError(f"{both[0]!r} stands in [space] and in [hyperparameters]")
        for stage in self.stage:
            if both := sorted(set(stage.space) & set(stage.hyperparameters)):
                raise ValueError(
                    f"stage {stage.name!r}: {both[0]!r} stands in its space and hyperparameters"
                )
        names = [stage.name for stage in self.stage]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"stage: the name {sorted(twice)[0]!r} is used twice")
        return self
