"""From the sections of an analysis file to the objects of the library."""

import importlib
import importlib.util
import inspect
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from difftune.binning import RULES, BinningRule, Learned, LearnedEdges, as_binning, learned_in
from difftune.data import (
    Events,
    FeatureVariation,
    Process,
    TreeVariation,
    WeightVariation,
    read,
)
from difftune.errors import InputError, nearest
from difftune.histfactory import FreeNormalisation, Luminosity, NormalisationUncertainty
from difftune.job.config import Config
from difftune.job.trained_sections import Objective as ObjectiveSection
from difftune.job.trained_sections import Range
from difftune.models import MLP, Model
from difftune.objectives import (
    FitModel,
    Metric,
    MetricOf,
    MultiObjective,
    Objective,
    Robustness,
    as_objective,
)
from difftune.objectives.named import FIT_SCORES, METRICS, OBJECTIVES, THROUGH_FIT
from difftune.search import (
    Dimension,
    Optuna,
    Replicated,
    Space,
    Strategy,
    when,
)
from difftune.search.kinds import KINDS
from difftune.search.named import STRATEGIES
from difftune.training import (
    AllOf,
    Condition,
    LossGap,
    Recipe,
    ScoreGap,
    SelectionRule,
    ShapeChi2,
    ShapeKS,
)
from difftune.training import optimizer as kinds_of_optimizer
from difftune.training.optimizers import Optimizer

NARROW = 1e-3
"""Width of the kernel where bins are to be all but hard."""


def events(config: Config, progress=None) -> Events:
    """Reads the events of an analysis."""
    data = config.data
    variations: list[Any] = []
    for systematic in config.systematics:
        match systematic.type:
            case "weight":
                variations.append(
                    WeightVariation(
                        systematic.name, systematic.up, systematic.down, systematic.samples
                    )
                )
            case "tree":
                variations.append(
                    TreeVariation(
                        systematic.name,
                        systematic.up,
                        systematic.down,
                        systematic.samples,
                        systematic.files_up,
                        systematic.files_down,
                    )
                )
            case "features":
                variations.append(
                    FeatureVariation(
                        systematic.name, systematic.up, systematic.down, systematic.samples
                    )
                )
    return read(
        data.files,
        processes=[Process(**sample.model_dump()) for sample in config.samples],
        features=data.features,
        weight=data.weight,
        event_number=data.event_number,
        derived=data.derived,
        selection=data.selection,
        missing=data.missing,
        folds=data.folds,
        duplicates=data.duplicates,
        variations=variations,
        progress=progress,
    )


def import_object(spec: str, what: str) -> Any:
    """What `file.py:name` or `package.module:name` stands for.

    Raises:
        InputError: When there is no such file, module or name, or it cannot be imported.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise InputError(f"{what} = {spec!r}: write file.py:name or package.module:name.")
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise InputError(f"{what} = {spec!r}: there is no file {path}.")
        module_spec = importlib.util.spec_from_file_location(path.stem, path)
        assert module_spec is not None
        assert module_spec.loader is not None
        module = importlib.util.module_from_spec(module_spec)
        sys.modules.setdefault(path.stem, module)
        module_spec.loader.exec_module(module)
    else:
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise InputError(f"{what} = {spec!r}: {error}.") from None
    if not hasattr(module, name):
        known = [n for n in vars(module) if not n.startswith("_")]
        raise InputError(f"{what} = {spec!r}: {place} has no {name!r}.{nearest(name, known)}")
    return getattr(module, name)


def model(config: Config) -> Model:
    """The network's recipe."""
    section = config.model
    if section.module is not None:
        return import_object(section.module, "model.module")
    activation = section.activation
    return MLP(
        hidden=tuple(section.hidden),
        activation=activation if isinstance(activation, str) else tuple(activation),
        normalisation=section.normalisation,
        dropout=section.dropout,
    )


def optimizer(config: Config) -> Optimizer:
    """The optimizer, or those among which each member has its own."""
    given = config.training.optimizer
    return kinds_of_optimizer(*([given] if isinstance(given, str) else given))


# What an analysis file says of the statistical model; the rest is that of the measurement.
FIT_OPTIONS = ("bins", "bandwidth", "kernel", "straight_through", "mc_statistics")


