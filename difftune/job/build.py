"""From each section of an analysis file to the object of the library that it says."""

import inspect
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from flax import nnx

from difftune.analysis import (
    FIGURES,
    Elimination,
    Figure,
    as_figure,
)
from difftune.binning import BinningRule, Learned, as_binning, learned_in
from difftune.data import (
    Events,
    FeatureVariation,
    Friend,
    Objects,
    Process,
    TreeVariation,
    WeightVariation,
    read,
)
from difftune.errors import InputError
from difftune.histfactory import FreeNormalisation, Luminosity, NormalisationUncertainty
from difftune.job import fields
from difftune.job.config import (
    CONDITION,
    METRIC,
    MODEL,
    OBJECTIVE,
    OPTIMIZER,
    SEARCH,
    Config,
    MetricSection,
    ModelSection,
    ObjectiveSection,
    OptimizerSection,
    Range,
    Search,
    Training,
)
from difftune.job.measured_sections import (
    BINNING,
    TreeSystematic,
    WeightSystematic,
)
from difftune.job.objects import built, import_object, own_options
from difftune.models import Architecture, as_model
from difftune.objectives import (
    Metric,
    MultiObjective,
    Objective,
    Prediction,
    as_metric,
    as_objective,
)
from difftune.registry import Entry
from difftune.search import (
    KINDS,
    Dimension,
    Replicated,
    Space,
    Strategy,
    Watcher,
    as_strategy,
    when,
)
from difftune.seeds import derived
from difftune.training import (
    AllOf,
    Condition,
    LossGap,
    Optimizer,
    Recipe,
    ScoreGap,
    SelectionRule,
    ShapeChi2,
    ShapeKS,
    as_condition,
    as_optimizer,
)

logger = logging.getLogger("difftune")
Binning = BinningRule | dict[str, BinningRule]
"""How bin edges are chosen; by name of the region, where one has a way of its own."""
T = TypeVar("T")


def elimination(config: Config) -> Elimination | None:
    """How variables are eliminated; compared by the loss until the events are known."""
    if config.selection is None:
        return None
    return Elimination(
        **config.selection.model_dump(exclude={"score"}),
        seed=derived(config.general.seed, "variables"),
    )


def figure(config: Config) -> Figure:
    """The figure of merit."""
    given = config.fit.figure
    if given in FIGURES or ":" not in given:
        return _in("fit.figure", lambda: as_figure(given))
    found = import_object(given, "fit.figure")
    return _in("fit.figure", lambda: as_figure(found))


def watcher(config: Config) -> Callable[[Path], Watcher] | None:
    """What makes one who looks on at a run, besides its log, of the run directory.

    Raises:
        InputError: There is no such thing.
    """
    given = config.general.watcher
    if given is None:
        return None
    make = import_object(given, "general.watcher")

    def watching(folder: Path) -> Watcher:
        made = make(folder)
        if not isinstance(made, Watcher):
            raise InputError(
                f"general.watcher: {given} makes a {type(made).__name__}; it has to make a "
                "difftune.search.Watcher of a folder."
            )
        return made

    return watching


def _in(place: str, make: Callable[[], T]) -> T:
    """What is made, or an error that says where it was asked for."""
    try:
        return make()
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def events(config: Config, progress: Any = None) -> Events:
    """Reads the events of an analysis."""
    data = config.data
    variations: list[Any] = []
    for systematic in config.systematics:
        match systematic.type:
            case "weight":
                variations.append(
                    WeightVariation(
                        systematic.name,
                        systematic.up,
                        systematic.down,
                        systematic.samples,
                        **_sums(systematic),
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
                        **_sums(systematic),
                    )
                )
            case "features":
                variations.append(
                    FeatureVariation(
                        systematic.name, systematic.up, systematic.down, systematic.samples
                    )
                )
            case "field":
                variations += fields.variations(systematic)
    found = read(
        data.files,
        processes=[Process(**sample) for sample in fields.weighted(config)],
        features=data.features,
        target=data.target,
        weight=data.weight,
        event_number=data.event_number,
        derived=data.derived,
        categories=data.categories,
        selection=data.selection,
        missing=data.missing,
        folds=data.folds,
        duplicates=data.duplicates,
        friends=[Friend(**friend.model_dump()) for friend in data.friends],
        defaults=data.defaults,
        variations=variations,
        regions=[region.region() for region in config.regions],
        objects={name: Objects(**dict(each)) for name, each in data.objects.items()},
        luminosity=data.luminosity,
        sum_of_weights=data.model_dump()["sum_of_weights"],
        progress=progress,
        cache=data.cache,
    )
    if data.scale == 1:
        return found
    return found.scaled(
        np.array([1.0 if process.role == "data" else data.scale for process in found.processes])
    )


