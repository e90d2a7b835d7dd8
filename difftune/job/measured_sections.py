"""Tables of the analysis file on what is measured: events, processes, uncertainties, the fit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, field_validator, model_validator
from pydantic_core import core_schema

from difftune.binning import RULES
from difftune.data import Friend, Region, SumOfWeights, TargetScaling
from difftune.errors import InputError
from difftune.fields import DOMAINS
from difftune.job.schema import Choice, Count, Fraction, Name, Positive, Section
from difftune.registry import Registry


class SumOfWeightsSection(Section):
    """Where the sum of generated weights is written: in a tree or in a histogram."""

    tree: str | None = None
    """Name of the tree: one of metadata, such as `Runs`, or that of the events, where none has been
    left out."""
    branch: str | None = None
    """What is summed over its entries: a branch, or an expression of branches."""
    histogram: str | None = None
    """Name of the histogram; `*` stands for what differs from file to file."""
    bin: int | str | None = None
    """Number of its bin, counted from 1 as ROOT does, or the label of the bin."""

    @model_validator(mode="after")
    def _check_one(self) -> "SumOfWeightsSection":
        try:
            SumOfWeights(**self.model_dump())
        except InputError as error:
            raise ValueError(str(error)) from None
        return self


class _Sum:
    """Takes a number or a table, and says what is wrong with the one that is there."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Calls `read`, whatever the annotation says."""
        return core_schema.no_info_plain_validator_function(self.read)

    def read(self, value: Any) -> Any:
        """The number or the section.

        Raises:
            ValidationError: It is neither, or none that can be.
        """
        if value is None or isinstance(value, SumOfWeightsSection):
            return value
        if isinstance(value, Mapping):
            return SumOfWeightsSection.model_validate(value)
        return TypeAdapter(Positive).validate_python(value, strict=True)


class FriendSection(Section):
    """A tree with further columns of the same events."""

    files: str | list[str] | None = None
    """Where it is; `{name}` in it stands for the name of the file that it is a friend of, without
    its folder and ending. Without them it is in the same file."""
    tree: str | None = None
    """Name of the tree, in which `{tree}` stands for that of the tree that it is a friend of;
    without it, the file has just one."""
    key: list[str] | None = None
    """Columns of whole numbers, in both, that tell events apart, as `["run", "lumi", "event"]`.
    Without them both have the same events in the same order."""

    @model_validator(mode="after")
    def _check_place(self) -> "FriendSection":
        try:
            Friend(**self.model_dump())
        except InputError as error:
            raise ValueError(str(error)) from None
        return self


GeneratedWeights = Annotated[Positive | SumOfWeightsSection | None, _Sum()]


class ObjectsSection(Section):
    """A collection of objects, such as the jets of an event."""

    branches: Annotated[list[str], Field(min_length=1)] | dict[str, str]
    """What each object has: expressions of branches with a value for each object; or a table of
    them by names of your own, as `{ pt = "Jet_pt / 1000", eta = "Jet_eta" }`."""
    max: Count
    """How many objects of an event are kept."""
    order: str | None = None
    """Expression by which objects are sorted, the smallest value first: `"-Jet_pt"` for the hardest
    first. Without it they stay in the order of the file."""
    selection: str | None = None
    """Expression that is true for the objects to keep."""

    @field_validator("branches", mode="before")
    @classmethod
    def _check_branches(cls, given: Any) -> Any:
        each = given.values() if isinstance(given, dict) else given
        if isinstance(given, list | dict) and any(isinstance(one, list) for one in each):
            raise ValueError(
                "each is an expression, a string; of flat branches brackets make a list: "
                'branches = { pt = "[jet1_pt, jet2_pt]", eta = "[jet1_eta, jet2_eta]" }'
            )
        return given


