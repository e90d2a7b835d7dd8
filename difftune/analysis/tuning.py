"""The verbs that train: one network of a recipe, or a search for the best one."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

from difftune.analysis.given import TRAIN, TUNE
from difftune.analysis.preparation import Preparation
from difftune.analysis.progress import RoundLog
from difftune.analysis.split import Split
from difftune.analysis.tuned import Tuned, explained_search, search_networks
from difftune.arguments import check_names, takes
from difftune.data import Events
from difftune.search import PBT, FixedSchedule, Progress, Space, Strategy
from difftune.training import Processes, Recipe, SingleProcess, TrainedNetwork

logger = logging.getLogger("difftune")


@takes(**TRAIN)
def train(
    events: Events | Split,
    recipe: Recipe | None = None,
    *,
    epochs: int = 40,
    seed: int = 1,
    validation_folds: Sequence[int] = (3,),
    test_folds: Sequence[int] = (4,),
    regions: Sequence[str] = ("signal",),
    **parts: Any,
) -> TrainedNetwork:
    """Trains one network.

    A table of what it did, epochs and scores, goes to the log
    (`logging.basicConfig(level="INFO")` shows it).

    Args:
        events: From `difftune.read`, or `Events.from_arrays`; or a `Split` of them, whose folds
            then count.
        recipe: How it is trained; the default recipe if None.
        epochs: Length of the training, where it does not stop early.
        seed: Decides everything random.
        validation_folds: Folds that decide when it stops and which epoch is kept.
        test_folds: Folds that are left alone.
        regions: Regions that it is trained on, by name or role, where the events have regions.
        **parts: Of `Recipe`, in place of those of the recipe: `train(events, model=...)`.

    Returns:
        The network of its best epoch.

    Raises:
        InputError: When an argument does not fit, before anything is trained.
        SearchError: When no epoch met the overtraining condition.
    """
    preparation = Preparation(
        split=_split(events, validation_folds, test_folds),
        regions=tuple(regions),
        recipe=_recipe(recipe, parts, train),
    )
    strategy = FixedSchedule(population=1, rounds=1, epochs_per_round=epochs, schedule={})
    trained = search_networks(preparation, strategy, Space(), seed=seed)
    logger.info("%s", training_table(trained))
    return trained.network


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
    events: Events | Split,
    recipe: Recipe | None = None,
    *,
    space: Space | None = None,
    search: Strategy | None = None,
    seed: int = 1,
    validation_folds: Sequence[int] = (3,),
    test_folds: Sequence[int] = (4,),
    regions: Sequence[str] = ("signal",),
    checkpoints: Path | None = None,
    on_round: Callable[[Progress], None] | None = None,
    processes: Processes | None = None,
    **parts: Any,
) -> Tuned:
    """Tunes a network on events, by training a population of them.

    Args:
        events: From `difftune.read`, or `Events.from_arrays`; or a `Split` of them, whose folds
            then count.
        recipe: How each member is trained; the default recipe if None.
        space: Hyperparameters to search, also as a mapping by name. None: only the random start
            values differ.
        search: The strategy, with its population, rounds and epochs per round; or its name, such
            as `"pbt"`, for one of default size.
        seed: Decides everything random.
        validation_folds: Folds that choices rest on.
        test_folds: Folds that are left alone until the result.
        regions: Regions that the networks are trained on, by name or role, where the events have
            regions.
        checkpoints: Folder for checkpoints; a search found there is continued, if it is the same
            in everything that defines its numbers.
        on_round: Called with the `Progress` of each round; a line of the log by default
            (`logging.basicConfig(level="INFO")` shows it).
        processes: Those that share the members, from `difftune.training.connect`; all call this
            with the same arguments, and all get the same result.
        **parts: Of `Recipe`, in place of those of the recipe:
            `tune(events, model=..., objective=...)`.

    Returns:
        The networks, their ranking, and the history of the search.

    Raises:
        InputError: When an argument does not fit, or the checkpoints are those of another search,
            before anything is trained.
    """
    preparation = Preparation(
        split=_split(events, validation_folds, test_folds),
        regions=tuple(regions),
        recipe=_recipe(recipe, parts, tune),
        processes=processes or SingleProcess(),
    )
    with explained_search(checkpoints):
        return search_networks(
            preparation,
            search or PBT(),
            space or Space(),
            seed=seed,
            folder=checkpoints,
            on_round=on_round or RoundLog("search"),
        )


def _split(events: Events | Split, validation: Sequence[int], test: Sequence[int]) -> Split:
    if isinstance(events, Split):
        return events
    return Split(events=events, validation_folds=tuple(validation), test_folds=tuple(test))


def _recipe(recipe: Recipe | None, parts: dict[str, Any], verb: Callable[..., Any]) -> Recipe:
    """The recipe with some of its parts replaced.

    Raises:
        InputError: For a part that recipes have not.
    """
    own = [name for name in signature(verb).parameters if name != "parts"]
    check_names(verb.__name__, parts, [*own, *(field.name for field in fields(Recipe))])
    return replace(recipe or Recipe(), **parts)