def _sums(systematic: WeightSystematic | TreeSystematic) -> dict[str, Any]:
    """Its own sums of generated weights."""
    return systematic.model_dump(include={"sum_of_weights_up", "sum_of_weights_down"})


def model(config: Config) -> Architecture:
    """The network's recipe."""
    section = config.model
    assert section.module is not None, "the schema puts the default there"
    if section.module in MODEL.registry:
        return built(section, MODEL, config, "model", as_model)
    found, given = import_object(section.module, "model.module"), section.options(ModelSection)
    # What a network is called with is no option.
    entry = Entry(found, fixed=dict.fromkeys(("inputs", "outputs", "rngs")))
    unread = [key for key in given if key not in entry.options and MODEL.names_with(key)]
    if unread:
        logger.warning(
            "model.%s has no effect: %s has no such option.",
            ", model.".join(unread),
            section.module,
        )
    given = {key: value for key, value in given.items() if key not in unread}
    given = own_options(entry, given, MODEL, section.module, "model")
    if inspect.isclass(found) and not issubclass(found, nnx.Module):
        return as_model(found(**given))
    return partial(found, **given) if given else found


def optimizer(
    config: Config,
    given: str | OptimizerSection | list[str] | None = None,
    where: str = "training.optimizer",
) -> Optimizer:
    """The optimizer, or those among which each member has its own.

    Args:
        config: The file.
        given: What it says of it, by default that of `[training]`.
        where: The place in the file.
    """
    given = config.training.optimizer if given is None else given
    if isinstance(given, list) or given in OPTIMIZER.registry:
        return as_optimizer(given)
    return built(given, OPTIMIZER, config, where, as_optimizer)


def objective(
    config: Config, sections: Sequence[ObjectiveSection] | None = None, where: str = "objective"
) -> Objective:
    """The loss: the sum of the scaled terms.

    Args:
        config: The file.
        sections: Of the terms, by default those of `[[objective]]`.
        where: Their place in the file.
    """
    terms = []
    for number, section in enumerate(config.objective if sections is None else sections):
        place = f"{where}.{number}"
        term = built(section, OBJECTIVE, config, place, as_objective, **_measured(config))
        terms.append(term if section.scale == 1.0 else term * section.scale)
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def fitting(loss: Objective, config: Config, where: str) -> Objective:
    """Refuses a loss of targets where there are none, and one of classes where there are targets.

    And one that does not learn each sample as a class, where these make the regions.

    Args:
        loss: What networks minimise.
        config: The file.
        where: Its place there.

    Raises:
        InputError: It is of the other kind.
    """
    regression = config.data.target is not None
    name = type(loss).__name__
    if isinstance(loss.outputs, Prediction) == regression:
        if config.fit.categories and loss.outputs != "processes":
            raise InputError(
                f"{where}: {name} does not learn each sample as a class, and fit.categories makes "
                "regions of the most probable one: take categorical_cross_entropy, or leave "
                "fit.categories out."
            )
        return loss
    if regression:
        raise InputError(
            f"{where}: {name} tells classes apart, and [data] has a target: take huber, quantile "
            "or gaussian_nll, which learn it; or leave the target out."
        )
    raise InputError(
        f"{where}: {name} learns targets of the events, and none is named: write target in [data], "
        'as target = "true_energy".'
    )


def _measured(config: Config) -> dict[str, Any]:
    """The uncertainties of the measurement, for what is a function of its statistical model."""
    return {name: value for name, value in nuisances(config).items() if name != "poi"}


def metric(config: Config) -> Metric | None:
    """The validation score, or several; None for the figure of merit, which takes the events."""
    section = config.training
    if section.score == "figure":
        _no_options_of_scores(section)
        return None
    given = section.score if isinstance(section.score, list) else [section.score]
    names = [one if isinstance(one, str) else one.name for one in given]
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"training.score names {doubled[0]!r} more than once.")
    known = [METRIC.registry.entry(name).options for name in names if name in METRIC.registry]
    if section.robust_against and not any("parameters" in own for own in known):
        raise InputError("training.robust_against: the score is not robustness.")
    cut = "min_signal_efficiency"
    if section.min_signal_efficiency is not None and not any(cut in own for own in known):
        raise InputError(
            f"training.min_signal_efficiency does not belong to the score {' or '.join(names)!r}, "
            "which has no cut: take cut_significance or cut_ams."
        )
    scores = {
        name.rpartition(":")[2]: _score(one, config) for name, one in zip(names, given, strict=True)
    }
    return MultiObjective(scores) if len(scores) > 1 else next(iter(scores.values()))


def _no_options_of_scores(section: Training) -> None:
    """Refuses options of other scores than the figure of merit."""
    if section.robust_against:
        raise InputError("training.robust_against: the score is not robustness.")
    if section.min_signal_efficiency is not None:
        raise InputError(
            "training.min_signal_efficiency does not belong to the score 'figure', which has no "
            "cut: take cut_significance or cut_ams."
        )


