"""What variables are judged with: the events, the network, and how it is trained."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from difftune.arguments import is_number, mapping, said, takes, texts, whole
from difftune.data import Events, FeatureTransform, as_events
from difftune.errors import InputError
from difftune.objectives import Metric, MetricOf, metric_from
from difftune.seeds import checked, derived
from difftune.selection.variables import DataIssues, Units
from difftune.training import (
    AS_SCORED,
    RUNNING,
    STOPPED,
    Columns,
    Condition,
    ModuleDef,
    Population,
    Recipe,
    Replicas,
    ScoreGap,
    Snapshot,
    as_condition,
    as_recipe,
    diverged,
)

logger = logging.getLogger("difftune")


def as_events_of(given: Any) -> Events:
    """Events, or those of what has a split of them; of signal regions, where there are regions."""
    for found in (given, getattr(given, "split", None)):
        events = getattr(found, "events", found)
        if isinstance(events, Events):
            return events.in_regions("signal") if events.regions else events
    return as_events(given)


def as_study(given: Any) -> "Study":
    """A study; events alone do not say what variables are judged with."""
    if isinstance(given, Study):
        return given
    raise InputError(
        f"study = {said(given)}: give Study(events, recipe), which says "
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
    events=as_events_of,
    recipe=as_recipe,
    metric=lambda given: None if given is None else metric_from(given),
    overtraining=as_condition,
    test_folds=as_test_folds,
    groups=as_groups,
    seed=partial(checked, who="Study"),
)
@dataclass(frozen=True, eq=False)
class Study:
    """A recipe with the events, folds and seeds with which variables are compared.

    Each set of variables is trained once for each fold and each seed: validated on the fold,
    trained on the others. All of them are one population (`Replicas`). The test folds are left out.
    Early stopping and the epoch that is kept follow the score of each epoch itself, not the
    recipe's selection rule: the mean over folds and seeds takes the luck out.

    Attributes:
        events: The events; observed ones are not used, nor those of other regions than signal ones.
        recipe: How each network is trained; the default recipe if None.
        metric: What sets of variables are compared by, of the form of an objective; larger is
            better. None: minus the objective, on validation events. It has less noise than a
            significance.
        overtraining: Condition for weights to be kept; none by default, since a constraint that
            some sets meet and others do not hides what the variables do.
        epochs: Length of a training, where it does not stop early.
        seeds: Trainings for each fold; the same start values and batches for all sets of variables.
        test_folds: Folds that are kept for the result.
        groups: Variables that are kept or left out together, by the name of the group.
        seed: Decides everything random.

    Raises:
        InputError: For groups that do not fit the variables, less than two variables, less than
            two folds to train and validate on, one without events, or numbers out of range.
    """

    events: Events
    recipe: Recipe = field(default_factory=Recipe)
    _: KW_ONLY
    metric: Metric | None = None
    overtraining: Condition = field(default_factory=lambda: ScoreGap(limit=float("inf")))
    epochs: int = 20
    seeds: int = 2
    test_folds: Sequence[int] = (4,)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "seeds"):
            if getattr(self, name) < 1:
                raise InputError(f"Study({name}={getattr(self, name)}): must be at least 1.")
        unknown = set(self.test_folds) - set(range(self.events.folds))
        if unknown or self.folds < 2:
            raise InputError(
                f"Study(test_folds={tuple(self.test_folds)}) of events in folds 0 to "
                f"{self.events.folds - 1}: name folds that there are, and leave two at least to "
                "train and validate on in turn."
            )
        counts = np.bincount(np.asarray(self.seen.fold), minlength=self.events.folds)
        if empty := [n for n in range(len(counts)) if not counts[n] and n not in self.test_folds]:
            raise InputError(
                f"Study: there are no simulated events in fold {empty[0]} of {self.events.folds}. "
                "The event number decides the fold: read the events with fewer folds, or with "
                "another event_number."
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
        return self.recipe.transform(self.seen)

    @cached_property
    def units(self) -> Units:
        """What is kept or left out as one."""
        return Units.of(
            self.events.feature_names,
            self.groups,
            self.transform.indicators,
            self.events.collections,
        )

    @cached_property
    def issues(self) -> DataIssues:
        """Constant variables and copies of each other."""
        # Few events have a last object, and all of an object's features are filled with 0.
        names = self.events.feature_names
        flat = [i for i, object_ in enumerate(self.transform.object_of) if not object_]
        return DataIssues.of(self.columns.features[:, flat], [names[i] for i in flat])

    @cached_property
    def bound(self) -> Recipe:
        """The recipe for the processes of these events, with the metric of the study."""
        recipe = replace(
            self.recipe,
            metric=self.metric or self.recipe.metric,
            overtraining=self.overtraining,
            selection_rule=AS_SCORED,
        ).bound_to(self.events.processes)
        return (
            recipe if self.metric else replace(recipe, metric=MetricOf(objective=recipe.objective))
        )

    @cached_property
    def columns(self) -> Columns:
        """What all trainings see, with folds."""
        # With variations, since an objective that is asked about later may count them.
        return self.recipe.columns(
            self.seen, self.events.yields(), self.transform, fold=True, varied=True
        )

    @cached_property
    def module_def(self) -> ModuleDef:
        """The network of all variables."""
        return self.bound.module_def(self.columns)

    def population(self, replicas: Replicas, members: int) -> Population:
        """A population of this study."""
        return Population(
            recipe=self.bound,
            train=self.columns,
            validation=None,
            members=members,
            replicas=replicas,
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
        if self._population is None:
            self._population = study.population(replicas, members)
            self._population.check(set())
        seed = study.seed if stream is None else derived(study.seed, stream)
        other = None if seed == self._population.seed else seed
        self._population = self._population.again(replicas=replicas, seed=other)
        population = self._population
        state = population.init({})
        out = np.arange(members) >= count * study.trainings
        status = np.where(out, np.int32(STOPPED), np.int32(RUNNING))
        state = state._replace(status=jnp.asarray(status))
        for after, _ in population.train_epochs(state, {}, range(study.epochs)):
            state = after
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
