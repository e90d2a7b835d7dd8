"""The analysis file: what a TOML configuration may say, and what is wrong with it if it errs."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from difftune.errors import InputError, nearest

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class General(_Section):
    """What the run is called, where it goes, and the seed of everything random."""

    name: str = "analysis"
    label: str = "Simulation"
    detail: str = ""
    output: str = "run"
    seed: Annotated[int, Field(ge=0)] = 1


class Data(_Section):
    """Where the events are and which columns they have."""

    files: str | list[str] | None = None
    features: Annotated[list[str], Field(min_length=1)]
    weight: str = "1"
    event_number: str | None = None
    selection: str | None = None
    derived: dict[str, str] = {}
    missing: float | list[float] | None = None
    impute: Literal["median", "mean"] | float = "median"
    missing_indicators: bool = False
    folds: Annotated[int, Field(ge=3)] = 5
    validation_folds: Annotated[list[int], Field(min_length=1)] = [3]
    test_folds: Annotated[list[int], Field(min_length=1)] = [4]

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
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

    name: str
    role: Literal["signal", "background", "data"] = "background"
    files: str | list[str] | None = None
    tree: str | None = None
    selection: str | None = None
    weight: str | None = None


class WeightSystematic(_Section):
    """Another weight for the same events."""

    name: str
    type: Literal["weight"]
    up: str
    down: str | None = None
    samples: list[str] | None = None


class TreeSystematic(_Section):
    """Another tree, or other files; `{tree}` stands for the nominal tree."""

    name: str
    type: Literal["tree"]
    up: str = "{tree}"
    down: str | None = None
    files_up: str | list[str] | None = None
    files_down: str | list[str] | None = None
    samples: list[str] | None = None


class FeatureSystematic(_Section):
    """Other branches in the place of features."""

    name: str
    type: Literal["features"]
    up: dict[str, str]
    down: dict[str, str] | None = None
    samples: list[str] | None = None


class NormalisationSystematic(_Section):
    """A relative uncertainty of a yield: 0.06 is 6 %."""

    name: str
    type: Literal["normalisation"]
    up: Annotated[float, Field(gt=-1.0)]
    down: Annotated[float, Field(gt=-1.0)] | None = None
    samples: Annotated[list[str], Field(min_length=1)]


Systematic = Annotated[
    WeightSystematic | TreeSystematic | FeatureSystematic | NormalisationSystematic,
    Field(discriminator="type"),
]


class NormFactor(_Section):
    """A yield that the fit determines."""

    name: str
    samples: Annotated[list[str], Field(min_length=1)]
    bounds: Annotated[list[float], Field(min_length=2, max_length=2)] = [0.0, 10.0]


class Fit(_Section):
    """The statistical model and its bins."""

    region: str = "signal_region"
    poi: str = "mu"
    luminosity_uncertainty: Positive | None = None
    bins: Count = 15
    min_background: Annotated[float, Field(ge=0.0)] = 10.0
    max_mc_uncertainty: Positive = 0.1


class Model(_Section):
    """The network: difftune's MLP, or `file.py:name` of a Flax module of one's own."""

    module: str | None = None
    hidden: list[Count] = [64, 64]
    activation: str = "relu"
    normalisation: Literal["none", "batch", "layer"] = "none"
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class Objective(_Section):
    """One term of the loss: a built-in one by name, or `file.py:name` of one's own."""

    name: str
    scale: float | str = 1.0
    bins: Annotated[int, Field(ge=2)] | None = None
    bandwidth: list[Positive] | None = None
    form: Literal["linear", "log"] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the class is given."""
        return self.model_dump(include={"bins", "bandwidth", "form"}, exclude_none=True)


class Training(_Section):
    """How each member trains."""

    batch_size: Count = 1024
    patience: Count = 10
    negative_weights: Literal["keep", "absolute"] = "keep"
    max_overtraining: Positive = 0.1
    score_bins: Annotated[int, Field(ge=1)] = 20


class Search(_Section):
    """The strategy and its size."""

    strategy: Literal["pbt", "random"] = "pbt"
    population: Count = 16
    rounds: Count = 10
    epochs_per_round: Count = 4
    quantile: Annotated[float, Field(gt=0.0, le=0.5)] = 0.25
    perturbation: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    resample: Fraction = 0.1


class Range(_Section):
    """What a hyperparameter may be: exactly one of the four."""

    uniform: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    log_uniform: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    integer: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    choice: Annotated[list[float], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("give exactly one of uniform, log_uniform, integer, choice")
        return self


class Comparison(_Section):
    """The default network that the tuned one is set against, and how often both are trained."""

    seeds: Annotated[int, Field(ge=2)] = 5


class Config(_Section):
    """A whole analysis."""

    general: General = General()
    data: Data
    samples: Annotated[list[Sample], Field(min_length=2)]
    systematics: list[Systematic] = []
    norm_factors: list[NormFactor] = []
    fit: Fit = Fit()
    model: Model = Model()
    objective: Annotated[list[Objective], Field(min_length=1)] = [Objective(name="cross_entropy")]
    training: Training = Training()
    hyperparameters: dict[str, float] = {}
    search: Search = Search()
    space: dict[str, Range] = {}
    comparison: Comparison = Comparison()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
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


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads an analysis file.

    Args:
        path: TOML, or the `config.json` that a run leaves behind. Paths of data, modules and
            output in it are relative to its folder (output: to the working directory).
        overrides: `section.key=value` each, the value written as in TOML.

    Raises:
        InputError: Listing everything that is wrong, with the nearest right key.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such analysis file.")
    try:
        text = path.read_text()
        raw = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    for override in overrides:
        _apply(raw, override)
    return _absolute(check(raw, source=str(path)), path.resolve().parent)


def check(raw: Mapping[str, Any], *, source: str = "configuration") -> Config:
    """A configuration from nested dictionaries.

    Args:
        raw: What the file says.
        source: Name of the file, for messages.

    Raises:
        InputError: Listing everything that is wrong.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [f"{source}: {_explain(entry, raw)}" for entry in error.errors()]
        raise InputError("\n".join(dict.fromkeys(lines))) from None


