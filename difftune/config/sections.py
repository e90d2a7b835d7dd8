"""The sections of the analysis file: keys, types, defaults, and what they mean."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from difftune.errors import nearest

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
# A slash would be a folder in the ROOT file of the templates.
Name = Annotated[str, Field(min_length=1, pattern=r"^[^/]+$")]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class General(_Section):
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


class Data(_Section):
    """Where the events are and which columns they have."""

    files: str | list[str] | None = None
    """Paths, globs or addresses (`root://...`) of the files of all samples that name none
    themselves; paths are seen from the folder of the analysis file. ROOT, Parquet or CSV."""
    features: Annotated[list[str], Field(min_length=1)]
    """Inputs of the network: columns, or names of `derived` ones."""
    weight: str = "1"
    """Expression for the weight of a simulated event, in expected events: the weights of a
    sample add up to its expected yield."""
    event_number: str | None = None
    """Column (or expression) that tells events apart; its value modulo `folds` is the
    fold. Without it the running number in the sample decides, and systematics of the type `tree`
    are refused."""
    selection: str | None = None
    """Expression that all events fulfil."""
    derived: dict[str, str] = {}
    """Further columns by name, as expressions; they may use each other."""
    missing: float | list[float] | None = None
    """The value or values that mean "missing", such as -999; `nan` is one only if given."""
    impute: Literal["median", "mean"] | float = "median"
    """What the network gets in the place of a missing value: the median or mean of the
    training events, or a number."""
    missing_indicators: bool = False
    """Whether the network also gets, for each feature with missing values, a column
    that is 1 where it is missing."""
    folds: Annotated[int, Field(ge=3)] = 5
    """How many folds the events are split into."""
    validation_folds: Annotated[list[int], Field(min_length=1)] = [3]
    """Folds that choices rest on: scores, early stopping, hyperparameters."""
    test_folds: Annotated[list[int], Field(min_length=1)] = [4]
    """Folds that the result rests on."""

    @model_validator(mode="after")
    def _check_folds(self) -> "Data":
        held_out = self.validation_folds + self.test_folds
        if len(set(held_out)) < len(held_out):
            raise ValueError("validation_folds and test_folds must not share a fold")
        if wrong := [fold for fold in held_out if not 0 <= fold < self.folds]:
            raise ValueError(f"fold {wrong[0]} does not exist: folds go from 0 to {self.folds - 1}")
        if len(held_out) == self.folds:
            raise ValueError("no fold is left to train on")
        return self

    @property
    def train_folds(self) -> list[int]:
        """The folds that are neither validation nor test."""
        held_out = {*self.validation_folds, *self.test_folds}
        return [fold for fold in range(self.folds) if fold not in held_out]


class Sample(_Section):
    """One process."""

    name: Name
    """Its name in tables, templates and the workspace."""
    role: Literal["signal", "background", "data"] = "background"
    """What it is. `data` are observed events: they are fitted, and play no role in the training."""
    files: str | list[str] | None = None
    """Its files, where they are not those of `[data]`."""
    tree: str | None = None
    """Name of its tree (ROOT only); may be left out if the files hold just one."""
    selection: str | None = None
    """Expression that its events fulfil, besides the common selection."""
    weight: str | None = None
    """Expression for its weight, in the place of the common one. Data have the weight 1 unless
    one is given here."""


class WeightSystematic(_Section):
    """Another weight for the same events."""

    name: Name
    """Name of the uncertainty."""
    type: Literal["weight"]
    """`weight`."""
    up: str
    """Expression that takes the place of the whole weight; `{weight}` stands for the nominal one,
    as in `"{weight} * btag_up"`."""
    down: str | None = None
    """The same for the other direction; without it, `up` is mirrored."""
    samples: list[str] | None = None
    """Samples that it applies to; all simulated ones by default."""


class TreeSystematic(_Section):
    """Another tree, or other files; `{tree}` stands for the nominal tree."""

    name: Name
    """Name of the uncertainty."""
    type: Literal["tree"]
    """`tree`."""
    up: str = "{tree}"
    """Name of the varied tree; `{tree}` stands for the nominal tree of the sample."""
    down: str | None = None
    """The same for the other direction; without it and `files_down`, `up` is mirrored."""
    files_up: str | list[str] | None = None
    """Files that hold the varied events, where they are not the nominal ones."""
    files_down: str | list[str] | None = None
    """The same for the other direction."""
    samples: list[str] | None = None
    """Samples that it applies to; all simulated ones by default."""


class FeatureSystematic(_Section):
    """Other branches in the place of features."""

    name: Name
    """Name of the uncertainty."""
    type: Literal["features"]
    """`features`."""
    up: dict[str, str]
    """For each varied column the column or expression that takes its place; selection, weight and
    derived columns follow."""
    down: dict[str, str] | None = None
    """The same for the other direction; without it, `up` is mirrored."""
    samples: list[str] | None = None
    """Samples that it applies to; all simulated ones by default."""


class NormalisationSystematic(_Section):
    """A relative uncertainty of a yield: 0.06 is 6 %."""

    name: Name
    """Name of the uncertainty."""
    type: Literal["normalisation"]
    """`normalisation`."""
    up: Annotated[float, Field(gt=-1.0)]
    """Relative change of the yield at plus one standard deviation: 0.06 is 6 %."""
    down: Annotated[float, Field(gt=-1.0)] | None = None
    """The same at minus one standard deviation; `-up` if not given."""
    samples: Annotated[list[str], Field(min_length=1)]
    """Samples that it applies to."""


Systematic = Annotated[
    WeightSystematic | TreeSystematic | FeatureSystematic | NormalisationSystematic,
    Field(discriminator="type"),
]


class NormFactor(_Section):
    """A yield that the fit determines."""

    name: Name
    """Name of the parameter."""
    samples: Annotated[list[str], Field(min_length=1)]
    """Samples whose yields it scales."""
    bounds: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.0, 10.0]
    """Range in the fit; must contain 1."""


class Fit(_Section):
    """The statistical model and its bins."""

    region: Name = "signal_region"
    """Name of the region: the channel of the workspace."""
    poi: Name = "mu"
    """Name of the parameter of interest, the strength of all signal samples."""
    luminosity_uncertainty: Positive | None = None
    """Relative uncertainty of the luminosity, of all samples; none by default."""
    bins: Count = 15
    """Largest number of bins."""
    min_background: Annotated[float, Field(ge=0.0)] = 10.0
    """Least expected background of a bin, in events."""
    max_mc_uncertainty: Positive = 0.15
    """Largest relative statistical uncertainty of the simulated background of a bin."""


class Model(_Section):
    """The network: difftune's MLP, or `file.py:name` of a Flax module of one's own."""

    module: str | None = None
    """A network of one's own, `file.py:name` (seen from the folder of the analysis file) or
    `package.module:name`; the other keys then have no effect."""
    hidden: list[Count] = [64, 64]
    """Width of each hidden layer."""
    activation: str | list[str] = "relu"
    """Activation function: `relu`, `elu`, `gelu`, `leaky_relu`, `selu`, `silu`, `softplus` or
    `tanh`; of a list of them the hyperparameter `activation` is the number, from 0."""
    normalisation: Literal["none", "batch", "layer"] = "none"
    """Normalisation before each activation."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Probability to drop a hidden unit, where the search proposes none."""