def _score(given: str | MetricSection, config: Config) -> Metric:
    """One validation score; options of one that is no table stand beside it."""
    section = config.training
    if isinstance(given, str) and given in METRIC.registry:
        known = METRIC.registry.entry(given).options
        beside: dict[str, Any] = {
            "bins": max(section.score_bins, 2 if "mc_statistics" in known else 1),
            "parameters": section.robust_against,
        }
        if section.min_signal_efficiency is not None:
            beside["min_signal_efficiency"] = section.min_signal_efficiency
        given = METRIC.read({"name": given} | {k: v for k, v in beside.items() if k in known})
    return built(given, METRIC, config, "training.score", as_metric, **_measured(config))


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
    for number, one in enumerate(section.overtraining):
        place = f"training.overtraining.{number}"
        asked.append(built(one, CONDITION, config, place, as_condition))
    return asked[0] if len(asked) == 1 else AllOf(asked)


def selection_rule(config: Config) -> SelectionRule:
    """What epochs and members are compared by."""
    section = config.training
    return SelectionRule(n_sigma=section.score_sigmas, ema_decay=section.score_memory)


def recipe(config: Config) -> Recipe:
    """How a network is trained; the figure of merit is yet to be put in as its metric."""
    section, score = config.training, metric(config)
    return Recipe(
        model=model(config),
        objective=fitting(objective(config), config, "objective"),
        metric=score,  # type: ignore[arg-type]
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
        scaling=config.data.scaling,
        target_scaling=config.data.target_scaling,
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
    return space_of(config.space, "space")


def space_of(sections: Mapping[str, Range], where: str) -> Space:
    """A search space.

    Args:
        sections: What each hyperparameter may be.
        where: Their place in the file.
    """
    return Space(
        {
            name: _in(f"{where}.{name}", partial(dimension, section))
            for name, section in sections.items()
        }
    )


def strategy(config: Config) -> Strategy:
    """The search strategy."""
    return strategy_of(config.search, config, "search")


def strategy_of(section: Search, config: Config, where: str) -> Strategy:
    """A search strategy.

    Args:
        section: What the file says of it.
        config: The file.
        where: Its place there.
    """
    size = section.model_dump(include={"population", "rounds", "epochs_per_round", "minutes"})
    found = built(section, SEARCH, config, where, as_strategy, **size)
    return _repeated(replace(found, **size), section, config)


def _repeated(strategy: Strategy, section: Search, config: Config) -> Strategy:
    """With several executions of each trial, where they are asked for."""
    if section.cross_validation and config.data.cross_fit:
        raise InputError(
            "search.cross_validation = true: with cross-fitting each network is validated on one "
            "fold that its test does not touch; take search.executions, or data.cross_fit = false."
        )
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
        if section.ensemble == "trial":
            raise InputError(
                "search.ensemble = 'trial': there is one training of each trial and nothing to "
                "average; give search.executions, search.cross_validation = true, or "
                "search.ensemble = 'greedy'."
            )
        return strategy
    return Replicated(
        strategy=strategy, executions=executions, std_penalty=section.std_penalty, folds=folds
    )


def binning(config: Config) -> Binning:
    """How the bin edges are chosen; by name of the region, where one has a way of its own.

    Raises:
        InputError: It is unknown, a key does not belong to it, or no edges will have been trained.
    """
    common = _common_binning(config)
    own = {}
    for number, region in enumerate(config.regions):
        place = f"regions.{number}.binning"
        if isinstance(region.binning, list):
            own[region.name] = as_binning(region.binning)
        elif region.binning is not None:
            own[region.name] = built(region.binning, BINNING, config, place, as_binning)
            if isinstance(own[region.name], Learned):
                raise InputError(f"{place}: trained edges are for all regions; say so in [fit].")
    scored = [each.name for each in config.regions if each.edges is None and each.region().scored]
    signal = [each.name for each in config.regions if each.role == "signal"]
    return {name: common for name in scored if name in signal} | own if own else common


def _common_binning(config: Config) -> BinningRule:
    """How the bin edges are chosen where a region has no way of its own."""
    section = config.fit
    given = section.binning
    # A file that was written back names the defaults, too.
    beside = {
        name: value
        for name in ("bins", "min_background", "max_mc_uncertainty")
        if (value := getattr(section, name)) != type(section).model_fields[name].default
    }
    if isinstance(given, list):
        for option in beside:
            raise InputError(f"fit.{option} does not belong to edges that are given; leave it out.")
        return as_binning(given)
    rule = built(given, BINNING, config, "fit.binning", as_binning, beside=beside)
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
