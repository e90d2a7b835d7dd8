"""What takes part in an automatic search, and on which events it is trained and judged."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from difftune.analysis.boosting import MOST, train_trees
from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.judged import Labelled, auc, log_loss
from difftune.analysis.progress import RoundLog
from difftune.analysis.split import Split
from difftune.analysis.stages import CrossTuned
from difftune.analysis.tuned import Tuned
from difftune.analysis.tuning import tune
from difftune.data import Events
from difftune.models import MLP
from difftune.objectives import CrossEntropy, as_metric
from difftune.search import PBT, Replicated, SearchError, Space, log_uniform, uniform
from difftune.seeds import derived
from difftune.training import BoostedTrees, Ensemble, Recipe, TrainedNetwork, greedy

logger = logging.getLogger("difftune")

TRIALS, EPOCHS, AT_MOST = 4, 4, 20
"""Of a search: trials side by side, epochs of a round; and networks in a greedy ensemble."""

FEW_EPOCHS = 20
"""A training that had time for less is hardly one."""
SCORED = 100_000
"""Training events at most, for the difference to the test events."""

Kind = Literal["network", "trees", "both"]
Member = TrainedNetwork | BoostedTrees | Ensemble


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is trained on the parts of a group, and what it says of the events it has not seen.

    Attributes:
        networks: One for each validation part of the group.
        scores: Of the validation events of all parts, one after the other.
    """

    networks: tuple[Member, ...]
    scores: Float[np.ndarray, " events"]


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A line of the leaderboard.

    Attributes:
        name: What it is.
        kind: `"network"`, `"trees"` or `"both"`.
        groups: What there is of it for each group of parts that is chosen for by itself.
        cpu_seconds: What it took to train it, searches included.
    """

    name: str
    kind: Kind
    groups: tuple[Candidate, ...]
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Who trains and who validates.

    Attributes:
        sample: The events in the regions that are trained on.
        groups: Splits that choices are made for together, and in each the parts.
        validation: The validation events of each part.
        labelled: Label and weight of the validation events of a group.
    """

    sample: Split | CrossFit
    groups: tuple[tuple[Split, ...], ...]
    validation: tuple[tuple[Events, ...], ...]
    labelled: tuple[Labelled, ...]

    @classmethod
    def of(cls, sample: Split | CrossFit, regions: Sequence[str]) -> "Parts":
        """Those of a sample."""
        if sample.events.regions:
            sample = sample.in_regions(*regions)
        groups: tuple[tuple[Split, ...], ...]
        if isinstance(sample, CrossFit):
            groups = tuple((rotation,) for rotation in sample.rotations)
        else:
            folds = sorted((*sample.train_folds, *sample.validation_folds))
            groups = (tuple(replace(sample, validation_folds=(fold,)) for fold in folds),)
        validation = tuple(tuple(split.validation for split in group) for group in groups)
        labelled = tuple(
            Labelled(
                np.concatenate([np.asarray(each.label) for each in own]),
                np.concatenate([np.asarray(each.weight, np.float64) for each in own]),
            )
            for own in validation
        )
        return cls(sample=sample, groups=groups, validation=validation, labelled=labelled)

    @property
    def everything(self) -> Labelled:
        """The validation events of all groups."""
        return Labelled(*(np.concatenate(each) for each in zip(*self.labelled, strict=True)))

    def scores(self, contestant: Contestant) -> Float[np.ndarray, " events"]:
        """What a contestant says of them."""
        return np.concatenate([each.scores for each in contestant.groups])

    def candidate(self, group: int, networks: Sequence[Member]) -> Candidate:
        """Networks of the parts of a group, with what they say of events they have not seen."""
        each = zip(networks, self.validation[group], strict=True)
        scores = np.concatenate([network.score(events) for network, events in each])
        return Candidate(networks=tuple(networks), scores=scores)

    def overtraining(self, contestant: Contestant) -> float:
        """Area on training events less that on test events, of the first part of each group."""
        gaps = []
        for group, own in zip(self.groups, contestant.groups, strict=True):
            network, areas = own.networks[0], []
            for events in (group[0].train, group[0].test):
                every = -(-len(events) // SCORED)
                few = events.select(np.arange(len(events)) % every == 0)
                areas.append(auc(network.score(few), few).value)
            gaps.append(areas[0] - areas[1])
        return float(np.mean(gaps))


class Contest:
    """Lets contestants take part, one after the other, while there is time."""

    def __init__(
        self, sample: Split | CrossFit, regions: tuple[str, ...], seconds: float, seed: int
    ):
        self.began, self.seconds, self.seed = time.monotonic(), seconds, seed
        self.sample, self.regions = sample, regions
        self.parts = Parts.of(sample, regions)
        count = len(self.parts.groups)
        self.pools: dict[str, tuple[list[Candidate], ...]] = {
            kind: tuple([] for _ in range(count)) for kind in ("network", "trees")
        }
        self.contestants: list[Contestant] = []

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds that are left; none when the time is over."""
        return max(self.seconds - self.spent, 0.0)

    def enter(self, name: str, kind: Kind, groups: Sequence[Candidate], cpu_seconds: float) -> None:
        """One more contestant, which is said."""
        contestant = Contestant(name=name, kind=kind, groups=tuple(groups), cpu_seconds=cpu_seconds)
        self.contestants.append(contestant)
        loss = log_loss(self.parts.scores(contestant), self.parts.everything)
        logger.info("auto: %s: log-loss %.4f ± %.4f", name, loss.value, loss.error)

    def chosen(self) -> tuple[int, ...]:
        """The best of each group."""
        return tuple(
            self._best([each.groups[group] for each in self.contestants], group)
            for group in range(len(self.parts.groups))
        )

    def _best(self, candidates: Sequence[Candidate], group: int) -> int:
        """The number of the candidate with the smallest log-loss of a group."""
        labelled = self.parts.labelled[group]
        return int(np.argmin([log_loss(each.scores, labelled).value for each in candidates]))

    # ---- trees -----------------------------------------------------------------------------------

    def default_trees(self, library: str) -> None:
        """With the package's own settings."""
        self._trees(f"{library}, default", lambda group: {"library": library, "trees": None})

    def tuned_trees(self, library: str, *, among: int) -> None:
        """With searched settings.

        Args:
            library: The package.
            among: How many packages share the time that is left.
        """
        if not self.left:
            logger.info("auto: no time is left to search settings of %s", library)
            return
        share = self.left / among / len(self.parts.groups)

        def searched(group: tuple[Split, ...]) -> dict[str, Any]:
            # Settings hold for all parts of a group; the last ones are grown after the search.
            first = train_trees(group[0], library, minutes=share / len(group) / 60, seed=self.seed)
            assert isinstance(first, BoostedTrees), "it is of a Split"
            return {"library": library, "trees": MOST, "settings": first.settings}

        self._trees(f"{library}, tuned", searched)

    def _trees(self, name: str, options: Callable[[tuple[Split, ...]], dict[str, Any]]) -> None:
        began, found = time.process_time(), []
        for number, group in enumerate(self.parts.groups):
            own = options(group)
            grown: list[Any] = [train_trees(split, seed=self.seed, **own) for split in group]
            found.append(self.parts.candidate(number, grown))
            self.pools["trees"][number].append(found[-1])
        self.enter(name, "trees", found, time.process_time() - began)

    # ---- networks --------------------------------------------------------------------------------

    def networks(self, *, share: float) -> None:
        """Searches, one after the other, each with its part of the time.

        Args:
            share: Of what is left, that networks have.
        """
        until = self.spent + share * self.left
        kinds = _kinds(self.seconds / 60)
        count, number = max(len(kinds), round(1.5 * math.sqrt(self.seconds / 60))), 0
        failed: SearchError | None = None
        while number < count:
            minutes = max(until - self.spent, 1.0) / (count - number) / 60
            name, model, space = kinds[number % len(kinds)]
            try:
                epochs = self._searched(f"{name}, search {number + 1}", model, space, minutes)
            except SearchError as error:
                logger.warning("auto: %s found no network: %s", name, error)
                failed, epochs = error, 0
            number += 1
            if epochs < FEW_EPOCHS and number < count:
                # What is left does for one training.
                count = number + 1
                kinds = kinds[-1:]
            elif epochs < FEW_EPOCHS:
                logger.warning(
                    "auto: in %.2g minutes the last networks were trained for %d epochs, which "
                    "are few. Give minutes=%d or more.",
                    *(self.seconds / 60, epochs),
                    math.ceil(self.seconds / 60 * FEW_EPOCHS * 2 / max(epochs, 1)),
                )
        if not all(self.pools["network"]) and failed is not None:
            raise failed

    def _searched(self, name: str, model: MLP, space: Space, minutes: float) -> int:
        """One search, and how long its trainings were in epochs."""
        began = time.process_time()
        parts = len(self.parts.groups[0])
        search: Any = PBT(population=TRIALS, epochs_per_round=EPOCHS, minutes=minutes)
        if not isinstance(self.sample, CrossFit):
            search = Replicated(strategy=search, executions=parts, folds=True)
        events = len(self.parts.groups[0][0].train)
        recipe = Recipe(
            model=model, metric=as_metric(right_probability), batch_size=_batch_size(events)
        )
        tuned = tune(
            self.sample,
            recipe,
            space=space,
            search=search,
            seed=derived(self.seed, "auto", len(self.contestants)),
            regions=self.regions,
            on_round=RoundLog(name),
        )
        searches = tuned.folds if isinstance(tuned, CrossTuned) else (tuned,)
        best = []
        for group, each in enumerate(searches):
            own = [self.parts.candidate(group, networks) for networks in _trials(each, parts)]
            if not own:
                raise SearchError("no trial has a network of each part that was allowed")
            self.pools["network"][group].extend(own)
            best.append(own[self._best(own, group)])
        self.enter(name, "network", best, time.process_time() - began)
        return len(searches[0].result.history.epoch)

    # ---- together --------------------------------------------------------------------------------

    def together(self) -> None:
        """Weighted means of all that there are."""
        spent = {
            kind: sum(each.cpu_seconds for each in self.contestants if each.kind == kind)
            for kind in ("network", "trees")
        }
        self._greedy("networks, greedy ensemble", "network", ("network",), spent["network"])
        if all(self.pools["trees"]):
            every = sum(spent.values())
            self._greedy("networks and trees, greedy ensemble", "both", tuple(spent), every)

    def _greedy(self, name: str, kind: Kind, pools: tuple[str, ...], cpu_seconds: float) -> None:
        found = []
        for group, labelled in enumerate(self.parts.labelled):
            pool = [each for own in pools for each in self.pools[own][group]]
            counts = greedy(
                np.stack([each.scores for each in pool]).astype(np.float32),
                _figure(labelled),
                size=AT_MOST,
            )
            taken = [(each, int(count)) for each, count in zip(pool, counts, strict=True) if count]
            weights = tuple(count for _, count in taken)
            networks = tuple(
                Ensemble(tuple(_single(each.networks[part]) for each, _ in taken), weights)
                for part in range(len(pool[0].networks))
            )
            scores = np.average([each.scores for each, _ in taken], axis=0, weights=weights)
            found.append(Candidate(networks=networks, scores=scores))
        self.enter(name, kind, found, cpu_seconds)


def _single(member: Member) -> TrainedNetwork | BoostedTrees:
    """What an ensemble is made of."""
    assert not isinstance(member, Ensemble), "only what was trained is pooled"
    return member


def _figure(labelled: Labelled) -> Callable[[Array], Array]:
    """Minus the log-loss of scores, in jax."""
    label, weight = labelled.label == 1, labelled.weight
    share = np.where(label, weight / weight[label].sum(), weight / weight[~label].sum()) / 2

    def figure(scores: Array) -> Array:
        right = jnp.where(label, scores, 1.0 - scores)
        return jnp.sum(share.astype(np.float32) * jnp.log(jnp.maximum(right, 1e-7)))

    return figure


def _trials(tuned: Tuned, parts: int) -> list[list[TrainedNetwork]]:
    """The networks of each trial that has one for each part."""
    missing, found = set(tuned.missing), []
    for first in range(0, tuned.strategy.population, parts):
        members = range(first, first + parts)
        if not missing & set(members):
            found.append([tuned.choosing(member).network for member in members])
    return found


def right_probability(scores: Any, batch: Any, hyperparameters: Any, parameters: Any) -> Any:
    """The geometric mean of the probability of what an event is: the log-loss, larger is better.

    In (0, 1], so that the overtraining condition can compare it as a ratio.
    """
    return jnp.exp(-CrossEntropy()(scores, batch, hyperparameters, parameters))


def _batch_size(events: int) -> int:
    """A power of two, so that an epoch has at least some dozens of steps."""
    return int(2 ** np.clip(round(math.log2(max(events, 1) / 64)), 6, 10))


def _kinds(minutes: float) -> list[tuple[str, MLP, Space]]:
    """Networks, each with what is searched of it; the longer the time, the more of them."""
    space = {
        "learning_rate": log_uniform(5e-4, 1e-2),
        "dropout": uniform(0.0, 0.4),
        "l2": log_uniform(1e-7, 1e-3),
    }
    embedded = {**space, "frequency_scale": log_uniform(0.05, 0.5)}
    kinds = [
        ("plain network", MLP(hidden=(64, 64)), Space(space)),
        ("wide network", MLP(hidden=(128, 128, 128), embedding="periodic"), Space(embedded)),
        ("periodic embeddings", MLP(hidden=(64, 64), embedding="periodic"), Space(embedded)),
    ]
    if minutes <= 2.0:
        return kinds[2:]
    return [kinds[0], kinds[2]] if minutes < 30.0 else kinds