class Objective(_Section):
    """One term of the loss: a built-in one by name, or `file.py:name` of one's own."""

    name: str
    """`cross_entropy`, `categorical_cross_entropy`, `focal`, `mean_squared_error`, `roc_auc`,
    `separation_power`, `asimov_llr`, `s_over_root_b`, `ams`, `distance_correlation`; against
    systematic variations `adversarial`, `histogram_variation`, `nuisance_correlation`; through the
    fit with its uncertainties `poi_uncertainty`, `expected_cls`, `discovery_significance`,
    `expected_limit`; or one of one's own as `file.py:name` or `package.module:name`."""
    scale: float | str = 1.0
    """Factor of this term: a number, or the name of a hyperparameter."""
    bins: Annotated[int, Field(ge=2)] | None = None
    """Number of bins (`asimov_llr`, `s_over_root_b`, `ams`, `separation_power`,
    `histogram_variation`, through the fit)."""
    learned_edges: bool | None = None
    """Whether the edges of the bins are trained with the network (the same)."""
    mc_statistics: bool | None = None
    """Whether the statistical uncertainty of the batch counts (through the fit)."""
    bandwidth: list[Positive] | None = None
    """Width of the kernel at the start and at the end of the training (the same)."""
    kernel: Literal["logistic", "normal", "softmax"] | None = None
    """How an event is spread over the bins (the same)."""
    straight_through: bool | None = None
    """Whether the value is that of hard bins, and only the gradient of smeared events (the
    same)."""
    form: Literal["linear", "log"] | None = None
    """`linear` is minus the squared significance, `log` minus its logarithm (`asimov_llr`,
    `s_over_root_b`, `ams`)."""
    regions: Literal["bins", "cut", "probability"] | None = None
    """Where events are counted: in bins, above one cut, or each with its signal probability (the
    same)."""
    cut: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """The cut on the score, where it starts if it is trained (the same)."""
    train_cut: bool | None = None
    """Whether the cut is trained with the network (the same)."""
    background_uncertainty: NotNegative | list[NotNegative] | None = None
    """Uncertainty of the background, as a fraction of it; one number or one a bin
    (`asimov_llr`)."""
    absolute_uncertainty: bool | None = None
    """Whether these are events and no fractions (`asimov_llr`)."""
    noise: Literal["s+b", "b"] | None = None
    """What stands under the root (`s_over_root_b`)."""
    regularisation: Positive | None = None
    """Events that are added to the background (`ams`)."""
    gamma: NotNegative | None = None
    """Exponent (`focal`)."""
    temperature: list[Positive] | None = None
    """Scale of the differences of logits at the start and at the end of the training
    (`roc_auc`)."""
    feature: str | None = None
    """The feature that the score is to be independent of (`distance_correlation`)."""
    rows: Count | None = None
    """Rows of the distance matrices that are in memory at once (`distance_correlation`)."""
    variations: list[str] | None = None
    """Names of the systematics that it is about; by default all that vary events (`adversarial`,
    `histogram_variation`, `nuisance_correlation`)."""
    among: Literal["all", "signal", "background"] | None = None
    """Events that it looks at (the same)."""
    strength: NotNegative | str | None = None
    """λ, with which the gradient is reversed: a number, or the name of a hyperparameter
    (`adversarial`)."""
    learning_rate: NotNegative | str | None = None
    """Of the adversary: a number, or the name of a hyperparameter; by default that of the network
    (`adversarial`)."""
    hidden: list[Count] | None = None
    """Width of each hidden layer of the adversary (`adversarial`)."""

    @property
    def options(self) -> dict[str, Any]:
        """What the class is given."""
        given = self.model_dump(exclude={"name", "scale"}, exclude_none=True)
        return {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}


