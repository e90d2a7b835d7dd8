"""The verbs that train: one network of a recipe, or a search for the best one."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.given import TRAIN, TUNE
from difftune.analysis.preparation import CrossPreparation, Preparation
from difftune.analysis.progress import watching
from difftune.analysis.split import Split
from difftune.analysis.stages import (
    AnyTuned,
    CrossTuned,
    Stage,
    check_stage,
    checked_stage,
    in_stages,
    prepared,
    refitted,
    search_stage,
)
from difftune.analysis.tuned import Tuned, explained_search
from difftune.arguments import check_names, takes
from difftune.data import Events
from difftune.heartbeat import heartbeat
from difftune.search import PBT, FixedSchedule, Progress, Space, Strategy
from difftune.training import (
    SCHEDULES,
    CrossFitted,
    Processes,
    Recipe,
    SingleProcess,
    TrainedNetwork,
    batch_size_for,
    default_metric,
)

logger = logging.getLogger("difftune")

STEPS, EPOCHS = 4000, 20
"""Of a training of which nobody says how long it is: fewest steps, and fewest epochs."""


@takes(**TRAIN)
def train(
    events: Events | Split | CrossFit,
    recipe: Recipe | None = None,
    *,
    epochs: int | None = None,
    refit: bool | None = None,
    seed: int = 1,
    validation_folds: Sequence[int] = (3,),
    test_folds: Sequence[int] = (4,),
    regions: Sequence[str] = ("signal",),
    **parts: Any,
) -> TrainedNetwork | CrossFitted:
    """Trains one network, or one for each fold of a `CrossFit`.

    A table of what it did, epochs and scores, goes to the log
    (`logging.basicConfig(level="INFO")` shows it).

    Args:
        events: From `difftune.read`, or `Events.from_arrays`; or a `Split` of them, whose folds
            then count; or a `CrossFit`.
        recipe: How it is trained. If None, the default recipe, with a learning rate that falls to 0
            along a cosine, unless `hyperparameters` have a `schedule`.
        epochs: Length of the training, where it does not stop early; None for as many as make 4000
            steps, 20 at least.
        refit: Whether it is then trained anew on the events that validated, too, for as many passes
            as the best epoch had made; its schedule ends with them. By default if there is no
            recipe.
        seed: Decides everything random.
        validation_folds: Folds that decide when it stops and which epoch is kept.
        test_folds: Folds that are left alone.
        regions: Regions that it is trained on, by name or role, where the events have regions.
        **parts: Of `Recipe`, in place of those of the recipe: `train(events, model=...)`.

    Returns:
        The network of its best epoch, or the one that is trained anew. Where the best epoch is the
        last one, and no schedule has brought the
        learning rate to 0, a warning says so.

    Raises:
        InputError: When an argument does not fit, before anything is trained.
        SearchError: When no epoch met the overtraining condition.
    """
    trained_by = _recipe(recipe, parts, train)
    if recipe is None:
        own = {"schedule": float(SCHEDULES.index("cosine")), **trained_by.hyperparameters}
        trained_by = replace(trained_by, hyperparameters=own)
    preparation = prepared(
        _split(events, validation_folds, test_folds),
        trained_by,
        SingleProcess(),
        regions=regions,
    )
    if epochs is None:
        epochs = _enough_epochs(preparation)
    strategy = FixedSchedule(population=1, rounds=1, epochs_per_round=epochs, schedule={})
    population = checked_stage(preparation, strategy, Space(), seed=seed)
    with heartbeat("training the network"):
        trained = search_stage(preparation, strategy, Space(), seed=seed, population=population)
    every = trained.folds if isinstance(trained, CrossTuned) else (trained,)
    for each in every:
        logger.info("%s", training_table(each))
    at_end = sum(int(each.result.best.epoch[0]) == epochs - 1 for each in every)
    if at_end and not trained_by.hyperparameters.get("schedule"):
        logger.warning(
            "the best epoch is the last of %d%s: a longer training may give a better network, "
            "epochs=%d for instance.",
            epochs,
            f" in {at_end} of {len(every)} folds" if len(every) > 1 else "",
            2 * epochs,
        )
    if refit if refit is not None else recipe is None:
        with heartbeat("training the network on the validation events, too"):
            trained = refitted(trained, population)
    return trained.network


def _enough_epochs(preparation: Preparation | CrossPreparation) -> int:
    """Passes over the training events that make at least a few thousand steps."""
    sample = preparation.sample
    events = len(sample.rotation(0).train if isinstance(sample, CrossFit) else sample.train)
    size = (preparation.recipe.batch_sizes or (batch_size_for(events),))[0]
    return max(EPOCHS, math.ceil(STEPS * min(size, events) / max(events, 1)))


def training_table(trained: Tuned) -> str:
    """What a single training did: some of its epochs, and the one that was kept.

    Args:
        trained: A search with one member.
    """
    history, kept = trained.result.history, trained.ranking[0].epoch
    last = len(history.epoch) - 1
    shown = sorted({*range(0, last + 1, max(1, (last + 1) // 8)), last, kept})
    lines = [f"{'epoch':>6} {'loss':>10} {'validation':>10} {'score':>10}"]
    for epoch in shown:
        loss, validation = history.loss[epoch, 0], history.validation_loss[epoch, 0]
        lines.append(
            f"{epoch + 1:>6} {loss:>10.4g} {validation:>10.4g} {history.score[epoch, 0]:>10.4g}"
            + ("  kept" if epoch == kept else "")
        )
    return "\n".join(lines)


@takes(**TUNE)
def tune(
    events: Events | Split | CrossFit,
    recipe: Recipe | None = None,
    *,
    space: Space | None = None,
    search: Strategy | None = None,
    minutes: float | None = None,
    stages: Sequence[Stage] = (),
    seed: int = 1,
    validation_folds: Sequence[int] = (3,),
    test_folds: Sequence[int] = (4,),
    regions: Sequence[str] = ("signal",),
    checkpoints: Path | None = None,
    on_round: Callable[[Progress], None] | None = None,
    processes: Processes | None = None,
    **parts: Any,
) -> AnyTuned:
    """Tunes a network on events, by training a population of them.

    Of a `CrossFit` there is a search for each fold, on all others, side by side.

    Args:
        events: From `difftune.read`, or `Events.from_arrays`; or a `Split` of them, whose folds
            then count; or a `CrossFit`.
        recipe: How each member is trained; the default recipe if None.
        space: Hyperparameters to search, also as a mapping by name. None: only the random start
            values differ.
        search: The strategy, with its population, rounds and epochs per round; or its name, such
            as `"pbt"`, for one of default size.
        minutes: Wall time of the search, in place of the number of rounds of the strategy
            (`difftune.search.Strategy`).
        stages: Further stages of training, each from the best networks of the one before, with a
            recipe, space and search of its own.
        seed: Decides everything random.
        validation_folds: Folds that choices rest on.
        test_folds: Folds that are left alone until the result.
        regions: Regions that the networks are trained on, by name or role, where the events have
            regions.
        checkpoints: Folder for checkpoints; a search found there is continued, if it is the same
            in everything that defines its numbers.
        on_round: Called with the `Progress` of each round, of which there is a line in the log, too
            (`logging.basicConfig(level="INFO")` shows it); a `difftune.search.Watcher` is told of
            stages and epochs, too.
        processes: Those that share the members, from `difftune.training.connect`; all call this
            with the same arguments, and all get the same result.
        **parts: Of `Recipe`, in place of those of the recipe:
            `tune(events, model=..., objective=...)`.

    Returns:
        The networks, their ranking, and the history of the search: a `Tuned`, or a `CrossTuned`
        with one for each fold.

    Raises:
        InputError: When an argument does not fit, or the checkpoints are those of another search,
            before anything is trained.
    """
    recipe = _recipe(recipe, parts, tune)
    preparation = prepared(
        _split(events, validation_folds, test_folds),
        recipe,
        processes or SingleProcess(),
        regions=regions,
    )
    search = search or PBT()
    if minutes is not None:
        search = replace(search, minutes=minutes)
    first = Stage(name="search", recipe=recipe, space=space or Space(), search=search)
    every = [first, *stages]
    for stage in every:
        own = replace(preparation, recipe=stage.recipe)
        check_stage(own, stage.search, stage.space, seed=seed)
    folders = [checkpoints, *(_beside(checkpoints, number) for number in range(2, len(every) + 1))]
    with explained_search(checkpoints), heartbeat("preparing the search"):
        return in_stages(
            preparation,
            every,
            seed=seed,
            folders=folders,
            on_round=lambda name: watching(name, on_round),
        )[-1]


def _beside(folder: Path | None, number: int) -> Path | None:
    """Where a further stage leaves its checkpoints."""
    return None if folder is None else folder / f"stage_{number}"


def _split(
    events: Events | Split | CrossFit, validation: Sequence[int], test: Sequence[int]
) -> Split | CrossFit:
    if isinstance(events, Split | CrossFit):
        return events
    return Split(events=events, validation_folds=tuple(validation), test_folds=tuple(test))


def _recipe(recipe: Recipe | None, parts: dict[str, Any], verb: Callable[..., Any]) -> Recipe:
    """The recipe with some of its parts replaced.

    Raises:
        InputError: For a part that recipes have not.
    """
    own = [name for name in signature(verb).parameters if name != "parts"]
    check_names(verb.__name__, parts, [*own, *(field.name for field in fields(Recipe))])
    if recipe is None:
        return Recipe(**parts)
    if "objective" in parts and recipe.metric == default_metric(recipe.objective):
        parts = {"metric": None, **parts}
    return replace(recipe, **parts)
