"""The job of an analysis file: its recipe, further stages, and the figure of merit of all of it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from difftune.analysis import (
    CrossFit,
    Elimination,
    Figure,
    Split,
    Stage,
    categorised,
    constant_templates,
    fit_model,
    statistics,
)
from difftune.binning import BinningRule
from difftune.data import Events
from difftune.job import build
from difftune.job.build import Binning
from difftune.job.config import Config, StageSection
from difftune.models import MLP
from difftune.objectives import (
    CategoricalCrossEntropy,
    CrossEntropy,
    GaussianNLL,
    Huber,
    Metric,
    Objective,
    Prediction,
    Quantile,
    Significance,
)
from difftune.search import Space, Strategy
from difftune.training import AnyNetwork, Recipe

logger = logging.getLogger("difftune")

CHUNK = 8192
"""Events of a step of all events that the network keeps activations of at a time."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What an analysis file says, as objects of the library: made once, and handed on.

    Attributes:
        config: The file.
        recipe: How a network is trained.
        strategy: What proposes hyperparameters.
        space: What they may be.
        binning: How bin edges are chosen.
        nuisances: What the statistical model has besides templates: arguments of `measure`.
        figure: The figure of merit.
        stages: Further stages of training, after the first one.
        elimination: How variables are eliminated before the tuning; None keeps all.
    """

    config: Config
    recipe: Recipe
    strategy: Strategy
    space: Space
    binning: Binning
    nuisances: Mapping[str, Any]
    figure: Figure
    stages: tuple[Stage, ...] = ()
    elimination: Elimination | None = None

    @classmethod
    def from_config(cls, config: Config) -> "Job":
        """Everything that an analysis file says, but for the events.

        Raises:
            InputError: For whatever is wrong with the configuration alone.
        """
        return cls(
            config=config,
            recipe=build.recipe(config),
            strategy=build.strategy(config),
            space=build.space(config),
            binning=build.binning(config),
            nuisances=build.nuisances(config),
            figure=build.figure(config),
            elimination=build.elimination(config),
        )

    @property
    def regression(self) -> bool:
        """Whether a number is learned of each event; nothing is measured then."""
        return self.config.data.target is not None

    def as_measured(self, sample: Split | CrossFit, network: AnyNetwork) -> Split | CrossFit:
        """Events in the regions that a network measures: those it puts them into, if so.

        Args:
            sample: The events by purpose.
            network: That measures them.
        """
        if not self.config.fit.categories:
            return sample
        found = categorised(network, sample)
        assert not isinstance(found, Events), "events by purpose stay such"
        return found

    def of(self, sample: Split | CrossFit) -> "Job":
        """The job for these events, whose number is that of the statistics of the fit.

        Args:
            sample: The events by purpose.
        """
        recipe = self.recipe
        if self.config.training.score == "figure" and not self.regression:
            recipe = replace(recipe, metric=figure_metric(self, sample))
        stages = tuple(
            stage(section, self, recipe, sample, number)
            for number, section in enumerate(self.config.stage)
        )
        elimination = self.elimination
        if elimination is not None:
            elimination.check(sample.events)
            section = self.config.selection
            if section is not None and section.score == "figure" and not self.regression:
                bins = _selection_bins(self, sample)
                if bins:
                    elimination = replace(elimination, metric=figure_metric(self, sample, bins))
        return replace(self, recipe=recipe, stages=stages, elimination=elimination)

    @property
    def default_recipe(self) -> Recipe:
        """A plain network to compare with: 64, 64 without embeddings, and cross-entropy.

        With categories it is that of all classes. In a regression it is the plain loss of such
        predictions as the network of the run makes.
        """
        plain = replace(self.recipe, model=MLP(), hyperparameters={}, batch_size=1024)
        prediction = self.recipe.prediction
        if prediction is None:
            classes = self.config.fit.categories
            return replace(
                plain, objective=CategoricalCrossEntropy() if classes else CrossEntropy()
            )
        own = self.config.training.score != "figure"
        return replace(
            plain,
            objective=plain_loss(prediction),
            metric=plain.metric if own else None,  # type: ignore[arg-type]
        )


def plain_loss(prediction: Prediction) -> Objective:
    """The loss, without options, of networks that predict so.

    Args:
        prediction: What a network gives for each target.
    """
    if prediction.form == "quantiles":
        return Quantile(quantiles=prediction.quantiles)
    return GaussianNLL() if prediction.form == "normal" else Huber()


LEAST_IN_BIN = 25
"""Effective events that a process should have in a bin, in the mean, where variables are chosen: a
bin of fewer is known to no better than a fifth."""
FEWEST_BINS = 4
"""In fewer the figure sees less than the loss."""


def _selection_bins(job: Job, sample: Split | CrossFit) -> int:
    """Bins of the figure of merit that variables are chosen by; 0 where the loss has to do.

    Each fold validates, and bins that are nearly empty there would decide about the figure.

    Args:
        job: What the file says.
        sample: The events by purpose.
    """
    events, asked = sample.events, job.config.training.score_bins
    yields = np.where([p.role == "data" for p in events.processes], 0.0, events.yields())
    signal = np.array([p.role == "signal" for p in events.processes])
    total = np.where(signal, yields[signal].sum(), yields[~signal].sum())
    # What hardly counts need not be known well.
    counts = yields > 0.05 * total
    key = np.asarray(events.process) + len(yields) * np.asarray(events.fold)
    weight = np.asarray(events.weight, np.float64)
    size = len(yields) * events.folds
    sums, squares = (np.bincount(key, w, size) for w in (weight, weight**2))
    effective = np.divide(sums**2, squares, out=np.zeros(size), where=squares > 0)
    effective = np.where(counts, effective.reshape(events.folds, -1), np.inf)
    fold, process = np.unravel_index(np.argmin(effective), effective.shape)
    least = effective[fold, process]
    bins = int(min(asked, least // LEAST_IN_BIN))
    few = (
        f"fold {fold} has {least:.0f} effective events of {events.processes[process].name!r}, "
        "which decide about the figure of merit in bins of few"
    )
    if bins < min(FEWEST_BINS, asked):
        logger.warning("selection: %s: variables are compared by the loss", few)
        return 0
    if bins < asked:
        logger.warning("selection: %s: it has %d bins there instead of %d", few, bins, asked)
    return bins


def figure_metric(job: Job, sample: Split | CrossFit, bins: int | None = None) -> Metric:
    """The validation score that the figure of merit is.

    Args:
        job: What the file says.
        sample: The events, whose validation part has fewer than the measurement.
        bins: Of the score; as the file says by default.
    """
    bins = bins or job.config.training.score_bins
    split = sample.rotation(0) if isinstance(sample, CrossFit) else sample
    uncertain = {k: v for k, v in job.nuisances.items() if k != "poi" and v}
    if not uncertain and not split.events.variations and job.figure.name == "discovery":
        return Significance(bins=bins)
    model = fit_model(
        bins=max(2, bins),
        mc_statistics=statistics(split.validation, sample.test),
        constraints=_one_of(job.binning).constraints,
        control=constant_templates(sample),
        **job.nuisances,
    )
    return job.figure.metric(model)


def _one_of(binning: Binning) -> BinningRule:
    """The way that the bins of the (first) signal region are chosen."""
    return next(iter(binning.values())) if isinstance(binning, dict) else binning


def stage(
    section: StageSection, job: Job, before: Recipe, sample: Split | CrossFit, number: int
) -> Stage:
    """A further stage of training.

    Args:
        section: What the file says of it.
        job: What the file says.
        before: The recipe of the stage before.
        sample: The events.
        number: Of the stage, for messages.
    """
    place, split = f"stage.{number}", sample
    if isinstance(sample, CrossFit):
        split = sample.rotation(0)
    assert isinstance(split, Split), "a rotation is one"
    loss: Objective
    if section.objective:
        where = f"{place}.objective"
        loss = build.objective(job.config, section.objective, where)
        build.fitting(loss, job.config, where)
    else:
        model = fit_model(
            bins=section.bins,
            bandwidth=(section.bandwidth[0], section.bandwidth[1]),
            mc_statistics=statistics(split.train, sample.test),
            control=constant_templates(sample),
            **job.nuisances,
        )
        loss = job.figure.objective(model)
    rounds, epochs = section.search.rounds, section.search.epochs_per_round
    recipe = replace(
        before,
        objective=loss,
        optimizer=(
            before.optimizer
            if section.optimizer is None
            else build.optimizer(job.config, section.optimizer, f"{place}.optimizer")
        ),
        hyperparameters=section.hyperparameters,
        batch_size=section.batch_size or len(split.events),
        # Activations of all events at once would take gigabytes.
        chunk=before.chunk or (None if section.batch_size else CHUNK),
        # As good as never, where nobody knows how many rounds there will be.
        patience=section.patience or (10**6 if section.search.minutes else rounds * epochs),
    )
    strategy = build.strategy_of(section.search, job.config, f"{place}.search")
    return Stage(
        name=section.name,
        recipe=recipe,
        space=build.space_of(section.space, f"{place}.space"),
        search=strategy,
    )
