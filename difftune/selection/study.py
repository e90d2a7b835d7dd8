"""What variables are judged with: the events, the network, and how it is trained."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from difftune.arguments import is_number, mapping, said, takes, texts, whole
from difftune.data import Events, FeatureTransform
from difftune.data.requested import as_events
from difftune.errors import InputError
from difftune.models import MLP, Model
from difftune.models.given import as_model
from difftune.objectives import CrossEntropy, Metric, MetricOf, Objective, as_objective
from difftune.objectives.base import Function, logits_of
from difftune.objectives.named import metric_from, objective_from
from difftune.seeds import checked, derived
from difftune.selection.variables import DataIssues, Units
from difftune.training import (
    RUNNING,
    STOPPED,
    AnyCondition,
    Columns,
    ModuleDef,
    Population,
    Replicas,
    ScoreGap,
    Snapshot,
    adam,
    columns,
    diverged,
)
from difftune.training.given import FORMS, as_hyperparameters
from difftune.training.optimizers import Optimizer
from difftune.training.sample import NegativeWeights

logger = logging.getLogger("difftune")


def as_events_of(given: Any) -> Events:
    """Events, or those of what has a split of them."""
    for found in (given, getattr(given, "split", None)):
        events = getattr(found, "events", found)
        if isinstance(events, Events):
            return events
    return as_events(given)


def as_study(given: Any) -> "Study":
    """A study; events alone do not say what variables are judged with."""
    if isinstance(given, Study):
        return given
    raise InputError(
        f"study = {said(given)}: give Study(events=events, model=..., objective=...), which says "
        "what variables are judged with."
    )


def as_test_folds(given: Any) -> tuple[int, ...]:
    """One or several numbers of folds."""
    given = (given,) if is_number(given) else given
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"Study(test_folds={said(given)}): give numbers, as in test_folds=(4,).")
    return tuple(whole(fold, f"Study(test_folds=...): {said(fold)}") for fold in given)


def as_groups(given: Any) -> dict[str, tuple[str, ...]]:
    """Variables by the name of their group."""
    example = '{"jets": ["jet1_pt", "jet2_pt"]}'
    found = mapping(given or {}, "Study(groups)", example)
    return {name: texts(names, f"groups[{name!r}]", example) for name, names in found.items()}


@takes(
    **FORMS,
    events=as_events_of,
    model=as_model,
    objective=objective_from,
    metric=lambda given: None if given is None else metric_from(given),
    hyperparameters=as_hyperparameters,
    test_folds=as_test_folds,
    groups=as_groups,
    seed=partial(checked, who="Study"),
)
@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """Events, network and training with which variables are compared.

    Each set of variables is trained once for each fold and each seed: validated on the fold,
    trained on the others. All of them are one population (`Replicas`). Nobody sees the test folds.

    Attributes:
        events: The events; observed ones are not used.
        model: Makes the network.
        objective: What is minimised.
        metric: What sets of variables are compared by, of the form of an objective; larger is
            better. None: minus the objective, on validation events. It has less noise than a
            significance.
        hyperparameters: Of all trainings.
        epochs: Length of a training, where it does not stop early.
        batch_size: Events a batch.
        patience: Epochs without a better score until a training stops.
        seeds: Trainings for each fold; the same start values and batches for all sets of variables.
        test_folds: Folds that are kept for the result.
        groups: Variables that are kept or left out together, by the name of the group.
        overtraining: AnyCondition for weights to be kept; none by default, since a constraint that
            some sets meet and others do not hides what the variables do.
        negative_weights: Treatment of negative weights in the training.
        optimizer: Makes the optimizer.
        impute: What replaces missing values.
        missing_indicators: Whether the network also learns which values were missing.
        seed: Decides everything random.

    Raises:
        InputError: For groups that do not fit the variables, less than two variables, less than
            two folds to train and validate on, or numbers out of range.
    """

    events: Events
    model: Model = field(default_factory=MLP)
    objective: Objective | Function = field(default_factory=CrossEntropy)
    metric: Metric | Function | None = None
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 20
    batch_size: int = 1024
    patience: int = 5
    seeds: int = 2
    test_folds: Sequence[int] = (4,)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    overtraining: AnyCondition = field(default_factory=lambda: ScoreGap(limit=float("inf")))
    negative_weights: NegativeWeights = "keep"
    optimizer: Optimizer = adam
    impute: str | float = "median"
    missing_indicators: bool = False
    seed: int = 1

    def __post_init__(self):
        for name in ("epochs", "batch_size", "patience", "seeds"):
            if getattr(self, name) < 1:
                raise InputError(f"Study({name}={getattr(self, name)}): must be at least 1.")
        unknown = set(self.test_folds) - set(range(self.events.folds))
        if unknown or self.folds < 2:
            raise InputError(
                f"Study(test_folds={tuple(self.test_folds)}) of events in folds 0 to "
                f"{self.events.folds - 1}: name folds that there are, and leave two at least to "
                "train and validate on in turn."
            )
        _ = self.units
        found = self.issues
        if found.constant:
            logger.warning("constant variables: %s", ", ".join(found.constant))
        for one, other in found.duplicates:
            logger.warning("%s is a copy of %s (up to a factor)", other, one)

    @property
    def folds(self) -> int:
        """How many folds are trained and validated on in turn."""
        return self.events.folds - len(set(self.test_folds))

    @property
    def trainings(self) -> int:
        """Trainings of one set of variables."""
        return self.seeds * self.folds

    @cached_property
    def seen(self) -> Events:
        """Simulated events that are not in the test folds."""
        kept = [i for i in range(self.events.folds) if i not in set(self.test_folds)]
        return self.events.in_folds(kept).simulated

    @cached_property
    def transform(self) -> FeatureTransform:
        """The transform of the variables, learned on all events but those of the test folds.

        It knows no labels, so that one for all folds tells none of them about another.
        """
        return FeatureTransform.fit(
            self.seen.features,
            self.seen.weight,
            impute=self.impute,
            indicators=self.missing_indicators,
            names=self.seen.feature_names,
        )

    @cached_property
    def units(self) -> Units:
        """What is kept or left out as one."""
        return Units.of(self.events.feature_names, self.groups, self.transform.indicators)

    @cached_property
    def issues(self) -> DataIssues:
        """Constant variables and copies of each other."""
        names = self.events.feature_names
        return DataIssues.of(self.columns.features[:, : len(names)], names)

    @cached_property
    def bound(self) -> Objective:
        """The objective for the processes of these events."""
        return as_objective(self.objective).bound_to(self.events.processes)

    @cached_property
    def columns(self) -> Columns:
        """What all trainings see, with folds."""
        return columns(
            self.seen,
            self.events.yields(),
            self.transform,
            negative=self.negative_weights,
            fold=True,
        )

    @cached_property
    def module_def(self) -> ModuleDef:
        """The network of all variables."""
        outputs = logits_of(self.bound.outputs, len(self.events.processes))
        return ModuleDef(self.model, inputs=self.columns.features.shape[1], outputs=outputs)

    def population(self, replicas: Replicas, members: int) -> Population:
        """A population of this study."""
        return Population(
            module_def=self.module_def,
            objective=self.bound,
            train=self.columns,
            validation=None,
            members=members,
            replicas=replicas,
            batch_size=self.batch_size,
            patience=self.patience,
            metric=self.metric or MetricOf(objective=self.bound),
            overtraining=self.overtraining,
            optimizer=self.optimizer,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Networks:
    """Trained networks of some sets of variables.

    Attributes:
        kept: Units that each set holds, `[sets, units]`.
        score: Validation score of the best epoch, `[sets, seeds, folds]`; NaN where a training
            diverged.
        best: The networks, with the sets, seeds and folds on one axis.
    """

    kept: Bool[np.ndarray, "sets units"]
    score: Float[np.ndarray, "sets seeds folds"]
    best: Snapshot


class Trainer:
    """Trains sets of variables, each for all folds and seeds, as one population.

    Args:
        study: What is trained.
        most: Number of sets at once. Fewer are trained by the same compiled program, in which the
            slots that are left over are out and cost nothing; more, one part after the other.
    """

    def __init__(self, study: Study, most: int):
        self.study, self.most = study, most
        self._population: Population | None = None

    def __call__(
        self, kept: Bool[np.ndarray, "sets units"], *, stream: str | None = None
    ) -> Networks:
        """Trains sets of units.

        Args:
            kept: Which units each set holds.
            stream: Name of the random numbers; another one makes trainings that are independent of
                those without one, down to the batches.

        Raises:
            InputError: For a hyperparameter that nothing reads.
        """
        starts = range(0, len(kept), self.most)
        parts = [self._some(kept[i : i + self.most], stream) for i in starts]
        if len(parts) == 1:
            return parts[0]
        return Networks(
            kept=np.asarray(kept),
            score=np.concatenate([part.score for part in parts]),
            best=jax.tree.map(lambda *each: np.concatenate(each), *(part.best for part in parts)),
        )

    def _some(self, kept: Bool[np.ndarray, "sets units"], stream: str | None) -> Networks:
        study, count = self.study, len(kept)
        filled = np.concatenate([kept, np.repeat(kept[:1], self.most - count, axis=0)])
        replicas = Replicas.crossed(
            inputs=study.units.mask(filled), seeds=study.seeds, folds=study.folds
        )
        members = self.most * study.trainings
        given = {
            name: np.full(members, value, np.float32)
            for name, value in study.hyperparameters.items()
        }
        if self._population is None:
            self._population = study.population(replicas, members)
            self._population.check(set(given))
        seed = study.seed if stream is None else derived(study.seed, stream)
        other = None if seed == self._population.seed else seed
        self._population = self._population.again(replicas=replicas, seed=other)
        population = self._population
        state = population.init(given)
        out = np.arange(members) >= count * study.trainings
        status = np.where(out, np.int32(STOPPED), np.int32(RUNNING))
        state = state._replace(status=jnp.asarray(status))
        for epoch in range(study.epochs):
            state, _ = population.epoch(state, given, epoch=epoch, epochs=study.epochs)
            if not np.any(np.asarray(state.status) == RUNNING):
                break
        best = jax.tree.map(lambda leaf: np.asarray(leaf)[~out], jax.device_get(state.best))
        score = np.where(diverged(np.asarray(state.status)[~out]), np.nan, best.score)
        return Networks(
            kept=np.asarray(kept),
            score=score.reshape(count, study.seeds, study.folds),
            best=best,
        )


@takes(study=as_study)
def train(study: Study, kept: Bool[np.ndarray, "sets units"] | None = None) -> Networks:
    """Trains networks of some sets of variables, each for all folds and seeds.

    Args:
        study: What is trained.
        kept: Units that each set holds, `[sets, units]`; all in one set if None.
    """
    kept = np.ones((1, len(study.units)), bool) if kept is None else np.asarray(kept, bool)
    return Trainer(study, len(kept))(kept)