class Data(Section):
    """Where the events are and which columns they have."""

    files: str | list[str] | None = None
    """Paths, globs or addresses (`root://...`) of the files of all samples that name none
    themselves; paths are seen from the folder of the analysis file, and `$NAME` in them stands for
    a variable of the environment. ROOT, Parquet or CSV."""
    features: list[str] = []
    """Inputs of the network: columns, or names of `derived` ones. May be left out where there are
    `objects`."""
    objects: dict[Name, ObjectsSection] = {}
    """Further inputs: those of collections of objects, such as the jets of an event, by name."""
    target: str | Annotated[list[str], Field(min_length=1)] | dict[str, str] | None = None
    """What a [regression](regression.md#in-the-analysis-file) learns of each simulated event: a
    column, a derived feature or an expression; several as a list, or by names of your own as
    `{ energy = "true_e / 1000" }`. Without it networks tell signal from background."""
    target_scaling: TargetScaling = "standard"
    """Scale on which targets are learned: that of mean 0 and standard deviation 1, or `log`, that
    of their logarithm; residuals are then relative."""
    weight: str = "1"
    """Expression for the weight of a simulated event, in expected events: the weights of a
    sample add up to its expected yield."""
    luminosity: Positive | None = None
    """In 1/fb, of samples with a `cross_section`. [Another one](ntuples.md#another-luminosity) of a
    finished run trains nothing: `difftune report RUN --luminosity 300`."""
    sum_of_weights: GeneratedWeights = None
    """Of samples with a `cross_section`, where they have none themselves: the sum of the generated
    weights of all files of a sample, as `{ tree = "Runs", branch = "genEventSumw" }` or
    `{ histogram = "CutBookkeeper_*_NOSYS", bin = 2 }`."""
    scale: Positive = 1.0
    """Factor on all weights of simulated events, nominal and varied: for another luminosity than
    that of the weights, where these are in expected events."""
    event_number: str | list[str] | None = None
    """Column (or expression) that tells events apart; its value modulo `folds` is the
    fold. Or a list of columns that do so together, as `["run", "lumi", "event"]`. Without it the
    running number in the sample decides, and systematics of the type `tree` are refused."""
    duplicates: Literal["warn", "refuse", "allow"] = "warn"
    """What happens where a sample has events more than once, such as copies of a file: events of
    equal `event_number`, or without one of equal features and weight."""
    friends: list[FriendSection] = []
    """Trees with further columns of the same events."""
    defaults: dict[str, bool | float | str] = {}
    """Values of branches that some of the files lack, by name."""
    cache: bool | str = True
    """Whether events that took a second or longer to read are kept, and taken from there by the
    next start if neither files nor this section have changed: in difftune's folder among the caches
    of the user, or in the folder given here. `false` reads them each time."""
    selection: str | None = None
    """Expression that all events fulfil."""
    derived: dict[str, str] = {}
    """Further columns by name, as expressions; they may use each other."""
    categories: dict[str, Annotated[list[int | float | str], Field(min_length=1)]] = {}
    """Features that are categories, numbers or strings, with their values, as
    `{ n_jets = [2, 3, 4], flavour = ["e", "mu"] }`: each value becomes a feature, `n_jets_2`, that
    is 1 where it holds."""
    missing: float | list[float] | dict[str, float | list[float]] | None = None
    """The value or values that mean "missing", such as -999; `nan` is one only if given. For all
    columns, or as a table by column, in which `"*"` stands for all others:
    `{"*" = -999, charge = []}`."""
    impute: Literal["median", "mean"] | float = "median"
    """What the network gets in the place of a missing value: the median or mean of the
    training events, or a number."""
    scaling: Literal["standard", "robust"] = "standard"
    """How features are brought to a common scale: by mean and standard deviation, or by median
    and interquartile range, after which values that are far out are drawn in."""
    missing_indicators: bool = False
    """Whether the network also gets, for each feature with missing values, a column
    that is 1 where it is missing."""
    folds: Annotated[int, Field(ge=3)] = 5
    """How many folds the events are split into."""
    cross_fit: bool | None = None
    """Whether every event is measured, each by networks that have not seen it: for each fold one
    search and network on the others, of which the next one validates. So the templates hold all
    simulated events. By default it is so where `event_number` is given and neither
    `validation_folds` nor `test_folds` is."""
    validation_folds: Annotated[list[int], Field(min_length=1)] = [3]
    """Without cross-fitting: folds that choices rest on: scores, early stopping, hyperparameters.
    """
    test_folds: Annotated[list[int], Field(min_length=1)] = [4]
    """Without cross-fitting: folds that the result rests on."""

    @field_validator("missing", mode="before")
    @classmethod
    def _check_missing(cls, value: Any) -> Any:
        values = value.values() if isinstance(value, dict) else [value]
        numbers = [n for one in values for n in (one if isinstance(one, list) else [one])]
        if value is not None and not all(type(number) in (int, float) for number in numbers):
            raise ValueError(
                f"{value!r} is neither a number, nor a list of numbers, nor a table of these by "
                "column, as in { charge = -9 } (nan is a number)"
            )
        return value

    @field_validator("event_number", mode="before")
    @classmethod
    def _check_event_number(cls, value: Any) -> Any:
        names = value if isinstance(value, list) else [value]
        if value is not None and not (names and all(isinstance(name, str) for name in names)):
            raise ValueError(
                f"{value!r} is neither the name of a column nor a list of names, as in "
                '["run", "event"]'
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _decide_cross_fit(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("cross_fit") is None:
            split = {"validation_folds", "test_folds"} & set(given)
            decided = given.get("event_number") is not None and not split
            return {**given, "cross_fit": decided}
        return given

    @model_validator(mode="after")
    def _check_inputs(self) -> "Data":
        if not self.features and not self.objects:
            raise ValueError(
                "features is missing or empty: give columns, or names of derived ones, as inputs "
                "of the network; or objects"
            )
        return self

    @model_validator(mode="after")
    def _check_luminosity(self) -> "Data":
        if self.luminosity is not None and self.scale != 1:
            raise ValueError(
                f"luminosity = {self.luminosity:g} and scale = {self.scale:g} contradict each "
                "other: give the luminosity that is wanted, and leave scale out"
            )
        return self

    @model_validator(mode="after")
    def _check_folds(self) -> "Data":
        if self.cross_fit and self.event_number is None:
            raise ValueError(
                "cross_fit = true wants event_number, by which each event, simulated and observed, "
                "finds the network that has not seen it"
            )
        if self.cross_fit:
            return self
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


class PartSection(Section):
    """A part of a sample with files of its own. What it does not say, its sample says for it."""

    name: Name
    """Its name in messages and in the table of normalisations."""
    files: str | list[str] | None = None
    """Its files."""
    tree: str | list[str] | None = None
    """Its tree, or trees: see `[[samples]]`."""
    selection: str | None = None
    """Expression that its events fulfil, besides those of the sample and of all."""
    weight: str | None = None
    """Expression for its weight."""
    cross_section: Positive | None = None
    """In pb."""
    k_factor: Positive | None = None
    """Factor on the cross-section."""
    sum_of_weights: GeneratedWeights = None
    """Sum of the generated weights of its files."""
    luminosity: Positive | None = None
    """In 1/fb, of a part that stands for a period of data taking."""


class Sample(Section):
    """One process."""

    name: Name
    """Its name in tables, templates and the workspace."""
    role: Literal["signal", "background", "data"] = "background"
    """What it is. `data` are observed events: they are fitted, and play no role in the training."""
    files: str | list[str] | None = None
    """Its files, where they are not those of `[data]`."""
    tree: str | list[str] | None = None
    """Name of its tree (ROOT only); may be left out if the files hold just one. A pattern such as
    `*/CollectionTree`, or several names or patterns, for several trees of each file."""
    selection: str | None = None
    """Expression that its events fulfil, besides the common selection."""
    weight: str | None = None
    """Expression for its weight, in the place of the common one. Data have the weight 1 unless
    one is given here."""
    cross_section: Positive | None = None
    """Cross-section in pb of what was generated, branching fractions and filter efficiencies
    included. With it, weights are generated ones: they are multiplied by `data.luminosity`,
    cross-section and `k_factor`, and divided by `sum_of_weights`."""
    k_factor: Positive = 1.0
    """Factor on the cross-section."""
    sum_of_weights: GeneratedWeights = None
    """Sum of the generated weights of its files, a number or where it is written, in the place of
    that of `[data]`."""
    parts: list[PartSection] = []
    """Slices, periods or streams that it consists of, each with files, selection, weight and
    normalisation of its own: `[[samples.parts]]`."""


class Varied(Section):
    """An uncertainty, of the type that it names."""

    name: Name
    """Name of the uncertainty."""
    type: str
    """`weight`, `tree`, `features`, `field` or `normalisation`."""


class WeightSystematic(Varied):
    """Another weight for the same events."""

    type: Literal["weight"]
    """`weight`."""
    up: str
    """Expression that takes the place of the whole weight; `{weight}` stands for the nominal one,
    as in `"{weight} * btag_up"`."""
    down: str | None = None
    """The same for the other direction; without it, `up` is mirrored."""
    samples: list[str] | None = None
    """Samples that it applies to; all simulated ones by default."""
    sum_of_weights_up: GeneratedWeights = None
    """Of samples with a `cross_section`: the sum of the varied generated weights, where it is not
    the nominal one, as `{ tree = "Runs", branch = "genEventSumw * LHEScaleSumw[8]" }`."""
    sum_of_weights_down: GeneratedWeights = None
    """The same for the other direction."""


class TreeSystematic(Varied):
    """Another tree, or other files; `{tree}` stands for the nominal tree."""

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
    sum_of_weights_up: GeneratedWeights = None
    """Of samples with a `cross_section`: the sum of the generated weights of `files_up`; by default
    it is found in them where the nominal one is."""
    sum_of_weights_down: GeneratedWeights = None
    """The same for the other direction."""


class FeatureSystematic(Varied):
    """Other branches in the place of features."""

    type: Literal["features"]
    """`features`."""
    up: dict[str, str]
    """For each varied column the column or expression that takes its place; selection, weight and
    derived columns follow."""
    down: dict[str, str] | None = None
    """The same for the other direction; without it, `up` is mirrored."""
    samples: list[str] | None = None
    """Samples that it applies to; all simulated ones by default."""


class FieldDomain(Section):
    """A domain of a field, or one of those whose product it lives on."""

    kind: str
    """One of the names below."""
    at: dict[str, str]
    """For each coordinate, by its name in the file, the expression of the events that it is: `{ pt
    = "jet_pt" }`. A sphere has two, colatitude and azimuth, in this order."""


DOMAIN = Choice(DOMAINS, FieldDomain, key="kind", own=False)


class FieldSystematic(Varied):
    """Factors that were measured here and there, made a smooth map. It is varied by its modes."""

    type: Literal["field"]
    """`field`."""
    file: str
    """The measurements: CSV or JSON with a column for each coordinate, as `pt`, or two with the
    edges of bins, as `pt_low` and `pt_high`; `value`; `error`; and `correlated_NAME` for each error
    that is common to all. Or a histogram, `file.root:name`."""
    domains: Annotated[list[Annotated[FieldDomain, DOMAIN]], Field(min_length=1)]
    """What it lives on: `[[systematics.domains]]`, one for each domain."""
    modes: Count = 3
    """How many modes of the uncertainty become nuisance parameters, `NAME_mode1` and so on. The log
    says which share of the variance they hold."""
    nominal: bool = False
    """Whether weights are multiplied by the map. Else they have such factors already, and the map
    only varies them."""
    positive: bool = True
    """Whether the map is above 0 everywhere: the exponential of a Gaussian field."""
    product: bool = False
    """Whether coordinates are lists, as those of all jets: an event has the product of the factors
    of its objects."""
    samples: list[str] | None = None
    """Samples that it applies to; all simulated ones by default."""


class NormalisationSystematic(Varied):
    """A relative uncertainty of a yield: 0.06 is 6 %."""

    type: Literal["normalisation"]
    """`normalisation`."""
    up: Annotated[float, Field(gt=-1.0)]
    """Relative change of the yield at plus one standard deviation: 0.06 is 6 %."""
    down: Annotated[float, Field(gt=-1.0)] | None = None
    """The same at minus one standard deviation; `-up` if not given."""
    samples: Annotated[list[str], Field(min_length=1)]
    """Samples that it applies to."""


SYSTEMATICS = Registry(
    "systematic",
    "",
    {
        "weight": WeightSystematic,
        "tree": TreeSystematic,
        "features": FeatureSystematic,
        "field": FieldSystematic,
        "normalisation": NormalisationSystematic,
    },
)
Systematic = Annotated[
    WeightSystematic
    | TreeSystematic
    | FeatureSystematic
    | FieldSystematic
    | NormalisationSystematic,
    Choice(SYSTEMATICS, Varied, key="type", own=False),
]


class NormFactor(Section):
    """A yield that the fit determines."""

    name: Name
    """Name of the parameter."""
    samples: Annotated[list[str], Field(min_length=1)]
    """Samples whose yields it scales."""
    bounds: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.0, 10.0]
    """Range in the fit; must contain 1."""


class Binning(Section):
    """A way of choosing bin edges with its options."""

    name: str
    """One of the names below; or one of your own as `file.py:name` or `package.module:name`."""


BINNING = Choice(RULES, Binning, bare=True, least=2, element=float)


class RegionSection(Section):
    """A region of the phase space, which is a channel of the fit."""

    name: Name
    """Its name, which is that of the channel."""
    selection: str
    """Expression that its events fulfil, besides the common selection and that of their sample. No
    event is in two regions, and one that is in none is not kept."""
    role: Literal["signal", "control", "validation"] = "signal"
    """What it is for: `signal`, where networks are trained and the signal is measured; `control`,
    which the fit takes in to determine backgrounds; `validation`, which is never fitted, and shows
    whether what was fitted elsewhere holds there."""
    observable: str | None = None
    """What its bins are of: `score`, that of the network (by default for the signal); `count`, one
    bin of all its events (by default elsewhere); or an expression of columns, with `edges`."""
    edges: Annotated[list[float], Field(min_length=2)] | None = None
    """Bin edges; what lies outside is counted in the outer bins. Those of the score are chosen
    where they are not given."""
    binning: Annotated[str | Binning | list[float] | None, replace(BINNING, optional=True)] = None
    """How the edges of the score are chosen, where not as `[fit]` says, for a signal region. Other
    regions have the edges of the first signal region."""

    @model_validator(mode="after")
    def _check_bins(self) -> "RegionSection":
        try:
            region = self.region()
        except InputError as error:
            raise ValueError(str(error)) from None
        if self.binning is not None and not region.scored:
            raise ValueError(
                f"region {self.name!r}: binning is of the score, and its observable is "
                f"{region.observable!r}; leave it out"
            )
        if self.binning is not None and self.edges is not None:
            raise ValueError(f"region {self.name!r} has edges and binning; leave one of them out")
        return self

    def region(self) -> Region:
        """What the library makes of it."""
        return Region(**self.model_dump(exclude={"binning"}))


class Fit(Section):
    """The statistical model and its bins."""

    region: Name = "signal_region"
    """Name of the region: the channel of the workspace."""
    poi: Name = "mu"
    """Name of the parameter of interest, the strength of all signal samples."""
    figure: str = "discovery"
    """The figure of merit, which is what networks are chosen by and what stands above the results:
    `precision`, the uncertainty σ(μ) of the signal strength; `discovery`, the expected
    significance; `limit`, the expected upper limit; or a function of your own, as `file.py:name`,
    of the statistical model (a `difftune.histfactory.Model`), the larger the better."""
    luminosity_uncertainty: Positive | None = None
    """Relative uncertainty of the luminosity, of all samples; none by default."""
    binning: Annotated[str | Binning | list[float], BINNING] = "equal_signal"
    """How bin edges are chosen, on training and validation events: `equal_signal`, `exact` (the
    largest expected significance), `gradient` (the smallest uncertainty of the signal strength,
    with the variations), `learned` (those that were trained with the network by a term with
    `learned_edges`; the networks to compare with get `equal_signal`), or the edges themselves. Or a
    function of your own, as `file.py:name`, called with scores, weights and whether an event is
    signal. A table gives more options, as in `{ name = "exact", bins = 12, candidates = 500 }`."""
    bins: Count = 15
    """Largest number of bins."""
    categories: bool = False
    """Whether there is [a region for each sample](objectives.md#a-region-for-each-process), of the
    events that the network finds most like it, in the place of `[[regions]]`. The network has to
    learn every sample as a class (`categorical_cross_entropy`)."""
    min_background: Annotated[float, Field(ge=0.0)] = 10.0
    """Least expected background of a bin, in events."""
    max_mc_uncertainty: Positive = 0.15
    """Largest relative statistical uncertainty of the simulated background of a bin."""
    blind_above: Fraction = 0.1
    """Observed events of signal regions are not looked at, nor those of other regions where the
    share of the signal is larger than this in a bin. Asimov data take their place: those that the
    fit of all other regions expects."""
    luminosity_scale: Positive = 1.0
    """Factor on all simulated events where they are measured, not where networks are trained:
    [another luminosity](ntuples.md#another-luminosity) of a finished run, which
    `difftune report RUN --luminosity 300` sets."""
    unblind: bool = False
    """Whether to look at all observed events; `--unblind` sets it."""
    prune: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Effects of a variation on the yield of a process, and on its shape in every bin, that are
    relatively no larger than this are dropped from the fit, region by region; 0 drops none."""
    noise: Literal["keep", "prune", "smooth"] = "keep"
    """What becomes of effects of variations that are no larger than their own statistical error,
    which a run names: `keep` them, `prune` them (yield and shape apart), or `smooth`: shapes become
    a polynomial of the number of the bin, or none at all, whichever the errors allow."""