def _apply(raw: dict[str, Any], override: str) -> None:
    """Sets one key of the nested dictionaries."""
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise InputError(f"--set {override!r}: write section.key=value.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise InputError(f"--set {override!r}: {section!r} is a list or value, not a section.")
    raw[last] = parsed


def _explain(entry: Mapping[str, Any], raw: Mapping[str, Any]) -> str:
    """One error of pydantic in the words of the analysis file."""
    where = _place(entry["loc"])
    place = ".".join(str(part) for part in where) or "file"
    kind = entry["type"]
    if kind == "extra_forbidden":
        known = _keys_at(Config, where[:-1], raw)
        return (
            f"unknown key {place!r}.{nearest(str(where[-1]), known)} "
            f"Known here: {', '.join(sorted(known))}."
        )
    if kind == "missing":
        return f"{place} is missing; it must be given."
    if kind == "value_error":
        reason = entry["ctx"]["error"]
        said = str(reason).rstrip(".")
        end = "" if said.endswith("?") else "."
        return f"{place}: {said}{end}" if where else f"{said}{end}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        given = entry.get("ctx", {}).get("tag")
        kinds = ("weight", "tree", "features", "normalisation")
        hint = nearest(str(given), kinds)
        return f"{place}.type = {given!r}: must be one of {', '.join(kinds)}.{hint}"
    hint = ""
    if kind == "literal_error":
        hint = nearest(str(entry["input"]), re.findall(r"'([^']*)'", entry["ctx"]["expected"]))
    return f"{place} = {entry['input']!r}: {entry['msg'].rstrip('.')}.{hint}"


def _place(location: Sequence[int | str]) -> list[int | str]:
    """Where in the file: the location without the names of the alternatives that pydantic tried."""
    tagged = location[:1] == ("systematics",) and len(location) > 2
    kept = [part for i, part in enumerate(location) if not (tagged and i == 2)]
    return [part for part in kept if str(part) not in ("str", "float") and "[" not in str(part)]


def _keys_at(model: type[BaseModel], where: Sequence[Any], raw: Any) -> set[str]:
    """The keys that a section may have."""
    if not where:
        return set(model.model_fields)
    section, *rest = where
    annotation = model.model_fields[str(section)].annotation
    value = raw[section]
    while rest and isinstance(rest[0], int | str) and not _is_section(annotation):
        value, rest = value[rest[0]], rest[1:]
        annotation = get_args(annotation)[-1]
    return _section_keys(annotation, rest, value)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _section_keys(annotation: Any, rest: Sequence[Any], value: Any) -> set[str]:
    if _is_section(annotation):
        return _keys_at(annotation, rest, value)
    # A systematic: the section is one of several, told apart by its type.
    options = [kind for part in get_args(annotation) for kind in (get_args(part) or (part,))]
    for option in options:
        if _is_section(option) and get_args(option.model_fields["type"].annotation) == (
            value.get("type"),
        ):
            return _keys_at(option, rest, value)
    return set()


def _absolute(config: Config, folder: Path) -> Config:
    """The same with every path of data and modules made absolute."""

    def files(value):
        if value is None:
            return None
        if isinstance(value, list):
            return [files(one) for one in value]
        return value if "://" in value else str(folder / value)

    def module(value):
        return str(folder / value) if value and ".py:" in value else value

    raw = config.model_dump()
    raw["data"]["files"] = files(raw["data"]["files"])
    for sample in raw["samples"]:
        sample["files"] = files(sample["files"])
    for systematic in raw["systematics"]:
        for key in ("files_up", "files_down"):
            if key in systematic:
                systematic[key] = files(systematic[key])
    raw["model"]["module"] = module(raw["model"]["module"])
    for objective in raw["objective"]:
        objective["name"] = module(objective["name"])
    return Config.model_validate(raw)