ScoreName = Literal[
    "significance",
    "separation",
    "roc_area",
    "cut_significance",
    "cut_ams",
    "discovery_significance",
    "poi_precision",
    "limit_strength",
    "robustness",
]


class Training(_Section):
    """How each member trains."""

    batch_size: Count = 1024
    """Events of a batch. The hyperparameter of this name takes its place."""
    chunk: Count | None = None
    """Events that the network keeps activations of at a time, where a batch has more (it may hold
    all events); without it, whole batches."""
    optimizer: str | list[str] = "adam"
    """`adam`, `adamw`, `sgd` or `rmsprop`; of a list of them the hyperparameter `optimizer` is the
    number, from 0."""
    patience: Count = 10
    """Epochs without a larger merit until a member stops."""
    negative_weights: Literal["keep", "absolute", "resample"] = "keep"
    """Treatment of negative weights in the loss: `keep` them, take their `absolute` values, or
    `resample` the weights of neighbours such that none is negative and local yields stay. The
    physics weights of scores and templates are never changed."""
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
    """The same of the chi-square test of 20 bins."""
    score: ScoreName | Annotated[list[ScoreName], Field(min_length=2)] = "significance"
    """The validation score: Asimov significance or separation power in bins of equal shares, area
    under the ROC curve, Asimov significance or AMS above the best cut; and from the fit with its
    uncertainties, in equidistant bins, expected significance, 1 / σ(μ), 1 / expected limit and
    `robustness`, which is σ(μ) if nuisance parameters were known over σ(μ). Of a list, networks
    that no other one beats in all are kept ([Pareto front](search.md#two-scores-that-compete)), and
    the one with the largest geometric mean is chosen."""
    robust_against: list[str] = []
    """Names of the nuisance parameters (systematics, norm factors, `lumi`) that `robustness` is
    about; without any, all of them and the statistical uncertainty of the simulation."""
    score_bins: Annotated[int, Field(ge=1)] = 10
    """Bins of the validation score (`significance`, `separation`, from the fit)."""
    min_signal_efficiency: Fraction | None = None
    """Least fraction of the signal that passes the cut; 0.25 (`cut_significance`) or 0
    (`cut_ams`)."""


