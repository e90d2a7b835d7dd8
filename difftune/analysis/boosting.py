"""The verb that grows boosted trees, with settings as they are or searched for."""

import importlib.util
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.given import TREES
from difftune.analysis.judged import log_loss
from difftune.analysis.split import Split
from difftune.arguments import takes
from difftune.data import Events
from difftune.search import (
    Evolution,
    Integer,
    Optuna,
    PopulationState,
    Round,
    Space,
    Strategy,
    integer,
    log_integer,
    log_uniform,
    uniform,
)
from difftune.training import BoostedTrees, CrossFitted, NegativeWeights, as_library

logger = logging.getLogger("difftune")

T = TypeVar("T")

MOST = 3000
"""Trees of a search at most; with a small learning rate it ends before by early stopping."""

SPACES = {
    "xgboost": Space(
        learning_rate=log_uniform(0.01, 0.3),
        max_depth=integer(3, 9),
        min_child_weight=log_uniform(0.5, 50.0),
        subsample=uniform(0.5, 1.0),
        colsample_bytree=uniform(0.4, 1.0),
        reg_lambda=log_uniform(0.1, 30.0),
    ),
    "lightgbm": Space(
        learning_rate=log_uniform(0.01, 0.3),
        num_leaves=log_integer(7, 127),
        min_sum_hessian_in_leaf=log_uniform(0.5, 50.0),
        bagging_fraction=uniform(0.5, 1.0),
        feature_fraction=uniform(0.4, 1.0),
        lambda_l2=log_uniform(0.1, 30.0),
    ),
}
"""Settings that are searched, by the names of the package."""


@takes(**TREES)
def train_trees(
    events: Events | Split | CrossFit,
    library: str = "xgboost",
    *,
    settings: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    trees: int | None = None,
    patience: int = 50,
    negative_weights: NegativeWeights = "resample",
    seed: int = 1,
    validation_folds: Sequence[int] = (3,),
    test_folds: Sequence[int] = (4,),
    regions: Sequence[str] = ("signal",),
) -> BoostedTrees | CrossFitted:
    """Grows boosted decision trees, or those of each fold of a `CrossFit`.

    What it returns is measured, binned, applied and saved as a network is. Without `minutes` and
    `trees` the package's own settings count, its number of trees as well, and nothing is chosen on
    the validation events. Each class has the same total weight; negative weights are resampled
    before (`difftune.training.BoostedTrees.grown`).

    Args:
        events: From `difftune.read`, or `Events.from_arrays`; or a `Split` of them, whose folds
            then count; or a `CrossFit`.
        library: `"xgboost"` or `"lightgbm"`.
        settings: By the names of the package, in place of its defaults; they are not searched.
        minutes: Wall time of a search for settings, by the log-loss of the validation events: with
            the tree-structured Parzen estimator of Optuna where that is installed, else by
            evolution. The trees that are being grown when it is over are finished. The folds of a
            `CrossFit` share it.
        trees: How many, at most; the validation events decide how many of them are kept.
        patience: Trees without a smaller loss on the validation events after which it ends.
        negative_weights: `"resample"` or `"absolute"`, in the training only.
        seed: Decides everything random.
        validation_folds: Folds that choices rest on.
        test_folds: Folds that are left alone until the result.
        regions: Regions that they are grown on, by name or role, where the events have regions.

    Raises:
        InputError: When an argument does not fit, or the package is not installed.
    """
    package, own = as_library(library), dict(settings or {})
    _ = package.module
    sample: Any = events
    if isinstance(events, Events):
        folds = {"validation_folds": validation_folds, "test_folds": test_folds}
        sample = Split(events=events, **{name: tuple(each) for name, each in folds.items()})
    if sample.events.regions:
        sample = sample.in_regions(*regions)
    rotations = list(sample.rotations) if isinstance(sample, CrossFit) else [sample]
    grown = []
    for number, split in enumerate(rotations):
        train, validation = split.train, split.validation

        def grow(
            values: Mapping[str, Any], train: Events = train, validation: Events = validation
        ) -> BoostedTrees:
            chosen = minutes is not None or trees is not None
            return BoostedTrees.grown(
                train,
                validation if chosen else None,
                library=package.name,
                settings={**values, **own},
                trees=trees or (MOST if chosen else 100),
                patience=patience,
                negative_weights=negative_weights,
                seed=seed,
            )

        if minutes is None:
            grown.append(grow({}))
            continue

        def score(trees: BoostedTrees, validation: Events = validation) -> float:
            return -log_loss(trees.score(validation), validation).value

        space = {n: each for n, each in SPACES[package.name].items() if n not in own}
        found = searched(
            grow,
            score,
            Space(space),
            _strategy(),
            seconds=60.0 * minutes / len(rotations),
            seed=seed + number,
        )
        grown.append(found)
    return CrossFitted(tuple(grown)) if isinstance(sample, CrossFit) else grown[0]


def _strategy() -> Strategy:
    """Proposes one setting after the other, each of which is trained anew."""
    if importlib.util.find_spec("optuna"):
        return Optuna(population=1, epochs_per_round=1)
    return Evolution(population=8, epochs_per_round=1)


def searched(
    grow: Callable[[Mapping[str, Any]], T],
    score: Callable[[T], float],
    space: Space,
    strategy: Strategy,
    *,
    seconds: float,
    seed: int,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """The best trees that a strategy finds within a time.

    Args:
        grow: Trees of some settings.
        score: What they are worth; larger is better.
        space: Of the settings.
        strategy: One that trains anew in each round.
        seconds: What is growing when they are over is finished, and counts.
        seed: Of the proposals.
        clock: Gives the time in seconds.
    """
    began, past, highest = clock(), list[Round](), -np.inf
    best: T | None = None
    while best is None or clock() - began < seconds:
        rng = np.random.default_rng([seed, 0, len(past)])
        proposal = (
            strategy.propose(space, _state(past), rng) if past else strategy.start(space, rng)
        )
        values = space.settled(proposal.hyperparameters)
        scores = np.full(strategy.population, np.nan)
        for member in range(strategy.population):
            if best is not None and clock() - began >= seconds:
                break
            own = {name: _plain(space, name, column[member]) for name, column in values.items()}
            trees = grow(own)
            scores[member] = score(trees)
            if best is None or scores[member] > highest:
                best, highest = trees, float(scores[member])
        past.append(
            Round(
                parents=proposal.parents,
                restart=proposal.restart,
                hyperparameters=values,
                selection_score=scores,
                best=scores,
            )
        )
    assert best is not None, "the first ones are grown in any case"
    tried = sum(int(np.isfinite(each.best).sum()) for each in past)
    logger.info("boosted trees: best of %d settings, log-loss %.4f", tried, -highest)
    return best


def _state(past: Sequence[Round]) -> PopulationState:
    last = past[-1]
    return PopulationState(
        round=len(past),
        selection_score=last.selection_score,
        eligible=np.isfinite(last.selection_score),
        hyperparameters=last.hyperparameters,
        past=tuple(past),
    )


def _plain(space: Space, name: str, value: float) -> float | int:
    """As the packages want it: whole numbers as such."""
    return int(value) if isinstance(space[name], Integer) else float(value)
