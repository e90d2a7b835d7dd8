"""Tables of the analysis file on what is tuned: network, loss, training, search and its space."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from difftune.job.section import Count, Fraction, NotNegative, Positive, Section, Share


class Model(Section):
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


class Objective(Section):
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


class Training(Section):
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
    """Epochs without a larger selection score until a member stops."""
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


class Search(Section):
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
    min_rounds: Count | None = None
    """Rounds that a copied member is left alone; 1 (`pbt`, `pb2`)."""
    slow_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Share of the members that exploits seldom, a guard against greed; 0 (`pbt`, `pb2`)."""
    slow_interval: Count | None = None
    """Rounds between its exploits; 4 (`pbt`, `pb2`)."""
    ucb_beta: Positive | None = None
    """Standard deviations of the model that are added to its mean; 1 (`pb2`)."""
    points: Count | dict[str, Count] | None = None
    """Values of each hyperparameter; 3. A table gives some their own (`grid`)."""
    factor: Annotated[int, Field(ge=2)] | None = None
    """One of so many goes on at each comparison; 3 (`halving`)."""
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
    std_penalty: NotNegative = 0.0
    """Standard deviations over the executions that are taken off the mean."""
    cross_validation: bool = False
    """Whether each trial is trained once for each fold that is not for the test, and validated on
    that; in the place of `executions` and of the validation folds."""
    ensemble: bool = False
    """Whether the network of the run is the mean of all executions of the best trial, instead of
    the best one of them."""

    @property
    def options(self) -> dict[str, Any]:
        """What the strategy is given besides its size."""
        size = {"strategy", "population", "rounds", "epochs_per_round"}
        size |= {"executions", "std_penalty", "cross_validation", "ensemble"}
        return self.model_dump(exclude=size, exclude_none=True)


class Range(Section):
    """What a hyperparameter may be: exactly one of the first six."""

    uniform: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Even between two bounds."""
    log_uniform: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Even in the logarithm between two positive bounds."""
    integer: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    """A whole number between two bounds, both included."""
    log_integer: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    """The same evenly in the logarithm, from 1 on."""
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
    def kinds(self) -> dict[str, list]:
        """The kind with its numbers."""
        return self.model_dump(exclude={"when"}, exclude_none=True)


class Comparison(Section):
    """The default network that the tuned one is set against, and how often each is made."""

    seeds: Annotated[int, Field(ge=2)] = 6
    """With how many seeds the default network is trained."""
    searches: Annotated[int, Field(ge=2)] = 3
    """How many times the whole search is made, with other seeds: the spread of what comes out is
    the uncertainty of tuning. The first search gives the network of the run."""
