"""How a network is trained, said once: of it populations, tuning and studies are made."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.arguments import made, said, takes
from difftune.data import Events, FeatureTransform, Process, TargetScaling, TargetTransform
from difftune.data.transform import Scaling
from difftune.errors import InputError
from difftune.models import DEFAULT, Architecture, PlainOutputs
from difftune.objectives import (
    CrossEntropy,
    Metric,
    MetricOf,
    Objective,
    Precision,
    Prediction,
    ScoreLoss,
    Significance,
    logits_of,
)
from difftune.sharing import may_share
from difftune.training.event_weights import NegativeWeights
from difftune.training.evolution import check_gradient
from difftune.training.given import RECIPE
from difftune.training.module_def import ModuleDef
from difftune.training.optimizers import Optimizer, adam
from difftune.training.overtraining import Condition, ScoreGap
from difftune.training.sample import Columns, columns
from difftune.training.selection_rule import SelectionRule

logger = logging.getLogger("difftune")


@takes(**RECIPE)
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that defines how a network is trained, but events, search and chance.

    Attributes:
        model: Makes the network: `difftune.models.MLP(...)`, or a Flax module class. By default two
            layers of 128 on periodic embeddings of the inputs (`difftune.models.DEFAULT`).
        objective: What each member minimises: one of `difftune.objectives`, a sum of them, or a
            function `(scores, batch, hyperparameters, parameters) -> scalar`; built-in ones also
            by the name that they have in the analysis file. With an optimizer that needs no
            gradient also a metric, or a `difftune.objectives.NumpyLoss`.
        metric: Validation score, of the form of an objective; larger is better. With a
            `MultiObjective` of several, `Tuned.pareto_front` has the networks that no other one
            beats in all. By default (None) that of `default_metric`.
        hyperparameters: Values that no search chooses, by name, the same for all members.
        optimizer: Makes an optax optimizer from a member's hyperparameters; or the name of a kind,
            or of several among which each member has its own (`difftune.training.optimizer`). An
            `EvolutionStrategy` or a `CoordinateParabola` needs no gradient.
        batch_size: Events per batch; as many as there are, or more, for all of them in one. Or all
            sizes among which the hyperparameter `batch_size` chooses, the first being its default.
            An epoch is one pass over the events whatever the size. None for one that follows from
            the number of training events (`batch_size_for`).
        chunk: Events that the network keeps activations of at a time, where a batch has more; None
            for whole batches. The gradient is that of the whole batch, which may hold all training
            events, and costs one more forward pass.
        patience: Epochs without a larger selection score after which a member stops.
        overtraining: Condition on training and validation score. Weights that do not meet it are
            never kept as a member's best, and the member is not eligible to be copied.
        selection_rule: What epochs and members are compared by: the validation score less two
            standard errors, averaged over about three epochs, by default.
        negative_weights: `"keep"`, `"absolute"` or `"resample"`, in the training only
            (`difftune.training.treated_weights`); nothing is done where no weight is negative.
        impute: What replaces missing values: `"median"`, `"mean"` or a number.
        missing_indicators: Whether the network also learns which values were missing.
        scaling: How inputs are brought to a common scale: `"standard"`, `"robust"` (median and
            interquartile range, and far values bounded), or a function of your own
            (`FeatureTransform.fit`).
        target_scaling: How targets are brought to a common scale, where the objective learns some:
            `"standard"`, or `"log"` for the logarithm of positive ones.

    Raises:
        InputError: When a value is not what is asked for.
    """

    model: Architecture = DEFAULT
    objective: Objective = field(default_factory=CrossEntropy)
    metric: Metric = None  # type: ignore[assignment]
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    optimizer: Optimizer = adam
    batch_size: int | tuple[int, ...] | None = None
    chunk: int | None = None
    patience: int = 10
    overtraining: Condition = field(default_factory=ScoreGap)
    selection_rule: SelectionRule = field(default_factory=SelectionRule)
    negative_weights: NegativeWeights = "resample"
    impute: str | float = "median"
    missing_indicators: bool = False
    scaling: Scaling = "standard"
    target_scaling: TargetScaling = "standard"

    def __post_init__(self) -> None:
        if self.metric is None:
            object.__setattr__(self, "metric", default_metric(self.objective))
        check_gradient(self.objective, self.optimizer)
        if self.prediction is not None and self.overtraining.sees_events:
            raise InputError(
                f"overtraining={self.overtraining}: this condition compares the scores of signal "
                f"and background, and {type(self.objective).__name__} learns targets. Take "
                "ScoreGap(limit=0.1) or LossGap(limit=0.1)."
            )
        for size in self.batch_sizes:
            if size < 1 or size != int(size):
                raise InputError(
                    f"batch_size={size:g}: must be a whole number of events, 1 or more."
                )
        for name in ("chunk", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"Recipe({name}={value}): must be at least 1.")

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """All sizes of batches that may occur, the default first; none if the events decide."""
        given: Any = self.hyperparameters.get("batch_size", self.batch_size)
        if given is None:
            return ()
        return tuple(given) if isinstance(given, Sequence) else (given,)

    @property
    def varied(self) -> bool:
        """Whether the objective or the metric counts systematic variations."""
        return self.objective.varied or self.metric.varied

    @property
    def prediction(self) -> Prediction | None:
        """What the network says of targets; None where it learns classes."""
        outputs = self.objective.outputs
        return outputs if isinstance(outputs, Prediction) else None

    def bound_to(self, processes: Sequence[Process]) -> "Recipe":
        """The recipe for events of these processes, whose names objective and metric may want.

        Args:
            processes: In the order of the events' process index.
        """
        return replace(
            self,
            objective=self.objective.bound_to(processes),
            metric=self.metric.bound_to(processes),
        )

    def transform(self, events: Events) -> FeatureTransform:
        """The transform of the features and of the targets, learned on training events.

        Args:
            events: The training events.
        """
        learned = FeatureTransform.fit(
            events.features,
            events.weight,
            impute=self.impute,
            indicators=self.missing_indicators,
            scaling=self.scaling,
            names=events.feature_names,
            sentinels=[dict(events.sentinels).get(name, ()) for name in events.feature_names],
            collections=events.collections,
        )
        if self.prediction is None:
            return learned
        learns_targets(self.objective, events)
        target = TargetTransform.fit(
            np.asarray(events.target),
            events.weight,
            names=events.target_names,
            scaling=self.target_scaling,
        )
        return replace(learned, target=target)

    def columns(
        self,
        events: Events,
        full_yields: Float[np.ndarray, " processes"],
        transform: FeatureTransform,
        *,
        fold: bool = False,
        varied: bool | None = None,
    ) -> Columns:
        """Events as the training wants them; see `difftune.training.columns`.

        Args:
            events: The events, without data.
            full_yields: Expected yield of each process over all splits.
            transform: Learned on training events.
            fold: Whether to keep the folds of the events, numbered anew from 0.
            varied: Whether to keep the systematic variations; by default if these count.
        """
        return columns(
            events,
            full_yields,
            transform,
            negative=self.negative_weights,
            varied=self.varied if varied is None else varied,
            fold=fold,
            prediction=self.prediction,
        )

    def module_def(self, train: Columns) -> ModuleDef:
        """The network, with the inputs that the events have and the outputs that are wanted.

        Args:
            train: Events to train on.
        """
        made = _known_module_def if may_share(self.model) else ModuleDef
        return made(self.model, inputs=train.inputs, outputs=self._outputs(train))

    def _outputs(self, train: Columns) -> int:
        if train.link is not None:
            return PlainOutputs(train.link.outputs)
        return logits_of(self.objective.outputs, len(train.signal_process))


