"""Which variables an analysis keeps, chosen without the events that it is measured on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.preparation import CrossPreparation, Preparation
from difftune.data import Collection, Events
from difftune.objectives import Metric
from difftune.selection import Selection, Study, Units, eliminate, single_variables
from difftune.selection import Step as Round

logger = logging.getLogger("difftune")


@dataclass(frozen=True, kw_only=True)
class Elimination:
    """How variables are eliminated (`difftune.selection.eliminate`).

    Attributes:
        metric: What sets of variables are compared by; None: minus the objective.
        epochs: Length of a training.
        seeds: Trainings of each set of variables for each fold.
        candidates: Units that are tried in a round, those whose conditional gates lose least.
        patience: Rounds without a new best until the end.
        least: Units that are kept at least.
        tolerance: Standard errors that a smaller set may be worse than the best one.
        groups: Variables that are kept or left out together, by the name of the group.
        keep: Variables or groups that stay.
        seed: Decides everything random.
    """

    metric: Metric | None = None
    epochs: int = 20
    seeds: int = 2
    candidates: int | None = 2
    patience: int = 5
    least: int = 1
    tolerance: float = 0.0
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    keep: Sequence[str] = ()
    seed: int = 1

    def check(self, events: Events) -> None:
        """What can be wrong before anything is trained.

        Args:
            events: Have the variables.

        Raises:
            InputError: For groups, or variables that stay, which are none.
        """
        units = Units.of(events.feature_names, self.groups, collections=events.collections)
        for name in self.keep:
            units.holding(name)

    def __call__(
        self,
        preparation: Preparation | CrossPreparation,
        test_fold: Sequence[int],
        *,
        name: str,
        folder: Path | None,
    ) -> Selection:
        """Eliminates variables without looking at some folds."""
        study = Study(
            preparation.sample.events,
            preparation.recipe,
            metric=self.metric,
            epochs=self.epochs,
            seeds=self.seeds,
            test_folds=test_fold,
            groups=self.groups,
            seed=self.seed,
        )
        return eliminate(
            study,
            candidates=self.candidates,
            patience=self.patience,
            least=self.least,
            tolerance=self.tolerance,
            keep=self.keep,
            folder=folder,
            on_round=partial(_log, name),
        )


def _log(name: str, step: Round) -> None:
    logger.info("%s: %s", name, step)


@dataclass(frozen=True, kw_only=True)
class Variables:
    """The variables that are kept; of cross-fitted events, for each fold.

    Attributes:
        feature_names: All that there were.
        selections: How they were chosen: without the test folds, or for each fold without it.
        groups: Variables that were kept or left out together.
        collections: Which of the features are those of objects; a feature that all objects of a
            collection have is one variable, `"jets.pt"`.
    """

    feature_names: tuple[str, ...]
    selections: tuple[Selection, ...]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    collections: tuple[Collection, ...] = ()

    @property
    def unused(self) -> tuple[tuple[str, ...], ...]:
        """The features that are left out, by each selection."""
        return tuple(
            tuple(name for name in self.feature_names if name not in selection.variables)
            for selection in self.selections
        )

    @property
    def votes(self) -> dict[str, int]:
        """How many of the selections keep a variable; those come first that most keep.

        Of those that equally many keep, the first is the one that stayed longest.
        """
        units = Units.of(self.feature_names, self.groups, collections=self.collections)

        def rank(column: str) -> tuple[int, float]:
            unit = units.names[units.holding(column)]
            stayed = [
                np.mean([unit in there for there in selection.sets])
                for selection in self.selections
            ]
            kept = sum(column in selection.variables for selection in self.selections)
            return kept, float(np.mean(stayed))

        ranks = {name: rank(columns[0]) for name, columns in self._single.items()}
        order = sorted(ranks, key=lambda name: (-ranks[name][0], -ranks[name][1]))
        return {name: ranks[name][0] for name in order}

    @property
    def common(self) -> tuple[str, ...]:
        """Those that more than half of the selections keep."""
        votes = self.votes
        return tuple(n for n in self._single if 2 * votes[n] > len(self.selections))

    @property
    def _single(self) -> dict[str, tuple[str, ...]]:
        return single_variables(self.feature_names, self.collections)

    def among(self, columns: Sequence[str]) -> tuple[str, ...]:
        """The variables that some columns are: `"jets.pt"` for `"jets[0].pt"` and the others."""
        return tuple(name for name, own in self._single.items() if own[0] in columns)

    def to_dict(self) -> dict[str, Any]:
        """Ranking, and of each selection what was dropped and the curve, for JSON."""
        return {
            "votes": self.votes,
            "of": len(self.selections),
            "common": list(self.common),
            "selections": [
                {
                    "kept": list(self.among(selection.variables)),
                    "dropped": list(self.among(unused)),
                    "path": [step.taken for step in selection.steps],
                    "sizes": [len(units) for units in selection.sets],
                    "score": selection.mean.tolist(),
                    "uncertainty": selection.uncertainty.tolist(),
                    "chosen": selection.chosen,
                }
                for selection, unused in zip(self.selections, self.unused, strict=True)
            ],
        }


def select_variables(
    preparation: Preparation | CrossPreparation,
    elimination: Elimination,
    *,
    folder: Path | None = None,
) -> Variables:
    """Eliminates variables without the events that the result is measured on.

    Of cross-fitted events each fold has a selection of its own, on all other folds: a single one,
    on all events, would know those that its networks are measured on.

    Args:
        preparation: The events, and the recipe that variables are judged with.
        elimination: How.
        folder: Where rounds are kept, and gone on from.

    Raises:
        InputError: As `Study` and `eliminate`.
    """
    split = preparation.split
    if isinstance(split, CrossFit):
        selections = tuple(
            elimination(
                preparation,
                (fold,),
                name=f"variables for fold {fold}",
                folder=None if folder is None else folder / f"fold_{fold}",
            )
            for fold in range(split.folds)
        )
    else:
        folds = tuple(split.test_folds)
        selections = (elimination(preparation, folds, name="variables", folder=folder),)
    return Variables(
        feature_names=split.events.feature_names,
        selections=selections,
        groups=elimination.groups,
        collections=split.events.collections,
    )


def without(
    preparation: Preparation | CrossPreparation, unused: Sequence[Sequence[str]]
) -> Preparation | CrossPreparation:
    """The same events and recipe, for networks that do not see some variables.

    Args:
        preparation: The events and the recipe.
        unused: As `Variables.unused`.
    """
    names = tuple(map(tuple, unused))
    if isinstance(preparation, CrossPreparation):
        return replace(preparation, unused=names)
    return replace(preparation, unused=names[0])