def _term(section: ObjectiveSection, config: Config) -> Objective:
    options, features = section.options, config.data.features
    learned = options.pop("learned_edges", False)
    if section.feature is not None:
        if section.feature not in features:
            raise InputError(
                f"objective.feature = {section.feature!r} is none of data.features."
                f"{nearest(section.feature, features)}"
            )
        options["feature"] = features.index(section.feature)
    if ":" in section.name:
        found = import_object(section.name, "objective.name")
        made: Any = found(**options) if inspect.isclass(found) else found
        return as_objective(made)
    every = OBJECTIVES | THROUGH_FIT
    if section.name not in every:
        raise InputError(
            f"objective.name = {section.name!r} is unknown."
            f"{nearest(section.name, every)} Choose one of {', '.join(every)}, or give "
            "your own as file.py:name."
        )
    cls: type = FitModel if section.name in THROUGH_FIT else OBJECTIVES[section.name]
    known = {
        name: parameter
        for name, parameter in inspect.signature(cls).parameters.items()
        if cls is not FitModel or name in FIT_OPTIONS
    }
    if learned:
        if "bins" not in known:
            raise InputError(f"objective.learned_edges: {section.name!r} has no bins.")
        options["bins"] = LearnedEdges(bins=options.get("bins", known["bins"].default))
    for option in options:
        if option not in known:
            raise InputError(
                f"objective.{option} does not belong to {section.name!r}, which knows "
                f"{', '.join(known) or 'no options'}."
            )
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise InputError(f"objective.{option} must be given for {section.name!r}.")
    if section.name in THROUGH_FIT:
        # The uncertainties are those of the measurement.
        more = {name: value for name, value in nuisances(config).items() if name != "poi"}
        return THROUGH_FIT[section.name](model=FitModel(**options, **more))
    return cls(**options)


def objective(config: Config) -> Objective:
    """The loss: the sum of the scaled terms."""
    terms = []
    for section in config.objective:
        term = _term(section, config)
        terms.append(term if section.scale == 1.0 else term * section.scale)
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def metric(config: Config) -> Metric:
    """The validation score, or several."""
    section = config.training
    names: list[str] = [section.score] if isinstance(section.score, str) else [*section.score]
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"training.score names {doubled[0]!r} more than once.")
    if section.robust_against and "robustness" not in names:
        raise InputError("training.robust_against: the score is not robustness.")
    cuts = {"cut_significance", "cut_ams"}
    if section.min_signal_efficiency is not None and not cuts & set(names):
        raise InputError(
            f"training.min_signal_efficiency does not belong to the score {' or '.join(names)!r}, "
            "which has no cut: take cut_significance or cut_ams."
        )
    scores = {name: _score(name, config) for name in names}
    return MultiObjective(scores) if len(scores) > 1 else scores[names[0]]


def _score(name: str, config: Config) -> Metric:
    section = config.training
    if name in FIT_SCORES:
        kind, power = FIT_SCORES[name]
        more = {key: value for key, value in nuisances(config).items() if key != "poi"}
        filled = FitModel(bins=max(section.score_bins, 2), bandwidth=(NARROW, NARROW), **more)
        own = {"parameters": section.robust_against} if kind is Robustness else {}
        return MetricOf(objective=kind(model=filled, **own), power=power)
    cls = METRICS[name]
    given = {"bins": section.score_bins, "min_signal_efficiency": section.min_signal_efficiency}
    known = inspect.signature(cls).parameters
    return cls(**{k: v for k, v in given.items() if k in known and v is not None})


def overtraining(config: Config) -> Condition:
    """The condition that a network must meet to be chosen: all that are asked for."""
    section = config.training
    asked: list[Condition] = [
        ScoreGap(limit=section.max_overtraining, sigmas=section.overtraining_sigmas)
    ]
    if section.max_loss_gap is not None:
        asked.append(LossGap(limit=section.max_loss_gap))
    if section.min_ks is not None:
        asked.append(ShapeKS(p_value=section.min_ks))
    if section.min_chi2 is not None:
        asked.append(ShapeChi2(p_value=section.min_chi2))
    return asked[0] if len(asked) == 1 else AllOf(asked)


def selection_rule(config: Config) -> SelectionRule:
    """What epochs and members are compared by."""
    section = config.training
    return SelectionRule(n_sigma=section.score_sigmas, ema_decay=section.score_memory)


def recipe(config: Config) -> Recipe:
    """How a network is trained."""
    section = config.training
    return Recipe(
        model=model(config),
        objective=objective(config),
        metric=metric(config),
        hyperparameters=config.hyperparameters,
        optimizer=optimizer(config),
        batch_size=section.batch_size,
        chunk=section.chunk,
        patience=section.patience,
        overtraining=overtraining(config),
        selection_rule=selection_rule(config),
        negative_weights=section.negative_weights,
        impute=config.data.impute,
        missing_indicators=config.data.missing_indicators,
    )