# One that takes values for logits is another one, though the number of outputs is the same.
_known_module_def: Callable[..., ModuleDef] = lru_cache(maxsize=16, typed=True)(ModuleDef)


def learns_targets(objective: Objective, events: Events) -> None:
    """Refuses events without the targets that an objective learns; warns of idle ones.

    Args:
        objective: What networks minimise.
        events: The events.

    Raises:
        InputError: There are no targets.
    """
    name = type(objective).__name__
    if isinstance(objective.outputs, Prediction):
        if events.target is None:
            raise InputError(
                f"objective={name}(...) learns targets of the events, and they have none: name "
                "them in dt.read(..., target='energy'), or give Events.from_arrays(..., "
                "target=energy)."
            )
    elif events.target is not None:
        logger.warning(
            "the events have the target %s, and objective=%s learns classes: "
            "objective=dt.objectives.Huber() learns the target.",
            ", ".join(events.target_names),
            name,
        )


LIKELIHOOD = MetricOf(objective=CrossEntropy(), power=1.0)
"""Geometric mean of the probability that a network gives to what an event is."""


def default_metric(objective: Objective) -> Metric:
    """What networks are compared by where nobody says it.

    Of a binary objective of event after event, which makes a classifier, it is the geometric mean
    of the probability that a network gives to what an event is: all events have a say in it, so
    that luck has little. Of a loss of targets it is one over the loss, or the geometric mean of the
    probability density where the network says one. Of a metric that is minimised without gradients
    it is that one. Of others, as those that count, it is the stat-only Asimov significance.

    Args:
        objective: What networks minimise.
    """
    if isinstance(objective, ScoreLoss):
        return objective.metric
    if isinstance(objective.outputs, Prediction):
        # The likelihood of a normal law may be negative; the loss of a distance is not.
        likelihood = objective.outputs.form == "normal"
        return (
            MetricOf(objective=objective, power=1.0)
            if likelihood
            else Precision(objective=objective)
        )
    classifies = objective.mean_over_events and objective.outputs == "binary"
    return LIKELIHOOD if classifies else Significance()


def batch_size_for(events: int) -> int:
    """Events of a batch where nobody says how many: a power of two with about 256 steps an epoch.

    From 128 to 1024: larger ones make few steps of a small sample, smaller ones cost more each.

    Args:
        events: That a network is trained on.
    """
    return int(2 ** np.clip(round(math.log2(max(events, 1) / 256)), 7, 10))


def as_recipe(given: Any) -> Recipe:
    """A recipe; the default one for None."""
    given = made(given, "recipe")
    if given is None:
        return Recipe()
    if not isinstance(given, Recipe):
        raise InputError(
            f"recipe = {said(given)}: give Recipe(model=..., objective=...), which says how a "
            "network is trained; or its parts by name."
        )
    return given
