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
from difftune.analysis.influence import without_influence
from difftune.analysis.judged import Labelled, auc, log_loss
from difftune.analysis.preparation import CrossPreparation, Preparation
from difftune.analysis.progress import RoundLog
from difftune.analysis.split import Split
from difftune.analysis.stages import (
    AnyTuned,
    CrossTuned,
    checked_stage,
    prepared,
    refitted,
    search_stage,
)
from difftune.analysis.tuned import Tuned
from difftune.arguments import takes
from difftune.data import Events
from difftune.heartbeat import doing
from difftune.models import MLP
from difftune.search import PBT, Replicated, SearchError, Space, log_uniform, uniform
from difftune.seeds import derived
from difftune.training import (
    BoostedTrees,
    Ensemble,
    Population,
    Recipe,
    SingleProcess,
    TrainedNetwork,
    greedy,
)

logger = logging.getLogger("difftune")

TRIALS, ROUNDS, EPOCHS, AT_MOST = 4, 10, 4, 20
"""Of a search: trials side by side, most rounds, their epochs; and networks of an ensemble."""

PLAIN_ROUNDS = 20
"""Most rounds of networks without embeddings, which learn more slowly and cost less."""
AVERAGED_STEPS = 100.0
"""That weights are averaged over, as the learning rate of a search does not fall."""
SEARCHING = 0.45
"""Share of a search's time that its trials have; the rest is to train them anew."""
FEW_EPOCHS = 20
"""A training that had time for less is hardly one."""
SELECTING = 2.0
"""Minutes above which there is time for networks of fewer variables."""
SCORED = 100_000
"""Training events at most, for the difference to the test events."""