def dimension(section: Range) -> Dimension:
    """What a hyperparameter may be."""
    ((kind, values),) = section.kinds.items()
    own = KINDS[kind](*values)
    if section.when is None:
        return own
    ((name, needed),) = section.when.items()
    return when(name, *(needed if isinstance(needed, list) else [needed]), then=own)


def space(config: Config) -> Space:
    """The search space."""
    dimensions = {}
    for name, section in config.space.items():
        try:
            dimensions[name] = dimension(section)
        except InputError as error:
            raise InputError(f"space.{name}: {error}") from None
    return Space(dimensions)


def strategy(config: Config) -> Strategy:
    """The search strategy.

    Raises:
        InputError: For an option of another strategy.
    """
    section = config.search
    cls, options = STRATEGIES[section.strategy], section.options
    known = set(inspect.signature(cls).parameters) - {"sampler", "study"}
    for option in options:
        if option not in known:
            mine = sorted(known & set(type(section).model_fields))
            raise InputError(
                f"search.{option} does not belong to {section.strategy!r}, which knows "
                f"{', '.join(mine)}."
            )
    if cls is Optuna:
        options["sampler"] = section.strategy
        if "journal" in options:
            options["journal"] = Path(options["journal"])
    size = section.model_dump(include={"population", "rounds", "epochs_per_round"})
    return _repeated(cls(**size, **options), config)


def _repeated(strategy: Strategy, config: Config) -> Strategy:
    """With several executions of each trial, where they are asked for."""
    section = config.search
    executions, folds = section.executions, section.cross_validation
    if folds:
        number = config.data.folds - len(config.data.test_folds)
        if executions not in (None, number):
            raise InputError(
                f"search.executions = {executions}: with cross_validation there are as many as "
                f"folds that are not for the test, {number}; leave it out."
            )
        executions = number
    if executions is None:
        if section.ensemble:
            raise InputError(
                "search.ensemble = true: there is one training of each trial and nothing to "
                "average; give search.executions, or search.cross_validation = true."
            )
        return strategy
    return Replicated(
        strategy=strategy, executions=executions, std_penalty=section.std_penalty, folds=folds
    )


def binning(config: Config) -> BinningRule:
    """How the bin edges are chosen.

    Raises:
        InputError: It is unknown, a key does not belong to it, or no edges will have been trained.
    """
    section = config.fit
    given: Any = section.binning
    what = f"fit.binning = {given!r}"
    # The defaults are those of the classes; a file that was written back names them all.
    options = {
        name: value
        for name in ("bins", "min_background", "max_mc_uncertainty")
        if (value := getattr(section, name)) != type(section).model_fields[name].default
    }
    if isinstance(given, str):
        if ":" in given:
            given = import_object(given, "fit.binning")
        elif given not in RULES:
            raise InputError(
                f"{what} is unknown.{nearest(given, RULES)} Choose one of {', '.join(RULES)}, or "
                "give edges, or your own as file.py:name."
            )
        else:
            given = RULES[given]
    known = inspect.signature(given).parameters if inspect.isclass(given) else {}
    for option in options:
        if option not in known:
            raise InputError(f"fit.{option} does not belong to {what}; leave it out.")
    try:
        rule = as_binning(given(**options) if inspect.isclass(given) else given)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    if isinstance(rule, Learned):
        _check_learned(config)
    return rule


def _check_learned(config: Config) -> None:
    """Refuses a training after which there is no one set of trained edges."""
    count = len(list(learned_in(objective(config))))
    if count != 1:
        raise InputError(
            f"fit.binning = 'learned': {count or 'no'} terms of the objective train edges, and one "
            "must: give learned_edges = true to one of [[objective]] that has bins."
        )
    if config.search.ensemble:
        raise InputError(
            "fit.binning = 'learned': each network of an ensemble has edges of its own; take "
            "search.ensemble = false, or another binning."
        )


def nuisances(config: Config) -> dict[str, Any]:
    """What the statistical model has besides templates: arguments of `build_workspace`."""
    uncertainty = config.fit.luminosity_uncertainty
    return {
        "poi": config.fit.poi,
        "normalisation": [
            NormalisationUncertainty(s.name, s.up, s.down, tuple(s.samples))
            for s in config.systematics
            if s.type == "normalisation"
        ],
        "luminosity": None if uncertainty is None else Luminosity(uncertainty),
        "free": [
            FreeNormalisation(f.name, tuple(f.samples), (f.bounds[0], f.bounds[1]))
            for f in config.norm_factors
        ],
    }