class Search(_Section):
    """The strategy and its size."""

    strategy: Literal[
        "pbt", "pb2", "random", "grid", "halving", "tpe", "gp", "evolution", "cmaes"
    ] = "pbt"
    """[Which one when](search.md): population-based training (`pbt`, `pb2`), `random`, `grid`,
    `halving` (with `brackets`: Hyperband), Bayesian (`tpe`, `gp`), `evolution`, `cmaes`."""
    population: Count = 16
    """Number of members that train side by side."""
    rounds: Count = 10
    """Number of rounds."""
    epochs_per_round: Count = 4
    """Epochs that a member trains between two proposals."""
    exploit: Literal["truncation", "tournament"] | None = None
    """Whether the lowest quantile loses to the highest, or each member against a random better one
    (`pbt`, `pb2`)."""
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] | None = None
    """Share of the members that is replaced after each round, and that is copied; 0.25 (`pbt`,
    `pb2`)."""
    perturbation: Share | dict[str, Share] | None = None
    """Step of a hyperparameter of a copied member, in units of its range; 0.1 (`pbt`, `pb2`,
    `evolution`). A table gives some hyperparameters their own (`pbt`, `pb2`)."""
    resample: Fraction | dict[str, Fraction] | None = None
    """Probability to draw it anew instead; 0.1, or 0.2 (`evolution`); a table likewise."""
    ready: Count | None = None
    """Rounds that a copied member is left alone; 1 (`pbt`, `pb2`)."""
    slow: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Share of the members that exploits seldom, a guard against greed; 0 (`pbt`, `pb2`)."""
    slow_interval: Count | None = None
    """Rounds between its exploits; 4 (`pbt`, `pb2`)."""
    boldness: Positive | None = None
    """Standard deviations of the model that are added to its mean; 1 (`pb2`)."""
    points: Count | dict[str, Count] | None = None
    """Values of each hyperparameter; 3. A table gives some their own (`grid`)."""
    factor: Annotated[int, Field(ge=2)] | None = None
    """One of so many goes on at each judgement; 3 (`halving`)."""
    longest: Count | None = None
    """Rounds of the longest training; half of all (`halving`)."""
    brackets: Count | None = None
    """Groups of members that are judged from the first, second, ... length on; 1 (`halving`)."""
    survivors: Share | None = None
    """Share of a generation that survives; 0.3 (`evolution`)."""
    elite: Annotated[int, Field(ge=0)] | None = None
    """How many of the fittest go on unchanged; 1 (`evolution`)."""
    mutation: Fraction | None = None
    """Probability to change a hyperparameter of a duplicate; 0.3 (`evolution`)."""
    crossover: Fraction | None = None
    """Probability of a child to have two parents; 0 (`evolution`)."""
    inherit: bool | None = None
    """Whether weights are inherited, instead of each training anew; false (`tpe`, `gp`,
    `evolution`)."""
    sigma: Positive | None = None
    """Standard deviation of the first generation, in units of the ranges; 0.3 (`cmaes`)."""
    journal: str | None = None
    """File of the study for optuna-dashboard, seen from the working directory (`tpe`, `gp`)."""
    shared: bool | None = None
    """Whether to learn from the trials of other jobs in the journal, too; false (`tpe`, `gp`)."""

    executions: Annotated[int, Field(ge=2)] | None = None
    """Trainings of each trial with other seeds, whose mean score counts; 1 if not given. The
    members that train are so many times the population."""
    caution: NotNegative = 0.0
    """Standard deviations over the executions that are taken off the mean."""
    cross_validation: bool = False
    """Whether each trial is trained once for each fold that is not for the test, and validated on
    that; in the place of `executions` and of the validation folds."""

    @property
    def options(self) -> dict[str, Any]:
        """What the strategy is given besides its size."""
        size = {"strategy", "population", "rounds", "epochs_per_round"}
        size |= {"executions", "caution", "cross_validation"}
        return self.model_dump(exclude=size, exclude_none=True)


class Range(_Section):
    """What a hyperparameter may be: exactly one of the first five."""

    uniform: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Even between two bounds."""
    log_uniform: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Even in the logarithm between two positive bounds."""
    integer: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    """An integer between two bounds, both included."""
    choice: Annotated[list[float], Field(min_length=1)] | None = None
    """One of these numbers, in a meaningful order: neighbours are tried."""
    category: Annotated[list[str] | list[float], Field(min_length=1)] | None = None
    """One of these numbers without an order; or of names, which stand for 0, 1, 2, ..."""
    when: Annotated[dict[str, float | list[float]], Field(min_length=1, max_length=1)] | None = None
    """Condition under which it counts: another hyperparameter, and the value or values that it
    must have. Elsewhere it is the middle of its range."""

    @model_validator(mode="after")
    def _check_one(self) -> "Range":
        if len(self.kinds) != 1:
            raise ValueError("give exactly one of uniform, log_uniform, integer, choice, category")
        return self

    @property
    def kinds(self) -> dict[str, list]:
        """The kind with its numbers."""
        return self.model_dump(exclude={"when"}, exclude_none=True)


class Comparison(_Section):
    """The default network that the tuned one is set against, and how often each is made."""

    seeds: Annotated[int, Field(ge=2)] = 6
    """With how many seeds the default network is trained."""
    searches: Annotated[int, Field(ge=2)] = 3
    """How many times the whole search is made, with other seeds: the spread of what comes out is
    the uncertainty of tuning. The first search gives the network of the run."""


class Config(_Section):
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