Kind = Literal["network", "trees", "both"]
Member = TrainedNetwork | BoostedTrees | Ensemble


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is trained on the parts of a group, and what it says of the events it has not seen.

    Attributes:
        networks: One for each validation part of the group, which it has not learned from.
        scores: Of the validation events of all parts, one after the other.
        anew: As many, trained anew on the validation events, too; empty where none is.
    """

    networks: tuple[Member, ...]
    scores: Float[np.ndarray, " events"]
    anew: tuple[Member, ...] = ()

    @property
    def final(self) -> tuple[Member, ...]:
        """Those that are used in the end."""
        return self.anew or self.networks


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A line of the leaderboard.

    Attributes:
        name: What it is.
        kind: `"network"`, `"trees"` or `"both"`.
        groups: What there is of it for each group of parts that is chosen for by itself.
        cpu_seconds: What it took to train it, searches included.
        unused: For each group the features that its networks do not see; empty where all see all.
    """

    name: str
    kind: Kind
    groups: tuple[Candidate, ...]
    cpu_seconds: float
    unused: tuple[tuple[str, ...], ...] = ()


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

    def enter(
        self,
        name: str,
        kind: Kind,
        groups: Sequence[Candidate],
        cpu_seconds: float,
        unused: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        """One more contestant, which is said."""
        contestant = Contestant(
            name=name, kind=kind, groups=tuple(groups), cpu_seconds=cpu_seconds, unused=unused
        )
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
            # Settings hold for all parts of a group, which are grown in the rest of the time.
            first = train_trees(
                group[0],
                library,
                minutes=0.7 * share / 60,
                seed=self.seed,
                regions=self.regions,
            )
            assert isinstance(first, BoostedTrees), "it is of a Split"
            return {"library": library, "trees": MOST, "settings": first.settings}

        self._trees(f"{library}, tuned", searched)

    def _trees(self, name: str, options: Callable[[tuple[Split, ...]], dict[str, Any]]) -> None:
        began, found = time.process_time(), []
        for number, group in enumerate(self.parts.groups):
            doing(f"auto: {name}, {number + 1} of {len(self.parts.groups)}")
            own = options(group)
            own |= {"seed": self.seed, "regions": self.regions}
            grown: list[Any] = [train_trees(split, **own) for split in group]
            found.append(self.parts.candidate(number, grown))
            self.pools["trees"][number].append(found[-1])
        self.enter(name, "trees", found, time.process_time() - began)

    # ---- networks --------------------------------------------------------------------------------

    def networks(self, *, share: float) -> None:
        """Searches, one after the other; each kind of networks first, then all in turns.

        Where there is time, what the first kind does without is left out in one more kind.

        Args:
            share: Of what is left, that networks have.
        """
        until, tried = self.spent + share * self.left, 0
        kinds = [self._kind(*each) for each in networks_for(self.seconds / 60)]
        waiting = list(kinds)
        while True:
            left = max(until - self.spent, 1.0)
            kind = waiting.pop(0) if waiting else kinds[tried % len(kinds)]
            if tried >= len(kinds) and left < 0.5 * kind.seconds:
                break
            self._search(kind, left / (len(waiting) + 1))
            tried += 1
            if tried == 1 and (fewer := self._fewer(kind)):
                kinds.append(fewer)
                waiting.append(fewer)
            if kind.epochs < FEW_EPOCHS and not waiting:
                break
            if kind.epochs < FEW_EPOCHS:
                # What is left of the time does for one good training.
                kinds, waiting = [kind], []
        for kind in kinds:
            self._enter_best(kind)
        if not any(each.kind == "network" for each in self.contestants):
            raise SearchError(
                "auto: no network was trained in which each part met the overtraining condition; "
                "give more minutes, or more events."
            )
        if kinds[-1].epochs < FEW_EPOCHS:
            logger.warning(
                "auto: in %.2g minutes networks were trained for %d epochs, which are few. Give "
                "minutes=%d or more.",
                *(self.seconds / 60, kinds[-1].epochs),
                math.ceil(self.seconds / 60 * 2 * FEW_EPOCHS / max(kinds[-1].epochs, 1)),
            )

    def _enter_best(self, kind: "_Networks") -> None:
        """The best trial of a kind, where there is one for each group."""
        if all(kind.pool):
            best = [own[self._best(own, group)] for group, own in enumerate(kind.pool)]
            name = f"{kind.name}, best of {kind.trials}"
            self.enter(name, "network", best, kind.cpu_seconds, kind.unused)

    def _kind(self, name: str, model: MLP, space: Space, rounds: int) -> "_Networks":
        """A kind of networks, made ready for searches of so many rounds at most."""
        parts = len(self.parts.groups[0])
        search: Any = _ShortPBT(
            population=TRIALS, rounds=rounds, epochs_per_round=EPOCHS, most=rounds
        )
        if not isinstance(self.sample, CrossFit):
            search = Replicated(strategy=search, executions=parts, folds=True)
        recipe = Recipe(model=model, hyperparameters={"averaged_steps": AVERAGED_STEPS})
        preparation = prepared(self.sample, recipe, SingleProcess(), regions=self.regions)
        return _Networks(
            name=name,
            preparation=preparation,
            search=search,
            space=space,
            pool=tuple([] for _ in self.parts.groups),
        )

    def _fewer(self, kind: "_Networks") -> "_Networks | None":
        """The same kind without what its best networks do without, if there is that and time."""
        short = self.seconds <= 60.0 * SELECTING or kind.epochs < FEW_EPOCHS
        if short or not all(kind.pool):
            return None
        began, cpu = self.spent, time.process_time()
        doing(f"auto: which variables {kind.name} do without")
        unused = tuple(
            without_influence(
                own[self._best(own, group)].networks,
                self.parts.validation[group],
                seed=derived(self.seed, "auto", "influence", group),
            )
            for group, own in enumerate(kind.pool)
        )
        if not any(unused):
            logger.info("auto: each variable helps %s", kind.name)
            return None
        names = self.sample.events.feature_names
        for number, each in enumerate(unused):
            of = f" of fold {number}" if len(unused) > 1 else ""
            logger.info("auto: no influence on %s%s: %s", kind.name, of, ", ".join(each) or "-")
        kept = sorted({len(names) - len(each) for each in unused})
        words = " to ".join(map(str, dict.fromkeys((kept[0], kept[-1]))))
        preparation: Any = kind.preparation
        own = unused if isinstance(self.sample, CrossFit) else unused[0]
        return replace(
            kind,
            name=f"{kind.name} of {words} of {len(names)} variables",
            preparation=replace(preparation, unused=own),
            pool=tuple([] for _ in kind.pool),
            population=None,
            searches=0,
            seconds=self.spent - began,
            cpu_seconds=time.process_time() - cpu,
            unused=unused,
        )

    def _search(self, kind: "_Networks", seconds: float) -> None:
        """One search for networks of a kind, whose trials it adds."""
        began, cpu = self.spent, time.process_time()
        search = replace(kind.search, minutes=SEARCHING * seconds / 60)
        parts = len(self.parts.groups[0])
        kind.searches += 1
        seed = derived(self.seed, "auto", kind.name, kind.searches)
        try:
            if kind.population is None:
                kind.population = checked_stage(kind.preparation, search, kind.space, seed=1)
            population = kind.population.again(seed=seed)
            found = search_stage(
                kind.preparation,
                search,
                kind.space,
                seed=seed,
                on_round=RoundLog(f"{kind.name}, search {kind.searches}"),
                population=population,
            )
        except SearchError as error:
            logger.warning("auto: %s, search %d: %s", kind.name, kind.searches, error)
        else:
            of_groups = _of_groups(found)
            kind.epochs = len(of_groups[-1].result.history.epoch)
            if self.spent - began < 0.9 * SEARCHING * seconds:
                # It was long enough, by early stopping.
                kind.epochs = max(kind.epochs, FEW_EPOCHS)
            anew = of_groups
            if kind.epochs >= FEW_EPOCHS:
                doing(f"auto: {kind.name}, trained on the validation events, too")
                anew = _of_groups(refitted(found, population))
            for group, (judged, last) in enumerate(zip(of_groups, anew, strict=True)):
                both = zip(_trials(judged, parts), _trials(last, parts), strict=True)
                own = [
                    replace(self.parts.candidate(group, networks), anew=tuple(trained))
                    for networks, trained in both
                ]
                kind.pool[group].extend(own)
                self.pools["network"][group].extend(own)
        kind.seconds, kind.cpu_seconds = (
            self.spent - began,
            kind.cpu_seconds + time.process_time() - cpu,
        )

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
            networks, anew = (
                tuple(
                    Ensemble(tuple(_single(each[part]) for each in members), weights)
                    for part in range(len(pool[0].networks))
                )
                for members in (
                    [each.networks for each, _ in taken],
                    [each.final for each, _ in taken],
                )
            )
            scores = np.average([each.scores for each, _ in taken], axis=0, weights=weights)
            found.append(Candidate(networks=networks, scores=scores, anew=anew))
        self.enter(name, kind, found, cpu_seconds)


@dataclass(kw_only=True)
class _Networks:
    """Networks of a kind, and the searches for them.

    Attributes:
        name: What they are.
        preparation: Events and recipe.
        search: The strategy of each search.
        space: Of the hyperparameters.
        pool: Trials that were found, for each group.
        population: What trains them, once there is one; nothing is compiled twice.
        searches: How many there were.
        epochs: Length of the last one.
        seconds: That it took.
        cpu_seconds: Of all.
        unused: For each group the features that they do not see; empty where all see all.
    """

    name: str
    preparation: Preparation | CrossPreparation
    search: Any
    space: Space
    pool: tuple[list[Candidate], ...]
    population: Population | None = None
    searches: int = 0
    epochs: int = FEW_EPOCHS
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    unused: tuple[tuple[str, ...], ...] = ()

    @property
    def trials(self) -> str:
        """How many there are, in words."""
        count = max(map(len, self.pool))
        return f"{count} trial{'s' * (count != 1)}"


@takes()
@dataclass(frozen=True, kw_only=True)
class _ShortPBT(PBT):
    """Ends after `most` rounds also where there is time for more, which another search has."""

    most: int

    def lasting(self, rounds: int, space: Space) -> "_ShortPBT":
        """With its own number of rounds, or less."""
        return replace(self, rounds=min(rounds, self.most))


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


def _of_groups(found: AnyTuned) -> tuple[Tuned, ...]:
    """What there is for each group of parts."""
    return found.folds if isinstance(found, CrossTuned) else (found,)


def _trials(tuned: Tuned, parts: int) -> list[list[TrainedNetwork]]:
    """The networks of each trial that has one for each part."""
    missing, found = set(tuned.missing), []
    for first in range(0, tuned.strategy.population, parts):
        members = range(first, first + parts)
        if not missing & set(members):
            found.append([tuned.choosing(member).network for member in members])
    return found


def networks_for(minutes: float) -> list[tuple[str, MLP, Space, int]]:
    """Networks, each with what is searched of it, and for how many rounds at most.

    The longer the time, the more of them.
    """
    space = {
        "learning_rate": log_uniform(5e-4, 1e-2),
        "dropout": uniform(0.0, 0.4),
        "l2": log_uniform(1e-7, 1e-3),
    }
    embedded = Space({**space, "frequency_scale": log_uniform(0.05, 0.5)})
    of_64 = MLP(hidden=(64, 64), embedding="periodic")
    kinds = [
        ("periodic embeddings", of_64, embedded, ROUNDS),
        ("plain network", MLP(hidden=(64, 64)), Space(space), PLAIN_ROUNDS),
        ("wide network", replace(of_64, hidden=(128, 128, 128)), embedded, ROUNDS),
        ("submodels", replace(of_64, submodels=8), embedded, ROUNDS),
    ]
    return kinds[: 1 if minutes < 1.0 else 2 if minutes < 30.0 else 4]
