"""Training in stages, each from the weights of the one before; of one network, or of each fold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.preparation import CrossPreparation, Preparation
from difftune.analysis.split import Split
from difftune.analysis.tuned import (
    Tuned,
    refitted_together,
    search_each_fold,
    search_networks,
)
from difftune.search import PBT, Progress, Space, Strategy
from difftune.training import Applicable, CrossFitted, Population, Processes, Recipe


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of training.

    Attributes:
        name: What it is called in results.
        recipe: How each member is trained then; the model is that of all stages.
        space: Hyperparameters that are searched then. Those of the stage before that nothing here
            names stay as they were.
        search: The strategy; it begins from the best networks of the stage before.
    """

    name: str
    recipe: Recipe
    space: Space = field(default_factory=Space)
    search: Strategy = field(default_factory=PBT)


@dataclass(frozen=True, kw_only=True)
class CrossTuned(Applicable):
    """The result of tuning for each fold, by searches that have not seen it.

    Attributes:
        split: The events.
        folds: What the search for each fold gave.
    """

    split: CrossFit
    folds: tuple[Tuned, ...]

    @property
    def network(self) -> CrossFitted:
        """The networks with the largest selection score of each fold."""
        return CrossFitted(tuple(each.network for each in self.folds))

    def ensemble(self, kind: str = "greedy", *, size: int | None = None) -> CrossFitted:
        """Networks of the search for each fold that decide together, chosen without that fold.

        Args:
            kind: Which ones, as for `Tuned.ensemble`.
            size: How many.

        Raises:
            InputError: There is no such kind, or the size does not belong to it.
        """
        return CrossFitted(tuple(each.ensemble(kind, size=size) for each in self.folds))

    def member(self, number: int) -> CrossFitted:
        """The networks of a member of each search; where one has none, the chosen one's.

        Args:
            number: Of the member in its search.
        """
        return CrossFitted(
            tuple(
                each.network if number in each.missing else each.choosing(number).network
                for each in self.folds
            )
        )


AnyTuned = Tuned | CrossTuned
"""What tuning gives."""


def prepared(
    sample: Split | CrossFit,
    recipe: Recipe,
    processes: Processes,
    *,
    regions: Sequence[str] = ("signal",),
) -> Preparation | CrossPreparation:
    """A recipe with the events that it is for.

    Args:
        sample: The events by purpose.
        recipe: How each member is trained.
        processes: Those that share the members.
        regions: Those whose events networks are trained on, by name or role.
    """
    wanted = tuple(regions)
    if isinstance(sample, CrossFit):
        return CrossPreparation(split=sample, regions=wanted, recipe=recipe, processes=processes)
    return Preparation(split=sample, regions=wanted, recipe=recipe, processes=processes)


def check_stage(
    preparation: Preparation | CrossPreparation, strategy: Strategy, space: Space, *, seed: int
) -> None:
    """Everything that can be wrong with a search before it trains.

    Raises:
        InputError: As `Preparation.check`.
    """
    checked_stage(preparation, strategy, space, seed=seed)


def checked_stage(
    preparation: Preparation | CrossPreparation, strategy: Strategy, space: Space, *, seed: int
) -> Population:
    """What trains the members of a search, once all is found to be right.

    Args:
        preparation: As for `search_stage`.
        strategy: As for `search_stage`.
        space: As for `search_stage`.
        seed: As for `search_stage`.

    Raises:
        InputError: As `Preparation.check`.
    """
    if isinstance(preparation, CrossPreparation):
        return preparation.checked(preparation.strategy(strategy), space, seed=seed)
    return preparation.checked(strategy, space, seed=seed)


def search_stage(
    preparation: Preparation | CrossPreparation,
    strategy: Strategy,
    space: Space,
    *,
    seed: int,
    folder: Path | None = None,
    on_round: Callable[[Progress], None] | None = None,
    start: AnyTuned | None = None,
    population: Population | None = None,
) -> AnyTuned:
    """Runs a strategy on prepared events, of each fold where they are cross-fitted.

    Args:
        preparation: The events and the recipe.
        strategy: Proposes who trains next with what.
        space: What it may propose.
        seed: Decides everything random.
        folder: Where to leave checkpoints, and to resume from.
        on_round: Called after each round.
        start: The stage before.
        population: From `checked_stage`, so that nothing is compiled anew for another seed.

    Raises:
        InputError: As `tune`.
    """
    if isinstance(preparation, CrossPreparation):
        assert not isinstance(start, Tuned), "stages are of one kind"
        folds = search_each_fold(
            preparation,
            strategy,
            space,
            seed=seed,
            folder=folder,
            on_round=on_round,
            start=None if start is None else start.folds,
            population=population,
        )
        return CrossTuned(split=preparation.split, folds=folds)
    assert not isinstance(start, CrossTuned), "stages are of one kind"
    return search_networks(
        preparation,
        strategy,
        space,
        seed=seed,
        folder=folder,
        on_round=on_round,
        start=start,
        population=population,
    )


def refitted(trained: AnyTuned, population: Population) -> AnyTuned:
    """Networks trained anew on the events that validated them, too (`Population.refitted`).

    What is known of them stays: scores and epochs are those of the networks before.

    Args:
        trained: What a search gave.
        population: That it was made with.
    """
    if isinstance(trained, CrossTuned):
        return replace(trained, folds=refitted_together(trained.folds, population))
    (found,) = refitted_together((trained,), population)
    return found


def in_stages(
    preparation: Preparation | CrossPreparation,
    stages: Sequence[Stage],
    *,
    seed: int,
    folders: Sequence[Path | None],
    on_round: Callable[[str], Callable[[Progress], None]],
) -> list[AnyTuned]:
    """Runs all stages, one after the other.

    Args:
        preparation: The events; the recipe is that of each stage.
        stages: What to do.
        seed: Decides everything random.
        folders: Where to leave the checkpoints of each.
        on_round: For the name of a stage, what is called after each of its rounds.

    Returns:
        What each gave; the last one has the history of all.
    """
    found: list[AnyTuned] = []
    for stage, folder in zip(stages, folders, strict=True):
        found.append(
            search_stage(
                replace(preparation, recipe=stage.recipe),
                stage.search,
                stage.space,
                seed=seed,
                folder=folder,
                on_round=on_round(stage.name),
                start=found[-1] if found else None,
            )
        )
    return found
